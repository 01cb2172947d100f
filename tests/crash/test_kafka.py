"""Killed members of a consumer group lose nothing, and repeat nothing in transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crash.kafka import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_nothing_is_lost_when_members_are_killed(tmp_path: Path) -> None:
    outcome = run(tmp_path, kills=3, seed=7)
    assert outcome.sent > 500
    assert not any(outcome.lost.values()), outcome
    assert not outcome.complaints
    # Each kill leaves at most what was in flight: the admission budget.
    assert all(count <= 3 * 4096 for count in outcome.twice.values())


@pytest.mark.slow
def test_with_transactions_nothing_is_there_twice_either(tmp_path: Path) -> None:
    outcome = run(tmp_path, kills=3, seed=11, exactly_once=True)
    assert outcome.sent > 500
    assert not any(outcome.lost.values()), outcome
    assert not any(outcome.twice.values()), outcome
    assert not outcome.complaints
