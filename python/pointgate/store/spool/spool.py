"""The spool: accepted points on disk, from the reply to the sinks.

    async with open_spool(path, max_bytes=…, sinks={"parquet": True}, figures=…) as spool:
        last = await spool.keep(counts, points)        # durable: committed and fsynced
        portion = await spool.read(after, points=…)    # waits for what follows
        spool.passed("parquet", portion.last)          # that sink has it for good

It is a folder of SQLite files (`folder.py`) with one batch a commit (`batch.py`), written by one
thread (`writer.py`) and read by another one (`reader.py`). This is their face on the event loop.

SQLite, because there is no more trusted code to write a log; in WAL mode a commit is one write and
one fsync. What is trusted of it is what it promises about a file whose fsyncs have succeeded, and
no more: after a failure the file is never written again.

Requests are numbered through the spool's life, in the order of arrival; a place in the spool is
such a number. How far the sinks are may be on disk later than it was true: after a crash they get
their last batches again.

Invariants: `keep` is done only after the fsync; what was kept is read by every required sink before
it is deleted; the folder belongs to one process.
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
from pointgate.store.spool.reader import DamagedFileError, Oldest, Portion, Reader
from pointgate.store.spool.writer import Keep, Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from pointgate.store.base import Points
    from pointgate.store.spool.statistics import SpoolStatistics

_PATIENCE: Final = 5.0
"""Seconds to begin, and to write what is being written at the end: a dead disk holds up nobody."""

_PAUSE: Final = 0.5
"""Seconds until what could not be read is read again."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_spool(
    path: Path,
    *,
    max_bytes: int,
    sinks: Mapping[str, bool],
    figures: SpoolStatistics,
    floor: Callable[[], int] = lambda: 0,
    troubled: Callable[[str], object] = lambda _: None,
) -> AsyncIterator[Spool]:
    """Open a spool, and close it at the end.

    What can pass, such as a full disk or a locked file, is retried until it has.

    Args:
        path: Its folder, which is made if it is not there.
        max_bytes: How much the batches in it may take.
        sinks: The names of those who read, and whether each is required.
        figures: Where commits and failures are counted.
        floor: Asked where the folder is new: the greatest number that any sink has seen.
        troubled: Told why it cannot be opened yet.

    Raises:
        ConfigError: The folder can never be used as it is.
        TemporaryFailure: Another process uses it.
    """
    folder = await _opened(path, floor, troubled)
    spool = Spool(folder, max_bytes=max_bytes, sinks=sinks, figures=figures)
    try:
        await spool.open()
        yield spool
    finally:
        await spool.close()


async def _opened(
    path: Path, floor: Callable[[], int], troubled: Callable[[str], object]
) -> Folder:
    lines = RateLimiter(60.0)
    while True:
        folder = Folder(path)
        try:
            await asyncio.to_thread(folder.open, floor)
        except (OSError, sqlite3.Error, MemoryError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else str(error)
            trouble = f"the spool cannot be opened: {reason or 'out of memory'}"
            troubled(trouble)
            if lines.count():
                _log.error("%s; retrying", trouble)
            await asyncio.sleep(_PAUSE)
        else:
            return folder


class Spool:
    """A spool. Use `open_spool`.

    Attributes:
        progress: How far each sink was when the spool was opened.
        last: The number of the last request in it.
        total: How many points have been in it.
        arrivals: Gives requests the instants of their arrival.
    """

    def __init__(
        self, folder: Folder, *, max_bytes: int, sinks: Mapping[str, bool], figures: SpoolStatistics
    ) -> None:
        self.progress: dict[str, int] = {}
        self.last = folder.last
        self.total = folder.total
        self.arrivals = folder.arrivals
        self._folder = folder
        self._max_bytes = max_bytes
        self._sinks = sinks
        self._figures = figures
        self._loop = asyncio.get_running_loop()
        self._reader = Reader()
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="spool-reader")
        self._writer = Writer(
            folder,
            max_bytes=max_bytes,
            sinks=sinks,
            figures=figures,
            committed=self._tell,
            released=self._let_go,
        )
        self._readers: set[asyncio.Future[None]] = set()
        self._lines = RateLimiter(60.0)

    @property
    def trouble(self) -> str:
        """Why nothing is kept now; empty when it is."""
        return self._writer.trouble

    @property
    def is_filling(self) -> bool:
        """Whether sinks should take what is here: it is half of what makes optional ones lose."""
        return self._figures.bytes * 4 >= self._max_bytes

    async def open(self) -> None:
        """Find where each sink is, and begin to write."""
        start = self.last
        if self._folder.files:
            found = await self.oldest(0)
            start = found.after if found else self.last
        known = self._folder.progress
        # A sink that is new gets whatever is still there.
        self.progress = {name: max(known.get(name, 0), start) for name in self._sinks}
        await asyncio.to_thread(self._writer.start, self.progress, _PATIENCE)

    async def close(self) -> None:
        """Write the progress and close the files; what was not kept will never be."""
        self._reading.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._reading.shutdown)
        self._reader.close()
        if await asyncio.to_thread(self._writer.stop, _PATIENCE):
            self._folder.close()
        else:
            _log.error("the disk does not answer: the spool is left as it is")

    def keep(self, counts: array[int], points: Sequence[Points]) -> asyncio.Future[int | None]:
        """Begin to keep points; calls take effect in their order.

        Args:
            counts: How many points each request has, at least one each.
            points: The points, in that order.

        Returns:
            What to await. Its result is the number of the last of these requests, or None if the
            points are not what they should be and will never be kept.
        """
        done: asyncio.Future[int | None] = self._loop.create_future()
        size = sum(part.nbytes for part in points)
        self._writer.put(Keep(counts, points, sum(counts), size, done))
        return done

    async def read(self, after: int, *, points: int, size: int) -> Portion:
        """Wait for what follows a request, and read it; less of it where memory is short.

        Args:
            after: The number of the last request that is not wanted.
            points: How many points to read at most, if one batch has not more.
            size: How many bytes they may take, decoded, if one batch does not take more.
        """
        while True:
            await self.grown(after)
            try:
                found = await self._read(
                    partial(self._reader.read, self._writer.files, after, points=points, size=size)
                )
            except DamagedFileError as error:
                found = self._skip(error)
            except MemoryError:
                size //= 2
                if self._lines.count():
                    _log.error("the spool cannot be read: out of memory; trying again with less")
                found = None
            if found is not None:
                self._figures.unreadable += found.unreadable
                if found.unreadable and found.file:
                    self._writer.damaged(found.file)
                return found
            await asyncio.sleep(_PAUSE)

    async def _read(self, call: Callable[[], T]) -> T:
        """Call the reader in its thread until it succeeds, or finds damage."""
        while True:
            try:
                return await self._loop.run_in_executor(self._reading, call)
            except (sqlite3.Error, OSError) as error:
                if self._lines.count():
                    _log.error("the spool cannot be read: %s; trying again", error)
            await asyncio.sleep(_PAUSE)

    def _skip(self, error: DamagedFileError) -> Portion | None:
        """Go on behind a file that is damaged; None while it is being written."""
        self._writer.damaged(error.file)
        if error.file.last == ENDLESS:
            return None
        _log.error("%s; what follows in it is lost", error)
        return Portion(
            SCHEMA.empty_table(), array(COUNTS), array("q"), error.file.last, unreadable=1
        )

    async def grown(self, after: int) -> None:
        """Return when there is something after this request."""
        while self.last <= after:
            change = self._loop.create_future()
            self._readers.add(change)
            try:
                await change
            finally:
                self._readers.discard(change)

    async def oldest(self, after: int) -> Oldest | None:
        """The first batch that follows a request (see `Reader.oldest`)."""
        while True:
            try:
                return await self._read(partial(self._reader.oldest, self._writer.files, after))
            except DamagedFileError as error:
                self._skip(error)
                after = error.file.last

    def passed(self, sink: str, sequence: int) -> None:
        """A sink has for good everything up to this request."""
        self._writer.passed(sink, sequence)

    def _tell(self, group: Sequence[Keep], last: int | None, total: int) -> None:
        """In the writer's thread: a group was committed."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._told, group, last, total)

    def _let_go(self) -> None:
        """In the writer's thread: files have gone."""
        with contextlib.suppress(RuntimeError):  # the reader has ended, and closed them all
            self._reading.submit(lambda: self._reader.close_all_but(self._writer.files))

    def _told(self, group: Sequence[Keep], last: int | None, total: int) -> None:
        number = None
        if last is not None:
            number, self.last, self.total = self.last, last, total
        for keep in group:
            if number is not None:
                number += len(keep.counts)
            if not keep.done.done():
                keep.done.set_result(number)
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
