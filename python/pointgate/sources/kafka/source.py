"""The Kafka source: joins the consumer group, runs the gate, and joins again after a fatal error.

librdkafka itself reconnects: brokers may be down when the service starts, restart, or be down for
days. A new consumer is needed only when it reports a fatal error, or when a password file or a
certificate cannot be used any more.

Invariants: one member of the group at a time; after `drain`, `run` returns when all received
requests are answered and their offsets are committed.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException

from pointgate.diagnostics import numbered
from pointgate.errors import ConfigError, ConnectionLost
from pointgate.kafka import client
from pointgate.kafka.transactions import TransactionEndedError
from pointgate.rate_limiter import RateLimiter
from pointgate.sources.kafka.connection import KafkaConnection
from pointgate.sources.kafka.replies import TransactionalReplies

if TYPE_CHECKING:
    from pointgate.config import Settings
    from pointgate.kafka.transactions import Transactions
    from pointgate.sources.admission import Admission
    from pointgate.sources.base import Handler
    from pointgate.sources.kafka.statistics import KafkaStatistics
    from pointgate.store.arrival_clock import ArrivalClock

_AGAIN: Final = 5.0
"""Seconds until the group is joined again after a fatal error."""

_FENCED_AGAIN: Final = 60.0
"""The same after another service took the transactional id, which it would lose again."""

_log = logging.getLogger(__name__)


class KafkaSource:
    """Runs one member of the group after another.

    Args:
        settings: The cluster, the group and the limits.
        gate: Handles the requests.
        statistics: Receives the state and event counts for the metrics.
        admission: The budget of requests in flight.
        arrivals: Issues the instants of arrival.
        transactions: What everything is written into; None without `kafka.exactly_once`.

    Attributes:
        was_ready: Whether the service has ever been a member of the group.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        gate: Handler,
        statistics: KafkaStatistics,
        admission: Admission,
        arrivals: ArrivalClock,
        transactions: Transactions | None = None,
    ) -> None:
        self._transactions = transactions
        # It knows over connections which replies Kafka rejects.
        self._replies = (
            None
            if transactions is None or settings.kafka.replies is None
            else TransactionalReplies(settings.kafka, statistics, transactions)
        )
        self.was_ready = False
        self._settings = settings.kafka
        self._gate = gate
        self._statistics = statistics
        self._admission = admission
        self._arrivals = arrivals
        self._connection: KafkaConnection | None = None
        self._member = False
        self._error = ""
        self._missing: dict[str, str] = {}
        self._draining = asyncio.Event()
        self._assignments = RateLimiter(60.0, burst=10)
        self._errors = RateLimiter(60.0, burst=3)

    @property
    def connected(self) -> bool:
        """Whether there may be requests in flight."""
        return self._connection is not None

    @property
    def shortfalls(self) -> list[str]:
        """Topics that cannot be read, while others can."""
        return [f"Kafka topic {name}: {why}" for name, why in self._missing.items()]

    @property
    def trouble(self) -> str:
        """Why requests are not being received, for /readyz; empty if they are."""
        last = f": {self._error}" if self._error else ""
        if not self._member:
            return f"not a member of the consumer group {self._settings.group}{last}"
        if not self._statistics.connected:
            return f"not connected to Kafka: {self._settings.servers}{last}"
        return ""

    async def run(self) -> None:
        """Stay in the group until `drain` was called and all received requests are answered."""
        while not self._draining.is_set():
            try:
                await self._run_connection()
            except ConnectionLost as error:
                self._on_lost(str(error))
            except ConfigError as error:  # a file has become invalid; it may be corrected again
                self._on_lost(str(error))
            except KafkaException as error:
                self._on_lost(client.reason(error))
            else:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_FENCED_AGAIN if self._is_fenced else _AGAIN):
                    await self._draining.wait()

    def drain(self) -> None:
        """Stop receiving; `run` returns when all received requests are answered."""
        self._draining.set()
        if self._connection is not None:
            self._connection.drain()

    async def _run_connection(self) -> None:
        """Join the group, and run until drained or until a fatal error."""
        if self._transactions is not None and not await self._open(self._transactions):
            return
        connection = self._connection = KafkaConnection(
            self._settings,
            self._admission,
            self._statistics,
            arrivals=self._arrivals,
            on_ready=self._on_ready,
            on_error=self._on_error,
            on_missing=self._on_missing,
            transactions=self._transactions,
            replies=self._replies,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.fetch(), name="kafka fetch")
                await self._gate.run(connection)
                await connection.finish()
        except BaseExceptionGroup as group:
            lost, other = group.split((ConnectionLost, KafkaException, ConfigError))
            if lost is None or other is not None:
                raise
            raise _first(lost) from None
        finally:
            await connection.close()
            self._connection = None
            self._member = self._statistics.connected = False

    async def _open(self, transactions: Transactions) -> bool:
        """Open the transactions, before partitions are taken from others; false when drained."""
        opening = asyncio.create_task(transactions.open(), name="kafka open")
        draining = asyncio.create_task(self._draining.wait(), name="kafka drain")
        try:
            await asyncio.wait({opening, draining}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                await opening
            return opening.done()
        except TransactionEndedError as error:
            raise ConnectionLost(str(error)) from error
        finally:
            draining.cancel()
            opening.cancel()

    def _on_ready(self) -> None:
        self._member = self.was_ready = True
        self._statistics.connected = True
        self._error = ""
        if self._assignments.count():
            _log.info(
                "member of the consumer group %s with %s, requests are being received",
                self._settings.group,
                numbered(self._statistics.partitions, "partition"),
            )

    def _on_error(self, text: str) -> None:
        self._error = text
        if events := self._errors.count():
            more = f" ({events} errors since the last such line)" if events > 1 else ""
            _log.warning("Kafka: %s%s", text, more)

    def _on_missing(self, missing: dict[str, str]) -> None:
        self._missing = missing

    @property
    def _is_fenced(self) -> bool:
        """Whether the connection ended because another service took the transactional id."""
        return self._transactions is not None and self._transactions.fenced

    def _on_lost(self, text: str) -> None:
        self._error, seconds = text, _AGAIN
        if self._is_fenced:
            owned = f"the transactional id {self._settings.transactional_id}"
            seconds, text = _FENCED_AGAIN, f"another service has {owned} ({text})"
        _log.error("consumer ended: %s; joining again in %.0f s", text, seconds)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a group, which may be in groups itself."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
