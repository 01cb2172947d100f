"""Records of a sink in a transaction (`kafka/transactions.py`).

They become visible with the replies and offsets of their requests, or never. A write hands its
records over, all or none of them, and does not wait: the commit does. A record that is too large
for the topic fails its transaction, with all records of its batch:

    a batch is too large       for a minute each record gets a batch of its own
    a record is too large      from then on its request is refused before anything is written

So a dead letter costs two transactions, and not all that follow.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError

from pointgate.kafka import client
from pointgate.sinks.base import SinkRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Message
    from confluent_kafka.admin._metadata import TopicMetadata

    from pointgate.kafka.transactions import Transactions
    from pointgate.sinks.kafka.records import Record

TOO_LARGE: Final = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.RECORD_LIST_TOO_LARGE,
)

_ALONE_SECONDS: Final = 60.0

_KEY_BYTES: Final = 1024
"""Key, headers and frame of a record."""


class TransactionalWriter:
    """Writes to one topic.

    Args:
        topic: The topic.
        transactions: The transactions.
        most_bytes: The largest record that librdkafka takes.
    """

    def __init__(self, topic: str, transactions: Transactions, most_bytes: int) -> None:
        self._topic = topic
        self._transactions = transactions
        self._most_bytes = most_bytes - _KEY_BYTES
        self._alone_until = 0.0

    def topic(self) -> TopicMetadata:
        """The metadata of the topic (see `Transactions.topic`)."""
        return self._transactions.topic(self._topic)

    def write(self, records: Sequence[Record]) -> None:
        """Write records into the transaction.

        Raises:
            SinkRefusedError: One is too large; none was written.
            TransactionEndedError: The transaction has failed.
        """
        for record in records:
            if (size := _size(record.value)) > self._most_bytes:
                reason = f"rejected by Kafka: a record of {size:,} bytes is too large"
                raise SinkRefusedError(reason)
        alone = time.monotonic() < self._alone_until
        for value, key, partition, headers in records:
            self._transactions.produce(
                self._topic,
                value,
                key=key,
                partition=partition,
                headers=headers,
                on_delivery=partial(self._on_delivery, alone),
            )
            if alone:
                self._transactions.flush()

    def _on_delivery(self, alone: bool, error: KafkaError | None, message: Message) -> None:  # noqa: FBT001 - bound
        if error is None:
            return
        if error.code() in TOO_LARGE:
            self._alone_until = time.monotonic() + _ALONE_SECONDS
            if alone:
                self._most_bytes = min(self._most_bytes, _size(message.value() or b"") - 1)
        self._transactions.fail(f"cannot write to {self._topic}: {client.reason(error)}")


def _size(value: str | bytes) -> int:
    return len(value.encode()) if isinstance(value, str) else len(value)
