"""A connection to Kafka: records in, replies and offsets out (`base.Connection`).

    fetch task      poll ─► bursts, while the admission budget is not exceeded
    gate            receive ─► … ─► settle: replies are handed to the producer
    when all replies of the oldest burst are acknowledged: its offsets may be committed

Backpressure: when the budget is exceeded, nothing is polled; if that lasts, fetching is paused and
the consumer polled only to remain a member of the group.

Requests count against the budget until their replies are acknowledged, so the replies on their way
are bounded, too.

In transactions (`kafka.exactly_once`) the points, the replies and the offsets of some bursts become
visible together. No burst may be half in a transaction, so the gate gets no burst while one is due:

    gate            receive ─► … ─► settle: replies are written into the transaction
    receive         nothing has arrived, or the transaction is `_TRANSACTION_SECONDS` old:
                    wait until every burst is settled ─► commit their offsets with the transaction

Whatever fails ends the connection; its requests are redelivered to the next one.

Invariants: those of `base.py`; offsets are marked in the order of arrival.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from pointgate.errors import ConnectionLost
from pointgate.kafka.transactions import TransactionEndedError
from pointgate.sources.kafka.batch import Batch, batches
from pointgate.sources.kafka.consumer import GroupConsumer
from pointgate.sources.kafka.replies import Replies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Message

    from pointgate._core import Burst
    from pointgate.config import KafkaSettings
    from pointgate.kafka.transactions import Transactions
    from pointgate.sources.admission import Admission
    from pointgate.sources.kafka.partitions import Partition
    from pointgate.sources.kafka.replies import TransactionalReplies
    from pointgate.sources.kafka.statistics import KafkaStatistics
    from pointgate.store.arrival_clock import ArrivalClock

_TRANSACTION_SECONDS: Final = 0.1
"""How long bursts that follow each other are in one transaction."""

_PAUSE_AFTER: Final = 0.5
"""Seconds at the limit until fetching is paused: a pause drops what was fetched ahead."""


class KafkaConnection:
    """One member of the group, from joining to leaving.

    Attributes:
        settled: See `base.Connection`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        admission: Admission,
        statistics: KafkaStatistics,
        *,
        arrivals: ArrivalClock,
        on_ready: Callable[[], None],
        on_error: Callable[[str], None],
        on_missing: Callable[[dict[str, str]], None],
        transactions: Transactions | None = None,
        replies: TransactionalReplies | None = None,
    ) -> None:
        """Join the group.

        Args:
            settings: The cluster, the group, the topics and the rules.
            admission: The budget of requests in flight.
            statistics: Receives states and counts.
            arrivals: Issues the instants of arrival.
            on_ready: Called when partitions are assigned, perhaps none.
            on_error: Called with each error that the library reports.
            on_missing: Called with the topics that cannot be read.
            transactions: What it writes into, and commits, open; None without `kafka.exactly_once`.
            replies: Writes replies into them, if there is a topic of replies.

        Raises:
            ConfigError: The password file cannot be read.
            KafkaException: The settings cannot be used.
        """
        self.settled = 0
        self._admission = admission
        self._arrivals = arrivals
        self._on_ready = on_ready
        self._report = on_error
        self.on_missing = on_missing  # of `consumer.Owner`
        self._read = settings.rules.reader()
        self._arrived: deque[Batch] = deque()
        self._received: deque[Batch] = deque()
        self._sent: deque[Batch] = deque()
        self._requests = self._bytes = 0
        self._draining = self._fetched_all = False
        self._lost: ConnectionLost | None = None
        self._changed = asyncio.Event()
        self._resume = asyncio.Event()
        self._transactions = transactions
        if transactions is not None:
            transactions.on_failed = self._on_fatal
        self._statistics = statistics
        self._begun = 0.0  # when the first burst of the transaction was settled
        self._replies: Replies | TransactionalReplies | None = replies
        self._consumer = GroupConsumer(
            settings, self, statistics, lambda: arrivals.last, commits=transactions is None
        )
        if settings.replies is not None and transactions is None:
            self._replies = Replies(
                settings, statistics, delivered=self._finish, on_error=self._on_fatal
            )
        admission.add_resume_callback(self._resume.set)

    # The connection's life cycle, for `source.py`.

    async def fetch(self) -> None:
        """Take records until `drain` or the end of the connection."""
        while not self._draining and self._lost is None:
            if self._admission.exceeds(1.0) and await self._stays_exceeded():
                self._take(await self._consumer.rest())
            else:
                self._take(await self._consumer.poll())
        self._fetched_all = True
        self._notify()

    def drain(self) -> None:
        """Stop fetching. Requests that have arrived can still be received and settled."""
        self._draining = True
        self._resume.set()

    async def finish(self) -> None:
        """Wait until all replies are acknowledged.

        Raises:
            ConnectionLost: The connection has ended.
        """
        while self._sent:
            await self._wait()

    async def close(self) -> None:
        """Commit what is settled, leave the group, and give up the rest."""
        self._admission.remove_resume_callback(self._resume.set)
        self._lost = self._lost or ConnectionLost("closed")
        self._notify()
        try:
            if self._transactions is not None:  # first: nothing of it may be fenced by a new member
                await self._transactions.close()
            await self._consumer.close()
            if self._replies is not None:
                await self._replies.close()
        finally:
            self._admission.release(self._requests, self._bytes)
            self._requests = self._bytes = 0

    # `base.Connection`

    async def receive(self) -> Burst | None:
        """Wait for a burst (see `base.Connection`)."""
        await asyncio.sleep(0)
        while not self._arrived or self._is_due:
            if self._transactions is not None and self._sent and not self._received:
                await self._commit(self._transactions)
                continue
            if self._fetched_all and self._lost is None and not self._in_transaction:
                return None
            await self._wait()
        batch = self._arrived.popleft()
        self._received.append(batch)
        return batch.burst

    async def settle(self, burst: Burst, *, more: bool = False) -> None:  # noqa: ARG002 - see base
        """Hand the replies of a burst to the producer (see `base.Connection`)."""
        if self._lost is not None:
            raise self._lost
        batch, replies = self._received[0], self._replies
        if replies is not None and replies.waits:
            await asyncio.to_thread(replies.send, batch, burst.replies)
        elif replies is not None:
            replies.send(batch, burst.replies)
        self._sent.append(self._received.popleft())
        self.settled += len(burst)
        if self._transactions is None:
            self._finish()
            return
        self._begun = self._begun or time.monotonic()
        self._notify()  # perhaps it is committed now

    # `consumer.Owner`

    def on_assigned(self, newest_us: int) -> None:
        """Continue behind the newest instant of arrival of the partitions' former owners."""
        self._arrivals.advance(newest_us)
        self._on_ready()

    def on_error(self, text: str, *, fatal: bool) -> None:
        """Report an error, and end the connection if it is fatal."""
        self._report(text)
        if fatal:
            self._on_fatal(text)

    async def until_settled(self, partitions: Sequence[Partition]) -> None:
        """Return when nothing of these partitions is in flight."""
        with contextlib.suppress(ConnectionLost):
            while self._in_transaction or not all(one.settled for one in partitions):
                await self._wait()

    # Its own.

    @property
    def _in_transaction(self) -> bool:
        """Whether some bursts are, or will be, in a transaction that is not committed."""
        return self._transactions is not None and bool(self._received or self._sent)

    @property
    def _is_due(self) -> bool:
        """Whether the transaction is to be committed before another burst is received."""
        return bool(self._begun) and time.monotonic() - self._begun > _TRANSACTION_SECONDS

    async def _commit(self, transactions: Transactions) -> None:
        """Commit the transaction with the offsets of its bursts, all of which are settled."""
        if self._lost is not None:
            raise self._lost
        # First: partitions that are lost from here on are those of a former generation, whose
        # offsets the brokers fence.
        group = self._consumer.group()
        assigned = self._consumer.partitions
        for batch in self._sent:
            for one in batch.ends:
                if assigned.find(one.topic, one.number) is not one:
                    raise ConnectionLost("partitions were revoked with requests in flight")
        try:
            await transactions.commit(self._consumer.offsets(self._sent), group)
        except TransactionEndedError as error:
            self._statistics.commits["failure"] += 1
            raise ConnectionLost(str(error)) from error
        self._statistics.commits["success"] += 1
        self._begun = 0.0
        self._finish()

    async def _stays_exceeded(self) -> bool:
        """Wait for room in the budget; whether there is none for some time."""
        self._resume.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_AFTER):
                await self._resume.wait()
        return self._admission.exceeds(1.0)

    def _take(self, messages: list[Message]) -> None:
        """Make bursts of records that have arrived."""
        if not messages:
            return
        now = time.monotonic()
        for batch in batches(messages, self._read, self._consumer.partitions, now):
            requests, size = len(batch.burst), batch.burst.size
            self._requests += requests
            self._bytes += size
            self._admission.acquire(requests, size)
            self._arrived.append(batch)
        self._notify()

    def _finish(self) -> None:
        """Mark the offsets of the bursts whose replies are acknowledged, in order."""
        while self._sent and not self._sent[0].waiting:
            batch = self._sent.popleft()
            batch.settle()
            requests, size = len(batch.burst), batch.burst.size
            self._requests -= requests
            self._bytes -= size
            self._admission.release(requests, size)
        self._notify()

    def _on_fatal(self, text: str) -> None:
        self._lost = self._lost or ConnectionLost(text)
        self._notify()

    def _notify(self) -> None:
        """Wake everything that waits for a change of this connection."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait(self) -> None:
        """Wait for a change.

        Raises:
            ConnectionLost: The connection has ended.
        """
        if self._lost is not None:
            raise self._lost
        await self._changed.wait()
