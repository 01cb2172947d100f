"""One state: what a power cut leaves is made, storage is started on it, the outcome is judged."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.crash.victims import Broker, until
from tests.powercut import judge
from tests.powercut.disk import Cut, leave
from tests.powercut.record import Recording, Service, settings
from tests.powercut.restart import compact, restart
from tests.powercut.states import choose, draw_of
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.crash.ledger import Ledger

_COMPACTED: Final = 4
"""One state in so many is compared again when its files are merged."""

_LOG: Final = 500
"""Characters of the end of a log that are shown."""

_NOWHERE: Final = 9
"""A port on which no broker is."""


@dataclass(slots=True)
class Outcome:
    """What came of a state.

    Attributes:
        number: Its number.
        recording: The name of its recording.
        cut: The power cut.
        answered: How many requests had been answered 200.
        lost: How many of them were missing, summed over sinks.
        violations: Everything that is wrong, in words.
    """

    number: int
    recording: str
    cut: Cut
    answered: int = 0
    lost: int = 0
    violations: list[str] = field(default_factory=list)


def replay(
    recordings: Sequence[Recording],
    number: int,
    seed: int,
    folder: Path,
    *,
    whole: bool = False,
    only: str = "",
    data: str = "",
) -> Outcome:
    """Replay a state.

    Args:
        recordings: Which there are; they take turns.
        number: The number of the state.
        seed: Decides the state, together with its number.
        folder: A folder for it that is not there yet.
        whole: Whether to start the whole service, with a broker.
        only: See `states.choose`.
        data: As well.
    """
    turn, which = divmod(number, len(recordings))
    recording = recordings[which]
    draw = draw_of(seed, number)
    cut = choose(recording.trace, turn, draw, only=only, data=data)
    ledger = recording.until(cut.line)
    answered = sum(entry.ok for entry in ledger.requests.values())
    outcome = Outcome(number, recording.folder.name, cut, answered)
    state = folder / "state"
    state.mkdir(parents=True)
    leave(recording.trace, cut, draw, state)
    outcome.violations += judge.before_start(state, ledger, ack=recording.options.ack)
    if whole:
        outcome.violations += _serve(recording, folder)
    else:
        path = settings(folder, port=_NOWHERE, ack=recording.options.ack)
        outcome.violations += restart(path).problems
    outcome.violations += [
        f"left behind: {path.relative_to(state)}" for path in state.glob("spool/*.damaged")
    ]
    _judge(outcome, state, ledger, "")
    if turn % _COMPACTED == 0 and (state / "points").is_dir():
        outcome.violations += [f"compact: {problem}" for problem in compact(state / "points")]
        _judge(outcome, state, ledger, "compacted: ")
    return outcome


def _judge(outcome: Outcome, state: Path, ledger: Ledger, when: str) -> None:
    verdict = judge.after_start(state, ledger)
    outcome.lost += verdict.lost
    outcome.violations += [when + violation for violation in verdict.violations]


def _serve(recording: Recording, folder: Path) -> list[str]:
    """Start the whole service; returns what went wrong."""
    shutil.copytree(recording.folder / "catalog", folder / "catalog")
    with Broker(folder) as broker, Service(folder) as service:
        broker.start()
        settings(folder, port=broker.port, ack=recording.options.ack)
        service.start()
        try:
            service.wait_until_ready()
            until(lambda: service.lag() == 0 or not service.alive, "all is delivered", PATIENCE)
        except TimeoutError as error:
            return [f"whole service: {error}"]
        if service.alive:
            service.ask()
        if not service.dies(PATIENCE) or service.status:
            log = service.log.read_text()[-_LOG:]
            return [f"whole service: exit status {service.status}: {log}"]
    return ["whole service: a traceback"] if "Traceback" in service.log.read_text() else []
