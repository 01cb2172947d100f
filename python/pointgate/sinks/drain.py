"""The drain: moves points from the spool to the sinks, each at its own pace.

    for each sink, a task of its own:
        leave points in the spool until they are worth a commit       # `Gather`
        for each chunk = await spool.read(after=…, points=CHUNK_POINTS, size=CHUNK_BYTES):
            await sink.write(chunk)
        await sink.commit()
        spool.commit_offset(sink, last)             # what all have is deleted

An unavailable sink is retried indefinitely (`retry.py`). A failure in a
commit of several chunks gives up the commit, and the chunks are written again one by one, each with
a commit of its own, until the sink has caught up. A chunk that the sink rejects is bisected down to
the single request, which is then dead-lettered (`dead_letters.py`) so that it never blocks the
others. A chunk for which an allocation fails is bisected, too, but nothing is dead-lettered for
that.

Points are committed at once, without `Gather`, under `ack = "sink"`, where senders wait for it, at
the end of the service, and when the spool is a quarter full. A sink that does not gather gets at
most one write in `LINGER` seconds while it keeps up, because few large writes cost less than many
small ones.

Invariants: a sink gets its points in the order of arrival, at most `CHUNK_BYTES` of them or one
request at a time; it is passed only what it has committed, or what was dead-lettered durably; no
sink waits for another; nothing a sink raises ends a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from pointgate.diagnostics import numbered
from pointgate.sinks.base import SinkRefusedError
from pointgate.sinks.retry import TooLargeError, retry
from pointgate.sinks.sink_state import SinkState
from pointgate.sinks.tables import text_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    import pyarrow as pa

    from pointgate.sinks.base import Sink
    from pointgate.sinks.dead_letters import DeadLetterStore
    from pointgate.sinks.statistics import SinkStatistics
    from pointgate.store.queue import PointQueue
    from pointgate.store.spool.reader import Chunk

CHUNK_POINTS: Final = 100_000
"""The largest write: some 5 MB, which outweighs the fixed cost of a file or a transaction."""

CHUNK_BYTES: Final = 16 * 1024 * 1024
"""The largest write in memory, decoded: writing it takes some five times as much. Points without
texts stay below."""

_POINT_BYTES: Final = 64
"""The size of a point without its texts."""

LINGER: Final = 0.5

_CLOSE_SECONDS: Final = 2.0
"""The timeout of a sink's `close`."""

_log = logging.getLogger(__name__)


class Drain:
    """Writes points from the spool to the sinks.

    Args:
        spool: The source of the points: the spool, or a queue in memory.
        sinks: The destinations, each with whether it is required.
        statistics: The statistics of each sink, by its name.
        dead_letters: Stores the requests that a sink permanently rejects.
        replies_wait: Whether requests are answered only after the required sinks have them.
    """

    def __init__(
        self,
        spool: PointQueue,
        sinks: Sequence[tuple[Sink, bool]],
        *,
        statistics: Mapping[str, SinkStatistics],
        dead_letters: DeadLetterStore,
        replies_wait: bool = False,
    ) -> None:
        self._spool = spool
        self._dead_letters = dead_letters
        self._replies_wait = replies_wait
        self._linger = 0.0 if replies_wait else LINGER
        self._finishing = asyncio.Event()
        self._states = [
            SinkState(sink, required, statistics[sink.name], spool.progress[sink.name], spool.total)
            for sink, required in sinks
        ]
        self._waiting: deque[tuple[int, Callable[[Collection[int]], None]]] = deque()
        self._rejected: set[int] = set()  # by required sinks, and not reported yet
        self._caught_up = asyncio.Event()

    @property
    def trouble(self) -> str:
        """Why a required sink is unavailable; empty when all are available."""
        return next(
            (state.trouble for state in self._states if state.required and state.trouble), ""
        )

    @property
    def behind(self) -> dict[str, int]:
        """How many requests in the spool each sink does not have; without those that have all."""
        lags = {state.sink.name: self._spool.last - state.offset for state in self._states}
        return {name: lag for name, lag in lags.items() if lag}

    def when_committed(self, sequence: int, call: Callable[[Collection[int]], None]) -> None:
        """Call when every required sink has passed this request (`store.durable.Arrivals`)."""
        self._waiting.append((sequence, call))
        self._call_waiting()

    def update_lag(self) -> None:
        """Bring the lag of every sink up to date, before metrics are rendered."""
        for state in self._states:
            state.statistics.lag_requests = self._spool.last - state.offset
            state.statistics.lag_points = self._spool.total - state.total

    async def run(self) -> None:
        """Write to the sinks until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for state in self._states:
                    tasks.create_task(self._run(state), name=f"sink {state.sink.name}")
        finally:
            await asyncio.gather(*(_close(state.sink) for state in self._states))

    async def finish(self, timeout: float) -> None:  # noqa: ASYNC109 - it is not an error to end
        """Write all points in the spool without lingering; return when done, or at the timeout."""
        self._finishing.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while any(state.offset < self._spool.last for state in self._states):
                    self._caught_up.clear()
                    await self._caught_up.wait()
                return
        behind = [state.sink.name for state in self._states if state.offset < self._spool.last]
        _log.info(
            "sinks still behind: %s; remaining points are delivered after restart",
            ", ".join(behind),
        )

    async def _run(self, state: SinkState) -> None:
        if found := await self._spool.oldest(state.offset):
            state.total = found.begins
        await self._note_oldest(state)
        await self._retry(state, state.sink.open)
        await self._retry(state, lambda: self._find_offset(state))
        loop = asyncio.get_running_loop()
        while True:
            await self._spool.wait_past(state.offset)
            await self._gather(state)
            begun = loop.time()
            await self._feed(state)
            await self._wait_for_more(state, begun + self._linger - loop.time())

    async def _find_offset(self, state: SinkState) -> None:
        """Begin behind what the sink has committed; the spool may know less of it."""
        newest = await asyncio.to_thread(state.sink.newest)
        if state.offset < newest <= self._spool.last:
            state.offset = newest
            if found := await self._spool.oldest(newest):
                state.total = found.begins
            else:
                state.total = self._spool.total
            self._commit_offset(state)
        elif newest > self._spool.last:
            _log.warning(
                "sink %s has committed points of another spool; it gets all points of this one",
                state.sink.name,
            )

    async def _gather(self, state: SinkState) -> None:
        """Leave points in the spool until they are worth a commit."""
        gather = state.sink.gather
        if gather is None or self._replies_wait:
            return
        found = await self._spool.oldest(state.offset)
        if found is None:
            return
        state.statistics.oldest = found.since / 1000
        loop = asyncio.get_running_loop()
        # The clock of the system may be set; nothing waits longer for that.
        due = loop.time() + min(
            gather.seconds, state.statistics.oldest + gather.seconds - time.time()
        )
        while (
            (left := due - loop.time()) > 0
            and self._spool.total - state.total < gather.points
            and not self._finishing.is_set()
            and not self._spool.is_filling
        ):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, LINGER)):
                    await self._finishing.wait()

    async def _feed(self, state: SinkState) -> None:
        """Write and commit what is in the spool by now, or as much as makes a commit full."""
        until = self._spool.last
        state.written, state.ends, state.points = state.offset, state.total, 0
        state.spent = 0.0
        sink = state.sink
        singly = state.singly or sink.gather is None or self._replies_wait
        while state.written < until:
            chunk = await self._spool.read(state.written, points=CHUNK_POINTS, size=CHUNK_BYTES)
            if state.statistics.oldest is None or state.written == state.offset:
                state.statistics.oldest = chunk.since / 1000
            if chunk.ends and (dropped := chunk.begins - state.ends) > 0:
                state.count_dropped(dropped)
            # A sink that was interrupted in the middle of a batch has the beginning of it.
            begin, end = bisect_right(chunk.sequences, state.written), len(chunk.counts)
            if begin == end:
                pass
            elif singly:
                await self._write(state, chunk, begin, end)
            elif not await self._write_more(state, chunk, begin):
                return
            state.written, state.ends = chunk.last, chunk.ends or state.ends
            if singly:
                self._commit_offset(state)
            elif sink.full or state.written >= until:
                if await self._commit(state):
                    self._commit_offset(state)
                return
        state.singly = False

    async def _write_more(self, state: SinkState, chunk: Chunk, begin: int) -> bool:
        """Write the rest of a chunk into a commit of several; whether that worked."""
        points = chunk.points.slice(sum(chunk.counts[:begin]))
        try:
            with state.calling():
                await state.sink.write(points, sequence=chunk.last)
        except Exception as error:  # noqa: BLE001 - it is tried again, more carefully
            self._give_up(state, error)
            return False
        state.points += points.num_rows
        return True

    async def _commit(self, state: SinkState) -> bool:
        """Commit what was written; whether that worked."""
        try:
            with state.calling():
                await state.sink.commit()
        except Exception as error:  # noqa: BLE001 - as above
            if not state.sink.pending:
                self._give_up(state, error)
                return False
            state.note_failure(error)
            await self._retry(state, state.sink.commit)
        state.failure = ""
        state.count_commit(state.points)
        return True

    def _give_up(self, state: SinkState, error: Exception) -> None:
        """A commit of several chunks failed: what is in the spool is written one by one."""
        if not isinstance(error, SinkRefusedError):
            state.note_failure(error)
        state.singly = True

    def _commit_offset(self, state: SinkState) -> None:
        state.offset, state.total = max(state.offset, state.written), max(state.total, state.ends)
        if state.offset >= self._spool.last:
            state.statistics.oldest = None
            self._caught_up.set()
        self._spool.commit_offset(state.sink.name, state.offset)
        self._call_waiting()

    def _call_waiting(self) -> None:
        """Make the calls whose requests all required sinks have passed."""
        offset = min((state.offset for state in self._states if state.required), default=0)
        while self._waiting and self._waiting[0][0] <= offset:
            sequence, call = self._waiting.popleft()
            rejected = {number for number in self._rejected if number <= sequence}
            self._rejected -= rejected
            call(rejected)

    async def _wait_for_more(self, state: SinkState, seconds: float) -> None:
        """Let points accumulate, unless a whole chunk is ready or the drain is finishing."""
        if seconds <= 0 or self._spool.total - state.total >= CHUNK_POINTS:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._finishing.wait()

    async def _write(self, state: SinkState, chunk: Chunk, begin: int, end: int) -> None:
        """Write some requests of a chunk; bisect if they are too large or one is rejected."""
        before, rows = sum(chunk.counts[:begin]), sum(chunk.counts[begin:end])
        points = chunk.points.slice(before, rows)
        sequence = chunk.sequences[end - 1]
        several = end - begin > 1
        # A batch written by an earlier version can be larger than a chunk.
        if several and text_bytes(points) + rows * _POINT_BYTES > 2 * CHUNK_BYTES:
            await self._write_halves(state, chunk, begin, end)
            return
        try:
            await self._retry(
                state, lambda: self._store(state.sink, points, sequence), several=several
            )
        except (SinkRefusedError, TooLargeError) as error:
            if several:
                await self._write_halves(state, chunk, begin, end)
                return
            name, reason = state.sink.name, str(error)
            await self._retry(
                state, lambda: self._dead_letters.add(name, points, reason, sequence=sequence)
            )
            state.statistics.refused += rows
            if state.required and self._replies_wait:
                self._rejected.add(sequence)
            if state.rejections.count():
                count = numbered(rows, "point")
                _log.warning("sink %s: request of %s dead-lettered: %s", name, count, reason)
        else:
            state.count_commit(rows)

    @staticmethod
    async def _store(sink: Sink, points: pa.Table, sequence: int) -> None:
        """Write and commit."""
        if not sink.pending:
            await sink.write(points, sequence=sequence)
        await sink.commit()

    async def _write_halves(self, state: SinkState, chunk: Chunk, begin: int, end: int) -> None:
        middle = (begin + end) // 2
        await self._write(state, chunk, begin, middle)
        await self._write(state, chunk, middle, end)

    async def _retry(
        self, state: SinkState, call: Callable[[], Awaitable[Any]], *, several: bool = False
    ) -> None:
        """Retry a call until it returns (see `retry`)."""
        await retry(state, call, several=several, on_failure=lambda: self._note_oldest(state))

    async def _note_oldest(self, state: SinkState) -> None:
        """Set the age of the lag of a sink for which no chunk was read yet."""
        behind = state.offset < self._spool.last
        if state.statistics.oldest is None and behind:
            found = await self._spool.oldest(state.offset)
            state.statistics.oldest = found.since / 1000 if found else None


async def _close(sink: Sink) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await sink.close()
    except TimeoutError:
        _log.warning("sink %s: close timed out after %.0f s", sink.name, _CLOSE_SECONDS)
    except Exception:  # noqa: BLE001 - the others must be closed, too
        _log.exception("sink %s: close failed", sink.name)
