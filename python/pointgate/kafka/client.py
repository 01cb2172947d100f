"""librdkafka: its settings checked, its errors as text, its log lines in ours.

confluent-kafka is an extra: this module is imported only where a cluster is configured.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaException, Producer

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from pointgate.kafka.settings import Options

log: Final = logging.getLogger("pointgate.kafka.librdkafka")
"""Where librdkafka's own lines go, at its own levels."""

_QUIET: Final = 0
"""The log level of a client that is only made to check its settings."""

PRODUCER: Final[Options] = {
    "acks": "all",
    "enable.idempotence": True,
    "message.timeout.ms": 0,
    "linger.ms": 1,
    "compression.type": "lz4",
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": 0,
    "queue.buffering.max.kbytes": 2_147_483_647,
}
"""All in-sync replicas acknowledge; a record is retried for as long as it takes, in order. The
queue has no limit of its own: the admission budget, or the size of a write, bounds it. Keys choose
partitions as Java's clients do, so that topics can be joined."""


def reason(error: KafkaError | KafkaException | None) -> str:
    """An error of librdkafka in words."""
    if error is None:
        return "no reason given"
    inner = error.args[0] if isinstance(error, KafkaException) and error.args else error
    text = inner.str() if hasattr(inner, "str") else str(inner)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def mistake(options: Options, *, group: str = "", produces: bool = False) -> str:
    """Why librdkafka refuses some settings; empty if it takes them.

    Args:
        options: The settings. Nothing is connected to.
        group: The consumer group, for a consumer.
        produces: Whether they are of a producer, too.
    """
    alone = {key: value for key, value in options.items() if key != "bootstrap.servers"}
    alone["log_level"] = _QUIET
    try:
        if group:
            Consumer(alone | {"group.id": group}).close()
        if produces:
            Producer(alone | PRODUCER).flush(0)
    except (KafkaException, ValueError, TypeError) as error:
        return reason(error) if isinstance(error, KafkaException) else str(error)
    return ""
