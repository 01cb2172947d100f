"""The replies: a producer, and the thread that writes with it.

    replies.send(batch, replies)        # has them written
    batch.waiting                       # whether some are not acknowledged yet

A reply's record has the reply as its value, the client id as its key, the MQTT topic of the reply
as the header `mqtt.topic` and, if the request had it, its Correlation Data: the bridge that
brought the request can publish it.

Invariants: no Python runs, and no future waits, for a reply that is acknowledged. One that Kafka
permanently rejects, such as one for a topic that does not exist, is counted and logged, and does
not stop the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Producer

from pointgate import failpoint
from pointgate.errors import ConnectionLost
from pointgate.kafka import client
from pointgate.kafka.transactions import CarefulWriter, RecordTooLargeError, TransactionEndedError
from pointgate.rate_limiter import RateLimiter
from pointgate.topics import REPLY_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from confluent_kafka import Message

    from pointgate.config import KafkaSettings
    from pointgate.kafka.transactions import Transactions
    from pointgate.sources.kafka.batch import Batch
    from pointgate.sources.kafka.statistics import KafkaStatistics

TOPIC_HEADER: Final = "mqtt.topic"

Headers: TypeAlias = list[tuple[str, str | bytes | None]]

_Reply: TypeAlias = tuple[bytes, bytes | None, Headers]
"""Value, key and headers of its record."""

_POLL_SECONDS: Final = 0.1
_CLOSE_SECONDS: Final = 2.0

_OF_TOPIC: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - its public name
)
_REFUSED: Final = (*client.REFUSED, *_OF_TOPIC)

_SILENT_SECONDS: Final = 60.0
_REMEMBERED: Final = 1_000
"""Replies that were rejected and may come again."""

_GIVEN_UP: Final = (
    KafkaError._PURGE_QUEUE,  # noqa: SLF001 - the public names of these codes
    KafkaError._PURGE_INFLIGHT,  # noqa: SLF001
    KafkaError._FATAL,  # noqa: SLF001
)
"""What a record ends with that was dropped here, and that Kafka did not reject."""

_log = logging.getLogger(__name__)


def correlation_header(settings: KafkaSettings) -> str:
    """The header of a reply's Correlation Data; empty if replies have none."""
    return (settings.correlation or "").removeprefix("header:")


def reply_records(
    batch: Batch, replies: Sequence[bytes | None], correlation: str
) -> Iterator[_Reply]:
    """Value, key and headers of each reply's record."""
    of_topics: dict[str, Headers] = {}  # a burst has few, and each reply costs
    for reply, topic, client_id, data in zip(
        replies, batch.topics, batch.clients, batch.correlations, strict=True
    ):
        if reply is None:
            continue
        if (headers := of_topics.get(topic)) is None:
            headers = of_topics[topic] = [(TOPIC_HEADER, topic + REPLY_SUFFIX)]
        if correlation and data is not None:
            headers = [*headers, (correlation, data)]
        yield reply, client_id, headers


class TransactionalReplies:
    """Writes replies into the transaction of their requests (`kafka/transactions.py`).

    One that Kafka permanently rejects is left out the next time: it fails two transactions. If the
    topic is missing or may not be written, all are left out for a minute.

    Args:
        settings: The topic.
        statistics: Counts replies that were rejected.
        transactions: The transactions.
    """

    def __init__(
        self, settings: KafkaSettings, statistics: KafkaStatistics, transactions: Transactions
    ) -> None:
        topic = settings.replies or ""
        self._correlation = correlation_header(settings)
        self._refusals = Refusals(topic, statistics)
        self._writer = CarefulWriter(topic, transactions, _REFUSED, self._on_refused)
        self._left_out: dict[int, None] = {}  # the oldest first
        self._silent_until = 0.0

    def send(self, batch: Batch, replies: Sequence[bytes | None]) -> None:
        """Write the replies of a batch.

        Raises:
            ConnectionLost: The transaction has failed.
        """
        failpoint.hit("before-reply")
        is_silent = time.monotonic() < self._silent_until
        try:
            for reply, key, headers in reply_records(batch, replies, self._correlation):
                if is_silent or hash((key, reply)) in self._left_out:
                    self._refusals.count("left out")
                    continue
                try:
                    self._writer.produce(reply, key=key, partition=-1, headers=headers)
                except RecordTooLargeError as error:
                    self._refusals.count(str(error))
        except TransactionEndedError as error:
            raise ConnectionLost(str(error)) from error
        failpoint.hit("after-reply")

    @property
    def waits(self) -> bool:
        """Whether `send` waits for each reply, and belongs in a thread."""
        return self._writer.waits

    async def close(self) -> None:
        """Nothing: whoever has the transactions aborts them."""

    def _on_refused(self, error: KafkaError, message: Message) -> None:
        self._refusals.count(client.reason(error))
        if error.code() in _OF_TOPIC:
            self._silent_until = time.monotonic() + _SILENT_SECONDS
        else:
            self._left_out[hash((message.key(), message.value()))] = None
            if len(self._left_out) > _REMEMBERED:
                del self._left_out[next(iter(self._left_out))]


class Refusals:
    """Counts and logs replies that Kafka permanently rejected.

    Args:
        topic: The topic of the replies.
        statistics: Where they are counted.
    """

    def __init__(self, topic: str, statistics: KafkaStatistics) -> None:
        self._topic = topic
        self._statistics = statistics
        self._lines = RateLimiter(60.0)

    def count(self, reason: str) -> None:
        """Count one."""
        self._statistics.replies_refused += 1
        if events := self._lines.count():
            _log.warning(
                "Kafka rejected %d replies to the topic %s (last: %s)", events, self._topic, reason
            )


class Replies:
    """Writes replies to a topic, in rounds: those of some batches, then those that came meanwhile.

    Its thread hands the replies of a round to librdkafka and waits until all are acknowledged: no
    Python runs for a reply that is, and under load rounds are large.

    Args:
        settings: The cluster and the topic.
        statistics: Counts replies that were rejected.
        delivered: Called on the event loop when all replies of some batches are acknowledged.
        on_error: Called on the event loop with an error after which the producer cannot go on.

    Raises:
        ConfigError: The password file cannot be read.
        KafkaException: The settings cannot be used.
    """

    waits: Final = False

    def __init__(
        self,
        settings: KafkaSettings,
        statistics: KafkaStatistics,
        *,
        delivered: Callable[[], None],
        on_error: Callable[[str], None],
    ) -> None:
        self._topic = settings.replies or ""
        self._correlation = correlation_header(settings)
        self._statistics = statistics
        self._delivered = delivered
        self._on_fatal = on_error
        self._loop = asyncio.get_running_loop()
        self._refusals = Refusals(self._topic, statistics)
        self._closing = threading.Event()
        self._given_up = False
        self._refused: dict[tuple[bytes, bytes | None], str] = {}
        self._sent: SimpleQueue[tuple[Batch, Sequence[bytes | None]]] = SimpleQueue()
        options: dict[str, Any] = {
            **client.of_producer(settings.client_options("kafka")),
            "error_cb": self._on_error,
            "on_delivery": self._on_failed,
            "delivery.report.only.error": True,
        }
        self._producer = Producer(options, logger=client.log)
        self._thread = threading.Thread(target=self._serve, name="kafka-replies", daemon=True)
        self._thread.start()

    def send(self, batch: Batch, replies: Sequence[bytes | None]) -> None:
        """Have the replies of a batch written; then its `waiting` is false again."""
        batch.waiting = True
        self._sent.put((batch, replies))

    async def close(self) -> None:
        """Give up what is not acknowledged."""
        self._closing.set()
        with contextlib.suppress(Exception):
            self._producer.purge()
        await asyncio.to_thread(self._thread.join)

    # In the thread.

    def _serve(self) -> None:
        while not self._closing.is_set():
            if sent := self._round():
                self._write(sent)
            else:
                self._producer.poll(0)  # hears of errors
        # It refers to this object: together they would wait for a collection of garbage.
        del self._producer

    def _round(self) -> list[tuple[Batch, Sequence[bytes | None]]]:
        """What was sent since the last round; waits a moment if that is nothing."""
        sent = []
        with contextlib.suppress(Empty):
            sent.append(self._sent.get(timeout=_POLL_SECONDS))
            while True:
                sent.append(self._sent.get_nowait())
        return sent

    def _write(self, sent: Sequence[tuple[Batch, Sequence[bytes | None]]]) -> None:
        """Write a round, and wait until it is acknowledged."""
        try:
            for batch, replies in sent:
                failpoint.hit("before-reply", self._flush)
                for record in reply_records(batch, replies, self._correlation):
                    self._produce(*record)
                failpoint.hit("after-reply", self._flush)
            self._wait()
            if self._refused:
                refused, self._refused = self._refused, {}
                records = (reply_records(*one, self._correlation) for one in sent)
                again = [one for part in records for one in part if one[:2] in refused]
                self._write_apart(again, next(iter(refused.values())))
        except (KafkaException, BufferError) as error:
            text = client.reason(error) if isinstance(error, KafkaException) else str(error)
            self._tell(self._on_fatal, text)
            return
        if not self._given_up and not self._closing.is_set():
            for batch, _ in sent:
                batch.waiting = False
            self._tell(self._delivered)

    def _produce(
        self,
        reply: bytes,
        key: bytes | None,
        headers: Headers,
        on_failed: Callable[[KafkaError | None, Message], None] | None = None,
    ) -> None:
        """Hand a reply to the producer."""
        try:
            # By position, which takes two thirds of the time: the partition of the key, now.
            self._producer.produce(self._topic, reply, key, -1, on_failed, None, 0, headers)
        except KafkaException as error:
            if error.args[0].code() not in client.REFUSED:
                raise
            self._refusals.count(client.reason(error))  # larger than librdkafka takes

    def _wait(self) -> None:
        """Wait until what was handed over is acknowledged, or has failed."""
        while self._producer.flush(_POLL_SECONDS) and not self._closing.is_set():
            pass

    def _write_apart(self, records: Sequence[_Reply], reason: str) -> None:
        """Write replies again that failed in one piece, until the one that fails alone is known."""
        if len(records) == 1:
            self._refusals.count(reason)
            return
        half = len(records) // 2
        for part in (records[:half], records[half:]):
            failed: list[tuple[_Reply, str]] = []
            for record in part:
                self._produce(*record, partial(self._on_failed_again, failed, record))
            self._wait()
            if failed:
                self._write_apart([one for one, _ in failed], failed[0][1])

    def _flush(self) -> None:
        """Wait a moment for what was written, before a failpoint's kill."""
        self._producer.flush(_CLOSE_SECONDS)

    def _on_failed(self, error: KafkaError, message: Message) -> None:
        """Hear of a reply that Kafka does not take, or that is given up."""
        if error.code() in _GIVEN_UP:
            self._given_up = True  # its batch stays incomplete, and its requests are redelivered
        elif error.code() in client.REFUSED:
            # So is everything that was sent in one piece with it. Its headers are not told here.
            self._refused[message.value() or b"", message.key()] = client.reason(error)
        else:
            self._refusals.count(client.reason(error))

    def _on_failed_again(
        self,
        failed: list[tuple[_Reply, str]],
        record: _Reply,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        if error is not None and error.code() in client.REFUSED:
            failed.append((record, client.reason(error)))
        elif error is not None:
            self._on_failed(error, message)

    def _on_error(self, error: KafkaError) -> None:
        self._statistics.errors += 1
        if error.fatal():
            self._tell(self._on_fatal, client.reason(error))

    def _tell(self, call: Callable[..., Any], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call, *arguments)
