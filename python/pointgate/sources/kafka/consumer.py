"""The consumer: one librdkafka consumer and the only thread that calls it.

    messages = await consumer.poll()      # also commits, and takes part in rebalances
    await consumer.rest()                 # the same while fetching is paused
    await consumer.close()

The first record is waited for with `poll`, the others that have arrived with it are taken without
waiting: `consume(n, timeout)` alone would wait for n records or the whole timeout, which is 100 ms
for a single request.

Offsets are committed asynchronously, at most every `_COMMIT_SECONDS`, with the newest instant of
arrival as metadata: whoever gets the partition next continues behind it (contract 3.5). A commit
that fails, as during a rebalance, is repeated with the next one.

When partitions are revoked, what is in flight of them is settled first, for at most
`_REVOKE_SECONDS`, and committed; the rest is redelivered to the next owner.

Invariants: an offset is committed only after its request was settled; nothing is committed for a
partition that was revoked or lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pointgate import failpoint
from pointgate.diagnostics import numbered
from pointgate.errors import ConnectionLost
from pointgate.kafka import client
from pointgate.rate_limiter import RateLimiter
from pointgate.sources.kafka.partitions import Partitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from confluent_kafka import Message

    from pointgate.config import KafkaSettings
    from pointgate.sources.kafka.batch import Batch
    from pointgate.sources.kafka.partitions import Partition
    from pointgate.sources.kafka.statistics import KafkaStatistics

BATCH: Final = 1024
"""The most records of one poll."""

_POLL_SECONDS: Final = 0.1
"""How long a poll waits for a record. A commit that has become due meanwhile waits, too."""

_COMMIT_SECONDS: Final = 0.05
_REVOKE_SECONDS: Final = 5.0
_COMMITTED_SECONDS: Final = 5.0
"""The patience for the committed offsets of partitions that were assigned."""

_TRANSACTION_SECONDS: Final = 20.0
"""The same, where they may be in a transaction."""

_METADATA_SECONDS: Final = 0.5
"""The patience for an answer about a topic that was missing."""

_OF_TOPICS: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED)

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Owner(Protocol):
    """Who consumes: called on the event loop."""

    def on_assigned(self, newest_us: int) -> None:
        """Partitions were assigned, perhaps none.

        Args:
            newest_us: The greatest instant of arrival beside their committed offsets, or 0.
        """

    def on_error(self, text: str, *, fatal: bool) -> None:
        """The library reported an error.

        Args:
            text: What it said.
            fatal: Whether the consumer cannot go on.
        """

    def on_missing(self, missing: dict[str, str]) -> None:
        """Topics have become unreadable or readable.

        Args:
            missing: Those that do not exist, or that we may not read, and what was said of each.
        """

    async def until_settled(self, partitions: Sequence[Partition]) -> None:
        """Return when nothing of these partitions is in flight."""


class GroupConsumer:
    """A member of the consumer group.

    Args:
        settings: The cluster, the group and its topics.
        owner: Whom to tell what happens.
        statistics: Receives states and counts.
        newest: The greatest instant of arrival so far; any thread may call it.
        commits: Whether it commits offsets itself; else a transaction does.

    Raises:
        ConfigError: The password file cannot be read.
        KafkaException: The settings cannot be used.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        owner: Owner,
        statistics: KafkaStatistics,
        newest: Callable[[], int],
        *,
        commits: bool = True,
    ) -> None:
        self._commits = commits
        self.partitions = Partitions()
        self._owner = owner
        self._statistics = statistics
        self._newest = newest
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-consumer")
        self._committed_at = 0.0
        self._missing: dict[str, str] = {}
        self._lines = RateLimiter(60.0)
        options = client.of_consumer(settings.client_options("kafka"))
        self._consumer = Consumer(
            {
                **options,
                "group.id": settings.group,
                "error_cb": self._on_error,
                "stats_cb": self._on_statistics,
                "on_commit": self._on_commit,
            },
            logger=client.log,
        )
        self._consumer.subscribe(
            settings.topics or [],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    async def poll(self) -> list[Message]:
        """Wait a moment for records, and return those that have arrived."""
        return await self._run(self._poll)

    async def rest(self) -> list[Message]:
        """Pause fetching, and stay a member of the group; returns what had been fetched before."""
        return await self._run(self._rest)

    def offsets(self, batches: Iterable[Batch]) -> list[TopicPartition]:
        """The offsets behind some batches, for a transaction."""
        ends: dict[Partition, int] = {}
        for batch in batches:
            for partition, end in batch.ends.items():
                ends[partition] = max(end, ends.get(partition, 0))
        newest = str(self._newest())
        return [TopicPartition(one.topic, one.number, end, newest) for one, end in ends.items()]

    def group(self) -> object:
        """The metadata of the group, which fences former members out of a transaction.

        Raises:
            ConnectionLost: It is no member now.
        """
        metadata = self._consumer.consumer_group_metadata()
        if not self._consumer.memberid():
            raise ConnectionLost("not a member of the consumer group")
        return metadata

    async def close(self) -> None:
        """Commit what is settled, and leave the group."""
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._thread, call)

    # In the consumer's thread.

    def _poll(self) -> list[Message]:
        if self._statistics.paused:
            self._consumer.resume(self._consumer.assignment())
            self._statistics.paused = False
        self._commit()
        first = self._consumer.poll(_POLL_SECONDS)
        if first is None:
            return []
        return self._records([first, *self._consumer.consume(BATCH - 1, 0)])

    def _rest(self) -> list[Message]:
        self._consumer.pause(self._consumer.assignment())
        self._statistics.paused = True
        self._commit()
        first = self._consumer.poll(_POLL_SECONDS)
        return self._records([first] if first is not None else [])

    def _records(self, messages: list[Message]) -> list[Message]:
        """The records among some messages; the others are errors."""
        if all(message.error() is None for message in messages):
            return messages
        for message in messages:
            if (error := message.error()) is not None:
                self._on_error(error)
                if error.code() in _OF_TOPICS:
                    self._missing[message.topic() or ""] = client.reason(error)
                    self._tell(self._owner.on_missing, dict(self._missing))
        return [message for message in messages if message.error() is None]

    def _close(self) -> None:
        with contextlib.suppress(KafkaException, RuntimeError):
            self._commit_now()
            self._consumer.close()
        self._statistics.partitions = self._statistics.lag = 0

    def _commit(self) -> None:
        """Begin to commit what is settled, unless that was done a moment ago."""
        now = time.monotonic()
        if not self._commits or now - self._committed_at < _COMMIT_SECONDS:
            return
        if offsets := self.partitions.take_commits(str(self._newest())):
            self._committed_at = now
            failpoint.hit("before-ack")
            try:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException as error:
                self._on_commit(error.args[0], offsets)
            failpoint.hit("after-ack")

    def _commit_now(self) -> None:
        """Commit what is settled, and wait for it; a failure costs duplicates only."""
        if not self._commits:
            return
        offsets = self.partitions.take_commits(str(self._newest()))
        if offsets and self._statistics.connected:
            try:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as error:
                self._on_commit(error.args[0], offsets)
            else:
                self._statistics.commits["success"] += 1

    def _on_commit(
        self, error: KafkaError | None, partitions: Sequence[TopicPartition] | None
    ) -> None:
        failed = next((one.error for one in partitions or () if one.error), None)
        if error is None and failed is None:
            self._statistics.commits["success"] += 1
            return
        self._statistics.commits["failure"] += 1
        self.partitions.commit_again(partitions)
        if self._lines.count():
            _log.warning(
                "offsets not committed: %s; they are committed again",
                client.reason(error or failed),
            )

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        newest = 0
        if partitions:
            try:
                # After a kill in a transaction until the brokers have aborted that.
                seconds = _COMMITTED_SECONDS if self._commits else _TRANSACTION_SECONDS
                committed = consumer.committed(partitions, timeout=seconds)
                texts = [one.metadata or "" for one in committed]
                newest = max((int(text) for text in texts if _is_instant(text)), default=0)
            except KafkaException as error:
                _log.warning(
                    "committed offsets cannot be read: %s; the instant of the last arrival is "
                    "unknown",
                    client.reason(error),
                )
        self.partitions.add(partitions)
        self._rebalanced()
        self._tell(self._owner.on_assigned, newest)

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        waiting = asyncio.run_coroutine_threadsafe(
            self._owner.until_settled(self.partitions.among(partitions)), self._loop
        )
        try:
            waiting.result(_REVOKE_SECONDS)
        except FutureTimeoutError:
            waiting.cancel()
            _log.warning(
                "revoked partitions have requests in flight after %.0f s: they are redelivered",
                _REVOKE_SECONDS,
            )
            self._end_transaction("partitions were revoked with requests in flight")
        self._commit_now()
        self.partitions.remove(partitions)
        self._rebalanced()

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.partitions.remove(partitions)
        self._rebalanced()
        _log.warning("%s lost: requests are redelivered", numbered(len(partitions), "partition"))
        self._end_transaction("partitions were lost")

    def _end_transaction(self, reason: str) -> None:
        """Their requests are in the transaction, and their offsets cannot be."""
        if not self._commits:
            self._tell(self._owner.on_error, reason, fatal=True)

    def _rebalanced(self) -> None:
        self._statistics.rebalances += 1
        self._statistics.partitions = len(self.partitions)

    def _on_error(self, error: KafkaError) -> None:
        self._statistics.errors += 1
        self._tell(self._owner.on_error, client.reason(error), fatal=error.fatal())

    def _on_statistics(self, text: str) -> None:
        """Every second: whether there is a broker, and the lag."""
        read = orjson.loads(text)
        brokers = read.get("brokers", {}).values()
        self._statistics.connected = any(one.get("state") == "UP" for one in brokers)
        lag = 0
        for topic, about in read.get("topics", {}).items():
            for number, partition in about.get("partitions", {}).items():
                if self.partitions.find(topic, int(number)) is not None:
                    lag += max(0, partition.get("consumer_lag", 0))
        self._statistics.lag = lag

        for topic in list(self._missing):
            self._look_for(topic)

    def _look_for(self, topic: str) -> None:
        """Ask whether a topic that was missing is there."""
        with contextlib.suppress(KafkaException):
            found = self._consumer.list_topics(topic, timeout=_METADATA_SECONDS).topics.get(topic)
            if found is not None and found.error is None:
                del self._missing[topic]
                self._tell(self._owner.on_missing, dict(self._missing))

    def _tell(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(lambda: call(*arguments, **options))


def _is_instant(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len("253402300799999999")
