"""The gate: judge, keep, reply, acknowledge. The only place that knows this order.

    taking:                                       settling, at the same time:
    while burst := await connection.receive():        for burst, reports, kept in that order:
        first = arrivals.take(len(burst))                 await kept     # the promise of a 200
        reports, points = validator.collect(burst)        await connection.settle(burst, replies)
        kept = store.keep(reports, points)

`keep` begins to keep and returns; it is awaited on the other side. So what arrives while one burst
is being kept is judged meanwhile, and the store can keep all of it together the next time (group
commit). How much may be ahead is bounded by what the connection lets be in flight and, because a
short payload can hold many points, by the points of the admission budget.

Judging is linear in the payloads' bytes, so a burst of up to `LOOP_BYTES` is judged on the event
loop: handing it to a thread and back costs as much as judging it. What a request costs besides its
bytes differs, so the loop judges a long burst in slices, and has a turn after a slow one. A larger
burst goes to the only worker thread, and the loop lives on.

Invariants: nothing is answered before it is kept, nothing is acknowledged before it is answered,
and both happen in the order of arrival; every request that was received is counted once more when
it leaves: settled, ignored, failed or abandoned; no request can stop the gate.

It does not know MQTT, connections that come and go (`link.py`), or what a verdict says.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from pointgate import failpoint
from pointgate.codes import Code
from pointgate.config import LimitSettings
from pointgate.error_classes import ErrorClass, classify
from pointgate.errors import ConnectionLost
from pointgate.rate_limiter import RateLimiter
from pointgate.sources.admission import Admission
from pointgate.store.arrival_clock import ArrivalClock, system_us
from pointgate.store.none import Kept

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from pointgate._core import Counters, Report, Validator
    from pointgate.quarantine.writer import Quarantine
    from pointgate.sources.base import Connection, Request
    from pointgate.store.base import Points, Store

LOOP_BYTES: Final = 200_000
"""What the loop judges itself: 0.2 ms of ordinary requests, 3 ms of the slowest ones known, which
hold numbers of many digits (1 and 14 ns a byte, 2026-11, 2 cores)."""

_SLICE: Final = 64
"""How many requests the loop judges in one call; beside so many, a call costs nothing."""

_SLOW: Final = 0.005
"""Seconds. After a slice that took longer, everybody else on the loop has a turn."""

_NO_MEMORY: Final = 0.5
"""Seconds until requests for which there was no memory are judged again. Nothing is received
meanwhile."""


EARLY_SECONDS: Final = 3600.0
"""One line a product in that time about times that are most likely seconds."""

_SHOWN_BYTES: Final = 64
"""How much of a payload a log line may show, escaped."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Flight:
    """A burst between judging and settling; the last one of a connection has no requests."""

    burst: Sequence[Request]
    reports: Sequence[Report | None]
    points: int
    kept: Awaitable[Collection[int]]


_LAST: Final = _Flight((), (), 0, Kept())


class Gate:
    """Takes requests from one connection after another.

    Args:
        validator: The judge; its owner may swap its catalog at any time.
        store: What keeps accepted points.
        counters: Where every request is counted.
        quarantine: What keeps rejected requests, if anything does.
        arrivals: What gives requests the instants of their arrival.
        admission: How many points may wait for the store; a budget of its own if None.
    """

    def __init__(
        self,
        *,
        validator: Validator,
        store: Store,
        counters: Counters,
        quarantine: Quarantine | None = None,
        arrivals: ArrivalClock | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._validator = validator
        self._store = store
        self._counters = counters
        self._quarantine = quarantine
        self._arrivals = arrivals or ArrivalClock()
        self._admission = admission or Admission(LimitSettings())
        self._worker: ThreadPoolExecutor | None = None
        self._failures = RateLimiter(60.0)
        self._early: dict[str, RateLimiter] = {}

    async def run(self, connection: Connection[Any]) -> None:
        """Handle everything that arrives, until the connection has drained.

        Raises:
            ConnectionLost: The connection has ended.
        """
        passage = _Passage(self._admission)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._settle(connection, passage), name="settle")
                await self._take(connection, passage)
        except BaseExceptionGroup as group:
            lost, other = group.split(ConnectionLost)
            if lost is None or other is not None:
                raise
            raise lost.exceptions[0] from None  # both sides hear of it
        finally:  # the connection may have ended, or the gate been cancelled
            self._counters.abandon(passage.requests)
            passage.close()

    def close(self) -> None:
        """End the worker thread, without waiting for what it judges."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)

    async def _take(self, connection: Connection[Any], passage: _Passage) -> None:
        """Receive and judge, and have everything accepted kept."""
        while burst := await connection.receive():
            failpoint.hit("after-receive")
            self._counters.receive([request.payload for request in burst])
            passage.requests += len(burst)
            fresh = _Arrived.take([one for one in burst if not one.stale], self._arrivals)
            reports, points = await self._judge(fresh)
            failpoint.hit("after-verdict")
            judged = [report for report in reports if report is not None]
            if self._quarantine and any(report.code > Code.OK for report in judged):
                self._quarantine.add(fresh.topics, fresh.payloads, reports, fresh.instants())
            kept = self._store.keep(judged, points)
            if len(fresh.requests) < len(burst):
                remaining = iter(reports)
                reports = [None if one.stale else next(remaining) for one in burst]
            await passage.put(_Flight(burst, reports, sum(map(len, points)), kept))
        await passage.put(_LAST)

    async def _settle(self, connection: Connection[Any], passage: _Passage) -> None:
        """Answer and acknowledge what is kept, in order."""
        while (flight := await passage.next()) is not _LAST:
            reports = flight.reports
            if never := await flight.kept:
                reports = _without(reports, never)
            replies = [None if report is None else report.reply for report in reports]
            before = connection.settled
            try:
                await connection.settle(flight.burst, replies)
            finally:  # it may have come only so far
                settled = connection.settled - before
                passage.requests -= settled
                self._count(flight.burst[:settled], reports[:settled])
            passage.done(flight)

    def _count(self, requests: Sequence[Request], reports: Sequence[Report | None]) -> None:
        """Count requests that were settled."""
        if not requests:
            return
        judged = [report for report in reports if report is not None]
        stale = sum(request.stale for request in requests)
        if self._counters.settle(judged, time.monotonic() - requests[0].arrived):
            self._warn_of_early_times(requests, reports)
        self._counters.ignore_retained(stale)
        self._counters.fail(len(requests) - len(judged) - stale)

    def _warn_of_early_times(
        self, requests: Sequence[Request], reports: Sequence[Report | None]
    ) -> None:
        """Log, seldom for each product, that its times are most likely seconds."""
        for request, report in zip(requests, reports, strict=True):
            if report is None or not report.early_times:
                continue
            # Only products of the catalog have accepted requests: there are not many.
            product = request.topic.split("/")[-4]
            if events := self._early.setdefault(product, RateLimiter(EARLY_SECONDS)).count():
                _log.warning(
                    "times before 1971 accepted: product %s, %d requests; are they seconds instead "
                    "of milliseconds? time.min in catalog.toml refuses them: %s",
                    product,
                    events,
                    ascii(request.payload[:_SHOWN_BYTES]),
                )

    async def _judge(self, fresh: _Arrived) -> tuple[Sequence[Report | None], list[Points]]:
        """One report a request, None for those that the judge failed on.

        Returns:
            The reports, and the points of those accepted.
        """
        reports: list[Report | None] = []
        points: list[Points] = []
        if sum(map(len, fresh.payloads)) > LOOP_BYTES:
            reports = await self._validate(fresh, points, in_thread=True)
        else:
            slow = False
            for start in range(0, len(fresh.requests), _SLICE):
                if slow:
                    await asyncio.sleep(0)
                started = time.perf_counter()
                reports += await self._validate(fresh.part(start, start + _SLICE), points)
                slow = time.perf_counter() - started > _SLOW
        return reports, points

    async def _validate(
        self, arrived: _Arrived, points: list[Points], *, in_thread: bool = False
    ) -> list[Report | None]:
        """One report a request; None where the judge failed, which is our own bug.

        Such a request is logged and acknowledged without a reply: no code would be true, and
        leaving it with the broker would bring it back for ever. The others beside it are judged one
        by one.

        Args:
            arrived: The requests.
            points: Where to put the points of those accepted.
            in_thread: Whether to judge in the worker thread.
        """
        judge = self._collect if self._store.collects else self._only_judge
        started = time.perf_counter()
        try:
            while True:
                try:
                    if in_thread:
                        reports, some = await self._in_thread(judge, arrived)
                    else:
                        reports, some = judge(arrived)
                    break
                except (MemoryError, RuntimeError) as error:
                    if classify(error) is not ErrorClass.MEMORY:
                        raise
                    if self._failures.count():
                        _log.error("the judge is out of memory: retrying")
                    await asyncio.sleep(_NO_MEMORY)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic of the extension is no Exception
            if (count := len(arrived.requests)) > 1:
                single = [
                    await self._validate(arrived.part(n, n + 1), points, in_thread=in_thread)
                    for n in range(count)
                ]
                return [report for reports in single for report in reports]
            if events := self._failures.count():
                _log.exception(
                    "the judge failed on %d requests, which get no answer; "
                    "one was to %s, %d bytes: %s",
                    events,
                    ascii(arrived.topics[0]),
                    len(arrived.payloads[0]),
                    ascii(arrived.payloads[0][:_SHOWN_BYTES]),
                )
            return [None]
        finally:
            self._counters.judged(time.perf_counter() - started)
        points += some
        return [*reports]

    def _collect(self, arrived: _Arrived) -> tuple[list[Report], Sequence[Points]]:
        reports, points = self._validator.collect(
            arrived.topics,
            arrived.payloads,
            now_ms=arrived.now_ms,
            arrived_us=arrived.first,
            observed_us=arrived.observed(),
        )
        return reports, (points,) if len(points) else ()

    def _only_judge(self, arrived: _Arrived) -> tuple[list[Report], Sequence[Points]]:
        reports = self._validator.validate(
            arrived.topics, arrived.payloads, observed_us=arrived.observed()
        )
        return reports, ()

    async def _in_thread(
        self,
        judge: Callable[[_Arrived], tuple[list[Report], Sequence[Points]]],
        arrived: _Arrived,
    ) -> tuple[list[Report], Sequence[Points]]:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="judge")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, judge, arrived)


@dataclass(slots=True)
class _Arrived:
    """Requests that are judged together, with the instants of their arrival (contract 3.5).

    Attributes:
        requests: The requests.
        first: When the first one arrived; each one after it arrived a microsecond later.
        now_ms: The system clock, which products' time windows are around.
        topics: Their topics.
        payloads: Their payloads.
    """

    requests: Sequence[Request]
    first: int
    now_ms: int
    topics: list[str] = field(init=False)
    payloads: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.topics = [request.topic for request in self.requests]
        self.payloads = [request.payload for request in self.requests]

    @classmethod
    def take(cls, requests: Sequence[Request], clock: ArrivalClock) -> Self:
        """Give each request its instant."""
        return cls(requests, clock.take(len(requests)), system_us() // 1000)

    def part(self, start: int, end: int) -> _Arrived:
        """Some of them; the same object where that is all, as mostly."""
        if start == 0 and end >= len(self.requests):
            return self
        return _Arrived(self.requests[start:end], self.first + start, self.now_ms)

    def observed(self) -> list[int | None] | None:
        """When each one was first observed, where a request says so; mostly none does.

        What would be later than the arrival itself is ignored.
        """
        if all(request.observed is None for request in self.requests):
            return None
        found = (request.observed for request in self.requests)
        return [
            one if one is not None and one <= self.first + place else None
            for place, one in enumerate(found)
        ]

    def instants(self) -> list[int]:
        """The instant that each one's points get where they have no time."""
        observed = self.observed() or [None] * len(self.requests)
        return [self.first + place if one is None else one for place, one in enumerate(observed)]


class _Passage:
    """What one connection has between taking and settling, in order; a task at either end.

    Attributes:
        requests: How many requests were received and have not been settled.
    """

    def __init__(self, admission: Admission) -> None:
        self.requests = 0
        self._admission = admission
        self._flights: deque[_Flight] = deque()
        self._points = 0  # of these flights, and of the one that is being settled
        self._filled = asyncio.Event()

    async def put(self, flight: _Flight) -> None:
        """Append a flight; wait while too many points wait for the store."""
        self._flights.append(flight)
        self._points += flight.points
        self._admission.add_points(flight.points)
        self._filled.set()
        await self._admission.points_fit()

    async def next(self) -> _Flight:
        """Take the first one."""
        while not self._flights:
            self._filled.clear()
            await self._filled.wait()
        return self._flights.popleft()

    def done(self, flight: _Flight) -> None:
        """One has been settled."""
        self._points -= flight.points
        self._admission.release_points(flight.points)

    def close(self) -> None:
        """Forget the points of all that will not be settled."""
        self._admission.release_points(self._points)
        self._points = 0


def _without(reports: Sequence[Report | None], never: Collection[int]) -> list[Report | None]:
    """The reports without those that the store can never keep: no code would be true.

    Args:
        reports: One a request, None for those that have no verdict.
        never: Which ones, by their positions among those that are not None.
    """
    positions = [place for place, report in enumerate(reports) if report is not None]
    lost = {positions[number] for number in never}
    return [None if place in lost else report for place, report in enumerate(reports)]
