"""A queue in memory gives the drain what a spool gives it."""

from __future__ import annotations

import asyncio
from array import array

import pytest

from pointgate.store.queue import MemoryQueue
from tests.support.point_tables import Point, table


def points(*values: float) -> list[object]:
    return [table([Point(time=number, double=value) for number, value in enumerate(values)])]


async def test_requests_are_numbered_behind_what_sinks_have_seen() -> None:
    queue = MemoryQueue(["one", "two"], floor=41)
    assert queue.progress == {"one": 41, "two": 41}
    assert await queue.append(array("I", [1, 2]), points(1, 2, 3)) == 43  # type: ignore[arg-type]
    assert (queue.last, queue.total) == (43, 3)
    chunk = await queue.read(41, points=100, size=10**6)
    assert list(chunk.sequences) == [42, 43]
    assert list(chunk.counts) == [1, 2]
    assert chunk.points["value_double"].to_pylist() == [1, 2, 3]
    assert (chunk.begins, chunk.ends, chunk.last, chunk.more) == (0, 3, 43, False)


async def test_a_reader_waits_for_more() -> None:
    queue = MemoryQueue(["one"])
    reading = asyncio.create_task(queue.read(0, points=100, size=10**6))
    await asyncio.sleep(0)
    assert not reading.done()
    await queue.append(array("I", [1]), points(7))  # type: ignore[arg-type]
    assert (await reading).points["value_double"].to_pylist() == [7]


@pytest.mark.parametrize(("most", "size"), [(2, 10**6), (100, 1)])
async def test_a_chunk_has_a_limit_and_at_least_one_batch(most: int, size: int) -> None:
    queue = MemoryQueue(["one"])
    for value in range(3):
        await queue.append(array("I", [2]), points(value, value))  # type: ignore[arg-type]
    chunk = await queue.read(0, points=most, size=size)
    assert (chunk.last, chunk.more) == (1, True)
    chunk = await queue.read(1, points=100, size=10**6)
    assert (chunk.last, chunk.begins, chunk.ends, chunk.more) == (3, 2, 6, False)


async def test_what_every_sink_has_is_dropped() -> None:
    queue = MemoryQueue(["one", "two"])
    for value in range(3):
        await queue.append(array("I", [1]), points(value))  # type: ignore[arg-type]
    queue.commit_offset("one", 3)
    found = await queue.oldest(0)
    assert found is not None
    assert (found.after, found.begins) == (0, 0)
    queue.commit_offset("two", 2)
    found = await queue.oldest(0)
    assert found is not None
    assert (found.after, found.begins) == (2, 2)
    queue.commit_offset("two", 3)
    assert await queue.oldest(0) is None
