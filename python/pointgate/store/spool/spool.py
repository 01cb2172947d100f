"""The spool: a durable queue of accepted points between the reply and the sinks.

    async with open_spool(path, max_bytes=…, sinks={"parquet": True}, statistics=…) as spool:
        last = await spool.append(counts, points)       # committed and fsynced
        chunk = await spool.read(after, points=…)       # waits for batches after an offset
        spool.commit_offset("parquet", chunk.last)      # that sink has them durably

It is a folder of SQLite files (`folder.py`) with one batch per commit (`batch.py`), written by one
thread (`writer.py`) and read by another one (`reader.py`). This module is their interface on the
event loop.

SQLite, because no code for a write-ahead log is better tested; in WAL mode a commit is one write
and one fsync. We rely only on its guarantees for a file whose fsyncs have succeeded: after a
failure the file is never written again.

Requests are numbered through the life of the spool, in the order of arrival; an offset is such a
number. Committed offsets are written to disk with a delay: after a crash, sinks get their last
batches again.

Invariants: `append` completes only after the fsync; batches are deleted only after every required
sink has committed them; the folder belongs to one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from array import array
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from pointgate.diagnostics import os_reason
from pointgate.rate_limiter import RateLimiter
from pointgate.store.points import SCHEMA
from pointgate.store.spool.batch import COUNTS
from pointgate.store.spool.folder import ENDLESS, Folder
from pointgate.store.spool.reader import BatchPosition, Chunk, DamagedFileError, Reader
from pointgate.store.spool.writer import PendingWrite, Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from pointgate.store.base import Points
    from pointgate.store.spool.statistics import SpoolStatistics

_PATIENCE: Final = 5.0
"""Seconds to create the first file, and to finish the last commit: a disk may not respond."""

_PAUSE: Final = 0.5
"""Seconds before a failed read is retried."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_spool(
    path: Path,
    *,
    max_bytes: int,
    max_delay: float = 0.0,
    sinks: Mapping[str, bool],
    statistics: SpoolStatistics,
    floor: Callable[[], int] = lambda: 0,
    on_retry: Callable[[str], object] = lambda _: None,
) -> AsyncIterator[Spool]:
    """Open a spool, and close it at the end.

    Temporary failures, such as a full disk or a locked file, are retried indefinitely.

    Args:
        path: Its folder, which is created if it does not exist.
        max_bytes: The limit for batches that sinks have not committed.
        max_delay: The shortest time between two commits under load, in seconds (`pacing.py`).
        sinks: The names of the sinks, and whether each is required.
        statistics: Where commits and failures are counted.
        floor: Called for a new folder: returns the greatest number that any sink has seen.
        on_retry: Called with the reason after each failed attempt.

    Raises:
        ConfigError: The folder cannot be used; a retry cannot help.
        TemporaryFailure: Another process uses it.
    """
    folder = await _opened(path, floor, on_retry)
    spool = Spool(
        folder, max_bytes=max_bytes, max_delay=max_delay, sinks=sinks, statistics=statistics
    )
    try:
        await spool.open()
        yield spool
    finally:
        await spool.close()


async def _opened(
    path: Path, floor: Callable[[], int], on_retry: Callable[[str], object]
) -> Folder:
    lines = RateLimiter(60.0)
    while True:
        folder = Folder(path)
        try:
            await asyncio.to_thread(folder.open, floor)
        except (OSError, sqlite3.Error, MemoryError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else str(error)
            trouble = f"the spool cannot be opened: {reason or 'out of memory'}"
            on_retry(trouble)
            if lines.count():
                _log.error("%s; retrying", trouble)
            await asyncio.sleep(_PAUSE)
        else:
            return folder


class Spool:
    """A spool. Use `open_spool`.

    Attributes:
        progress: Each sink's committed offset when the spool was opened.
        last: The number of the last request in it.
        total: How many points have been written to it.
        arrivals: Issues the arrival instants of requests.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        max_bytes: int,
        max_delay: float,
        sinks: Mapping[str, bool],
        statistics: SpoolStatistics,
    ) -> None:
        self.progress: dict[str, int] = {}
        self.last = folder.last
        self.total = folder.total
        self.arrivals = folder.arrivals
        self._folder = folder
        self._max_bytes = max_bytes
        self._sinks = sinks
        self._statistics = statistics
        self._loop = asyncio.get_running_loop()
        self._reader = Reader()
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="spool-reader")
        self._writer = Writer(
            folder,
            max_bytes=max_bytes,
            max_delay=max_delay,
            sinks=sinks,
            statistics=statistics,
            committed=self._on_committed,
            released=self._on_released,
        )
        self._readers: set[asyncio.Future[None]] = set()
        self._lines = RateLimiter(60.0)

    @property
    def trouble(self) -> str:
        """Why nothing can be written now; empty if it can."""
        return self._writer.trouble

    @property
    def is_filling(self) -> bool:
        """Whether sinks should take what is here: it is half of what makes optional ones lose."""
        return self._statistics.bytes * 4 >= self._max_bytes

    async def open(self) -> None:
        """Find each sink's offset, and start the writer."""
        start = self.last
        if self._folder.files:
            found = await self.oldest(0)
            start = found.after if found else self.last
        known = self._folder.progress
        # A new sink starts at the oldest batch.
        self.progress = {name: max(known.get(name, 0), start) for name in self._sinks}
        await asyncio.to_thread(self._writer.start, self.progress, _PATIENCE)

    async def close(self) -> None:
        """Write the offsets and close the files; batches that wait are not written."""
        self._reading.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._reading.shutdown)
        self._reader.close()
        if await asyncio.to_thread(self._writer.stop, _PATIENCE):
            self._folder.close()
        else:
            _log.error("disk not responding; spool not closed cleanly")

    def append(self, counts: array[int], points: Sequence[Points]) -> asyncio.Future[int | None]:
        """Begin to write points; calls take effect in order.

        Args:
            counts: How many points each request has, at least one each.
            points: The points, in that order.

        Returns:
            A future that completes after the commit. Its result is the number of the last of these
            requests, or None if the points cannot be encoded and were permanently rejected.
        """
        done: asyncio.Future[int | None] = self._loop.create_future()
        size = sum(part.nbytes for part in points)
        self._writer.put(PendingWrite(counts, points, sum(counts), size, done))
        return done

    async def read(self, after: int, *, points: int, size: int) -> Chunk:
        """Wait for batches after an offset and read them; fewer if memory is short.

        Args:
            after: The offset: the number of the last request that was read before.
            points: The most points to read; at least one batch is read.
            size: The most bytes they may have, decompressed; at least one batch is read.
        """
        while True:
            await self.wait_past(after)
            try:
                found = await self._read(
                    partial(self._reader.read, self._writer.files, after, points=points, size=size)
                )
            except DamagedFileError as error:
                found = self._skip(error)
            except MemoryError:
                size //= 2
                if self._lines.count():
                    _log.error("the spool cannot be read: out of memory; retrying with less")
                found = None
            if found is not None:
                self._statistics.unreadable += found.unreadable
                if found.unreadable and found.file:
                    self._writer.damaged(found.file)
                return found
            await asyncio.sleep(_PAUSE)

    async def _read(self, call: Callable[[], T]) -> T:
        """Call the reader in its thread until it succeeds or finds corruption."""
        while True:
            try:
                return await self._loop.run_in_executor(self._reading, call)
            except (sqlite3.Error, OSError) as error:
                if self._lines.count():
                    _log.error("the spool cannot be read: %s; retrying", error)
            await asyncio.sleep(_PAUSE)

    def _skip(self, error: DamagedFileError) -> Chunk | None:
        """Continue after a corrupt file; None while that is being written."""
        self._writer.damaged(error.file)
        if error.file.last == ENDLESS:
            return None
        _log.error("%s; the rest of the file is lost", error)
        return Chunk(SCHEMA.empty_table(), array(COUNTS), array("q"), error.file.last, unreadable=1)

    async def wait_past(self, after: int) -> None:
        """Return when there is a request after this offset."""
        while self.last <= after:
            change = self._loop.create_future()
            self._readers.add(change)
            try:
                await change
            finally:
                self._readers.discard(change)

    async def oldest(self, after: int) -> BatchPosition | None:
        """The position of the first batch after an offset (see `Reader.oldest`)."""
        while True:
            try:
                return await self._read(partial(self._reader.oldest, self._writer.files, after))
            except DamagedFileError as error:
                self._skip(error)
                after = error.file.last

    def commit_offset(self, sink: str, sequence: int) -> None:
        """Record that a sink has durably written everything up to this request."""
        self._writer.commit_offset(sink, sequence)

    def _on_committed(self, group: Sequence[PendingWrite], last: int | None, total: int) -> None:
        """In the writer's thread: a group was committed."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and no caller waits
            self._loop.call_soon_threadsafe(self._resolve, group, last, total)

    def _on_released(self) -> None:
        """In the writer's thread: files were deleted."""
        with contextlib.suppress(RuntimeError):  # the reader has ended, and has closed all files
            self._reading.submit(lambda: self._reader.close_all_but(self._writer.files))

    def _resolve(self, group: Sequence[PendingWrite], last: int | None, total: int) -> None:
        number = None
        if last is not None:
            number, self.last, self.total = self.last, last, total
        for write in group:
            if number is not None:
                number += len(write.counts)
            if not write.done.done():
                write.done.set_result(number)
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
