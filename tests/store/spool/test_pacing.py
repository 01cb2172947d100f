"""Groups form under load; a lone request does not wait, and none waits for long."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from pointgate.store.spool.pacing import Pace
from pointgate.store.spool.segment import Segment
from pointgate.store.spool.spool import open_spool
from pointgate.store.spool.statistics import SpoolStatistics
from tests.support.patience import PATIENCE
from tests.support.points import counts, points
from tests.support.spools import keep, until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_DELAY = 0.004
_COMMIT = 0.0005


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _paced() -> tuple[Pace, _Clock]:
    clock = _Clock()
    return Pace(_DELAY, now=clock), clock


def _commit(pace: Pace, clock: _Clock, in_flight: int) -> None:
    pace.begin()
    clock.now += _COMMIT
    pace.end(in_flight)


def test_a_lone_request_never_waits() -> None:
    pace, clock = _paced()
    for _ in range(100):
        assert pace.rest(1) <= 0
        _commit(pace, clock, 1)


def test_a_window_that_is_full_never_waits() -> None:
    pace, clock = _paced()
    _commit(pace, clock, 20)  # 10 in the commit, 10 that wait
    for _ in range(100):
        assert 0 < pace.rest(19) <= _DELAY
        assert pace.rest(20) <= 0
        _commit(pace, clock, 20)


def test_under_load_commits_begin_at_least_the_delay_apart_and_nobody_waits_longer() -> None:
    pace, clock = _paced()
    _commit(pace, clock, 1000)
    assert abs(pace.rest(10) - (_DELAY - _COMMIT)) < 1e-9
    clock.now += _DELAY
    assert pace.rest(1) <= 0


def test_the_first_request_after_a_pause_does_not_wait() -> None:
    pace, clock = _paced()
    _commit(pace, clock, 1000)
    clock.now += 1.0
    assert pace.rest(1) <= 0


def test_what_was_in_flight_is_forgotten() -> None:
    pace, clock = _paced()
    _commit(pace, clock, 1000)
    commits = 0
    while pace.rest(1) > 0:
        clock.now += pace.rest(1)
        _commit(pace, clock, 1)
        commits += 1
    assert commits < 30


def test_without_a_delay_nothing_waits() -> None:
    clock = _Clock()
    pace = Pace(0.0, now=clock)
    _commit(pace, clock, 1000)
    assert pace.rest(1) <= 0


async def test_the_writer_waits_for_as_many_requests_as_were_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, write = threading.Event(), Segment.write

    def wait(self: Segment, batch: Any, **rest: Any) -> bool:
        if batch is not None:
            go.wait(PATIENCE)
        return write(self, batch, **rest)

    monkeypatch.setattr(Segment, "write", wait)
    statistics = SpoolStatistics()
    async with (
        asyncio.timeout(PATIENCE),
        open_spool(
            tmp_path, max_bytes=2**30, max_delay=1000.0, sinks={"main": True}, statistics=statistics
        ) as spool,
    ):
        first = spool.append(counts(1), [points(1.0)])
        await until(lambda: not spool._writer._waiting)  # its commit has begun
        second = spool.append(counts(1), [points(2.0)])
        go.set()
        await first
        await until(lambda: spool._writer._pausing)
        assert not second.done()
        await keep(spool, 3.0)
        assert second.done()
        assert statistics.histogram()["buckets"][-1] == 2
