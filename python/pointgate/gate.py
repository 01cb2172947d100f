"""The gate: judge, keep, reply, acknowledge. The only place that knows this order.

    while burst := await connection.receive():
        reports = validator.validate(topics, payloads)  # one call into Rust a burst
        await store.keep(reports)                       # the promise of a 200
        await connection.settle(burst, replies)         # reply, then PUBACK, in order of arrival

Judging is linear in the payloads' bytes, so a burst of up to `LOOP_BYTES` is judged on the event
loop: handing it to a thread and back costs as much as judging it. A larger one goes to the only
worker thread, and the loop lives on.

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
"""What the loop judges itself: 0.3 ms of ordinary requests, at most 1 ms of hostile ones (1.5 and 4
ns a byte, 2026-11, 2 cores)."""

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
        """Take one burst all the way; it is counted as abandoned unless all of it was settled."""
        self._counters.receive([request.payload for request in burst])
        in_flight = len(burst)
        try:
            fresh = [request for request in burst if not request.retained]
            reports = await self._judge(fresh)
            judged = [report for report in reports if report is not None]
            await self._store.keep(judged)
            replies = [None if report is None else report.reply for report in reports]
            if len(fresh) < len(burst):
                remaining = iter(replies)
                replies = [None if request.retained else next(remaining) for request in burst]
            await connection.settle(burst, replies)
            self._counters.settle(judged, time.monotonic() - burst[0].arrived)
            self._counters.ignore_retained(len(burst) - len(fresh))
            self._counters.fail(len(fresh) - len(judged))
            in_flight = 0
        finally:
            if in_flight:  # the connection ended, or the gate was cancelled
                self._counters.abandon(in_flight)

    async def _judge(self, burst: Sequence[Request]) -> Sequence[Report | None]:
        """One report a request; None where the judge failed, which is our own bug.

        Such a request is logged and acknowledged without a reply: no code would be true, and
        leaving it with the broker would bring it back for ever. The others of its burst are judged
        one by one.
        """
        topics = [request.topic for request in burst]
        payloads = [request.payload for request in burst]
        started = time.perf_counter()
        try:
            if sum(map(len, payloads)) <= LOOP_BYTES:
                return self._validator.validate(topics, payloads)
            return await self._in_thread(topics, payloads)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic of the extension is no Exception
            if len(burst) > 1:
                return [(await self._judge([request]))[0] for request in burst]
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
