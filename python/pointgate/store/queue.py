"""What the drain reads accepted points from: the spool on disk, or a queue in memory.

    last = await queue.append(counts, points)
    chunk = await queue.read(after, points=…, size=…)
    queue.commit_offset("kafka", chunk.last)

`MemoryQueue` is for a Kafka consumer group as the only source, whose topic then is the spool: its
offsets are committed after the sinks have the points, and what is in memory when the process dies
is redelivered. Nothing is written to this machine's disk.

Invariants: requests are numbered in the order of arrival, behind every number that a sink has seen;
what every sink has committed is dropped. A queue in memory is bounded by the admission budget:
whatever is in it belongs to requests in flight.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import pyarrow as pa

from pointgate.store.points import SCHEMA
from pointgate.store.spool.batch import COUNTS
from pointgate.store.spool.reader import BatchPosition, Chunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pointgate.store.base import Points


class PointQueue(Protocol):
    """Accepted points on their way to the sinks.

    Attributes:
        progress: Each sink's committed offset at the beginning.
        last: The number of the last request in it.
        total: How many points have been appended to it.
    """

    progress: dict[str, int]
    last: int
    total: int

    @property
    def trouble(self) -> str:
        """Why nothing can be appended now; empty if it can."""

    @property
    def is_filling(self) -> bool:
        """Whether sinks should take what is here."""

    def append(self, counts: array[int], points: Sequence[Points]) -> asyncio.Future[int | None]:
        """Begin to store points (see `Spool.append`)."""

    async def read(self, after: int, *, points: int, size: int) -> Chunk:
        """Wait for points after an offset and read them (see `Spool.read`)."""

    async def wait_past(self, after: int) -> None:
        """Return when there is a request after this offset."""

    async def oldest(self, after: int) -> BatchPosition | None:
        """The position of the first batch after an offset."""

    def commit_offset(self, sink: str, sequence: int) -> None:
        """Record that a sink has durably written everything up to this request."""


@dataclass(slots=True)
class _Batch:
    """The points of one burst."""

    counts: array[int]
    points: pa.Table
    last: int
    begins: int
    since: int


class MemoryQueue:
    """A `PointQueue` in memory.

    Args:
        sinks: The names of the sinks.
        floor: The greatest number that any sink has seen.
    """

    trouble: Final = ""
    is_filling: Final = False

    def __init__(self, sinks: Iterable[str], floor: int = 0) -> None:
        self.progress = dict.fromkeys(sinks, floor)
        self.last = floor
        self.total = 0
        self._offsets = dict(self.progress)
        self._batches: deque[_Batch] = deque()
        self._loop = asyncio.get_running_loop()
        self._grown = asyncio.Event()

    def append(self, counts: array[int], points: Sequence[Points]) -> asyncio.Future[int | None]:
        """Hold points until every sink has them; completes at once."""
        tables = [pa.RecordBatchReader.from_stream(part).read_all() for part in points]
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
        begins = self.total
        self.last += len(counts)
        self.total += table.num_rows
        self._batches.append(_Batch(counts, table, self.last, begins, time.time_ns() // 1_000_000))
        self._grown.set()
        self._grown = asyncio.Event()
        done: asyncio.Future[int | None] = self._loop.create_future()
        done.set_result(self.last)
        return done

    async def read(self, after: int, *, points: int, size: int) -> Chunk:
        """Wait for points after an offset and join them."""
        await self.wait_past(after)
        taken: list[_Batch] = []
        more = False
        for batch in self._batches:
            if batch.last <= after:
                continue
            points -= batch.points.num_rows
            size -= batch.points.nbytes
            if more := bool(taken) and (points < 0 or size < 0):
                break
            taken.append(batch)
        counts, sequences = array(COUNTS), array("q")
        for batch in taken:
            counts.extend(batch.counts)
            sequences.extend(range(batch.last - len(batch.counts) + 1, batch.last + 1))
        joined = pa.concat_tables([batch.points for batch in taken])
        return Chunk(
            points=joined.unify_dictionaries().combine_chunks(),
            counts=counts,
            sequences=sequences,
            last=taken[-1].last,
            begins=taken[0].begins,
            ends=taken[-1].begins + taken[-1].points.num_rows,
            since=taken[0].since,
            more=more,
        )

    async def wait_past(self, after: int) -> None:
        """Return when there is a request after this offset."""
        while self.last <= after:
            await self._grown.wait()

    async def oldest(self, after: int) -> BatchPosition | None:
        """The position of the first batch after an offset; None if there is none."""
        for batch in self._batches:
            if batch.last > after:
                return BatchPosition(batch.last - len(batch.counts), batch.since, batch.begins)
        return None

    def commit_offset(self, sink: str, sequence: int) -> None:
        """Drop what every sink has."""
        self._offsets[sink] = sequence
        lowest = min(self._offsets.values())
        while self._batches and self._batches[0].last <= lowest:
            self._batches.popleft()
