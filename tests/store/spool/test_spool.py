"""The spool keeps what it says it keeps: order, group commit, progress, bounds, failed writes."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pointgate.store.spool import segment
from pointgate.store.spool.batch import BrokenBatchError, decode, encode
from pointgate.store.spool.segment import Segment
from pointgate.store.spool.statistics import SpoolStatistics
from tests.support.patience import PATIENCE
from tests.support.points import counts, points, values
from tests.support.spools import files, keep, read, read_all, spool, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def slow_commit(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Commits wait until the event is set."""
    go = threading.Event()
    write = Segment.write

    def wait(self: Segment, batch: Any, **rest: Any) -> bool:
        if batch is not None:
            go.wait(PATIENCE)
        return write(self, batch, **rest)

    monkeypatch.setattr(Segment, "write", wait)
    try:
        yield go
    finally:
        go.set()


async def test_what_is_kept_is_read_in_the_order_of_arrival(tmp_path: Path) -> None:
    async with spool(tmp_path) as opened:
        first = await keep(opened, 1.0, 2.0)
        last = await opened.append(counts(1, 2), [points(3.0), points(4.0, 5.0, device="other")])
        assert last == first + 2
        assert await read_all(opened) == [1.0, 2.0, 3.0, 4.0, 5.0]
        chunk = await read(opened, first)
        assert (list(chunk.counts), list(chunk.sequences)) == ([1, 2], [first + 1, first + 2])
        assert (chunk.begins, chunk.ends) == (2, 5)
        assert chunk.points.column("device").to_pylist() == ["device1", "other", "other"]
        assert chunk.points.column("device").num_chunks == 1


async def test_the_requests_around_a_corrupt_batch_have_their_numbers(tmp_path: Path) -> None:
    async with spool(tmp_path) as opened:
        numbers = [await keep(opened, float(number)) for number in range(5)]
        (path,) = files(tmp_path)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE batch SET checksum = 1 WHERE sequence = ?", (numbers[2],))
        chunk = await read(opened)
    assert list(chunk.sequences) == [*numbers[:2], *numbers[3:]]
    assert values(chunk.points) == [0.0, 1.0, 3.0, 4.0]
    assert (chunk.unreadable, chunk.last) == (1, numbers[4])


async def test_a_chunk_is_no_larger_than_asked_for_unless_one_batch_is(tmp_path: Path) -> None:
    async with spool(tmp_path) as opened:
        place = opened.last
        for _ in range(3):
            await keep(opened, 1.0, 2.0)
        for most, expected in ((1, 2), (3, 2), (4, 4), (100, 6)):
            assert (await read(opened, place, most=most)).points.num_rows == expected


async def test_a_reader_waits_for_what_is_not_there_yet(tmp_path: Path) -> None:
    async with spool(tmp_path) as opened:
        reading = asyncio.create_task(read(opened))
        await asyncio.sleep(0)
        await keep(opened, 1.0)
        assert values((await reading).points) == [1.0]


async def test_what_arrives_during_a_commit_shares_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = SpoolStatistics()
    with slow_commit(monkeypatch) as go:
        async with spool(tmp_path, statistics=statistics) as opened:
            start = opened.last
            keeping = [opened.append(counts(1), [points(0.0)])]
            await until(lambda: not opened._writer._waiting)  # the first commit has begun
            keeping += [opened.append(counts(1), [points(float(n))]) for n in range(1, 50)]
            assert len(opened._writer._waiting) == 49
            go.set()
            async with asyncio.timeout(PATIENCE):
                assert await asyncio.gather(*keeping) == [start + n for n in range(1, 51)]
            assert statistics.histogram()["buckets"][-1] == 2
            assert await read_all(opened) == [float(n) for n in range(50)]


async def test_progress_survives_and_what_all_sinks_have_is_deleted(tmp_path: Path) -> None:
    lanes = {"main": True, "other": True}
    async with spool(tmp_path, sinks=lanes) as opened:
        numbers = [await keep(opened, float(n)) for n in range(4)]
        opened.commit_offset("main", numbers[2])
        opened.commit_offset("other", numbers[1])
    async with spool(tmp_path, sinks=lanes) as opened:
        assert opened.progress == {"main": numbers[2], "other": numbers[1]}
        assert await read_all(opened) == [3.0]
        assert values((await read(opened, numbers[1])).points) == [2.0, 3.0]
        assert opened.last == numbers[3]
        assert await keep(opened, 4.0) == numbers[3] + 1
        opened.commit_offset("main", numbers[3] + 1)
        opened.commit_offset("other", numbers[3] + 1)
    async with spool(tmp_path, sinks=lanes) as opened:
        await until(lambda: not opened.trouble)
        assert len(files(tmp_path)) == 1
        assert opened.last == numbers[3] + 1


async def test_a_sink_that_is_new_gets_what_is_still_there(tmp_path: Path) -> None:
    async with spool(tmp_path) as opened:
        numbers = [await keep(opened, float(n)) for n in range(3)]
        opened.commit_offset("main", numbers[0])
    async with spool(tmp_path, sinks={"main": True, "new": True}) as opened:
        assert opened.progress == {"main": numbers[0], "new": numbers[0]}
    shutil.rmtree(tmp_path)
    async with spool(tmp_path) as opened:
        assert opened.last > numbers[2]  # a spool that is begun again never gives a number twice


async def test_a_full_spool_keeps_nothing_more_until_sinks_have_gone_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    statistics = SpoolStatistics()
    async with spool(tmp_path, max_bytes=3 * 4096, statistics=statistics) as opened:
        first = await keep(opened, 1.0)
        await keep(opened, 2.0)
        last = await keep(opened, 3.0)
        await until(lambda: opened.trouble)
        assert opened.trouble == "the spool is full: sink main lags behind"
        waiting = asyncio.create_task(keep(opened, 4.0))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        opened.commit_offset("main", first)
        assert await waiting == last + 1
        assert statistics.bytes == 3 * 4096
        opened.commit_offset("main", last + 1)
        await until(lambda: not opened.trouble)
        await until(lambda: statistics.bytes == 0)
    assert "the spool is full: sink main lags behind; intake is paused" in caplog.text


async def test_a_sink_that_is_not_required_loses_the_oldest_and_stops_nobody(
    tmp_path: Path,
) -> None:
    statistics = SpoolStatistics()
    lanes = {"main": True, "slow": False}
    async with spool(tmp_path, max_bytes=8 * 4096, sinks=lanes, statistics=statistics) as opened:
        place = opened.last
        for number in range(20):
            opened.commit_offset("main", await keep(opened, float(number)))
        await until(lambda: statistics.bytes <= 4 * 4096)
        chunk = await read(opened, place)
        assert values(chunk.points) == [16.0, 17.0, 18.0, 19.0]
        assert (chunk.begins, chunk.ends) == (16, 20)


class _Broken:
    """Points whose stream fails, as only a bug can make it."""

    nbytes = 1

    def __len__(self) -> int:
        return 1

    def __arrow_c_stream__(self, _schema: object = None) -> object:
        raise KeyError("mistake")


async def test_points_that_cannot_be_written_at_all_hold_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with slow_commit(monkeypatch) as go:
        async with spool(tmp_path) as opened:
            keeping = [opened.append(counts(1), [points(0.0)])]
            await until(lambda: not opened._writer._waiting)
            broken = [
                opened.append(counts(1), [_Broken()]),
                opened.append(counts(2), [points(1.0)]),
            ]
            keeping.append(opened.append(counts(1), [points(2.0)]))
            go.set()
            assert await asyncio.gather(*broken) == [None, None]
            await asyncio.gather(*keeping)
            assert await read_all(opened) == [0.0, 2.0]
    assert "internal error: " in caplog.text


def _fail_once(monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> None:
    """The next commit fails, before or after it has reached the file."""
    write = Segment.write
    left = [1]

    def fail(self: Segment, batch: Any, **rest: Any) -> bool:
        if batch is None or not left:
            return write(self, batch, **rest)
        left.pop()
        if committed:
            write(self, batch, **rest)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Segment, "write", fail)


@pytest.mark.parametrize("committed", [False, True])
async def test_after_a_failed_commit_the_file_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    statistics = SpoolStatistics()
    async with spool(tmp_path, statistics=statistics) as opened:
        await keep(opened, 1.0)
        (old,) = files(tmp_path)
        before = old.read_bytes()
        _fail_once(monkeypatch, committed=committed)
        second = await keep(opened, 2.0)
        third = await keep(opened, 3.0)
        assert statistics.failures == 1
        assert len(files(tmp_path)) == 2
        assert await read_all(opened) == [1.0, 2.0, 3.0]  # nothing twice, nothing missing
        assert old.read_bytes() == before
        assert third == second + 1
        await until(lambda: not opened.trouble)
    async with spool(tmp_path) as opened:
        assert await read_all(opened) == [1.0, 2.0, 3.0]
        opened.commit_offset("main", third)
        await until(lambda: not old.exists())


async def test_a_failed_checkpoint_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "CHECKPOINT_BYTES", 1)
    checkpoint = Segment._checkpoint

    def fail(self: Segment, mode: str) -> int:
        if mode == "PASSIVE":
            raise sqlite3.OperationalError("disk I/O error")
        return checkpoint(self, mode)

    monkeypatch.setattr(Segment, "_checkpoint", fail)
    statistics = SpoolStatistics()
    async with spool(tmp_path, statistics=statistics) as opened:
        for number in range(3):
            await keep(opened, float(number))
        assert await read_all(opened) == [0.0, 1.0, 2.0]
        assert statistics.failures >= 2


async def test_the_log_of_a_file_stays_small(tmp_path: Path) -> None:
    big = [float(n) * 1.000001 for n in range(50_000)]
    async with spool(tmp_path) as opened:
        for _ in range(40):
            opened.commit_offset("main", await keep(opened, *big))
        (path,) = files(tmp_path)
        log = segment.wal_path(path).stat().st_size
        assert log < 2 * segment.CHECKPOINT_BYTES
        assert path.stat().st_size < 3 * segment.CHECKPOINT_BYTES


def test_a_batch_is_read_as_it_was_written_or_not_at_all() -> None:
    batch = encode(counts(1, 2), [points(1.0), points(2.0, 3.0, device="é")])
    found, table = decode(batch)
    assert list(found) == [1, 2]
    assert table.column("device").to_pylist() == ["device1", "é", "é"]
    for place in range(0, len(batch.body), 7):
        spoiled = bytearray(batch.body)
        spoiled[place] ^= 1
        broken = type(batch)(
            batch.counts, batch.points, bytes(spoiled), batch.raw_bytes, batch.checksum
        )
        with pytest.raises(BrokenBatchError):
            decode(broken)


def test_names_say_where_a_file_begins(tmp_path: Path) -> None:
    async def begin() -> int:
        async with spool(tmp_path) as opened:
            await until(lambda: not opened.trouble)
            return opened.last

    last = asyncio.run(begin())
    (path,) = files(tmp_path)
    found = re.fullmatch(r"spool-000001-(\d{16})\.db", path.name)
    assert found
    assert int(found[1]) == last + 1
