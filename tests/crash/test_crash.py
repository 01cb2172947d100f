"""A few dozen kills; `make crash` makes a thousand. POINTGATE_CRASH_SEED sets the seed."""

from __future__ import annotations

import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.crash.plan import ALL, DATABASE, SERVICE
from tests.crash.run import Options, Run
from tests.crash.summary import Summary

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 15
"""Of each run."""


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_whoever_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("POINTGATE_CRASH_SEED") or secrets.randbits(24))
    runs = []
    for number, (ack, victims) in enumerate((("spool", ALL), ("sink", (SERVICE, DATABASE)))):
        folder = tmp_path / ack
        folder.mkdir()
        runs.append(Run(Options(KILLS, seed + number, ack=ack, victims=victims), folder))
    with ThreadPoolExecutor(len(runs)) as pool:
        outcomes = list(pool.map(Run.__call__, runs))
    summary = Summary(seed, KILLS * len(runs), 0.0, outcomes)
    print(*summary.lines(), sep="\n")  # noqa: T201 - pytest shows it with a failure
    assert summary.good
    assert all(outcome.accepted > 100 for outcome in outcomes)
