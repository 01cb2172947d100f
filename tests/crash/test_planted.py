"""Each planted bug is found, and as what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.crash.plan import DATABASE, SERVICE, Kill
from tests.crash.run import Options, Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.crash.outcome import Outcome

IN_WORK: Final = Kill(SERVICE, "", 0, 60, 0.0)


class Case(NamedTuple):
    """A bug.

    Attributes:
        plan: The kills that show it.
        found: What the outcome then shows of a sink.
        sinks: Which sinks it is in.
    """

    plan: tuple[Kill, ...]
    found: Callable[[Outcome, str], object]
    sinks: tuple[str, ...] = ("parquet",)


COMPACTED: Final = "parquet, compacted"

CASES: Final = {
    # Answers before it has stored.
    "reply-first": Case(
        (Kill(SERVICE, "before-write", 20, 0, 0.0),) * 2,
        lambda outcome, sink: outcome.sinks[sink].lost,
    ),
    # Acknowledges before it has answered.
    "acknowledge-first": Case(
        (Kill(SERVICE, "after-receive", 20, 0, 0.0),) * 2,
        lambda outcome, _: outcome.forgotten,
    ),
    "keep-in-memory": Case((IN_WORK,) * 2, lambda outcome, sink: outcome.sinks[sink].lost),
    "accept-rejected": Case(
        (IN_WORK,), lambda outcome, sink: outcome.misjudged and outcome.sinks[sink].lost
    ),
    "store-rejected": Case((IN_WORK,), lambda outcome, sink: outcome.sinks[sink].phantom),
    "half-a-request": Case(
        (IN_WORK,),
        lambda outcome, sink: outcome.sinks[sink].torn,
        ("parquet", "postgres", COMPACTED),
    ),
    # An older value in the place of a newer one.
    "keep-the-first": Case(
        (IN_WORK,) * 2,
        lambda outcome, sink: outcome.sinks[sink].stale,
        ("postgres", COMPACTED),
    ),
    # With `ack = "sink"`: before the sinks have it.
    "answer-at-the-spool": Case((IN_WORK,), lambda outcome, sink: outcome.unkept[sink]),
    "pass-first": Case(
        (Kill(SERVICE, "sink-before-record", 2, 0, 0.0),) * 2,
        lambda outcome, sink: outcome.sinks[sink].lost,
    ),
}


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("bug", CASES)
def test_a_planted_bug_is_found(tmp_path: Path, bug: str) -> None:
    case = CASES[bug]
    victims = (SERVICE, DATABASE) if "postgres" in case.sinks else (SERVICE,)
    ack = "sink" if bug == "answer-at-the-spool" else "spool"
    options = Options(0, 1, ack=ack, victims=victims, planted=bug, plan=case.plan, patience=3.0)
    outcome = Run(options, tmp_path)()
    for sink in case.sinks:
        assert case.found(outcome, sink), sink
    assert outcome.violations
    assert not outcome.problems  # else a run that fails for any reason would do
