"""librdkafka: its settings checked, its errors as text, its log lines in ours.

confluent-kafka is an extra: this module is imported only where a cluster is configured.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from pointgate.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.kafka.settings import Options

log: Final = logging.getLogger("pointgate.kafka.librdkafka")
"""Where librdkafka's own lines go, at its own levels, and not more often than `_Limit` lets them:
while no broker can be reached it writes several thousand in a second."""

_LINES: Final = 5
"""The most lines of one kind in a minute."""

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


CONSUMER: Final[Options] = {
    "auto.offset.reset": "earliest",
    "topic.metadata.refresh.interval.ms": 30_000,
    "queued.max.messages.kbytes": 16_384,
    "fetch.wait.max.ms": 100,
}
"""A new group begins with the oldest record; so much is fetched ahead, besides one answer of a
broker."""

_CLASSIC: Final[Options] = {
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 10_000,
    "heartbeat.interval.ms": 3_000,
}
"""A member that dies is replaced after ten seconds. With `group.protocol = "consumer"` the brokers
decide that."""

_ALWAYS: Final[Options] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "statistics.interval.ms": 1000,
}

_OF_TRANSACTIONS: Final[Options] = {
    "transaction.timeout.ms": 15_000,
    "topic.metadata.propagation.max.ms": 3_000,
}
"""So long after a service was killed the brokers abort its transaction, for which readers wait; and
so long a topic that does not exist may still appear, for which a commit waits."""

_RECONNECT: Final[Options] = {"reconnect.backoff.max.ms": 2_000}

_OF_CONSUMERS: Final = (
    *("auto.offset.", "check.crcs", "fetch.", "group.", "heartbeat.", "isolation.", "max.poll."),
    *("partition.assignment.", "queued.", "session."),
)
_OF_PRODUCERS: Final = (
    *("batch.", "compression.", "linger.", "message.send.", "partitioner", "queue.buffering."),
    *("request.timeout.", "retries", "retry.", "sticky.", "topic.metadata.propagation."),
    "transaction.",
)
"""How names begin that only one kind of client takes; it warns of the others'."""


TOO_LARGE: Final = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.RECORD_LIST_TOO_LARGE,
)
REFUSED: Final = (*TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD)
"""Why a topic does not take a record, which another attempt cannot change."""


def of_consumer(options: Options) -> Options:
    """Those of some settings that a consumer takes, over our defaults and below our own."""
    given = _without(options, _OF_PRODUCERS)
    classic = {} if given.get("group.protocol") == "consumer" else _CLASSIC
    return _RECONNECT | CONSUMER | classic | given | _ALWAYS


def of_producer(options: Options) -> Options:
    """Those of some settings that a producer takes, over our defaults."""
    return _RECONNECT | PRODUCER | _without(options, _OF_CONSUMERS)


def of_transactions(options: Options, transactional_id: str) -> Options:
    """Those of some settings that a transactional producer takes, over our defaults."""
    found = _OF_TRANSACTIONS | of_producer(options)
    del found["message.timeout.ms"]  # a record that takes longer fails its transaction
    return found | {"transactional.id": transactional_id}


def _without(options: Options, beginnings: tuple[str, ...]) -> Options:
    return {name: value for name, value in options.items() if not name.startswith(beginnings)}


class _Limit(logging.Filter):
    """Lets some lines of each kind through in a minute.

    A line begins with its kind, such as FAIL; the kinds are librdkafka's, a few dozen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[str, RateLimiter] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written; it says how many were not since the last one."""
        kind = record.getMessage().partition(" ")[0]
        events = self._kinds.setdefault(kind, RateLimiter(60.0, burst=_LINES)).count()
        if events > 1:
            record.msg = f"{record.msg} ({events} such lines since the last one)"
        return events > 0


log.addFilter(_Limit())


def reason(error: KafkaError | KafkaException | None) -> str:
    """An error of librdkafka in words."""
    if error is None:
        return "no reason given"
    inner = error.args[0] if isinstance(error, KafkaException) and error.args else error
    # Some of its texts end with a line feed.
    text = " ".join((inner.str() if hasattr(inner, "str") else str(inner)).split())
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


class Reports:
    """What a client's threads report: why its calls fail, which themselves only say that they do.

    Use it as the client's `error_cb`.
    """

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, error: KafkaError) -> None:
        """Keep a report, unless it is only that no broker is left."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - its public name
            self._last = reason(error)

    def explain(self, error: KafkaException, client: Producer | AdminClient) -> str:
        """An error of a call, with the last report."""
        client.poll(0)  # takes the reports
        text = reason(error)
        return f"{text}: {self._last}" if self._last not in text else text


def admin(options: Options) -> tuple[AdminClient, Reports]:
    """A client for questions about topics, and what explains its errors.

    Args:
        options: Settings, of which it takes those of any client.
    """
    given = _without(options, _OF_CONSUMERS + _OF_PRODUCERS)
    reports = Reports()
    configuration: dict[str, Any] = {**_RECONNECT, **given, "error_cb": reports}
    return AdminClient(configuration, logger=log), reports


def unusable_pattern(topics: Sequence[str]) -> str:
    """The first of some topics that librdkafka does not subscribe to; empty if there is none.

    Its regular expressions are those of the C library (POSIX), not Python's: a pattern that it
    refuses would be refused at each attempt of the service. Nothing is connected to.
    """
    consumer = Consumer({"group.id": "check", "log_level": _QUIET})
    try:
        for topic in topics:
            try:
                consumer.subscribe([topic])
            except KafkaException:
                return topic
        return ""
    finally:
        consumer.close()


def mistake(
    options: Options,
    *,
    group: str = "",
    produces: bool = False,
    transactional_id: str | None = None,
) -> str:
    """Why librdkafka refuses some settings; empty if it takes them.

    Args:
        options: The settings. Nothing is connected to.
        group: The consumer group, for a consumer.
        produces: Whether they are of a producer, too.
        transactional_id: The id of its transactions, if it has some.
    """
    alone = {key: value for key, value in options.items() if key != "bootstrap.servers"}
    alone["log_level"] = _QUIET
    try:
        if group:
            Consumer(of_consumer(alone) | {"group.id": group}).close()
        if transactional_id:
            Producer(of_transactions(alone, transactional_id)).flush(0)
        elif produces:
            Producer(of_producer(alone)).flush(0)
    except (KafkaException, ValueError, TypeError) as error:
        return reason(error) if isinstance(error, KafkaException) else str(error)
    return ""
