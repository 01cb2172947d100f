"""Builds the pipeline from accepted requests to the sinks, according to `store.ack`.

    verdict:  a store that discards the points
    spool:    a store ─► spool ─► drain ─► sinks
    sink:     the same, and the store waits for the sinks' committed offsets
    kafka:    the same with sinks that are Kafka topics

Where Kafka is the only source, `sink` and `kafka` have a queue in memory in place of the spool.

Invariants: the spool is always closed after the drain has ended.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason
from pointgate.quarantine.writer import Quarantine
from pointgate.service.retention import expire_daily
from pointgate.sinks.dead_letters import DeadLetters
from pointgate.sinks.drain import Drain
from pointgate.sinks.statistics import SinkStatistics
from pointgate.store.arrival_clock import ArrivalClock
from pointgate.store.durable import KafkaStore, SinkStore, SpoolStore
from pointgate.store.none import NullStore
from pointgate.store.queue import MemoryQueue
from pointgate.store.spool.spool import open_spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from pointgate.config import Settings
    from pointgate.kafka.transactions import Transactions
    from pointgate.service.metrics import Metrics
    from pointgate.sinks.base import Sink
    from pointgate.store.base import Store
    from pointgate.store.queue import PointQueue

_PAUSE: Final = 0.5
"""Seconds before a sink that could not be read is asked again."""


class Pipeline:
    """A store, and its drain if there is one.

    Attributes:
        store: The gate's store.
        arrivals: Issues arrival instants; the store persists the last one.
        transactions: What the sinks write into, if `kafka.exactly_once` is set.
    """

    def __init__(
        self,
        store: Store,
        drain: Drain | None = None,
        arrivals: ArrivalClock | None = None,
        sinks: Sequence[Sink] = (),
        transactions: Transactions | None = None,
    ) -> None:
        self.store = store
        self.transactions = transactions
        self.arrivals = arrivals or ArrivalClock()
        self._drain = drain
        self._sinks = sinks

    @property
    def stores(self) -> bool:
        """Whether there are sinks."""
        return self._drain is not None

    @property
    def behind(self) -> dict[str, int]:
        """How many requests in the spool each sink does not have; without those that have all."""
        return {} if self._drain is None else self._drain.behind

    async def run(self) -> None:
        """Write to the sinks until cancelled; return at once if there are none."""
        if self._drain is not None:
            await self._drain.run()

    async def expire(self) -> None:
        """Let the sinks delete old points, once a day, until cancelled."""
        await expire_daily(self._sinks)

    async def finish(self, timeout: float) -> None:  # noqa: ASYNC109 - it is not an error to end
        """Write the spool's points to the sinks, for at most `timeout` seconds."""
        if self._drain is not None:
            await self._drain.finish(timeout)


@asynccontextmanager
async def open_store(
    settings: Settings,
    metrics: Metrics,
    sinks: Sequence[tuple[Sink, bool]],
    *,
    on_retry: Callable[[str], object] = lambda _: None,
) -> AsyncIterator[Pipeline]:
    """Open the store that the settings ask for, and close it at the end.

    Args:
        settings: The settings.
        metrics: Receives the statistics.
        sinks: Each sink, and whether it is required (see `preflight.py`).
        on_retry: Called with the reason after each failed attempt to open the spool.

    Raises:
        ConfigError: The spool's folder cannot be used.
        TemporaryFailure: Another process uses it.
    """
    if settings.store.ack == "verdict":
        yield Pipeline(NullStore())
        return
    metrics.sinks = {sink.name: SinkStatistics() for sink, _ in sinks}
    if not settings.uses_spool:
        floor = await _newest(sinks, on_retry)
        yield _without_spool(settings, metrics, sinks, floor)
        return
    spool_settings = settings.spool
    metrics.spool.max_bytes = spool_settings.max_bytes
    async with open_spool(
        spool_settings.path,
        max_bytes=spool_settings.max_bytes,
        max_delay=settings.store.max_delay / 1000,
        sinks={sink.name: required for sink, required in sinks},
        statistics=metrics.spool,
        floor=lambda: max((sink.newest() for sink, _ in sinks), default=0),
        on_retry=on_retry,
    ) as spool:
        waited_for = settings.store.ack == "sink"
        drain = _drain(spool, settings, metrics, sinks)
        store = SinkStore(spool, drain) if waited_for else SpoolStore(spool)
        yield Pipeline(store, drain, spool.arrivals, [sink for sink, _ in sinks])


async def _newest(sinks: Sequence[tuple[Sink, bool]], on_retry: Callable[[str], object]) -> int:
    """The greatest number that any sink has seen; a sink that cannot be read is retried."""
    while True:
        try:
            return await asyncio.to_thread(
                lambda: max((sink.newest() for sink, _ in sinks), default=0)
            )
        except (OSError, MemoryError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else "out of memory"
            on_retry(f"a sink cannot be read: {reason}")
            await asyncio.sleep(_PAUSE)


def _without_spool(
    settings: Settings, metrics: Metrics, sinks: Sequence[tuple[Sink, bool]], floor: int
) -> Pipeline:
    """The pipeline of a service whose spool is a Kafka topic."""
    queue = MemoryQueue([sink.name for sink, _ in sinks], floor=floor)
    drain = _drain(queue, settings, metrics, sinks)
    if settings.store.ack != "kafka":
        return Pipeline(SinkStore(queue, drain), drain, sinks=[sink for sink, _ in sinks])
    store = KafkaStore(queue, drain)
    transactions = _transactions(settings, store, sinks)
    return Pipeline(store, drain, sinks=[sink for sink, _ in sinks], transactions=transactions)


def _transactions(
    settings: Settings, store: KafkaStore, sinks: Sequence[tuple[Sink, bool]]
) -> Transactions | None:
    """The transactions that all sinks write into; None without `kafka.exactly_once`."""
    kafka = settings.kafka
    if not kafka.exactly_once:
        return None
    from pointgate.kafka.transactions import Transactions  # noqa: PLC0415 - an extra
    from pointgate.sinks.kafka.sink import KafkaSink  # noqa: PLC0415 - as above

    options = partial(kafka.client_options, "kafka")
    transactions = Transactions(options, kafka.transactional_id or "", store.until_written)
    store.promise = "a 200 is visible together with its points, exactly once"
    for sink, _ in sinks:
        assert isinstance(sink, KafkaSink)  # noqa: S101 - the settings allow no other
        sink.write_into(transactions)
    return transactions


def _drain(
    queue: PointQueue,
    settings: Settings,
    metrics: Metrics,
    sinks: Sequence[tuple[Sink, bool]],
) -> Drain:
    spool = settings.spool
    drain = Drain(
        queue,
        sinks,
        statistics=metrics.sinks,
        dead_letters=DeadLetters(spool.path / "refused", max_bytes=spool.max_bytes),
        replies_wait=settings.store.ack != "spool",
    )
    metrics.refresh = drain.update_lag
    return drain


@asynccontextmanager
async def open_quarantine(settings: Settings, metrics: Metrics) -> AsyncIterator[Quarantine | None]:
    """Open the quarantine, unless it is off, and close it at the end."""
    rejections = settings.rejections
    if rejections is None:
        yield None
        return
    # In a thread: another program may hold the file for some seconds.
    quarantine = await asyncio.to_thread(Quarantine, rejections)
    metrics.quarantine = quarantine
    try:
        yield quarantine
    finally:
        await asyncio.to_thread(quarantine.close)
