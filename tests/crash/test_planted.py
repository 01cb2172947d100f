"""Each planted bug is found, and as what it is."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

from tests.crash.plan import DATABASE, SERVICE, Kill
from tests.crash.run import Options, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.outcome import Outcome

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(900)]

IN_WORK: Final = Kill(SERVICE, "", 0, 60, 0.0)

CASES: Final = {
    "reply-first": (Kill(SERVICE, "before-write", 20, 0, 0.0),) * 2,
    "acknowledge-first": (Kill(SERVICE, "after-receive", 20, 0, 0.0),) * 2,
    "keep-in-memory": (IN_WORK, IN_WORK),
    "accept-rejected": (IN_WORK,),
    "store-rejected": (IN_WORK,),
    "half-a-request": (IN_WORK,),
    "keep-the-first": (IN_WORK, IN_WORK),
    "answer-at-the-spool": (IN_WORK,),
    "pass-first": (Kill(SERVICE, "sink-before-record", 2, 0, 0.0),) * 2,
}
"""Each bug, and the kills that show it."""

WITH_DATABASE: Final = {"half-a-request", "keep-the-first"}

AT_ONCE: Final = 4


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    """The outcome of each bug; they mostly wait, so some run at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {}
        for bug, plan in CASES.items():
            victims = (SERVICE, DATABASE) if bug in WITH_DATABASE else (SERVICE,)
            ack = "sink" if bug == "answer-at-the-spool" else "spool"
            options = Options(0, 1, ack=ack, victims=victims, planted=bug, plan=plan, patience=3.0)
            runs[bug] = pool.submit(Run(options, tmp_path_factory.mktemp(bug)))
        yield runs
        pool.shutdown(cancel_futures=True)


def test_an_answer_before_it_is_stored_is_found(outcomes: dict[str, Future[Outcome]]) -> None:
    assert outcomes["reply-first"].result().sinks["parquet"].lost


def test_an_acknowledgement_before_the_answer_is_found(
    outcomes: dict[str, Future[Outcome]],
) -> None:
    assert outcomes["acknowledge-first"].result().forgotten


def test_a_commit_that_stays_in_memory_is_found(outcomes: dict[str, Future[Outcome]]) -> None:
    assert outcomes["keep-in-memory"].result().sinks["parquet"].lost


def test_a_rejected_request_that_is_answered_200_is_found(
    outcomes: dict[str, Future[Outcome]],
) -> None:
    outcome = outcomes["accept-rejected"].result()
    assert outcome.misjudged
    assert outcome.sinks["parquet"].lost


def test_a_rejected_request_that_is_stored_is_found(outcomes: dict[str, Future[Outcome]]) -> None:
    assert outcomes["store-rejected"].result().sinks["parquet"].phantom


@pytest.mark.parametrize("sink", ["parquet", "postgres", "parquet, compacted"])
def test_half_a_request_is_found(outcomes: dict[str, Future[Outcome]], sink: str) -> None:
    assert outcomes["half-a-request"].result().sinks[sink].torn


def test_an_answer_before_the_sinks_have_it_is_found(
    outcomes: dict[str, Future[Outcome]],
) -> None:
    assert outcomes["answer-at-the-spool"].result().unkept["parquet"]


@pytest.mark.parametrize("sink", ["postgres", "parquet, compacted"])
def test_an_older_value_in_the_place_of_a_newer_one_is_found(
    outcomes: dict[str, Future[Outcome]], sink: str
) -> None:
    assert outcomes["keep-the-first"].result().sinks[sink].stale


def test_a_sink_that_is_passed_before_it_has_written_is_found(
    outcomes: dict[str, Future[Outcome]],
) -> None:
    assert outcomes["pass-first"].result().sinks["parquet"].lost


def test_what_is_planted_is_all_that_is_found(outcomes: dict[str, Future[Outcome]]) -> None:
    """Else a run that fails for any reason would do."""
    for outcome in outcomes.values():
        assert outcome.result().violations
        assert not outcome.result().problems
