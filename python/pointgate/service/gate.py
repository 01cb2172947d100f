"""The gate: judge, store, reply, acknowledge. Only this module defines this order.

    receiving task:                               settling task, concurrently:
    while burst := await connection.receive():        for burst, reports, stored in that order:
        first = arrivals.issue(len(burst))                 await stored   # what a 200 guarantees
        reports, points = validator.collect(burst)        await connection.settle(burst, replies)
        stored = store.append(reports, points)

`append` starts a write and returns; the settling task awaits its result. Meanwhile the receiving
task judges the bursts that arrive next, and the store commits them together (group commit). The
number of bursts between the tasks is bounded by the connection's in-flight window and, because a
short payload can hold many points, by the points of the admission budget.

Judging is linear in the payloads' bytes, so a burst of up to `LOOP_BYTES` is judged on the event
loop: handing it to a thread and back costs as much as judging it. The cost of a request besides its
bytes varies, so the loop judges a long burst in slices and yields after a slow slice. A larger
burst is judged in a single worker thread, which does not block the loop.

Invariants: a request is answered only after its points are stored, acknowledged only after it is
answered, and both in the order of arrival; every received request is counted exactly once as
settled, ignored, failed or abandoned; no request can stop the gate.

It does not know MQTT, how connections are opened (`sources/mqtt/source.py`), or verdicts' content.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from pointgate import failpoint
from pointgate.codes import Code
from pointgate.config import LimitSettings
from pointgate.error_classes import ErrorClass, classify
from pointgate.errors import ConnectionLost
from pointgate.rate_limiter import RateLimiter
from pointgate.service.bursts import LAST, ArrivedBurst, JudgedBurst, SettleQueue
from pointgate.sources.admission import Admission
from pointgate.store.arrival_clock import ArrivalClock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pointgate._core import Counters, Report, Validator
    from pointgate.quarantine.writer import Quarantine
    from pointgate.sources.base import Connection, Request
    from pointgate.store.base import Points, Store

LOOP_BYTES: Final = 200_000
"""The largest burst that is judged on the event loop: 0.2 ms for ordinary requests, 3 ms for the
slowest known ones, which hold numbers of many digits (1 and 14 ns a byte, 2026-11, 2 cores)."""

_SLICE: Final = 64
"""How many requests the loop judges in one call; the overhead of a call is negligible then."""

_SLOW: Final = 0.005
"""Seconds. After a slice that took longer, the gate yields to the other tasks of the loop."""

_NO_MEMORY: Final = 0.5
"""Seconds before judging is retried after it ran out of memory. Nothing is received meanwhile."""

EARLY_SECONDS: Final = 3600.0
"""At most one log line per product in this time about times that are probably seconds."""

_SHOWN_BYTES: Final = 64
"""How much of a payload a log line shows, escaped."""

_log = logging.getLogger(__name__)


class Gate:
    """Handles the requests of one connection after another.

    Args:
        validator: The judge; its owner may swap its catalog at any time.
        store: Stores accepted points.
        counters: Where every request is counted.
        quarantine: Stores rejected requests; None if they are not stored.
        arrivals: Issues arrival instants.
        admission: Limits the points that wait for the store; None for a budget of its own.
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
        """Handle all requests until the connection has drained.

        Raises:
            ConnectionLost: The connection has ended.
        """
        queue = SettleQueue(self._admission)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._settle(connection, queue), name="settle")
                await self._receive(connection, queue)
        except BaseExceptionGroup as group:
            lost, other = group.split(ConnectionLost)
            if lost is None or other is not None:
                raise
            raise lost.exceptions[0] from None  # both tasks can raise it
        finally:  # the connection may have ended, or the gate been cancelled
            self._counters.abandon(queue.requests)
            queue.close()

    def close(self) -> None:
        """End the worker thread without waiting for its current burst."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)

    async def _receive(self, connection: Connection[Any], queue: SettleQueue) -> None:
        """Receive and judge bursts, and start to store their accepted points."""
        while burst := await connection.receive():
            failpoint.hit("after-receive")
            self._counters.receive([request.payload for request in burst])
            queue.requests += len(burst)
            fresh = ArrivedBurst.stamp([one for one in burst if not one.stale], self._arrivals)
            reports, points = await self._judge(fresh)
            failpoint.hit("after-verdict")
            judged = [report for report in reports if report is not None]
            if self._quarantine and any(report.code > Code.OK for report in judged):
                self._quarantine.add(fresh.topics, fresh.payloads, reports, fresh.instants())
            stored = self._store.append(judged, points)
            if len(fresh.requests) < len(burst):
                remaining = iter(reports)
                reports = [None if one.stale else next(remaining) for one in burst]
            await queue.put(JudgedBurst(burst, reports, sum(map(len, points)), stored))
        await queue.put(LAST)

    async def _settle(self, connection: Connection[Any], queue: SettleQueue) -> None:
        """Answer and acknowledge stored bursts, in order."""
        while (burst := await queue.next()) is not LAST:
            reports = burst.reports
            if rejected := await burst.stored:
                reports = _without(reports, rejected)
            replies = [None if report is None else report.reply for report in reports]
            before = connection.settled
            try:
                await connection.settle(burst.requests, replies)
            finally:  # a lost connection may have settled only part of the burst
                settled = connection.settled - before
                queue.requests -= settled
                self._count(burst.requests[:settled], reports[:settled])
            queue.done(burst)

    def _count(self, requests: Sequence[Request], reports: Sequence[Report | None]) -> None:
        """Count settled requests."""
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
        """Log, rate-limited for each product, that its times are probably seconds."""
        for request, report in zip(requests, reports, strict=True):
            if report is None or not report.early_times:
                continue
            # Bounded: only products of the catalog have accepted requests.
            product = request.topic.split("/")[-4]
            if events := self._early.setdefault(product, RateLimiter(EARLY_SECONDS)).count():
                _log.warning(
                    "times before 1971 accepted: product %s, %d requests; are they seconds instead "
                    "of milliseconds? time.min in catalog.toml refuses them: %s",
                    product,
                    events,
                    ascii(request.payload[:_SHOWN_BYTES]),
                )

    async def _judge(self, fresh: ArrivedBurst) -> tuple[Sequence[Report | None], list[Points]]:
        """Judge a burst.

        Returns:
            One report for each request, None where the judge failed; and the accepted points.
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
        self, arrived: ArrivedBurst, points: list[Points], *, in_thread: bool = False
    ) -> list[Report | None]:
        """One report for each request; None where the judge failed, which is a bug of ours.

        Such a poison message is logged and acknowledged without a reply: no code would be correct,
        and without an acknowledgement the broker would redeliver it indefinitely. The other
        requests of the burst are then judged one by one.

        Args:
            arrived: The requests.
            points: The accepted points are appended to this.
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
            self._log_poison(arrived)
            return [None]
        finally:
            self._counters.judged(time.perf_counter() - started)
        points += some
        return [*reports]

    def _log_poison(self, arrived: ArrivedBurst) -> None:
        """Log the one request on which the judge failed, with the exception, rate-limited."""
        if events := self._failures.count():
            _log.exception(
                "internal error: the judge failed on %d requests, which get no reply; "
                "the last one, to %s, %d bytes: %s",
                events,
                ascii(arrived.topics[0]),
                len(arrived.payloads[0]),
                ascii(arrived.payloads[0][:_SHOWN_BYTES]),
            )

    def _collect(self, arrived: ArrivedBurst) -> tuple[list[Report], Sequence[Points]]:
        reports, points = self._validator.collect(
            arrived.topics,
            arrived.payloads,
            now_ms=arrived.now_ms,
            arrived_us=arrived.first,
            observed_us=arrived.observed(),
        )
        return reports, (points,) if len(points) else ()

    def _only_judge(self, arrived: ArrivedBurst) -> tuple[list[Report], Sequence[Points]]:
        reports = self._validator.validate(
            arrived.topics, arrived.payloads, observed_us=arrived.observed()
        )
        return reports, ()

    async def _in_thread(
        self,
        judge: Callable[[ArrivedBurst], tuple[list[Report], Sequence[Points]]],
        arrived: ArrivedBurst,
    ) -> tuple[list[Report], Sequence[Points]]:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="judge")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, judge, arrived)


def _without(reports: Sequence[Report | None], rejected: Collection[int]) -> list[Report | None]:
    """The reports without those that the store permanently rejected: no code would be correct.

    Args:
        reports: One for each request, None for requests without a verdict.
        rejected: The positions of the rejected ones among the reports that are not None.
    """
    positions = [place for place, report in enumerate(reports) if report is not None]
    dropped = {positions[number] for number in rejected}
    return [None if place in dropped else report for place, report in enumerate(reports)]
