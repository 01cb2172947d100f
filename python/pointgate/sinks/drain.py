"""The drain: takes points from the spool to the sinks, each at its own pace.

    for each sink, a task of its own:
        portion = await spool.read(after=place, points=PORTION_POINTS, size=PORTION_BYTES)
        await sink.write(portion)            # retried until it returns
        spool.commit_offset(sink, portion.last)     # what all have is deleted

A write to a sink that is away is retried indefinitely with exponential backoff and jitter; a sink
that refuses something gets the halves, and so on down to the single request, which is then
dead-lettered (`refused.py`) so that it never blocks the others. Where an allocation fails it gets
the halves, too, but nothing is dead-lettered for that. Under `ack = "sink"` somebody waits, so what
is there is written at once; else a sink gets at most one write in `LINGER` seconds while it keeps
up, because few large writes cost less than many small ones.

Invariants: a sink gets its points in the order of arrival, at most `PORTION_BYTES` of them or one
request at a time; it is passed only what it has, or what was dead-lettered durably; no sink waits
for another; nothing a sink raises ends a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
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

    from pointgate.sinks.base import Sink
    from pointgate.sinks.dead_letters import Quarantine
    from pointgate.sinks.statistics import SinkStatistics
    from pointgate.store.spool.reader import Chunk
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
    """One sink on its way through the spool."""

    sink: Sink
    required: bool
    figures: SinkStatistics
    place: int  # the number of the last request that it has
    total: int  # how many points had been in the spool with that one
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

    def when_committed(self, sequence: int, call: Callable[[Collection[int]], None]) -> None:
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
        loop = asyncio.get_running_loop()
        while True:
            portion = await self._spool.read(lane.place, points=PORTION_POINTS, size=PORTION_BYTES)
            begun = loop.time()
            lane.figures.oldest = portion.since / 1000
            if portion.ends and (dropped := portion.begins - lane.total) > 0:
                self._count_dropped(lane, dropped)
            if portion.points.num_rows:
                await self._write(lane, portion, 0, len(portion.counts))
            self._pass(lane, portion)
            if not portion.more:
                await self._rest(lane, begun + self._linger - loop.time())

    def _pass(self, lane: _Lane, portion: Chunk) -> None:
        lane.place = portion.last
        lane.total = portion.ends or lane.total
        if lane.place >= self._spool.last:
            lane.figures.oldest = None
            self._caught_up.set()
        self._spool.commit_offset(lane.sink.name, lane.place)
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

    async def _write(self, lane: _Lane, portion: Chunk, begin: int, end: int) -> None:
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
                lane, lambda: lane.sink.write(points, sequence=sequence), several=several
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

    async def _write_halves(self, lane: _Lane, portion: Chunk, begin: int, end: int) -> None:
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
                if several and classify(error) is ErrorClass.MEMORY:
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
