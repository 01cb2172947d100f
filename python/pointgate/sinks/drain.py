"""The drain: takes points from the spool to the sinks, each at its own pace.

    for each sink, a task of its own:
        leave points in the spool until they are worth a commit       # `Gather`
        for each portion = await spool.read(after=…, points=PORTION_POINTS, size=PORTION_BYTES):
            await sink.write(portion)
        await sink.commit()
        spool.passed(sink, last)             # what all have is deleted

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
    from pointgate.sinks.dead_letters import Quarantine
    from pointgate.sinks.statistics import SinkStatistics
    from pointgate.store.spool.reader import Portion
    from pointgate.store.spool.spool import Spool

PORTION_POINTS: Final = 100_000
"""What a sink gets at once: some 5 MB, and a file or a transaction worth its fixed cost."""

PORTION_BYTES: Final = 16 * 1024 * 1024
"""What it may take in memory, decoded: a sink's work takes some five times as much. Points without
texts stay below."""

_POINT_BYTES: Final = 64
"""What a point takes besides its texts."""

LINGER: Final = 0.5

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 30.0

_SELDOM: Final = 60.0
"""Seconds between two log lines that say the same."""

_SILENCE: Final = 5.0
"""After so many seconds without an answer a sink is said to take nothing."""

_CLOSING: Final = 2.0
"""Seconds a sink has to let go of everything at the end."""

_log = logging.getLogger(__name__)


class _TooLargeError(PointgateError):
    """Several requests are too many to be written at once."""


@dataclass(slots=True)
class _Lane:
    """One sink on its way through the spool.

    Between commits `written` and `ends` are ahead of `place` and `total`.
    """

    sink: Sink
    required: bool
    figures: SinkStatistics
    place: int  # the number of the last request that it has committed
    total: int  # how many points had been in the spool with that one
    written: int = 0  # the number of the last request that was written to it
    ends: int = 0  # how many points had been in the spool with that one
    points: int = 0  # how many points it has that are not committed
    singly: bool = False  # whether each portion is committed by itself
    asked: float = 0.0  # since when it has owed an answer; 0 when it does not
    failure: str = ""
    failures: RateLimiter = field(default_factory=lambda: RateLimiter(_SELDOM))
    refusals: RateLimiter = field(default_factory=lambda: RateLimiter(_SELDOM))
    losses: RateLimiter = field(default_factory=lambda: RateLimiter(_SELDOM))

    @property
    def trouble(self) -> str:
        """Why it takes nothing now; empty when it does."""
        seconds = time.monotonic() - self.asked if self.asked else 0.0
        silent = f"sink {self.sink.name}: no answer for {seconds:.0f} s"
        return self.failure or (silent if seconds > _SILENCE else "")


class Drain:
    """Feeds the sinks.

    Args:
        spool: Where the points come from.
        sinks: Where they go, each with whether it is required.
        figures: The figures of each sink, by its name.
        quarantine: Where points go that a sink can never take.
        waited_for: Whether somebody waits until the required sinks have something.
    """

    def __init__(
        self,
        spool: Spool,
        sinks: Sequence[tuple[Sink, bool]],
        *,
        figures: Mapping[str, SinkStatistics],
        quarantine: Quarantine,
        waited_for: bool = False,
    ) -> None:
        self._spool = spool
        self._quarantine = quarantine
        self._waited_for = waited_for
        self._linger = 0.0 if waited_for else LINGER
        self._hurry = asyncio.Event()
        self._lanes = [
            _Lane(sink, required, figures[sink.name], spool.progress[sink.name], spool.total)
            for sink, required in sinks
        ]
        self._waiting: deque[tuple[int, Callable[[Collection[int]], None]]] = deque()
        self._refused: set[int] = set()  # by required sinks, and not told yet
        self._caught_up = asyncio.Event()

    @property
    def trouble(self) -> str:
        """Why the required sinks take nothing now; empty when they do."""
        return next((lane.trouble for lane in self._lanes if lane.required and lane.trouble), "")

    def when_passed(self, sequence: int, call: Callable[[Collection[int]], None]) -> None:
        """Call when every required sink has passed this request (`store.durable.Arrivals`)."""
        self._waiting.append((sequence, call))
        self._tell()

    def look(self) -> None:
        """Bring the lag of every sink up to date, for whoever is about to show it."""
        for lane in self._lanes:
            lane.figures.lag_requests = self._spool.last - lane.place
            lane.figures.lag_points = self._spool.total - lane.total

    async def run(self) -> None:
        """Feed the sinks until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for lane in self._lanes:
                    tasks.create_task(self._run(lane), name=f"sink {lane.sink.name}")
        finally:
            await asyncio.gather(*(_close(lane.sink) for lane in self._lanes))

    async def finish(self, timeout: float) -> None:  # noqa: ASYNC109 - it is not an error to end
        """Write what is there without waiting for more; return when it is written or time is up."""
        self._hurry.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while any(lane.place < self._spool.last for lane in self._lanes):
                    self._caught_up.clear()
                    await self._caught_up.wait()
                return
        behind = [lane.sink.name for lane in self._lanes if lane.place < self._spool.last]
        _log.info("still in the spool for %s: written after the next start", ", ".join(behind))

    async def _run(self, lane: _Lane) -> None:
        if found := await self._spool.oldest(lane.place):
            lane.total = found.begins
        await self._note_oldest(lane)
        await self._until_it_works(lane, lane.sink.open)
        await self._until_it_works(lane, lambda: self._find_place(lane))
        loop = asyncio.get_running_loop()
        while True:
            await self._spool.grown(lane.place)
            await self._gather(lane)
            begun = loop.time()
            await self._feed(lane)
            await self._rest(lane, begun + self._linger - loop.time())

    async def _find_place(self, lane: _Lane) -> None:
        """Begin behind what the sink has committed; the spool may know less of it."""
        newest = await asyncio.to_thread(lane.sink.newest)
        if lane.place < newest <= self._spool.last:
            lane.place = newest
            if found := await self._spool.oldest(newest):
                lane.total = found.begins
            else:
                lane.total = self._spool.total
            self._pass(lane)
        elif newest > self._spool.last:
            _log.warning(
                "sink %s has committed points of another spool; all of this one are written to it",
                lane.sink.name,
            )

    async def _gather(self, lane: _Lane) -> None:
        """Leave points in the spool until they are worth a commit."""
        gather = lane.sink.gather
        if gather is None or self._waited_for:
            return
        found = await self._spool.oldest(lane.place)
        if found is None:
            return
        lane.figures.oldest = found.since / 1000
        loop = asyncio.get_running_loop()
        # The clock of the system may be set; nothing waits longer for that.
        due = loop.time() + min(gather.seconds, lane.figures.oldest + gather.seconds - time.time())
        while (
            (left := due - loop.time()) > 0
            and self._spool.total - lane.total < gather.points
            and not self._hurry.is_set()
            and not self._spool.is_filling
        ):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, LINGER)):
                    await self._hurry.wait()

    async def _feed(self, lane: _Lane) -> None:
        """Write and commit what is in the spool by now, or as much as makes a commit full."""
        until = self._spool.last
        lane.written, lane.ends, lane.points = lane.place, lane.total, 0
        sink = lane.sink
        singly = lane.singly or sink.gather is None or self._waited_for
        while lane.written < until:
            portion = await self._spool.read(
                lane.written, points=PORTION_POINTS, size=PORTION_BYTES
            )
            if lane.figures.oldest is None or lane.written == lane.place:
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
                self._pass(lane)
            elif sink.full or lane.written >= until:
                if await self._commit(lane):
                    self._pass(lane)
                return
        lane.singly = False

    async def _write_more(self, lane: _Lane, portion: Portion, begin: int) -> bool:
        """Write the rest of a portion into a commit of several; whether that worked."""
        points = portion.points.slice(sum(portion.counts[:begin]))
        lane.asked = time.monotonic()
        try:
            await lane.sink.write(points, sequence=portion.last)
        except Exception as error:  # noqa: BLE001 - it is tried again, more carefully
            self._give_up(lane, error)
            return False
        finally:
            lane.asked = 0.0
        lane.points += points.num_rows
        return True

    async def _commit(self, lane: _Lane) -> bool:
        """Commit what was written; whether that worked."""
        lane.asked = time.monotonic()
        try:
            await lane.sink.commit()
        except Exception as error:  # noqa: BLE001 - as above
            if not lane.sink.pending:
                self._give_up(lane, error)
                return False
            self._note_failure(lane, error)
            await self._until_it_works(lane, lane.sink.commit)
        finally:
            lane.asked = 0.0
        lane.failure = ""
        lane.figures.points += lane.points
        return True

    def _give_up(self, lane: _Lane, error: Exception) -> None:
        """A commit of several portions failed: what is in the spool is written one by one."""
        if not isinstance(error, SinkRefusedError):
            self._note_failure(lane, error)
        lane.singly = True

    def _pass(self, lane: _Lane) -> None:
        lane.place, lane.total = max(lane.place, lane.written), max(lane.total, lane.ends)
        if lane.place >= self._spool.last:
            lane.figures.oldest = None
            self._caught_up.set()
        self._spool.passed(lane.sink.name, lane.place)
        self._tell()

    def _tell(self) -> None:
        """Tell who waited for the required sinks."""
        place = min((lane.place for lane in self._lanes if lane.required), default=0)
        while self._waiting and self._waiting[0][0] <= place:
            sequence, call = self._waiting.popleft()
            refused = {number for number in self._refused if number <= sequence}
            self._refused -= refused
            call(refused)

    async def _rest(self, lane: _Lane, seconds: float) -> None:
        """Let points come together, unless a whole portion of them waits or the end is near."""
        if seconds <= 0 or self._spool.total - lane.total >= PORTION_POINTS:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _write(self, lane: _Lane, portion: Portion, begin: int, end: int) -> None:
        """Write some requests of a portion, in halves if they are too many, or some refused."""
        before, rows = sum(portion.counts[:begin]), sum(portion.counts[begin:end])
        points = portion.points.slice(before, rows)
        sequence = portion.sequences[end - 1]
        several = end - begin > 1
        # A batch of an earlier version can be larger than a portion.
        if several and text_bytes(points) + rows * _POINT_BYTES > 2 * PORTION_BYTES:
            await self._write_halves(lane, portion, begin, end)
            return
        try:
            await self._until_it_works(
                lane, lambda: self._store(lane.sink, points, sequence), several=several
            )
        except (SinkRefusedError, _TooLargeError) as error:
            if several:
                await self._write_halves(lane, portion, begin, end)
                return
            name, reason = lane.sink.name, str(error)
            await self._until_it_works(
                lane, lambda: self._quarantine.refused(name, points, reason, sequence=sequence)
            )
            lane.figures.refused += rows
            if lane.required and self._waited_for:
                self._refused.add(sequence)
            if lane.refusals.count():
                _log.warning("sink %s refused a request of %d points: %s", name, rows, reason)
        else:
            lane.figures.points += rows

    @staticmethod
    async def _store(sink: Sink, points: pa.Table, sequence: int) -> None:
        """Write and commit."""
        if not sink.pending:
            await sink.write(points, sequence=sequence)
        await sink.commit()

    async def _write_halves(self, lane: _Lane, portion: Portion, begin: int, end: int) -> None:
        middle = (begin + end) // 2
        await self._write(lane, portion, begin, middle)
        await self._write(lane, portion, middle, end)

    async def _until_it_works(
        self, lane: _Lane, call: Callable[[], Awaitable[Any]], *, several: bool = False
    ) -> None:
        """Call until nothing is raised but SinkRefusedError.

        Args:
            lane: The sink.
            call: What to do.
            several: Whether it can be done for fewer requests at a time.

        Raises:
            SinkRefusedError: The sink refused.
            _TooLargeError: An allocation failed, for several requests.
        """
        tries = 0
        while True:
            lane.asked = time.monotonic()
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
                lane.asked = 0.0
            longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(tries, 16))
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - spreads a fleet in time
            tries += 1

    async def _note_oldest(self, lane: _Lane) -> None:
        """Find out how long the oldest points have waited for a sink that could not begin."""
        behind = lane.place < self._spool.last
        if lane.figures.oldest is None and behind:
            found = await self._spool.oldest(lane.place)
            lane.figures.oldest = found.since / 1000 if found else None

    def _note_failure(self, lane: _Lane, error: Exception) -> None:
        lane.figures.failures += 1
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        lane.failure = f"sink {lane.sink.name}: {reason or type(error).__name__}"
        if events := lane.failures.count():
            # A surprise is told whole: it may be our own mistake.
            known = isinstance(error, (SinkUnavailableError, OSError, MemoryError))
            surprise = None if known else error
            _log.error("%s; %d failures, trying again", lane.failure, events, exc_info=surprise)

    def _count_dropped(self, lane: _Lane, points: int) -> None:
        lane.figures.dropped += points
        if lane.losses.count():
            _log.error(
                "sink %s, which is not required, has lost %d points so far: it was so far behind "
                "that they were deleted from the spool",
                lane.sink.name,
                lane.figures.dropped,
            )


async def _close(sink: Sink) -> None:
    try:
        async with asyncio.timeout(_CLOSING):
            await sink.close()
    except TimeoutError:
        _log.warning("sink %s does not close", sink.name)
    except Exception:  # noqa: BLE001 - the others must be closed, too
        _log.exception("sink %s did not close well", sink.name)
