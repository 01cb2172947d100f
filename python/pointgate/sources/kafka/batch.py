"""A burst of records, with what its replies and its offsets need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointgate._core import Burst

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from confluent_kafka import Message

    from pointgate.kafka.rules import Requests
    from pointgate.sources.kafka.partitions import Partition, Partitions

BURST_REQUESTS: Final = 1024
BURST_BYTES: Final = 512_000
"""The largest burst, as much as a poll takes; a single request may be larger. It is twice that of
MQTT: a burst passes more threads here."""


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


def batches(
    messages: Iterable[Message],
    read: Callable[[Sequence[Message]], Requests],
    partitions: Partitions,
    arrived: float,
) -> Iterator[Batch]:
    """Cut records into bursts; those of a partition that was revoked meanwhile are dropped.

    Args:
        messages: The records, in the order of arrival.
        read: Makes requests of records (`Rules.reader`).
        partitions: Those that are assigned.
        arrived: When they arrived, on the monotonic clock.
    """
    records, owners = _of_assigned(messages, partitions)
    topics, payloads, correlations, clients = read(records)
    ends = [(record.offset() or 0) + 1 for record in records]
    for begin, end in _cuts(payloads):
        rows = slice(begin, end)
        last = dict(zip(owners[rows], ends[rows], strict=True))
        for partition, behind in last.items():
            partition.received = behind
        burst = Burst.of(topics[rows], payloads[rows], arrived=arrived)
        yield Batch(burst, topics[rows], clients[rows], correlations[rows], last)


def _of_assigned(
    messages: Iterable[Message], partitions: Partitions
) -> tuple[list[Message], list[Partition]]:
    """The records whose partition is assigned, and it; others are redelivered to its owner."""
    records, owners = [], []
    topic, number, partition = "", -1, None
    for message in messages:
        if message.partition() != number or message.topic() != topic:
            topic, number = message.topic() or "", message.partition() or 0
            partition = partitions.find(topic, number)
        if partition is not None:
            records.append(message)
            owners.append(partition)
    return records, owners


def _cuts(payloads: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Where bursts begin and end."""
    begin = size = 0
    for place, payload in enumerate(payloads, 1):
        size += len(payload)
        if size >= BURST_BYTES or place - begin >= BURST_REQUESTS:
            yield begin, place
            begin, size = place, 0
    if begin < len(payloads):
        yield begin, len(payloads)
