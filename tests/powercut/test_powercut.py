"""A few dozen power cuts, and bugs that must be found; POINTGATE_POWERCUT_SEED sets the seed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.powercut import planted
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed"),
]


def power_cuts(folder: Path, states: int, seed: int, *options: str) -> dict[str, Any]:
    """Record, replay, and return the summary; in processes of their own, whose limits are small."""
    command = [sys.executable, "-m", "tests.powercut", "--json", "--folder", str(folder)]
    numbers = ("--states", str(states), "--seed", str(seed), "--whole", str(states))  # none
    done = subprocess.run(
        [*command, *numbers, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stderr
    assert done.stdout, done.stderr  # 1 is also the status of an exception
    summary: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == bool(summary["violations"])
    return summary


def test_nothing_is_lost_whenever_the_power_goes(tmp_path: Path) -> None:
    seed = int(os.environ.get("POINTGATE_POWERCUT_SEED") or secrets.randbits(24))
    summary = power_cuts(tmp_path, 50, seed, "--recordings", "2", "--requests", "36")
    print(json.dumps(summary, indent=1))  # noqa: T201 - pytest shows it with a failure
    assert summary["states"] == 50
    assert summary["answered"] > 50 * 10
    assert len(summary["seen"]) == 8, summary["seen"]
    assert not summary["found"]
    assert summary["lost"] == summary["violations"] == 0


BUGS: Final = {
    "forget-fsync": ("spool", "lost"),
    "forget-fsync-of-folders": ("sink", "unkept"),
    "forget-folder-of-folders": ("spool", "lost"),
    "keep-damaged-lines": ("spool", "damaged"),
    "reply-first": ("spool", "lost"),
    "keep-in-memory": ("spool", "lost"),
    "forget-fsync-of-files": ("spool", "damaged"),
    "answer-at-the-spool": ("sink", "unkept"),
    "pass-first": ("spool", "lost"),
    "forget-fsync-of-merges": ("spool", "lost"),
    "forget-fsync-of-lines": ("spool", "lost"),
    "forget-fsync-of-dead-letters": ("spool", "lost"),
}
"""Bugs, what a 200 promises where each of them is, and what is found."""

OFTEN: Final = tuple(BUGS)[:4]
"""Those that are looked for always; the others only with POINTGATE_POWERCUT_ALL, for a minute."""

FOCUS: Final = {"keep-damaged-lines": ("--only", ".ndjson", "--data", "sectors")}
"""Bugs that show in few states only: which states are looked at."""


def test_every_bug_is_planted() -> None:
    assert set(BUGS) == set(planted.BUGS)


@pytest.mark.parametrize("bug", BUGS if os.environ.get("POINTGATE_POWERCUT_ALL") else OFTEN)
def test_a_planted_bug_is_found(tmp_path: Path, bug: str) -> None:
    ack, violation = BUGS[bug]
    size = ("--recordings", "1", "--requests", "24", "--ack", ack)
    states = 60 if bug in OFTEN else 120
    found = power_cuts(tmp_path, states, 3, *size, "--planted", bug, *FOCUS.get(bug, ()))["found"]
    texts = [text for one in found for text in one["violations"]]
    assert [text for text in texts if violation in text], texts
