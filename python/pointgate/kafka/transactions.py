"""Transactions of Kafka: points, replies and offsets of some requests become visible together.

    await transactions.open()                        # fences who used the same id before
    transactions.produce("points", value, …)         # from any thread
    await transactions.commit(offsets, group)        # and the next one begins
    await transactions.close()                       # aborts what is not committed

A transaction is only as good as all of it: whatever fails ends it, and nothing more is written to
it. Its requests were not committed either, so they are redelivered to the next one. Between a
failure and the next `open`, `produce` says so, and writes nothing.

Invariants: one transaction at a time; what was produced into a transaction that failed is never
visible to readers with `isolation.level = "read_committed"`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer

from pointgate import failpoint
from pointgate.errors import PointgateError
from pointgate.kafka import client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from confluent_kafka import Message, TopicPartition
    from confluent_kafka.admin._metadata import TopicMetadata

    from pointgate.kafka.settings import Options

_SECONDS: Final = 10.0
"""The patience for each step of a commit."""

_OPEN_SECONDS: Final = 1.0
"""The patience of one attempt to open; it is repeated until `close`."""

_ABORT_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1
_ALONE_SECONDS: Final = 60.0

_FENCED: Final = (
    KafkaError._FENCED,  # noqa: SLF001 - its public name
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
)

T = TypeVar("T")


class RecordTooLargeError(PointgateError):
    """The client takes no record of this size; the transaction goes on without it."""


class TransactionEndedError(PointgateError):
    """The transaction has failed, and the next one is not open; the text says why."""


class Transactions:
    """The transactions of one service, one after another.

    Args:
        options: Settings of librdkafka.
        transactional_id: The id, which no other service has, the same after each restart.
        until_written: Returns when the sinks have taken every point that they were given.

    Attributes:
        fenced: Whether the last failure was that another service took the id.
        on_failed: Called on the event loop when the transaction has failed, until `close`.
    """

    def __init__(
        self,
        options: Callable[[], Options],
        transactional_id: str,
        until_written: Callable[[], Awaitable[None]],
    ) -> None:
        self._options = options
        self._id = transactional_id
        self._producer: Producer | None = None
        self._failed: Producer | None = None  # what is to be aborted
        self._ended = "it is not open"
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-transactions")
        self._polling: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.fenced = False
        self.on_failed: Callable[[str], None] = _ignore
        self._until_written = until_written

    async def open(self) -> None:
        """Begin the first transaction; may be cancelled.

        Points of requests whose transaction has failed may be on their way to the sinks: these drop
        them first.

        Raises:
            ConfigError: The password file cannot be read.
            KafkaException: The brokers do not take the id.
            TransactionEndedError: It was closed meanwhile.
        """
        await self._until_written()
        self._closing.clear()
        try:
            await self._run(self._open)
        except asyncio.CancelledError:
            self._closing.set()
            raise

    def produce(
        self,
        topic: str,
        value: str | bytes,
        *,
        key: str | bytes | None,
        partition: int,
        headers: Any,
        on_delivery: Callable[[KafkaError, Message], None],
    ) -> None:
        """Write a record into the transaction.

        Args:
            topic: Where to.
            value: Its value.
            key: Its key.
            partition: Its partition; -1 for that of the key.
            headers: Its headers.
            on_delivery: Called in another thread if it fails.

        Raises:
            RecordTooLargeError: The client takes no record of this size.
            TransactionEndedError: The transaction has failed.
        """
        producer = self._current()
        try:
            # By position, which takes two thirds of the time; only errors are reported.
            producer.produce(topic, value, key, partition, on_delivery, None, 0, headers)  # type: ignore[arg-type]
        except KafkaException as error:
            if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                raise RecordTooLargeError(client.reason(error)) from None
            raise self._failed_with(producer, error) from None

    def flush(self) -> None:
        """Wait until everything that was produced is acknowledged, or has failed.

        Raises:
            TransactionEndedError: The transaction has failed.
        """
        producer = self._current()
        try:
            producer.flush(_SECONDS)
        except KafkaException as error:
            raise self._failed_with(producer, error) from None

    async def commit(self, offsets: Sequence[TopicPartition], group: object) -> None:
        """Commit what was produced, and these offsets; begin the next transaction.

        Args:
            offsets: The offsets of all its requests.
            group: The metadata of the consumer group, which fences former members.

        Raises:
            TransactionEndedError: The transaction has failed.
        """
        await self._run(self._commit, offsets, group)

    def fail(self, reason: str) -> None:
        """End the transaction: nothing more is written to it. From any thread."""
        with self._lock:
            if self._producer is None:
                return
            self._failed, self._producer, self._ended = self._producer, None, reason
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.on_failed, reason)

    def _current(self) -> Producer:
        """The producer of the open transaction."""
        producer = self._producer
        if producer is None:
            raise TransactionEndedError(self._ended)
        return producer

    def _failed_with(self, producer: Producer, error: KafkaException) -> TransactionEndedError:
        self._note(_cause(producer, error.args[0]))
        return TransactionEndedError(self._ended)

    def _note(self, error: KafkaError) -> None:
        """End the transaction by an error of the library."""
        if self._producer is not None:
            self.fenced = error.code() in _FENCED
        self.fail(client.reason(error))

    async def close(self) -> None:
        """Abort what is not committed; `open` can be called again."""
        self.on_failed = _ignore
        self._closing.set()
        await self._run(self._close)

    def topic(self, name: str) -> TopicMetadata:
        """The metadata of a topic.

        Raises:
            TransactionEndedError: No transaction is open.
            KafkaException: No broker answers.
        """
        found: TopicMetadata = self._current().list_topics(name, timeout=_SECONDS).topics[name]
        return found

    async def _run(self, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return await self._loop.run_in_executor(self._thread, call, *arguments)
        except KafkaException as error:
            # Its frames hold the producer, which would end on the event loop.
            raise error.with_traceback(None) from None

    # In its thread.

    def _open(self) -> None:
        self._close()  # what a connection that was never made has left
        options = client.of_transactions(self._options(), self._id)
        producer = Producer(
            {**options, "error_cb": self._on_error, "delivery.report.only.error": True},
            logger=client.log,
        )
        self._failed, self.fenced = producer, False
        self._polling = threading.Thread(
            target=self._poll, args=(producer,), name="kafka-transactions-poll", daemon=True
        )
        self._polling.start()
        try:
            self._initialize(producer)
        except BaseException:
            self._close()
            raise
        producer.begin_transaction()
        self._failed, self._producer = None, producer

    def _initialize(self, producer: Producer) -> None:
        """Take the id, which aborts what its former owner has left; repeated until `close`."""
        while not self._closing.is_set():
            try:
                return producer.init_transactions(_OPEN_SECONDS)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
        raise TransactionEndedError("it was closed")

    def _commit(self, offsets: Sequence[TopicPartition], group: object) -> None:
        producer = self._current()
        try:
            failpoint.hit("before-ack")
            producer.send_offsets_to_transaction(list(offsets), group, _SECONDS)
            failpoint.hit("in-transaction", lambda: producer.flush(_SECONDS))
            producer.commit_transaction(_SECONDS)
            failpoint.hit("after-ack")
            producer.begin_transaction()
        except KafkaException as error:
            raise self._failed_with(producer, error) from None

    def _close(self) -> None:
        self.fail("it was closed")
        producer, self._failed = self._failed, None
        if producer is not None:
            with contextlib.suppress(KafkaException):
                producer.purge()
                producer.abort_transaction(_ABORT_SECONDS)
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.join()

    def _poll(self, producer: Producer) -> None:
        """Take delivery reports and errors, without which nothing is committed."""
        try:
            while self._polling is threading.current_thread():
                producer.poll(_POLL_SECONDS)
        except KafkaException as error:  # how fatal errors are told
            self._note(error.args[0])

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._note(error)


class CarefulWriter:
    """Writes records to a topic, and finds the one that fails its transaction.

    All records of a batch fail with one that the topic does not take. So after such a failure each
    record gets a batch of its own for a minute, and the one that fails alone is known.

    Args:
        topic: The topic.
        transactions: What it writes into.
        codes: The errors of records that the topic does not take.
        refused: Called in another thread with a record that failed alone.
    """

    def __init__(
        self,
        topic: str,
        transactions: Transactions,
        codes: Collection[int],
        refused: Callable[[KafkaError, Message], None],
    ) -> None:
        self.topic = topic
        self._transactions = transactions
        self._codes = codes
        self._refused = refused
        self._alone_until = 0.0

    @property
    def waits(self) -> bool:
        """Whether each record is waited for."""
        return time.monotonic() < self._alone_until

    def produce(
        self, value: str | bytes, *, key: str | bytes | None, partition: int, headers: Any
    ) -> None:
        """Write a record (see `Transactions.produce`)."""
        alone = self.waits
        self._transactions.produce(
            self.topic,
            value,
            key=key,
            partition=partition,
            headers=headers,
            on_delivery=self._on_failed_alone if alone else self._on_failed,
        )
        if alone:
            self._transactions.flush()

    def _on_failed_alone(self, error: KafkaError, message: Message) -> None:
        if error.code() in self._codes:
            self._refused(error, message)
        self._on_failed(error, message)

    def _on_failed(self, error: KafkaError, _message: Message) -> None:
        if error.code() in self._codes:
            self._alone_until = time.monotonic() + _ALONE_SECONDS
        self._transactions.fail(f"cannot write to {self.topic}: {client.reason(error)}")


def _cause(producer: Producer, error: KafkaError) -> KafkaError:
    """What is behind `_FATAL`: `produce` says no more than that, other calls say the cause."""
    if error.code() != KafkaError._FATAL:  # noqa: SLF001 - its public name
        return error
    try:
        producer.begin_transaction()
    except KafkaException as known:
        error = known.args[0]
    return error


def _ignore(_: str) -> None:
    """Nobody wants to know."""
