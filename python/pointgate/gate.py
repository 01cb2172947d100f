"""The gate: judge, keep, reply, acknowledge. The only place that knows this order.

    while burst := await connection.receive():
        reports = validator.validate(topics, payloads)  # one call into Rust an ordinary burst
        await store.keep(reports)                       # the promise of a 200
        await connection.settle(burst, replies)         # reply, then PUBACK, in order of arrival

Judging is linear in the payloads' bytes, so a burst of up to `LOOP_BYTES` is judged on the event
loop: handing it to a thread and back costs as much as judging it. What a request costs besides its
bytes differs, so the loop judges a long burst in slices, and has a turn after a slow one. A larger
burst goes to the only worker thread, and the loop lives on.

Invariants: nothing is answered before it is kept, nothing is acknowledged before it is answered;
every request that was received is counted once more when it leaves: settled, ignored, failed or
abandoned; no request can stop the gate.

It does not know MQTT, connections that come and go (`link.py`), or what a verdict says.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from pointgate.seldom import Seldom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate._core import Counters, Report, Validator
    from pointgate.mqtt.base import Connection, Request
    from pointgate.store.base import Store

LOOP_BYTES: Final = 200_000
"""What the loop judges itself: 0.3 ms of ordinary requests, 6 ms of the slowest ones known, which
hold tiny numbers of a thousand digits (1.5 and 29 ns a byte, 2026-11, 2 cores)."""

_SLICE: Final = 64
"""How many requests the loop judges in one call; beside so many, a call costs nothing."""

_SLOW: Final = 0.005
"""Seconds. After a slice that took longer, everybody else on the loop has a turn."""

_SHOWN_BYTES: Final = 64
"""How much of a payload a log line may show, escaped."""

_log = logging.getLogger(__name__)


class Gate:
    """Takes requests from one connection after another.

    Args:
        validator: The judge; its owner may swap its catalog at any time.
        store: What keeps accepted points.
        counters: Where every request is counted.
    """

    def __init__(self, *, validator: Validator, store: Store, counters: Counters) -> None:
        self._validator = validator
        self._store = store
        self._counters = counters
        self._worker: ThreadPoolExecutor | None = None
        self._failures = Seldom(60.0)

    async def run(self, connection: Connection) -> None:
        """Handle everything that arrives, until the connection has drained.

        Raises:
            ConnectionLost: The connection has ended.
        """
        while burst := await connection.receive():
            await self._handle(connection, burst)

    def close(self) -> None:
        """End the worker thread, without waiting for what it judges."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)

    async def _handle(self, connection: Connection, burst: Sequence[Request]) -> None:
        """Take one burst all the way; what of it was not settled is counted as abandoned."""
        self._counters.receive([request.payload for request in burst])
        reports: Sequence[Report | None] = []
        before = connection.settled
        try:
            reports = await self._judge(burst)
            await self._store.keep([report for report in reports if report is not None])
            replies = [None if report is None else report.reply for report in reports]
            await connection.settle(burst, replies)
        finally:  # the connection may have ended, or the gate been cancelled
            settled = connection.settled - before
            self._count(burst[:settled], reports[:settled])
            self._counters.abandon(len(burst) - settled)

    def _count(self, requests: Sequence[Request], reports: Sequence[Report | None]) -> None:
        """Count requests that were settled."""
        if not requests:
            return
        judged = [report for report in reports if report is not None]
        retained = sum(request.retained for request in requests)
        self._counters.settle(judged, time.monotonic() - requests[0].arrived)
        self._counters.ignore_retained(retained)
        self._counters.fail(len(requests) - len(judged) - retained)

    async def _judge(self, burst: Sequence[Request]) -> Sequence[Report | None]:
        """One report a request; None for those retained and those that the judge failed on."""
        fresh = [request for request in burst if not request.retained]
        if sum(len(request.payload) for request in fresh) > LOOP_BYTES:
            reports = await self._validate(fresh, in_thread=True)
        else:
            reports, slow = [], False
            for start in range(0, len(fresh), _SLICE):
                if slow:
                    await asyncio.sleep(0)
                started = time.perf_counter()
                reports += await self._validate(fresh[start : start + _SLICE])
                slow = time.perf_counter() - started > _SLOW
        if len(fresh) == len(burst):
            return reports
        remaining = iter(reports)
        return [None if request.retained else next(remaining) for request in burst]

    async def _validate(
        self, requests: Sequence[Request], *, in_thread: bool = False
    ) -> list[Report | None]:
        """One report a request; None where the judge failed, which is our own bug.

        Such a request is logged and acknowledged without a reply: no code would be true, and
        leaving it with the broker would bring it back for ever. The others beside it are judged one
        by one.
        """
        topics = [request.topic for request in requests]
        payloads = [request.payload for request in requests]
        started = time.perf_counter()
        try:
            if in_thread:
                return [*await self._in_thread(topics, payloads)]
            return [*self._validator.validate(topics, payloads)]
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic of the extension is no Exception
            if len(requests) > 1:
                single = [await self._validate([one], in_thread=in_thread) for one in requests]
                return [report for reports in single for report in reports]
            if events := self._failures.count():
                _log.exception(
                    "the judge failed on %d requests, which get no answer; "
                    "one was to %s, %d bytes: %s",
                    events,
                    ascii(topics[0]),
                    len(payloads[0]),
                    ascii(payloads[0][:_SHOWN_BYTES]),
                )
            return [None]
        finally:
            self._counters.judged(time.perf_counter() - started)

    async def _in_thread(self, topics: list[str], payloads: list[bytes]) -> list[Report]:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="judge")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self._validator.validate, topics, payloads)
