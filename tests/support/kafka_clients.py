"""Senders and readers of Kafka topics, as tests need them."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.patience import PATIENCE
from tests.support.processes import TOPIC

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Read(NamedTuple):
    """A record that was read."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: dict[str, bytes | None]


class Topics(NamedTuple):
    """Topics that no other test uses."""

    requests: str
    replies: str
    points: str


def make_topics(
    servers: str,
    partitions: int = 3,
    *,
    copies: int = 1,
    config: Mapping[str, str] | None = None,
) -> Topics:
    """Make topics with names of their own."""
    name = uuid.uuid4().hex[:8]
    topics = Topics(*(f"{kind}.{name}" for kind in Topics._fields))
    make(servers, *topics, partitions=partitions, copies=copies, config=config)
    return topics


def make(
    servers: str,
    *names: str,
    partitions: int = 3,
    copies: int = 1,
    config: Mapping[str, str] | None = None,
) -> None:
    """Make topics, and wait until the broker shows them."""
    admin = AdminClient({"bootstrap.servers": servers})
    made = admin.create_topics(
        [NewTopic(one, partitions, copies, config=dict(config or {})) for one in names]
    )
    for one in made.values():
        one.result(PATIENCE)
    end = time.monotonic() + PATIENCE
    while not set(names) <= admin.list_topics(timeout=PATIENCE).topics.keys():
        assert time.monotonic() < end, f"{names} do not appear"
        time.sleep(0.02)


def send(
    servers: str,
    topic: str,
    payloads: Sequence[bytes],
    *,
    headers: Mapping[str, str | bytes] | None = None,
    key: bytes | None = None,
) -> None:
    """Write records, and wait until they are acknowledged."""
    # Topics have limits of their own.
    options = {"linger.ms": 1, "acks": "all", "message.max.bytes": 2_000_000}
    producer = Producer({"bootstrap.servers": servers, **options})
    given = headers if headers is not None else {"mqtt.topic": TOPIC}
    failed: list[Any] = []
    for payload in payloads:
        producer.produce(
            topic,
            payload,
            key=key,
            headers=list(given.items()),
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    assert producer.flush(PATIENCE) == 0
    assert not failed


class Reader:
    """Reads a topic from its beginning.

    Args:
        servers: The cluster.
        topic: The topic.
    """

    def __init__(self, servers: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"reader-{uuid.uuid4().hex}",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        # Without a group: to join one takes seconds.
        partitions = self._consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, one, OFFSET_BEGINNING) for one in partitions])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def take(self, count: int, patience: float = PATIENCE) -> list[Read]:
        """So many records."""
        found = list(self._some(count, patience))
        assert len(found) == count, f"{len(found)} of {count} records: {found[:5]}"
        return found

    def rest(self, seconds: float = 1.0) -> list[Read]:
        """What else there is."""
        return list(self._some(1_000_000, seconds))

    def _some(self, count: int, patience: float) -> Iterator[Read]:
        end = time.monotonic() + patience
        while count and time.monotonic() < end:
            message = self._consumer.poll(0.1)
            if message is None:
                continue
            assert message.error() is None, message.error()
            count -= 1
            given: Any = message.headers() or ()
            headers = {name: _bytes(value) for name, value in given}
            yield Read(
                message.topic() or "",
                message.partition() or 0,
                _bytes(message.key()),
                _bytes(message.value()) or b"",
                headers,
            )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
