"""The gate: judge, store, reply, acknowledge. Only this module defines this order.

    receiving task:                               settling task, concurrently:
    while burst := await connection.receive():        for burst, stored in that order:
        burst.stamp(arrivals.issue(burst.fresh))          await stored    # what a 200 guarantees
        points = validator.judge_burst(burst)             await connection.settle(burst)
        (again, if a registry knows a device better: service/recheck.py)
        stored = store.append(burst.counts, points)

`append` starts a write and returns; the settling task awaits its result. Meanwhile the receiving
task judges the bursts that arrive next, and the store commits them together (group commit). The
number of bursts between the tasks is bounded by the connection's in-flight window and, because a
short payload can hold many points, by the points of the admission budget.

A burst is one object: requests, verdicts and replies never become objects of their own, except
those of rejected requests, for the quarantine, and of the sample that an attached tap shows.

Judging is linear in the payloads' bytes, so a burst of up to `LOOP_BYTES` is judged on the event
loop: handing it to a thread and back costs as much as judging it. The cost of a request besides its
bytes varies, so a call of the judge ends after `_SLOW` seconds, and the loop yields before the next
one. A larger burst is judged in a single worker thread, which does not block the loop.

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
from functools import partial
from typing import TYPE_CHECKING, Final

from pointgate import failpoint
from pointgate.config import LimitSettings
from pointgate.diagnostics import numbered, shown_bytes
from pointgate.error_classes import ErrorClass, classify
from pointgate.errors import ConnectionLost
from pointgate.rate_limiter import RateLimiter
from pointgate.service.bursts import LAST, JudgedBurst, SettleQueue
from pointgate.service.offenders import log_rejection
from pointgate.sources.admission import Admission
from pointgate.store.arrival_clock import ArrivalClock, system_us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pointgate import _core
    from pointgate._core import Burst, Counters, Validator
    from pointgate.quarantine.writer import Quarantine
    from pointgate.service.taps import Taps
    from pointgate.sources.base import Connection
    from pointgate.store.base import Points, Store

LOOP_BYTES: Final = 200_000
"""The largest burst that is judged on the event loop: 0.2 ms for ordinary requests, 3 ms for the
slowest known ones, which hold numbers of many digits (1 and 14 ns a byte, 2026-11, 2 cores)."""

_SLOW: Final = 0.005
"""Seconds. A call of the judge that takes longer ends early, so that other tasks can run."""

_NO_MEMORY: Final = 0.5
"""Seconds before judging is retried after it ran out of memory. Nothing is received meanwhile."""

EARLY_SECONDS: Final = 3600.0
"""At most one log line per product in this time about times that are probably seconds."""

_SHOWN_BYTES: Final = 64
"""How much of a payload a log line shows, escaped."""

_log = logging.getLogger(__name__)


class Gate:
    """Handles the requests of connections: of one after another, or of several sources at a time.

    Args:
        validator: The judge; its owner may swap its catalog at any time.
        store: Stores accepted points.
        counters: Where every request is counted.
        quarantine: Stores rejected requests; None if they are not stored.
        arrivals: Issues arrival instants.
        admission: Limits the points that wait for the store; None for a budget of its own.
        taps: Those that look at answered requests; None if none ever does.
        recheck: Asks registries for devices that a judged burst is rejected for; True if the
            catalog has some of them now. None if there is no such registry.
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
        taps: Taps | None = None,
        recheck: Callable[[Burst], Awaitable[bool]] | None = None,
    ) -> None:
        self._taps = taps
        self._validator = validator
        self._store = store
        self._counters = counters
        self._quarantine = quarantine
        self._arrivals = arrivals or ArrivalClock()
        self._admission = admission or Admission(LimitSettings())
        self._recheck = recheck
        self._worker: ThreadPoolExecutor | None = None
        self._failures = RateLimiter(60.0)
        self._early: dict[str, RateLimiter] = {}

    async def run(self, connection: Connection) -> None:
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

    async def _receive(self, connection: Connection, queue: SettleQueue) -> None:
        """Receive and judge bursts, and start to store their accepted points."""
        while burst := await connection.receive():
            failpoint.hit("after-receive")
            self._counters.receive(burst)
            queue.requests += len(burst)
            burst.stamp(self._arrivals.issue(burst.fresh), system_us() // 1000)
            points = await self._judge(burst)
            if self._recheck is not None and await self._recheck(burst):
                points = await self._judge(burst)  # again, by a newer snapshot
            failpoint.hit("after-verdict")
            if self._quarantine:
                self._quarantine.add(*burst.rejected)
            stored = self._store.append(burst.counts, points)
            await queue.put(JudgedBurst(burst, sum(map(len, points)), stored))
        await queue.put(LAST)

    async def _settle(self, connection: Connection, queue: SettleQueue) -> None:
        """Answer and acknowledge stored bursts, in order."""
        while (judged := await queue.next()) is not LAST:
            burst = judged.burst
            if rejected := await judged.stored:
                burst.withdraw(list(rejected))  # no code would be correct
            before = connection.settled
            try:
                await connection.settle(burst, more=queue.next_is_stored)
            finally:  # a lost connection may have settled only part of the burst
                settled = connection.settled - before
                queue.requests -= settled
                self._count(burst, settled)
            queue.done(judged)

    def _count(self, burst: Burst, settled: int) -> None:
        """Count the first requests of a burst, which were settled."""
        if not settled:
            return
        if self._counters.settle(burst, settled, time.monotonic()):
            self._warn_of_early_times(burst, settled)
        for rejection in self._counters.take_due():
            log_rejection(rejection)
        if self._taps is not None and self._taps.attached:
            self._taps.offer(burst, settled)

    def _warn_of_early_times(self, burst: Burst, settled: int) -> None:
        """Log, rate-limited for each product, that its times are probably seconds."""
        for topic, requests, payload in burst.early_times(settled):
            # Bounded: only products of the catalog have accepted requests.
            product = topic.split("/")[-4]
            limiter = self._early.setdefault(product, RateLimiter(EARLY_SECONDS))
            if events := limiter.count(requests):
                _log.warning(
                    "times before 1971 accepted: product %s, %s; are they seconds instead of "
                    "milliseconds? time.min in catalog.toml refuses them: %s",
                    product,
                    numbered(events, "request"),
                    shown_bytes(payload, _SHOWN_BYTES),
                )

    async def _judge(self, burst: Burst) -> list[Points]:
        """Judge a burst; returns the accepted points."""
        points: list[Points] = []
        end, in_thread = len(burst), burst.payload_bytes > LOOP_BYTES
        place = await self._judge_part(burst, (0, end), points, in_thread=in_thread)
        while place < end:  # the call was slow
            await asyncio.sleep(0)
            place = await self._judge_part(burst, (place, end), points)
        return points

    async def _judge_part(
        self,
        burst: Burst,
        part: tuple[int, int],
        points: list[Points],
        *,
        in_thread: bool = False,
    ) -> int:
        """Judge a part of a burst, or its beginning if that is slow.

        A request on which the judge fails, which is a bug of ours, stays without a verdict. Such a
        poison message is logged and acknowledged without a reply: no code would be correct, and
        without an acknowledgement the broker would redeliver it indefinitely. The other requests
        are then judged one by one.

        Args:
            burst: The burst.
            part: The places of the first request and behind the last one.
            points: The accepted points are appended to this.
            in_thread: Whether to judge in the worker thread, all of the part.

        Returns:
            The place of the first request that was not judged.
        """
        start, end = part
        started = time.perf_counter()
        try:
            judged, some = await self._call_judge(burst, part, in_thread=in_thread)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic of the extension is no Exception
            if end - start == 1:
                self._log_poison(burst, start)
                return end
            for place in range(start, end):
                await self._judge_part(burst, (place, place + 1), points, in_thread=in_thread)
            return end
        finally:
            self._counters.judged(time.perf_counter() - started)
        if some:
            self._counters.collected(some)
            points.append(some)
        return judged

    async def _call_judge(
        self, burst: Burst, part: tuple[int, int], *, in_thread: bool
    ) -> tuple[int, _core.Points | None]:
        """Call the judge, again while memory is short (see `_judge_part`)."""
        start, end = part
        judge = partial(
            self._validator.judge_burst,
            burst,
            start,
            end=end,
            collect=self._store.collects,
            seconds=None if in_thread else _SLOW,
        )
        while True:
            try:
                return await self._in_thread(judge) if in_thread else judge()
            except (MemoryError, RuntimeError) as error:
                if classify(error) is not ErrorClass.MEMORY:
                    raise
                if self._failures.count():
                    _log.error("the judge is out of memory: retrying")
                await asyncio.sleep(_NO_MEMORY)

    def _log_poison(self, burst: Burst, place: int) -> None:
        """Log the one request on which the judge failed, with the exception, rate-limited."""
        if events := self._failures.count():
            request = burst.requests[place]
            _log.exception(
                "internal error: the judge failed on %s, without a reply; "
                "the last one, to %s, %s: %s",
                numbered(events, "request"),
                ascii(request.topic),
                numbered(len(request.payload), "byte"),
                shown_bytes(request.payload, _SHOWN_BYTES),
            )

    async def _in_thread(
        self, judge: Callable[[], tuple[int, _core.Points | None]]
    ) -> tuple[int, _core.Points | None]:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="judge")
        return await asyncio.get_running_loop().run_in_executor(self._worker, judge)
