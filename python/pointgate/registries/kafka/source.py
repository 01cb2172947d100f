"""A registry in a compacted Kafka topic: a record's key is a device key, its value does not matter.

    snapshot   all partitions from their beginning to their end
    changes    the records since; without a value (a tombstone) the device is removed
    position   the next offset of each partition, the topic's id, when the cluster last answered

It reads without a consumer group, and commits nothing: the position is kept with the copy.

In the middle of a topic that is being compacted a key may stand several times, and a tombstone
behind or before a value. So a snapshot has every key with a value, followed by the removal of those
whose last record is a tombstone: only these are in memory.

Kafka deletes tombstones after `delete.retention.ms`. Whoever was away for longer may have missed
one: the position is void then (`tombstone_retention`), and a snapshot is taken. So it is for a
topic that was made anew, for other partitions, and for offsets that the topic does not have.

A key has to be in one partition: partitions that are added to a topic may move it, and its records
are ordered only within one.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)

from pointgate.device_changes import Changes
from pointgate.errors import PointgateError
from pointgate.kafka import client
from pointgate.registries.base import RegistryUnavailableError, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka import Message

    from pointgate.registries.kafka.settings import KafkaRegistrySettings

_BATCH: Final = 1_000
"""Records in a block: they take about a millisecond of Python."""

_MOST_CHANGES: Final = 1_000_000
"""The most records of one call."""

_ANSWER_SECONDS: Final = 5.0
_STALL_SECONDS: Final = 30.0
_CHECK_SECONDS: Final = 5.0
"""How often the cluster is asked whether it is there: a consumer without records does not say."""


def build(settings: KafkaRegistrySettings) -> KafkaRegistry:
    """Make a registry; nothing is opened yet."""
    return KafkaRegistry(settings)


class KafkaRegistry:
    """See `base.Registry`.

    Args:
        settings: Its settings.

    Raises:
        ValueError: librdkafka refuses the settings.
        ConfigError: The password file cannot be read.
    """

    def __init__(self, settings: KafkaRegistrySettings) -> None:
        self._settings = settings
        self._options = settings.client_options(f"registries.{settings.name}")
        if reason := client.mistake(self._options, group="registry"):
            raise ValueError(f"options: {reason}")
        self._consumer: Consumer | None = None
        self._topic_id = ""
        self._offsets: dict[int, int] = {}
        self._behind: set[int] = set()  # partitions whose end has not been reached
        self._held: list[Message] = []
        self._position = ""
        self._checked_at = 0.0
        self._answered_at = 0.0  # seconds since 1970
        self._is_severed = False

    def snapshot(self) -> Snapshot:
        """See `base.Registry`."""
        snapshot = Snapshot(iter(()))
        snapshot.blocks = self._keys(snapshot)
        return snapshot

    def _keys(self, snapshot: Snapshot) -> Iterator[bytes]:
        self._open(None)
        removed: set[bytes] = set()
        while self._behind:
            try:
                yield self._present(removed)
            except KafkaException as error:
                raise self._failed(client.reason(error)) from error
            except _OffsetsGoneError as error:
                raise self._failed("the topic has lost the records that were being read") from error
        snapshot.lines = b"".join(b"-%b\n" % key for key in removed)
        snapshot.position = self._end()

    def _present(self, removed: set[bytes]) -> bytes:
        """The keys of the next records that have a value; notes those that have none."""
        keys = []
        for key, is_present in self._records(self._take(wait=True)):
            if is_present:
                keys.append(b"%b\n" % key)
                if removed:
                    removed.discard(key)
            else:
                removed.add(key)
        return b"".join(keys)

    def changes(self, position: str | None) -> Changes[str] | None:
        """See `base.Registry`."""
        if position is None:
            return None
        try:
            if (self._consumer is None or position != self._position) and not self._open(position):
                return None
            self._check()
            since = json.loads(position)["at"]
            if self._answered_at - since > self._settings.tombstone_retention:
                return None
            lines = self._lines()
        except KafkaException as error:
            raise self._failed(client.reason(error)) from error
        except _OffsetsGoneError:
            self.close()
            return None
        return Changes(lines, 1, self._end())

    def _lines(self) -> bytes:
        lines: list[bytes] = []
        while len(lines) < _MOST_CHANGES:
            records = self._take(wait=bool(self._behind))
            if not records and not self._behind:
                break
            for key, is_present in self._records(records):
                lines.append(b"+%b\n" % key if is_present else b"-%b\n" % key)
        return b"".join(lines)

    def wait(self, seconds: float) -> None:
        """See `base.Registry`."""
        if self._consumer is None or self._held:
            return
        message = self._consumer.poll(seconds)
        if message is not None:
            self._held.append(message)

    def sever(self) -> None:
        """See `base.Registry`; no call waits for longer than some seconds."""
        self._is_severed = True

    def close(self) -> None:
        """See `base.Registry`."""
        consumer, self._consumer = self._consumer, None
        self._held = []
        if consumer is not None:
            consumer.close()

    def _open(self, position: str | None) -> bool:
        """Read from a position on; from the beginning without one.

        Returns:
            Whether the topic has this position.
        """
        self.close()
        self._is_severed = False
        try:
            return self._assign(None if position is None else json.loads(position))
        except KafkaException as error:
            raise self._failed(client.reason(error)) from error

    def _assign(self, known: dict[str, Any] | None) -> bool:
        topic = self._settings.topic
        self._topic_id = self._id_of_topic()
        consumer = self._consumer = Consumer(
            {
                **client.of_consumer(self._options),
                "group.id": "pointgate-registry",  # librdkafka wants one; nobody joins it
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "statistics.interval.ms": 0,
            },
            logger=client.log,
        )
        partitions = self._partitions()
        if known is None:
            self._offsets = dict.fromkeys(partitions, OFFSET_BEGINNING)
        else:
            self._offsets = {int(one): offset for one, offset in known["offsets"].items()}
            if known["topic"] != self._topic_id or partitions != self._offsets.keys():
                return False
            for partition, offset in self._offsets.items():
                place = TopicPartition(topic, partition)
                marks = consumer.get_watermark_offsets(place, timeout=_ANSWER_SECONDS)
                if marks is None or not marks[0] <= offset <= marks[1]:
                    return False
        self._behind = set(self._offsets)
        consumer.assign(
            [TopicPartition(topic, one, offset) for one, offset in self._offsets.items()]
        )
        self._checked_at, self._answered_at = time.monotonic(), time.time()
        return True

    def _id_of_topic(self) -> str:
        admin, reports = client.admin(self._options)
        topic = self._settings.topic
        found = admin.describe_topics(TopicCollection([topic]), request_timeout=_ANSWER_SECONDS)
        try:
            return str(found[topic].result(2 * _ANSWER_SECONDS).topic_id)
        except KafkaException as error:
            raise self._failed(reports.explain(error, admin)) from error

    def _partitions(self) -> set[int]:
        """The partitions of the topic, each of which has a leader."""
        assert self._consumer is not None  # noqa: S101 - called with one
        topic = self._settings.topic
        metadata = self._consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        leaderless = [one for one, partition in metadata.partitions.items() if partition.leader < 0]
        if leaderless:
            raise self._failed(f"partition {leaderless[0]} of {topic} has no leader")
        return set(metadata.partitions)

    def _check(self) -> None:
        """Ask the cluster whether it is there, from time to time."""
        if time.monotonic() - self._checked_at < _CHECK_SECONDS:
            return
        if self._partitions() != self._offsets.keys():
            raise _OffsetsGoneError
        self._checked_at, self._answered_at = time.monotonic(), time.time()

    def _take(self, *, wait: bool) -> list[Message]:
        """The records that have arrived; with `wait` at least one event, within a time."""
        assert self._consumer is not None  # noqa: S101 - called with one
        held, self._held = self._held, []
        if held:
            return held
        end = time.monotonic() + _STALL_SECONDS
        while True:
            messages = self._consumer.consume(_BATCH, 0.1 if wait else 0)
            if messages or not wait:
                return messages
            if self._is_severed or time.monotonic() > end:
                raise self._failed("no records within 30 s, nor the end of the topic")

    def _records(self, messages: list[Message]) -> Iterator[tuple[bytes, bool]]:
        """The keys of some records, and whether each is a device from then on."""
        for message in messages:
            error = message.error()
            partition: Any = message.partition()
            offset: Any = message.offset()
            if error is None:
                key: Any = message.key() or b""
                self._offsets[partition] = offset + 1
                # No device can have such a key; a line feed would make two of it.
                yield key.replace(b"\n", b"\x01"), message.value() is not None
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                self._behind.discard(partition)
                self._offsets[partition] = offset
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - its public name
                raise _OffsetsGoneError
            elif not error.retriable():
                raise self._failed(client.reason(error))

    def _end(self) -> str:
        """The position that was reached."""
        document = {
            "topic": self._topic_id,
            "offsets": self._offsets,
            "at": round(self._answered_at),
        }
        self._position = json.dumps(document)
        return self._position

    def _failed(self, reason: str) -> RegistryUnavailableError:
        self.close()
        return RegistryUnavailableError(reason)


class _OffsetsGoneError(PointgateError):
    """The topic does not have the offsets of the position any more."""
