"""Transactions of Kafka: points, replies and offsets of some requests become visible together.

    await transactions.open(on_failed)               # fences who used the same id before
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
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer

from pointgate import failpoint
from pointgate.errors import PointgateError
from pointgate.kafka import client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from confluent_kafka import Message, TopicPartition
    from confluent_kafka.admin._metadata import TopicMetadata

    from pointgate.kafka.settings import Options

_SECONDS: Final = 30.0
"""The patience for each step of a transaction."""

_ABORT_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1

T = TypeVar("T")


class TransactionEndedError(PointgateError):
    """The transaction has failed, and the next one is not open; the text says why."""


class Transactions:
    """The transactions of one service, one after another.

    Args:
        options: Settings of librdkafka.
        transactional_id: The id, which no other service has, the same after each restart.
    """

    def __init__(self, options: Callable[[], Options], transactional_id: str) -> None:
        self._options = options
        self._id = transactional_id
        self._producer: Producer | None = None
        self._failed: Producer | None = None  # what is to be aborted
        self._ended = "it is not open"
        self._on_failed: Callable[[str], None] = lambda _: None
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-transactions")
        self._polling: threading.Thread | None = None
        self._lock = threading.Lock()
        self.until_written: Callable[[], Awaitable[None]] | None = None
        """Returns when the sinks have taken every point that they were given."""

    async def open(self, on_failed: Callable[[str], None]) -> None:
        """Begin the first transaction.

        Points of requests whose transaction has failed may be on their way to the sinks: these drop
        them first.

        Args:
            on_failed: Called once on the event loop when the transaction has failed.

        Raises:
            ConfigError: The password file cannot be read.
            KafkaException: The brokers do not take the id.
        """
        if self.until_written is not None:
            await self.until_written()
        self._on_failed = on_failed
        await self._run(self._open)

    def produce(
        self,
        topic: str,
        value: str | bytes,
        *,
        key: str | bytes | None = None,
        partition: int = -1,
        headers: Any = None,
        on_delivery: Callable[[KafkaError | None, Message], None] | None = None,
    ) -> None:
        """Write a record into the transaction.

        Raises:
            TransactionEndedError: The transaction has failed.
        """
        producer = self._producer
        if producer is None:
            raise TransactionEndedError(self._ended)
        try:
            producer.produce(
                topic,
                value,
                key=key,
                partition=partition,
                headers=headers,
                on_delivery=on_delivery or self._on_delivery,
            )
        except KafkaException as error:
            self.fail(client.reason(error))
            raise TransactionEndedError(self._ended) from error

    def flush(self) -> None:
        """Wait until everything that was produced is acknowledged, or has failed."""
        if (producer := self._producer) is not None:
            producer.flush(_SECONDS)

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
            self._loop.call_soon_threadsafe(self._on_failed, reason)

    async def close(self) -> None:
        """Abort what is not committed; `open` can be called again."""
        self._on_failed = lambda _: None
        await self._run(self._close)

    def topic(self, name: str) -> TopicMetadata:
        """The metadata of a topic.

        Raises:
            TransactionEndedError: No transaction is open.
            KafkaException: No broker answers.
        """
        producer = self._producer
        if producer is None:
            raise TransactionEndedError(self._ended)
        found: TopicMetadata = producer.list_topics(name, timeout=_SECONDS).topics[name]
        return found

    async def _run(self, call: Callable[..., T], *arguments: Any) -> T:
        return await self._loop.run_in_executor(self._thread, call, *arguments)

    # In its thread.

    def _open(self) -> None:
        options = client.TRANSACTIONS | client.of_producer(self._options())
        del options["message.timeout.ms"]  # a record that takes longer fails its transaction
        options["transactional.id"] = self._id
        producer = Producer({**options, "error_cb": self._on_error}, logger=client.log)
        self._failed = producer
        self._polling = threading.Thread(
            target=self._poll, args=(producer,), name="kafka-transactions-poll", daemon=True
        )
        self._polling.start()
        producer.init_transactions(_SECONDS)
        producer.begin_transaction()
        self._failed, self._producer = None, producer

    def _commit(self, offsets: Sequence[TopicPartition], group: object) -> None:
        producer = self._producer
        if producer is None:
            raise TransactionEndedError(self._ended)
        try:
            failpoint.hit("before-ack")
            producer.send_offsets_to_transaction(list(offsets), group, _SECONDS)
            failpoint.hit("in-transaction", lambda: producer.flush(_SECONDS))
            producer.commit_transaction(_SECONDS)
            failpoint.hit("after-ack")
            producer.begin_transaction()
        except KafkaException as error:
            self.fail(client.reason(error))
            raise TransactionEndedError(self._ended) from error

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
        while self._polling is threading.current_thread():
            producer.poll(_POLL_SECONDS)

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.fail(client.reason(error))

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.fail(client.reason(error))
