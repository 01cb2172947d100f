"""The sink that writes to a Kafka topic.

A write hands its records to librdkafka and returns when all in-sync replicas have acknowledged each
of them (`acks = all`, idempotent producer). Kafka acknowledges from the memory of so many machines
as `min.insync.replicas` says; it does not fsync. With a replication factor of 1 that is one
machine, and a warning is logged.

A write that is repeated, after a crash or because only a part of it was acknowledged, is in the
topic twice: delivery is at least once, and consumers upsert by product, device, identifier and
time. A record larger than the topic takes is permanently rejected, and its request dead-lettered.

With `kafka.exactly_once` records are written into transactions (`transactional.py`), and nothing is
in the topic twice for readers with `isolation.level = "read_committed"`.

Invariants: one callback counts; when `write` returns, every record is acknowledged, or in the
transaction; records of one device are in one partition, in the order of arrival.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Producer

from pointgate.errors import ConfigError, Problem
from pointgate.kafka import client
from pointgate.kafka.transactions import TransactionEndedError
from pointgate.rate_limiter import RateLimiter
from pointgate.sinks.base import CommitsEachWrite, SinkRefusedError, SinkUnavailableError
from pointgate.sinks.kafka.records import arrow_records, json_records, request_records
from pointgate.sinks.kafka.transactional import TransactionalWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confluent_kafka import Message
    from confluent_kafka.admin._metadata import TopicMetadata

    from pointgate.kafka.transactions import Transactions
    from pointgate.sinks.kafka.records import Record
    from pointgate.sinks.kafka.settings import KafkaSinkSettings

_METADATA_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.2
_PRODUCED: Final = 1_000
"""Records between two looks at what became of earlier ones."""

_RECORD_BYTES: Final = 1_000_000
"""The largest record by librdkafka's default."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


def build(settings: KafkaSinkSettings, writer: str) -> KafkaSink:  # noqa: ARG001 - see `newest`
    """Make the sink from its settings.

    Raises:
        ConfigError: librdkafka does not take the options, or the password file cannot be read.
    """
    options = settings.client_options(f"sinks.{settings.name}")
    if reason := client.mistake(options, produces=True):
        raise ConfigError([Problem("", f"sinks.{settings.name}.options", reason)])
    return KafkaSink(settings)


class _Write:
    """What became of the records of one write: a counting callback."""

    def __init__(self) -> None:
        self.left = 0
        self.refused: KafkaError | None = None
        self.failed: KafkaError | None = None

    def __call__(self, error: KafkaError | None, _message: Message) -> None:
        self.left -= 1
        if error is not None:
            if error.code() in client.REFUSED:
                self.refused = error
            else:
                self.failed = error


class KafkaSink(CommitsEachWrite):
    """Writes points to a topic.

    Attributes:
        name: Its name in metrics and log lines.
    """

    def __init__(self, settings: KafkaSinkSettings) -> None:
        self.name = settings.name
        self._transactional: TransactionalWriter | None = None
        self._settings = settings
        self._producer: Producer | None = None
        self._partitions = 0
        self._closing = threading.Event()
        self._errors = RateLimiter(60.0)
        self._reports = client.Reports()
        self._warned = False
        # One thread, so that a write whose task was cancelled ends before the next call begins.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink {settings.name}")

    def write_into(self, transactions: Transactions) -> None:
        """Write into transactions from now on; before the sink is opened."""
        options = client.of_producer(self._settings.options)
        compression = str(options.get("compression.codec") or options["compression.type"])
        self._transactional = TransactionalWriter(
            self._settings.topic,
            transactions,
            most_bytes=int(options.get("message.max.bytes", _RECORD_BYTES)),
            compression=compression,
        )

    def newest(self) -> int:
        """0: records have no sequence (see `base.Sink`)."""
        return 0

    async def open(self) -> None:
        """Connect, and look for the topic.

        Raises:
            SinkUnavailableError: No broker answers, or there is no such topic.
        """
        if self._transactional is None:
            await self._run(self._open)

    async def write(self, points: pa.Table, *, sequence: int) -> None:  # noqa: ARG002 - see `Sink`
        """Write points, and wait until all in-sync replicas have them.

        Args:
            points: Rows of `store.points.SCHEMA`.
            sequence: Ignored.

        Raises:
            SinkUnavailableError: Some records were not acknowledged.
            SinkRefusedError: Kafka does not take a record of this size.
        """
        await self._run(self._write, points)

    async def close(self) -> None:
        """Release the thread; records that are not acknowledged are given up."""
        self._closing.set()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
        except (KafkaException, ConfigError) as error:
            reason = client.reason(error) if isinstance(error, KafkaException) else str(error)
            raise SinkUnavailableError(
                f"cannot write to {self._settings.topic}: {reason}"
            ) from error
        except MemoryError:  # Arrow's own is also an ArrowException
            raise
        except pa.ArrowException as error:
            raise SinkRefusedError(f"cannot be written to Kafka: {error}") from error

    # In its thread.

    def _open(self) -> Producer:
        """The producer, made again after a fatal error."""
        if self._producer is not None:
            return self._producer
        options = client.of_producer(self._settings.client_options(f"sinks.{self._settings.name}"))
        producer = Producer({**options, "error_cb": self._on_error}, logger=client.log)
        topic, self._reports = self._settings.topic, client.Reports()
        try:
            found = producer.list_topics(topic, timeout=_METADATA_SECONDS).topics[topic]
        except KafkaException as error:
            reason = self._reports.explain(error, producer)
            raise SinkUnavailableError(f"cannot write to {topic}: {reason}") from error
        self._examine(found)
        self._producer = producer
        return producer

    def _examine(self, found: TopicMetadata) -> None:
        """Take the number of partitions, and warn of too few replicas."""
        if found.error is not None:
            raise KafkaException(found.error)
        self._partitions = len(found.partitions)
        copies = min((len(one.replicas) for one in found.partitions.values()), default=0)
        if copies == 1 and not self._warned:
            self._warned = True
            _log.warning(
                "sink %s: the topic %s has a replication factor of 1: a record that was "
                "acknowledged is lost with its one broker",
                self.name,
                self._settings.topic,
            )

    def _records(self, points: pa.Table) -> Iterator[Record]:
        match self._settings.format:
            case "json":
                return json_records(points)
            case "request":
                return request_records(points)
            case "arrow":
                return arrow_records(points, self._partitions)

    def _write(self, points: pa.Table) -> None:
        if self._transactional is not None:
            self._write_into(self._transactional, points)
            return
        producer, topic, write = self._open(), self._settings.topic, _Write()
        for number, (value, key, partition, headers) in enumerate(self._records(points)):
            write.left += 1
            try:
                producer.produce(
                    topic,
                    value,
                    key=key,
                    partition=partition,
                    headers=headers,
                    on_delivery=write,
                )
            except KafkaException as error:
                write(error.args[0], None)  # type: ignore[arg-type]
            if number % _PRODUCED == 0:
                producer.poll(0)
        while write.left and not self._closing.is_set():
            producer.poll(_POLL_SECONDS)
        self._check(write)

    def _write_into(self, writer: TransactionalWriter, points: pa.Table) -> None:
        # If it has failed, the requests are redelivered, and their points come with them.
        with suppress(TransactionEndedError):
            if not self._partitions:
                self._examine(writer.topic())
            writer.write([*self._records(points)])

    def _check(self, write: _Write) -> None:
        """Raise what a write ended with."""
        if write.refused is not None:
            raise SinkRefusedError(f"rejected by Kafka: {client.reason(write.refused)}")
        if write.failed is not None:
            if write.failed.fatal():
                self._producer = None
            raise KafkaException(write.failed)
        if write.left:
            raise SinkUnavailableError("closed before Kafka acknowledged the points")

    def _close(self) -> None:
        if self._producer is not None:
            self._producer.purge()
            self._producer.poll(0)
            self._producer = None

    def _on_error(self, error: KafkaError) -> None:
        self._reports(error)
        if error.fatal():
            self._producer = None
        if self._errors.count():
            _log.warning("sink %s: %s", self.name, client.reason(error))
