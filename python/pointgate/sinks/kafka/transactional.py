"""Records of a sink in a transaction (`kafka/transactions.py`).

They become visible with the replies and offsets of their requests, or never. A write hands its
records over, all or none of them, and does not wait: the commit does.

A record that the topic does not take fails its transaction. Once it is known (`CarefulWriter`), its
request is refused before anything is written, so that the dead letter costs two transactions, and
not all that follow. One that is too large is known by its compressed size, which is what the
brokers compare; for other reasons, which are those of the topic, all requests are refused for a
minute.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from pointgate.kafka import client
from pointgate.kafka.transactions import CarefulWriter, TransactionEndedError
from pointgate.sinks.base import SinkRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import KafkaError, Message
    from confluent_kafka.admin._metadata import TopicMetadata

    from pointgate.kafka.transactions import Transactions
    from pointgate.sinks.kafka.records import Record

_REFUSING_SECONDS: Final = 60.0

_KEY_BYTES: Final = 1024
"""More than key, headers and frame of a record have: product and device keys are bounded."""

_CODECS: Final = ("lz4", "gzip", "zstd", "snappy")
"""The compressions of a producer, which Arrow calls the same."""


class TransactionalWriter:
    """Writes to one topic.

    Args:
        topic: The topic.
        transactions: The transactions.
        most_bytes: The largest record that the producer takes.
        compression: `compression.type` of the producer.
    """

    def __init__(
        self, topic: str, transactions: Transactions, *, most_bytes: int, compression: str
    ) -> None:
        self._most_bytes = most_bytes - _KEY_BYTES
        self._transactions = transactions
        self._writer = CarefulWriter(topic, transactions, client.REFUSED, self._on_refused)
        self._codec = compression if compression in _CODECS else None
        self._least_refused = sys.maxsize  # bytes, compressed
        self._refusing = ""
        self._refusing_until = 0.0

    def topic(self) -> TopicMetadata:
        """The metadata of the topic (see `Transactions.topic`)."""
        return self._transactions.topic(self._writer.topic)

    def write(self, records: Sequence[Record]) -> None:
        """Write records into the transaction.

        Raises:
            SinkRefusedError: One is permanently rejected; none was written.
            TransactionEndedError: The transaction has failed.
        """
        if time.monotonic() < self._refusing_until:
            raise SinkRefusedError(f"rejected by Kafka: {self._refusing}")
        for record in records:
            self._check(record.value)
        try:
            for value, key, partition, headers in records:
                self._writer.produce(value, key=key, partition=partition, headers=headers)
        except TransactionEndedError:
            raise
        except BaseException as error:
            # A part of it must not be committed.
            self._transactions.fail(f"a write to {self._writer.topic} ended early: {error}")
            raise TransactionEndedError(str(error)) from error

    def _check(self, value: str | bytes) -> None:
        """Reject a record that is as large as one that Kafka has rejected."""
        if 4 * len(value) < min(self._least_refused, self._most_bytes):
            return  # a character has at most four bytes
        data = value.encode() if isinstance(value, str) else value
        if len(data) > self._most_bytes or (
            len(data) >= self._least_refused and self._packed(data) >= self._least_refused
        ):
            size = f"{len(data):,} bytes"
            raise SinkRefusedError(f"rejected by Kafka: a record of {size} is too large")

    def _packed(self, data: bytes) -> int:
        return len(data if self._codec is None else pa.compress(data, self._codec, asbytes=True))

    def _on_refused(self, error: KafkaError, message: Message) -> None:
        if error.code() in client.TOO_LARGE:
            self._least_refused = min(self._least_refused, self._packed(message.value() or b""))
        else:
            self._refusing = client.reason(error)
            self._refusing_until = time.monotonic() + _REFUSING_SECONDS
