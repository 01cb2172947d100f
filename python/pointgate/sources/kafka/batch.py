"""A burst of records, with what its replies and its offsets need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointgate._core import Burst

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from confluent_kafka import Message

    from pointgate.sources.kafka.partitions import Partition, Partitions

BURST_REQUESTS: Final = 512
BURST_BYTES: Final = 200_000
"""The largest burst, as with MQTT; a single request may be larger."""


@dataclass(slots=True)
class Batch:
    """A burst on its way.

    Attributes:
        burst: The requests.
        topics: Their MQTT topics.
        clients: Their client ids: the keys of their replies.
        correlations: Their Correlation Data.
        ends: By partition, the offset behind the last of these records.
        waiting: Whether replies are not acknowledged yet.
    """

    burst: Burst
    topics: list[str]
    clients: list[bytes | None]
    correlations: list[bytes | None]
    ends: dict[Partition, int]
    waiting: bool = False

    def settle(self) -> None:
        """Everything in it is settled."""
        for partition, end in self.ends.items():
            partition.done = max(partition.done, end)


@dataclass(slots=True)
class _Gathered:
    """Records that become a batch."""

    topics: list[str] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    correlations: list[bytes | None] = field(default_factory=list)
    clients: list[bytes | None] = field(default_factory=list)
    ends: dict[Partition, int] = field(default_factory=dict)
    size: int = 0

    def batch(self, arrived: float) -> Batch:
        burst = Burst.of(self.topics, self.payloads, arrived=arrived)
        return Batch(burst, self.topics, self.clients, self.correlations, self.ends)


def batches(
    messages: Sequence[Message],
    read: Callable[[Message], tuple[str, bytes, bytes | None, bytes | None]],
    partitions: Partitions,
    arrived: float,
) -> Iterator[Batch]:
    """Cut records into bursts; those of a partition that was revoked meanwhile are dropped.

    Args:
        messages: The records, in the order of arrival.
        read: Makes a request of a record (`Rules.reader`).
        partitions: Those that are assigned.
        arrived: When they arrived, on the monotonic clock.
    """
    gathered = _Gathered()
    topic_name, number, partition = "", -1, None
    for message in messages:
        if message.partition() != number or message.topic() != topic_name:
            topic_name, number = message.topic() or "", message.partition() or 0
            partition = partitions.find(topic_name, number)
        if partition is None:
            continue  # it is redelivered to whoever has the partition now
        topic, payload, correlation, client_id = read(message)
        gathered.topics.append(topic)
        gathered.payloads.append(payload)
        gathered.correlations.append(correlation)
        gathered.clients.append(client_id)
        partition.received = gathered.ends[partition] = (message.offset() or 0) + 1
        gathered.size += len(payload)
        if gathered.size >= BURST_BYTES or len(gathered.topics) >= BURST_REQUESTS:
            yield gathered.batch(arrived)
            gathered = _Gathered()
    if gathered.topics:
        yield gathered.batch(arrived)
