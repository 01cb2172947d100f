"""The drain and a sink that gathers: what stays in the spool, when it is committed, and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pointgate.sinks import drain as drains
from pointgate.sinks.base import Gather, SinkRefusedError, SinkUnavailableError
from tests.sinks.test_drain import FakeSink, keep, until, world
from tests.support.patience import PATIENCE
from tests.support.points import values

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa


class Gathering(FakeSink):
    """Has what it was given when it commits."""

    def __init__(self, seconds: float = 3600.0, points: int = 10**9) -> None:
        super().__init__()
        self.gather = Gather(seconds, points)  # type: ignore[misc]
        self.written: list[tuple[list[float], int]] = []
        self.commits: list[list[float]] = []
        self.commit_errors: list[Exception] = []
        self.committed = 0

    def newest(self) -> int:
        return self.committed

    async def write(self, points: pa.Table, *, sequence: int) -> None:
        if self.errors or self.hates & set(values(points)):
            self.written.clear()
            raise self.errors.pop(0) if self.errors else SinkRefusedError("no place for it")
        self.written.append((values(points), sequence))

    async def commit(self) -> None:
        written, self.written = self.written, []
        if self.commit_errors:
            raise self.commit_errors.pop(0)
        if written:
            self.commits.append([value for some, _ in written for value in some])
            self.got += self.commits[-1]
            self.committed = written[-1][1]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointgate.sinks.retry._FIRST_WAIT", 0.001)
    monkeypatch.setattr("pointgate.sinks.retry._LONGEST_WAIT", 0.002)
    monkeypatch.setattr(drains, "LINGER", 0.02)


async def test_points_stay_in_the_spool_until_the_end(tmp_path: Path) -> None:
    sink = Gathering()
    async with world(tmp_path, sink) as here:
        here.drain._replies_wait = False
        async with here.running():
            for number in range(5):
                await keep(here.spool, float(number))
            await until(lambda: here.statistics["main"].oldest)
            assert sink.written == []
            await here.drain.finish(PATIENCE)
            assert sink.commits == [[0.0, 1.0, 2.0, 3.0, 4.0]]
            assert here.statistics["main"].points == 5


@pytest.mark.parametrize("sink", [(0.2, 10**9), (3600.0, 3)], ids=["age", "points"])
async def test_points_are_committed_when_they_are_worth_it(
    tmp_path: Path, sink: tuple[float, int]
) -> None:
    gathering = Gathering(*sink)
    async with world(tmp_path, gathering) as here:
        here.drain._replies_wait = False
        async with here.running():
            for number in range(3):
                await keep(here.spool, float(number))
            await until(lambda: len(gathering.got) == 3)


async def test_a_spool_that_fills_up_is_not_replies_wait(tmp_path: Path) -> None:
    sink = Gathering()
    async with world(tmp_path, sink, max_bytes=16 * 4096) as here:
        here.drain._replies_wait = False
        async with here.running():
            for number in range(60):
                await keep(here.spool, float(number))
            await until(lambda: len(sink.got) > 20)
    assert sink.got == [float(number) for number in range(len(sink.got))]


@pytest.mark.parametrize("where", ["errors", "commit_errors"])
async def test_what_fails_is_written_again_one_by_one(tmp_path: Path, where: str) -> None:
    sink = Gathering(seconds=0.0)
    getattr(sink, where).extend([SinkUnavailableError("gone"), MemoryError()])
    async with world(tmp_path, sink) as here:
        here.drain._replies_wait = False
        for number in range(5):
            await keep(here.spool, float(number))
        async with here.running():
            await until(lambda: len(sink.got) == 5)
            assert sink.got == [0.0, 1.0, 2.0, 3.0, 4.0]
            assert here.statistics["main"].points == 5
            assert here.statistics["main"].failures == 2


async def test_a_refused_request_is_set_aside_and_the_others_are_committed(tmp_path: Path) -> None:
    sink = Gathering(seconds=0.0)
    sink.hates = {2.0}
    async with world(tmp_path, sink) as here:
        here.drain._replies_wait = False
        for number in range(5):
            await keep(here.spool, float(number))
        async with here.running():
            await until(lambda: len(sink.got) == 4)
    assert sink.got == [0.0, 1.0, 3.0, 4.0]
    assert here.statistics["main"].refused == 1


@pytest.mark.parametrize("committed", [1, 2, 3])
async def test_a_start_goes_on_behind_what_the_sink_has_committed(
    tmp_path: Path, committed: int
) -> None:
    """Also in the middle of a batch, and when the spool does not know of it."""
    sink = Gathering()
    async with world(tmp_path, sink) as here:
        last = await keep(here.spool, 1.0, 2.0, 3.0)
        sink.committed = last - 3 + committed
    async with world(tmp_path, sink) as here, here.running():
        await keep(here.spool, 4.0)
        await until(lambda: sink.got[-1:] == [4.0])
    assert sink.got == [1.0, 2.0, 3.0, 4.0][committed:]


async def test_a_sink_of_another_spool_gets_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Gathering()
    sink.committed = 2**62
    async with world(tmp_path, sink) as here:
        await keep(here.spool, 1.0)
        async with here.running():
            await until(lambda: sink.got == [1.0])
    assert "committed points of another spool" in caplog.text
