"""What a process of `__main__.py` does: it reads the recordings once, then replays states."""

from __future__ import annotations

import shutil
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.powercut import launch, record
from tests.powercut import replay as replays
from tests.powercut.disk import Cut
from tests.powercut.planted import AFTER, BUGS

if TYPE_CHECKING:
    from tests.powercut.record import Recording

_recordings: list[Recording] = []


def begin(folder: str, planted: str) -> None:
    """Prepare this process.

    Args:
        folder: Where the recordings are.
        planted: The name of a bug, if it has one.
    """
    launch.tighten()
    launch.obey(Path(folder) / "hold")
    if planted in AFTER:
        BUGS[planted]()
    _recordings[:] = [record.read(path) for path in sorted(Path(folder).glob("recording-*"))]


def replay(number: int, seed: int, path: str, **options: Any) -> replays.Outcome:
    """Replay a state (see `replay.replay`); its folder stays if something was found."""
    folder = Path(path)
    try:
        outcome = replays.replay(_recordings, number, seed, folder, **options)
    except Exception:  # noqa: BLE001 - the other states have something to say, too
        name = _recordings[number % len(_recordings)].folder.name
        violations = [traceback.format_exc()]
        outcome = replays.Outcome(number, name, Cut(0, "", ""), violations=violations)
    if not outcome.violations:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome
