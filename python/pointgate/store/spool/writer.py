"""The thread that writes the spool: group commit, the limit in bytes, retries, deletion of files.

    while not stopping:
        wait for points, for offsets to write, or for the next file to be due
        wait for more of them, if more are to be expected               # pacing.py
        take the waiting bursts, up to GROUP_POINTS and GROUP_BYTES     # group commit
        encode and commit them, then notify their callers
        checkpoint

The first burst is written at once, and bursts that arrive during its commit share the next one,
which begins at most `max_delay` after it (`pacing.py`).

When the batches that some sink has not committed reach `max_bytes` (the high-water mark), nothing
is written until sinks have advanced; the last group may exceed it. Batches wait for a sink that is
not required only while they take less than half of `max_bytes`: above that the oldest are dropped
for this sink.

After a failure the file is closed for writing and a new one begun (`folder.py`), with the same
group, with exponential backoff; meanwhile no request is answered.

If an allocation fails, the file is intact: the group is made smaller, down to one burst, and
retried.

Invariants: callers are notified after the commit of their group; groups are written in the order of
arrival; no failure ends the thread.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointgate import failpoint
from pointgate.diagnostics import os_reason
from pointgate.errors import PointgateError
from pointgate.rate_limiter import RateLimiter
from pointgate.store.spool.batch import Batch, encode
from pointgate.store.spool.pacing import Pace
from pointgate.store.spool.segment import Retention, Segment

if TYPE_CHECKING:
    import asyncio
    from array import array
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pointgate.store.base import Points
    from pointgate.store.spool.folder import File, Folder
    from pointgate.store.spool.statistics import SpoolStatistics

GROUP_POINTS: Final = 100_000
GROUP_BYTES: Final = 16 * 1024 * 1024
"""The most bytes in a commit of several bursts: readers read a batch as a whole."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class PendingWrite:
    """The points of one burst that wait to be written.

    Attributes:
        counts: How many points each request has, at least one each.
        points: The points.
        rows: The number of points.
        size: Their size in bytes.
        done: Resolves to the number of the last request, or to None if they cannot be encoded.
    """

    counts: array[int]
    points: Sequence[Points]
    rows: int
    size: int
    done: asyncio.Future[int | None]


class _NotEncodedError(PointgateError):
    """Encoding a batch ran out of memory; nothing was written."""


class Writer:
    """Owns the folder while it runs.

    Args:
        folder: The folder, open.
        max_bytes: The limit for batches that sinks have not committed.
        max_delay: The shortest time between two commits under load, in seconds.
        sinks: The names of the sinks, and whether each is required.
        statistics: Where commits and failures are counted.
        committed: Called in this thread with each committed group, the number of its last request,
            and the total number of points; or with a write that cannot be encoded, and None.
        released: Called in this thread when files were deleted: while a reader has one open, it
            still takes disk space.

    Attributes:
        trouble: Why nothing can be written now; empty if it can.
        files: All files, for readers.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        max_bytes: int,
        max_delay: float,
        sinks: Mapping[str, bool],
        statistics: SpoolStatistics,
        committed: Callable[[Sequence[PendingWrite], int | None, int], None],
        released: Callable[[], None],
    ) -> None:
        self.trouble = "the spool is being opened"
        self.files: tuple[File, ...] = folder.files
        self._folder = folder
        self._max_bytes = max_bytes
        self._sinks = dict(sinks)
        self._statistics = statistics
        self._committed = committed
        self._released = released
        self._segment: Segment | None = None
        self._progress: dict[str, int] = {}
        self._damaged: set[Path] = set()
        self._waiting: list[PendingWrite] = []
        self._requests = 0  # of these
        self._pace = Pace(max_delay)
        self._pausing = False  # until as many wait as are expected
        self._group_bytes = GROUP_BYTES
        self._cleanup_due = False
        self._stopping = False
        self._change = threading.Condition()
        self._started = threading.Event()
        self._full_lines = RateLimiter(60.0)
        self._failure_lines = RateLimiter(60.0)
        self._failure_logged = False  # and its recovery not yet
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

    def start(self, progress: Mapping[str, int], timeout: float) -> None:
        """Start the thread, and wait for the first file to be created or to fail.

        Args:
            progress: Each sink's committed offset.
            timeout: The longest wait, in seconds.
        """
        self._progress = dict(progress)
        self._statistics.bytes = sum(file.live_bytes for file in self._folder.files)
        self._thread.start()
        self._started.wait(timeout)

    def put(self, write: PendingWrite) -> None:
        """Queue the points of a burst."""
        with self._change:
            self._waiting.append(write)
            self._requests += len(write.counts)
            if not self._pausing or self._requests >= self._pace.expected:
                self._change.notify()

    def commit_offset(self, sink: str, sequence: int) -> None:
        """Record that a sink has durably written everything up to this request."""
        with self._change:
            self._progress[sink] = sequence
            self._cleanup_due = True
            self._change.notify()

    def damaged(self, file: File) -> None:
        """Mark a file as corrupt: it is no longer written, and renamed instead of deleted."""
        with self._change:
            self._damaged.add(file.path)
            self._cleanup_due = True
            self._change.notify()

    def stop(self, timeout: float) -> bool:
        """Stop after the current commit; bursts that wait are not written.

        Returns:
            Whether the thread has ended.
        """
        with self._change:
            self._stopping = True
            self._change.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # In the thread

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while (group := self._take()) is not None:
            try:
                self._write(group)
            except Exception as error:  # noqa: BLE001 - without this thread no request is answered
                with self._change:
                    self._waiting[:0] = group
                    self._requests += _requests(group)
                if isinstance(error, _NotEncodedError):
                    self._shrink(group)
                else:
                    self._fail(error)
                with self._change:
                    self._change.wait_for(lambda: self._stopping, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
                if self._failure_logged:
                    self._failure_logged = False
                    _log.info("the spool can be written again")
                self._group_bytes = min(2 * self._group_bytes + 1, GROUP_BYTES)
        self._close_segment()

    def _take(self) -> list[PendingWrite] | None:
        """Wait for work; returns the next group, which may be empty, or None to stop."""
        with self._change:
            while not self._stopping:
                full = self._live_bytes() >= self._max_bytes
                if full:
                    self._note_full()
                elif self._segment is not None:
                    self.trouble = ""
                if self._segment is not None:
                    self._started.set()
                rest = None
                if self._cleanup_due or self._segment is None or (self._waiting and not full):
                    rest = 0.0 if full else self._rest()
                    if rest <= 0:
                        return [] if full else self._next_group()
                self._pausing = rest is not None
                self._change.wait(rest)
                self._pausing = False
        return None

    def _rest(self) -> float:
        """How long the waiting bursts should wait for others, in seconds."""
        is_full = sum(write.size for write in self._waiting) >= self._group_bytes
        return 0.0 if is_full or not self._waiting else self._pace.rest(self._requests)

    def _next_group(self) -> list[PendingWrite]:
        rows = size = taken = 0
        for write in self._waiting:
            rows += write.rows
            size += write.size
            if taken and (rows > GROUP_POINTS or size > self._group_bytes):
                break
            taken += 1
        group = self._waiting[:taken]
        del self._waiting[:taken]
        self._requests -= _requests(group)
        if group:
            self._pace.begin()
        return group

    def _live_bytes(self) -> int:
        current = self._segment.live_bytes if self._segment else 0
        return current + sum(file.live_bytes for file in self._folder.files)

    def _note_full(self) -> None:
        offsets = {name: self._progress[name] for name, required in self._sinks.items() if required}
        sink = min(offsets, key=offsets.__getitem__, default="")
        self.trouble = f"the spool is full: sink {sink} lags behind"
        if self._full_lines.count():
            _log.error("%s; intake is paused", self.trouble)

    def _write(self, group: list[PendingWrite]) -> None:
        """Commit a group, offsets and removals; empties the group after the commit."""
        good, batch = self._encode(group)
        with self._change:
            progress, self._cleanup_due = dict(self._progress), False
        try:
            if self._segment is None:
                self._segment = self._folder.create(progress)
        finally:  # on a full disk, deleting files makes room for the new one
            self._release(progress)
        last, total = self._folder.last, self._folder.total
        if batch is not None:
            last += len(batch.counts) // 4
            total += batch.points
            failpoint.hit("before-write")
        started = time.perf_counter()
        more = self._segment.write(
            batch,
            progress=progress,
            retention=self._retention(progress),
            arrived=self._folder.arrivals.last,
            sequence=last,
            total=total,
        )
        self._statistics.bytes = self._live_bytes()
        if batch is not None:
            failpoint.hit("after-fsync")
            self._statistics.commit(time.perf_counter() - started, batch.points)
            self._folder.last, self._folder.total = last, total
            with self._change:
                self._pace.end(self._requests + _requests(good))
            self._committed(tuple(good), last, total)
        group.clear()
        if more:
            with self._change:
                self._cleanup_due = True
        self._segment.checkpoint()

    def _encode(self, group: list[PendingWrite]) -> tuple[list[PendingWrite], Batch | None]:
        """Returns the group without the writes that cannot be encoded, and its batch."""
        if not group:
            return group, None
        counts = group[0].counts[:0]
        for write in group:
            counts.extend(write.counts)
        try:
            return group, encode(counts, (part for write in group for part in write.points))
        except MemoryError as error:
            raise _NotEncodedError from error
        except BaseException:  # noqa: BLE001 - a panic of the extension is no Exception
            if len(group) == 1:
                _log.exception("internal error: %d points cannot be encoded", group[0].rows)
                self._committed(tuple(group), None, 0)
                return [], None
            good = [write for write in group if self._encode([write])[1] is not None]
            return self._encode(good)

    def _retention(self, progress: Mapping[str, int]) -> Retention:
        needed = [progress[name] for name, required in self._sinks.items() if required]
        return Retention(
            all_committed=min(progress.values(), default=self._folder.last),
            required_committed=min(needed, default=self._folder.last),
            bytes_needed=self._live_bytes() - self._max_bytes // 2,
        )

    def _release(self, progress: Mapping[str, int]) -> None:
        """Delete the files that sinks no longer need."""
        for file in self._folder.files[:-1]:
            retention = self._retention(progress)
            floor = (
                retention.required_committed
                if retention.bytes_needed > 0
                else retention.all_committed
            )
            if file.is_empty or file.last <= floor:
                self._folder.release(file, damaged=file.path in self._damaged)
                self._damaged.discard(file.path)
        self._publish_files()
        if self._segment is not None and self._segment.path in self._damaged:
            raise sqlite3.DatabaseError(f"{self._segment.path} is damaged")

    def _publish_files(self) -> None:
        before, self.files = self.files, self._folder.files
        if {file.path for file in before} - {file.path for file in self.files}:
            self._released()

    def _shrink(self, group: Sequence[PendingWrite]) -> None:
        """Halve the next group: an allocation failed before anything was written."""
        self._group_bytes = sum(write.size for write in group) // 2
        self.trouble = "the spool cannot be written: out of memory"
        self._statistics.failures += 1
        if self._failure_lines.count():
            self._failure_logged = True
            _log.error("%s; retrying with smaller commits", self.trouble)

    def _fail(self, error: Exception) -> None:
        """Close the file for writing; the next write begins a new one."""
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        self.trouble = f"the spool cannot be written: {reason}"
        self._started.set()
        self._statistics.failures += 1
        if self._failure_lines.count():
            self._failure_logged = True
            _log.error("%s; retrying with a new file in %s", self.trouble, self._folder.path)
        if self._segment is not None:
            self._segment.abandon()
            self._folder.retire(self._segment.live_bytes)
            self._segment = None
            self._publish_files()

    def _close_segment(self) -> None:
        segment = self._segment
        if segment is None:
            return
        progress = dict(self._progress)
        try:
            segment.write(
                None,
                progress=progress,
                retention=self._retention(progress),
                arrived=self._folder.arrivals.last,
                durable=True,
            )
            segment.close()
        except sqlite3.Error as error:
            _log.warning("spool not closed cleanly: %s", error)
            segment.abandon()


def _requests(group: Sequence[PendingWrite]) -> int:
    return sum(len(write.counts) for write in group)
