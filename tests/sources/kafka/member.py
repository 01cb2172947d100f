"""A member of a consumer group inside the test: source, gate, and a store that the test holds."""

from __future__ import annotations

import asyncio
from array import array
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, TopicPartition

from pointgate import Validator, _core
from pointgate.catalog import Catalog
from pointgate.config import KafkaSettings, LimitSettings, Settings
from pointgate.service.gate import Gate
from pointgate.sources.admission import Admission
from pointgate.sources.kafka.source import KafkaSource
from pointgate.sources.kafka.statistics import KafkaStatistics
from pointgate.store.arrival_clock import ArrivalClock
from tests.support.paths import CATALOG
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Generator, Sequence

    from pointgate.store.base import Points
    from tests.support.kafka_clients import Topics


class _Stored:
    """Completes when a store is open; nobody has to wait for it."""

    def __init__(self, opened: asyncio.Event) -> None:
        self._opened = opened

    def __await__(self) -> Generator[Any, None, Collection[int]]:
        yield from self._opened.wait().__await__()
        return ()

    def done(self) -> bool:
        return self._opened.is_set()


class HeldStore:
    """Stores when the test opens it.

    Attributes:
        open: Set while points are stored at once.
        requests: How many requests with points it was given.
    """

    ack = "spool"
    promise = ""
    collects = True
    trouble = ""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.requests = 0

    def append(self, counts: bytes, _points: Sequence[Points]) -> _Stored:
        self.requests += len(array("I", counts))
        return _Stored(self.open)


class Member:
    """A member of the group.

    Attributes:
        store: Its store.
        statistics: Of its source.
        counters: Of its gate.
        arrivals: Its arrival clock.
        source: The source.
    """

    def __init__(self, servers: str, made: Topics, limits: LimitSettings, **kafka: Any) -> None:
        kafka = {"topics": [made.requests], "replies": made.replies} | kafka
        group = kafka.pop("group", f"group-{made.requests}")
        settings = Settings(
            kafka=KafkaSettings(servers=servers, group=group, **kafka), limits=limits
        )
        self.group = group
        self.store = HeldStore()
        self.statistics = KafkaStatistics()
        self.counters = _core.Counters()
        self.arrivals = ArrivalClock()
        self.admission = Admission(limits)
        gate = Gate(
            validator=Validator(Catalog.load(CATALOG)),
            store=self.store,
            counters=self.counters,
            arrivals=self.arrivals,
            admission=self.admission,
        )
        self.source = KafkaSource(
            settings,
            gate=gate,
            statistics=self.statistics,
            admission=self.admission,
            arrivals=self.arrivals,
        )

    @property
    def counts(self) -> dict[str, Any]:
        """The counters of its gate."""
        return self.counters.read()

    @property
    def received(self) -> int:
        """How many requests have arrived."""
        return int(self.counts["received"])

    @property
    def in_flight(self) -> int:
        """How many of them are not settled."""
        return int(self.counts["in_flight"])


@asynccontextmanager
async def member(
    servers: str, made: Topics, limits: LimitSettings | None = None, **kafka: Any
) -> AsyncIterator[Member]:
    """A member that has joined; it drains at the end."""
    one = Member(servers, made, limits or LimitSettings(), **kafka)
    running = asyncio.create_task(one.source.run())
    try:
        await until(lambda: one.source.was_ready)
        yield one
        one.store.open.set()
        one.source.drain()
        async with asyncio.timeout(PATIENCE):
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - of librdkafka's threads, which set no event
            await asyncio.sleep(0.02)


def committed(servers: str, group: str, topic: str, partitions: int = 3) -> int:
    """How many records of a topic the group has committed."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group})
    asked = [TopicPartition(topic, number) for number in range(partitions)]
    found = consumer.committed(asked, timeout=PATIENCE)
    consumer.close()
    return sum(max(0, one.offset) for one in found)
