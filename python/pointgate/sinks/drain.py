"""The drain: moves points from the spool to the sinks, each at its own pace.

    for each sink, a task of its own:
        leave points in the spool until they are worth a commit       # `Gather`
        for each portion = await spool.read(after=…, points=PORTION_POINTS, size=PORTION_BYTES):
            await sink.write(portion)
        await sink.commit()
        spool.commit_offset(sink, last)             # what all have is deleted

A sink that is away is retried indefinitely with exponential backoff and jitter. What goes wrong in
a commit of several portions gives up the commit, and the portions are written again one by one,
each with a commit of its own, until the sink has caught up. Of such a portion a sink that refuses
something gets the halves, and so on down to the single request, which is then dead-lettered
(`dead_letters.py`) so that it never blocks the others. Where an allocation fails it gets the
halves, too, but nothing is dead-lettered for that.

Under `ack = "sink"` somebody waits, so what is there is written and committed at once; so it is at
the end of the service, and when the spool is a quarter full. A sink that does not gather gets at
most one write in `LINGER` seconds while it keeps up, because few large writes cost less than many
small ones.

Invariants: a sink gets its points in the order of arrival, at most `PORTION_BYTES` of them or one
request at a time; it is passed only what it has committed, or what was dead-lettered durably; no
sink waits for another; nothing a sink raises ends a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pointgate.diagnostics import os_reason
from pointgate.error_classes import ErrorClass, classify
from pointgate.errors import PointgateError
from pointgate.rate_limiter import RateLimiter
from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.sinks.tables import text_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    import pyarrow as pa

    from pointgate.sinks.base import Sink
    from pointgate.sinks.dead_letters import DeadLetterStore
    from pointgate.sinks.statistics import SinkStatistics
    from pointgate.store.spool.reader import Chunk
    from pointgate.store.spool.spool import Spool

PORTION_POINTS: Final = 100_000
"""The largest write: some 5 MB, which outweighs the fixed cost of a file or a transaction."""

PORTION_BYTES: Final = 16 * 1024 * 1024
"""The largest write in memory, decoded: writing it takes some five times as much. Points without
texts stay below."""

_POINT_BYTES: Final = 64
"""The size of a point without its texts."""

LINGER: Final = 0.5

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 30.0

_LOG_SECONDS: Final = 60.0
"""The rate limiter's interval for log lines of one kind."""

_STALLED_SECONDS: Final = 5.0
"""A sink that has not returned from a call for so long is reported as not ready."""

_CLOSE_SECONDS: Final = 2.0
"""The timeout of a sink's `close`."""

_log = logging.getLogger(__name__)


class _TooLargeError(PointgateError):
    """An allocation failed for a write of several requests."""


@dataclass(slots=True)
class _Lane:
    """One sink on its way through the spool.

    Between commits `written` and `ends` are ahead of `offset` and `total`.
    """

    sink: Sink
    required: bool
    figures: SinkStatistics
    offset: int  # the number of the last request that it has committed
    total: int  # how many points had been in the spool with that one
    written: int = 0  # the number of the last request that was written to it
    ends: int = 0  # how many points had been in the spool with that one
    points: int = 0  # how many points it has that are not committed
    singly: bool = False  # whether each portion is committed by itself
    called: float = 0.0  # when the pending call to it began; 0 without one
    failure: str = ""
    failures: RateLimiter = field(default_factory=lambda: RateLimiter(_LOG_SECONDS))
    rejections: RateLimiter = field(default_factory=lambda: RateLimiter(_LOG_SECONDS))
    losses: RateLimiter = field(default_factory=lambda: RateLimiter(_LOG_SECONDS))

    @property
    def trouble(self) -> str:
        """Why it is unavailable; empty when it is not."""
        seconds = time.monotonic() - self.called if self.called else 0.0
        stalled = f"sink {self.sink.name}: no answer for {seconds:.0f} s"
        return self.failure or (stalled if seconds > _STALLED_SECONDS else "")


class Drain:
    """Writes points from the spool to the sinks.

    Args:
        spool: The source of the points.
        sinks: The destinations, each with whether it is required.
        figures: The statistics of each sink, by its name.
        dead_letters: Stores the requests that a sink permanently rejects.
        replies_wait: Whether requests are answered only after the required sinks have them.
    """

    def __init__(
        self,
        spool: Spool,
        sinks: Sequence[tuple[Sink, bool]],
        *,
        figures: Mapping[str, SinkStatistics],
        dead_letters: DeadLetterStore,
        replies_wait: bool = False,
    ) -> None:
        self._spool = spool
        self._dead_letters = dead_letters
        self._replies_wait = replies_wait
        self._linger = 0.0 if replies_wait else LINGER
        self._finishing = asyncio.Event()
        self._lanes = [
            _Lane(sink, required, figures[sink.name], spool.progress[sink.name], spool.total)
            for sink, required in sinks
        ]
        self._waiting: deque[tuple[int, Callable[[Collection[int]], None]]] = deque()
        self._rejected: set[int] = set()  # by required sinks, and not reported yet
        self._caught_up = asyncio.Event()

    @property
    def trouble(self) -> str:
        """Why a required sink is unavailable; empty when all are available."""
        return next((lane.trouble for lane in self._lanes if lane.required and lane.trouble), "")

    def when_committed(self, sequence: int, call: Callable[[Collection[int]], None]) -> None:
        """Call when every required sink has passed this request (`store.durable.Arrivals`)."""
        self._waiting.append((sequence, call))
        self._call_waiting()

    def update_lag(self) -> None:
        """Bring the lag of every sink up to date, before metrics are rendered."""
        for lane in self._lanes:
            lane.figures.lag_requests = self._spool.last - lane.offset
            lane.figures.lag_points = self._spool.total - lane.total

    async def run(self) -> None:
        """Write to the sinks until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for lane in self._lanes:
                    tasks.create_task(self._run(lane), name=f"sink {lane.sink.name}")
        finally:
            await asyncio.gather(*(_close(lane.sink) for lane in self._lanes))

    async def finish(self, timeout: float) -> None:  # noqa: ASYNC109 - it is not an error to end
        """Write all points in the spool without lingering; return when done, or at the timeout."""
        self._finishing.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while any(lane.offset < self._spool.last for lane in self._lanes):
                    self._caught_up.clear()
                    await self._caught_up.wait()
                return
        behind = [lane.sink.name for lane in self._lanes if lane.offset < self._spool.last]
        _log.info(
            "sinks still behind: %s; remaining points are delivered after restart",
            ", ".join(behind),
        )

    async def _run(self, lane: _Lane) -> None:
        if found := await self._spool.oldest(lane.offset):
            lane.total = found.begins
        await self._note_oldest(lane)
        await self._retry(lane, lane.sink.open)
        await self._retry(lane, lambda: self._find_offset(lane))
        loop = asyncio.get_running_loop()
        while True:
            await self._spool.wait_past(lane.offset)
            await self._gather(lane)
            begun = loop.time()
            await self._feed(lane)
            await self._wait_for_more(lane, begun + self._linger - loop.time())

    async def _find_offset(self, lane: _Lane) -> None:
        """Begin behind what the sink has committed; the spool may know less of it."""
        newest = await asyncio.to_thread(lane.sink.newest)
        if lane.offset < newest <= self._spool.last:
            lane.offset = newest
            if found := await self._spool.oldest(newest):
                lane.total = found.begins
            else:
                lane.total = self._spool.total
            self._commit_offset(lane)
        elif newest > self._spool.last:
            _log.warning(
                "sink %s has committed points of another spool; all of this one are written to it",
                lane.sink.name,
            )

    async def _gather(self, lane: _Lane) -> None:
        """Leave points in the spool until they are worth a commit."""
        gather = lane.sink.gather
        if gather is None or self._replies_wait:
            return
        found = await self._spool.oldest(lane.offset)
        if found is None:
            return
        lane.figures.oldest = found.since / 1000
        loop = asyncio.get_running_loop()
        # The clock of the system may be set; nothing waits longer for that.
        due = loop.time() + min(gather.seconds, lane.figures.oldest + gather.seconds - time.time())
        while (
            (left := due - loop.time()) > 0
            and self._spool.total - lane.total < gather.points
            and not self._finishing.is_set()
            and not self._spool.is_filling
        ):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, LINGER)):
                    await self._finishing.wait()

    async def _feed(self, lane: _Lane) -> None:
        """Write and commit what is in the spool by now, or as much as makes a commit full."""
        until = self._spool.last
        lane.written, lane.ends, lane.points = lane.offset, lane.total, 0
        sink = lane.sink
        singly = lane.singly or sink.gather is None or self._replies_wait
        while lane.written < until:
            portion = await self._spool.read(
                lane.written, points=PORTION_POINTS, size=PORTION_BYTES
            )
            if lane.figures.oldest is None or lane.written == lane.offset:
                lane.figures.oldest = portion.since / 1000
            if portion.ends and (dropped := portion.begins - lane.ends) > 0:
                self._count_dropped(lane, dropped)
            # A sink that was interrupted in the middle of a batch has the beginning of it.
            begin, end = bisect_right(portion.sequences, lane.written), len(portion.counts)
            if begin == end:
                pass
            elif singly:
                await self._write(lane, portion, begin, end)
            elif not await self._write_more(lane, portion, begin):
                return
            lane.written, lane.ends = portion.last, portion.ends or lane.ends
            if singly:
                self._commit_offset(lane)
            elif sink.full or lane.written >= until:
                if await self._commit(lane):
                    self._commit_offset(lane)
                return
        lane.singly = False

    async def _write_more(self, lane: _Lane, portion: Chunk, begin: int) -> bool:
        """Write the rest of a portion into a commit of several; whether that worked."""
        points = portion.points.slice(sum(portion.counts[:begin]))
        lane.called = time.monotonic()
        try:
            await lane.sink.write(points, sequence=portion.last)
        except Exception as error:  # noqa: BLE001 - it is tried again, more carefully
            self._give_up(lane, error)
            return False
        finally:
            lane.called = 0.0
        lane.points += points.num_rows
        return True

    async def _commit(self, lane: _Lane) -> bool:
        """Commit what was written; whether that worked."""
        lane.called = time.monotonic()
        try:
            await lane.sink.commit()
        except Exception as error:  # noqa: BLE001 - as above
            if not lane.sink.pending:
                self._give_up(lane, error)
                return False
            self._note_failure(lane, error)
            await self._retry(lane, lane.sink.commit)
        finally:
            lane.called = 0.0
        lane.failure = ""
        lane.figures.points += lane.points
        return True

    def _give_up(self, lane: _Lane, error: Exception) -> None:
        """A commit of several portions failed: what is in the spool is written one by one."""
        if not isinstance(error, SinkRefusedError):
            self._note_failure(lane, error)
        lane.singly = True

    def _commit_offset(self, lane: _Lane) -> None:
        lane.offset, lane.total = max(lane.offset, lane.written), max(lane.total, lane.ends)
        if lane.offset >= self._spool.last:
            lane.figures.oldest = None
            self._caught_up.set()
        self._spool.commit_offset(lane.sink.name, lane.offset)
        self._call_waiting()

    def _call_waiting(self) -> None:
        """Make the calls whose requests all required sinks have passed."""
        offset = min((lane.offset for lane in self._lanes if lane.required), default=0)
        while self._waiting and self._waiting[0][0] <= offset:
            sequence, call = self._waiting.popleft()
            rejected = {number for number in self._rejected if number <= sequence}
            self._rejected -= rejected
            call(rejected)

    async def _wait_for_more(self, lane: _Lane, seconds: float) -> None:
        """Let points accumulate, unless a whole portion is ready or the drain is finishing."""
        if seconds <= 0 or self._spool.total - lane.total >= PORTION_POINTS:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._finishing.wait()

    async def _write(self, lane: _Lane, portion: Chunk, begin: int, end: int) -> None:
        """Write some requests of a portion; bisect if they are too large or one is rejected."""
        before, rows = sum(portion.counts[:begin]), sum(portion.counts[begin:end])
        points = portion.points.slice(before, rows)
        sequence = portion.sequences[end - 1]
        several = end - begin > 1
        # A batch written by an earlier version can be larger than a portion.
        if several and text_bytes(points) + rows * _POINT_BYTES > 2 * PORTION_BYTES:
            await self._write_halves(lane, portion, begin, end)
            return
        try:
            await self._retry(
                lane, lambda: self._store(lane.sink, points, sequence), several=several
            )
        except (SinkRefusedError, _TooLargeError) as error:
            if several:
                await self._write_halves(lane, portion, begin, end)
                return
            name, reason = lane.sink.name, str(error)
            await self._retry(
                lane, lambda: self._dead_letters.add(name, points, reason, sequence=sequence)
            )
            lane.figures.refused += rows
            if lane.required and self._replies_wait:
                self._rejected.add(sequence)
            if lane.rejections.count():
                _log.warning("sink %s: request of %d points dead-lettered: %s", name, rows, reason)
        else:
            lane.figures.points += rows

    @staticmethod
    async def _store(sink: Sink, points: pa.Table, sequence: int) -> None:
        """Write and commit."""
        if not sink.pending:
            await sink.write(points, sequence=sequence)
        await sink.commit()

    async def _write_halves(self, lane: _Lane, portion: Chunk, begin: int, end: int) -> None:
        middle = (begin + end) // 2
        await self._write(lane, portion, begin, middle)
        await self._write(lane, portion, middle, end)

    async def _retry(
        self, lane: _Lane, call: Callable[[], Awaitable[Any]], *, several: bool = False
    ) -> None:
        """Retry a call until it returns, with exponential backoff and full jitter.

        Args:
            lane: The sink.
            call: The call.
            several: Whether it is a write of several requests, which can be bisected.

        Raises:
            SinkRefusedError: A permanent failure, which is not retried.
            _TooLargeError: An allocation failed, for several requests.
        """
        tries = 0
        while True:
            lane.called = time.monotonic()
            try:
                await call()
            except SinkRefusedError:
                lane.failure = ""
                raise
            except Exception as error:
                self._note_failure(lane, error)
                if several and not lane.sink.pending and classify(error) is ErrorClass.MEMORY:
                    raise _TooLargeError from error
                await self._note_oldest(lane)
            else:
                lane.failure = ""
                return
            finally:
                lane.called = 0.0
            longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(tries, 16))
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - jitter, not a secret
            tries += 1

    async def _note_oldest(self, lane: _Lane) -> None:
        """Set the age of the lag of a sink for which no portion was read yet."""
        behind = lane.offset < self._spool.last
        if lane.figures.oldest is None and behind:
            found = await self._spool.oldest(lane.offset)
            lane.figures.oldest = found.since / 1000 if found else None

    def _note_failure(self, lane: _Lane, error: Exception) -> None:
        lane.figures.failures += 1
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        lane.failure = f"sink {lane.sink.name}: {reason or type(error).__name__}"
        if events := lane.failures.count():
            # An unexpected exception may be a bug: it is logged with its traceback.
            known = isinstance(error, (SinkUnavailableError, OSError, MemoryError))
            unexpected = None if known else error
            _log.error("%s; %d failures, retrying", lane.failure, events, exc_info=unexpected)

    def _count_dropped(self, lane: _Lane, points: int) -> None:
        lane.figures.dropped += points
        if lane.losses.count():
            _log.error(
                "sink %s: %d points lost so far: it is not required, and they were deleted from "
                "the full spool before it had them",
                lane.sink.name,
                lane.figures.dropped,
            )


async def _close(sink: Sink) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await sink.close()
    except TimeoutError:
        _log.warning("sink %s: close timed out after %.0f s", sink.name, _CLOSE_SECONDS)
    except Exception:  # noqa: BLE001 - the others must be closed, too
        _log.exception("sink %s: close failed", sink.name)
