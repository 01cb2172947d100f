"""The thread that writes the spool: group commit, the bound in bytes, failures, room again.

    while not stopping:
        wait for points, for progress to write, or for a file to begin
        take what waits, up to GROUP_POINTS       # what arrived during the last commit, together
                         and GROUP_BYTES
        encode it, commit it, tell who waits
        checkpoint

No timer: who comes first is written at once, who comes meanwhile shares the next commit.

When the batches that some sink still needs take `max_bytes`, nothing is written until sinks have
gone on; the last group may go beyond by itself. A sink that is not required holds batches back only
while they take less than half of `max_bytes`: beyond, it loses the oldest ones.

After a failure the file is left alone and a new one begun (`folder.py`), with the group that was to
be written, at growing intervals; meanwhile nothing is answered.

Where an allocation fails the group is made smaller, down to one burst, and retried: that is neither
the file's fault nor the points'.

Invariants: a group is told after its commit; groups are written in the order of arrival; no failure
ends the thread.
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
from pointgate.store.spool.segment import Excess, Segment

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
"""A commit takes no more than this, if it is not a single burst: a reader gets it in one piece."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Keep:
    """What one burst wants kept.

    Attributes:
        counts: How many points each request has, at least one each.
        points: The points.
        rows: How many they are.
        size: How many bytes they take.
        done: Gets the number of the last request, or None if these points cannot be written at all.
    """

    counts: array[int]
    points: Sequence[Points]
    rows: int
    size: int
    done: asyncio.Future[int | None]


class _NotEncodedError(PointgateError):
    """There was no memory for a batch; nothing was written."""


class Writer:
    """Owns the folder while it runs.

    Args:
        folder: The folder, open.
        max_bytes: The bound.
        sinks: Which sinks there are, and whether each is required.
        figures: Where commits and failures are counted.
        committed: Called in this thread with each group that was committed, the number of its last
            request, and how many points there have been; or with what cannot be written and None.
        released: Called in this thread when files have gone: who has them open keeps their room.

    Attributes:
        trouble: Why nothing is written now; empty if that is not so.
        files: All files there are, for readers.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        max_bytes: int,
        sinks: Mapping[str, bool],
        figures: SpoolStatistics,
        committed: Callable[[Sequence[Keep], int | None, int], None],
        released: Callable[[], None],
    ) -> None:
        self.trouble = "the spool is being opened"
        self.files: tuple[File, ...] = folder.files
        self._folder = folder
        self._max_bytes = max_bytes
        self._sinks = dict(sinks)
        self._figures = figures
        self._committed = committed
        self._released = released
        self._segment: Segment | None = None
        self._progress: dict[str, int] = {}
        self._damaged: set[Path] = set()
        self._waiting: list[Keep] = []
        self._group_bytes = GROUP_BYTES
        self._tidy = False
        self._stopping = False
        self._change = threading.Condition()
        self._tried = threading.Event()
        self._full_lines = RateLimiter(60.0)
        self._failure_lines = RateLimiter(60.0)
        self._failure_logged = False  # and the end of it not yet
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

    def start(self, progress: Mapping[str, int], timeout: float) -> None:
        """Begin, and wait until the first file has been made or could not be.

        Args:
            progress: How far each sink is.
            timeout: How many seconds to wait at most.
        """
        self._progress = dict(progress)
        self._figures.bytes = sum(file.live_bytes for file in self._folder.files)
        self._thread.start()
        self._tried.wait(timeout)

    def put(self, keep: Keep) -> None:
        """Have something written, after all that was put before."""
        with self._change:
            self._waiting.append(keep)
            self._change.notify()

    def passed(self, sink: str, sequence: int) -> None:
        """A sink has everything up to this request."""
        with self._change:
            self._progress[sink] = sequence
            self._tidy = True
            self._change.notify()

    def damaged(self, file: File) -> None:
        """A file cannot be read to its end: keep it when it has been passed, write it no longer."""
        with self._change:
            self._damaged.add(file.path)
            self._tidy = True
            self._change.notify()

    def stop(self, timeout: float) -> bool:
        """End after the commit that runs; what still waits is not written.

        Returns:
            Whether it has ended.
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
            except Exception as error:  # noqa: BLE001 - a thread that ends would stop everything
                with self._change:
                    self._waiting[:0] = group
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
                    _log.info("the spool is written again")
                self._group_bytes = min(2 * self._group_bytes + 1, GROUP_BYTES)
        self._end()

    def _take(self) -> list[Keep] | None:
        """Wait for something to do; the next group, which may be none; None to end."""
        with self._change:
            while not self._stopping:
                full = self._live_bytes() >= self._max_bytes
                if full:
                    self._note_full()
                elif self._segment is not None:
                    self.trouble = ""
                if self._segment is not None:
                    self._tried.set()
                if self._tidy or self._segment is None or (self._waiting and not full):
                    return [] if full else self._next_group()
                self._change.wait()
        return None

    def _next_group(self) -> list[Keep]:
        rows = size = taken = 0
        for keep in self._waiting:
            rows += keep.rows
            size += keep.size
            if taken and (rows > GROUP_POINTS or size > self._group_bytes):
                break
            taken += 1
        group = self._waiting[:taken]
        del self._waiting[:taken]
        return group

    def _live_bytes(self) -> int:
        current = self._segment.live_bytes if self._segment else 0
        return current + sum(file.live_bytes for file in self._folder.files)

    def _note_full(self) -> None:
        slow = {name: self._progress[name] for name, required in self._sinks.items() if required}
        sink = min(slow, key=slow.__getitem__, default="")
        self.trouble = f"the spool is full: sink {sink} has not written what is in it"
        if self._full_lines.count():
            _log.error("%s; nothing is taken until it does", self.trouble)

    def _write(self, group: list[Keep]) -> None:
        """Commit a group, and what else has to be written; what is committed leaves the group."""
        good, batch = self._encode(group)
        with self._change:
            progress, self._tidy = dict(self._progress), False
        try:
            if self._segment is None:
                self._segment = self._folder.create(progress)
        finally:  # on a full disk, files that go make room for one that comes
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
            excess=self._excess(progress),
            arrived=self._folder.arrivals.last,
            sequence=last,
            total=total,
        )
        self._figures.bytes = self._live_bytes()
        if batch is not None:
            failpoint.hit("after-fsync")
            self._figures.commit(time.perf_counter() - started, batch.points)
            self._folder.last, self._folder.total = last, total
            self._committed(tuple(good), last, total)
        group.clear()
        if more:
            with self._change:
                self._tidy = True
        self._segment.checkpoint()

    def _encode(self, group: list[Keep]) -> tuple[list[Keep], Batch | None]:
        """Returns the group without what cannot be written, and its batch."""
        if not group:
            return group, None
        counts = group[0].counts[:0]
        for keep in group:
            counts.extend(keep.counts)
        try:
            return group, encode(counts, (part for keep in group for part in keep.points))
        except MemoryError as error:
            raise _NotEncodedError from error
        except BaseException:  # noqa: BLE001 - a panic of the extension is no Exception
            if len(group) == 1:
                _log.exception("our own mistake: %d points cannot be written", group[0].rows)
                self._committed(tuple(group), None, 0)
                return [], None
            good = [keep for keep in group if self._encode([keep])[1] is not None]
            return self._encode(good)

    def _excess(self, progress: Mapping[str, int]) -> Excess:
        needed = [progress[name] for name, required in self._sinks.items() if required]
        return Excess(
            passed=min(progress.values(), default=self._folder.last),
            required=min(needed, default=self._folder.last),
            need=self._live_bytes() - self._max_bytes // 2,
        )

    def _release(self, progress: Mapping[str, int]) -> None:
        """Let go of the files that have been passed."""
        for file in self._folder.files[:-1]:
            excess = self._excess(progress)
            floor = excess.required if excess.need > 0 else excess.passed
            if file.is_empty or file.last <= floor:
                self._folder.release(file, damaged=file.path in self._damaged)
                self._damaged.discard(file.path)
        self._show_files()
        if self._segment is not None and self._segment.path in self._damaged:
            raise sqlite3.DatabaseError(f"{self._segment.path} is damaged")

    def _show_files(self) -> None:
        before, self.files = self.files, self._folder.files
        if {file.path for file in before} - {file.path for file in self.files}:
            self._released()

    def _shrink(self, group: Sequence[Keep]) -> None:
        """Let the next group be half as large: an allocation failed, and no file was touched."""
        self._group_bytes = sum(keep.size for keep in group) // 2
        self.trouble = "the spool cannot be written: out of memory"
        self._figures.failures += 1
        if self._failure_lines.count():
            self._failure_logged = True
            _log.error("%s; retrying with smaller commits", self.trouble)

    def _fail(self, error: Exception) -> None:
        """Leave the file alone."""
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        self.trouble = f"the spool cannot be written: {reason}"
        self._tried.set()
        self._figures.failures += 1
        if self._failure_lines.count():
            self._failure_logged = True
            _log.error("%s; trying a new file in %s", self.trouble, self._folder.path)
        if self._segment is not None:
            self._segment.abandon()
            self._folder.retire(self._segment.live_bytes)
            self._segment = None
            self._show_files()

    def _end(self) -> None:
        segment = self._segment
        if segment is None:
            return
        progress = dict(self._progress)
        try:
            segment.write(
                None,
                progress=progress,
                excess=self._excess(progress),
                arrived=self._folder.arrivals.last,
                durable=True,
            )
            segment.close()
        except sqlite3.Error as error:
            _log.warning("the spool was not closed well: %s", error)
            segment.abandon()
