"""The MQTT source: connects, runs the gate, and reconnects when the connection is lost.

    connect ─► subscribe │ gate ─► lost ─► wait ─► connect …

The broker may be down when the service starts, restart, refuse us or be down for days. No error
ends the source: it reconnects indefinitely, and `backoff.py` says after how many seconds. Here,
"session" is the one of MQTT: what the broker stores for our client id while we are disconnected.

Invariants: one connection at a time; after `drain`, `run` returns when all received requests are
answered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from pointgate.errors import ConfigError, ConnectionLost, SessionTakenOver
from pointgate.rate_limiter import RateLimiter
from pointgate.sources.admission import Admission
from pointgate.sources.mqtt import canary
from pointgate.sources.mqtt.backoff import Backoff
from pointgate.sources.mqtt.capabilities import SHARE_GROUP_UNVERIFIED
from pointgate.sources.mqtt.connection import connect
from pointgate.sources.mqtt.errors import BrokerRefused, ProtocolRefused, Unanswered
from pointgate.sources.mqtt.packets import MQTT_5
from pointgate.sources.mqtt.read_pace import tick_seconds
from pointgate.sources.mqtt.subscriptions import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.config import MqttSettings, Settings
    from pointgate.sources.base import Handler
    from pointgate.sources.mqtt.connection import AiomqttConnection
    from pointgate.sources.mqtt.statistics import MqttStatistics

_REMINDER: Final = 30.0
_REFUSED_REPLIES: Final = 60.0

_CHANGES: Final = 10
"""The most log lines of one kind per minute while the connection is lost in a loop."""

_KINDS: Final = ("on", "ready", "lost", "level", "canary")

_CANARY_AGAIN: Final = 30.0
"""Seconds until the canary runs again after a failure."""

_MAX_LOST_CANARIES: Final = 3
"""After this many consecutive canaries during which the connection was lost, they are disabled."""

_UNANSWERED: Final = 2
"""After this many attempts without an answer, "auto" tries the other version of MQTT."""

_REASONS: Final = 16
"""How many distinct reasons of failed attempts are logged once each."""

_log = logging.getLogger(__name__)


class MqttSource:
    """Runs one connection after another.

    Args:
        settings: The broker and the limits.
        gate: Handles the requests.
        statistics: Receives the state and event counts for the metrics.
        admission: The budget of requests in flight; None for a budget of its own.

    Attributes:
        connected: Whether there is a connection.
        was_ready: Whether the service has ever been subscribed.
        found_session: Whether the broker had a session of this client id at the first connection.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        gate: Handler,
        statistics: MqttStatistics,
        admission: Admission | None = None,
    ) -> None:
        self._trouble = f"not connected to the broker: {settings.mqtt.url}"
        self.was_ready = self.found_session = False
        self._shortfalls: tuple[str, ...] = ()
        self._request_seen = False  # whether a request has ever arrived
        self._canary: tuple[str, ...] = ()  # the failures of the last canary
        self._canaries_lost = 0  # consecutive canaries during which the connection was lost
        self._settings = settings
        self._gate = gate
        self._statistics = statistics
        self._admission = admission or Admission(settings.limits)
        self._record = Subscriptions(settings.spool.path, settings.mqtt.client_id)
        self._backoff = Backoff()
        self._draining = asyncio.Event()
        self._leaving = self._unsubscribed = False
        self._connection: AiomqttConnection | None = None
        self._since: float | None = None  # when the current or last attempt connected
        self._worked = False  # whether that connection was subscribed, or settled a request
        self._level = settings.mqtt.level
        self._unanswered = 0  # consecutive attempts at this level without an answer
        self._connections = 0
        self._logged: set[str] = set()  # reasons of failed attempts
        self._reminders = RateLimiter(_REMINDER)
        self._hints = RateLimiter(_REMINDER)
        self._changes = {kind: RateLimiter(60.0, burst=_CHANGES) for kind in _KINDS}
        self._refused_replies = RateLimiter(_REFUSED_REPLIES)

    @property
    def connected(self) -> bool:  # noqa: D102 - see the class
        return self._connection is not None

    @property
    def trouble(self) -> str:
        """Why requests are not being received, for /readyz; empty if they are."""
        return self._trouble

    @property
    def shortfalls(self) -> list[str]:
        """What the broker does not grant of the settings, and canary failures, for /readyz."""
        found = [*self._shortfalls, *self._canary]
        if self._connection is not None and self._connection.settled:
            self._request_seen = True
        proven = self._request_seen or self._canary
        if self._level != MQTT_5 and self._settings.mqtt.share_group and not proven:
            found.append(SHARE_GROUP_UNVERIFIED)
        return found

    @property
    def connections(self) -> int:
        """How many there have been."""
        return self._connections

    def leave(self) -> None:
        """Unsubscribe instead of subscribing; call this before `run` (`service/leave.py`)."""
        self._leaving = True

    @property
    def quiet(self) -> float:
        """Seconds since an unsubscribed session has sent anything; 0 before, or in flight."""
        connection = self._connection
        return connection.quiet if connection is not None and self._unsubscribed else 0.0

    @property
    def level(self) -> int:
        """The MQTT version in use."""
        return self._level

    async def run(self) -> None:
        """Stay connected until `drain` was called and all received requests are answered."""
        running = cast("asyncio.Task[Any]", asyncio.current_task())
        while not self._draining.is_set():
            self._since, self._worked = None, False
            try:
                await self._run_connection()
            except ConnectionLost as error:
                wait = self._on_lost(error)
            except ConfigError as error:
                # A certificate or password file became invalid after the start; it may be
                # corrected again.
                wait = self._on_lost(BrokerRefused(str(error)))
            else:
                return
            if running.cancelling():
                # Before Python 3.13, a TaskGroup with an error swallows a cancellation.
                raise asyncio.CancelledError
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._draining.wait()

    def drain(self) -> None:
        """Stop receiving; `run` returns when all received requests are answered."""
        self._draining.set()
        if self._connection is not None:
            self._connection.drain()

    async def _run_connection(self) -> None:
        """Connect, and run until the connection has drained or is lost."""
        try:
            async with (
                connect(
                    self._mqtt,
                    self._admission,
                    on_refused=self._reply_refused,
                    read_tick=tick_seconds(self._settings.store),
                ) as connection,
                asyncio.TaskGroup() as tasks,
            ):
                self._connected(connection)
                # Concurrently with the gate: a resumed session delivers requests before SUBACK.
                asking = self._unsubscribe if self._leaving else self._subscribe
                subscribing = tasks.create_task(asking(connection), name="subscribe")
                await self._gate.run(connection)
                subscribing.cancel()
        except BaseExceptionGroup as group:
            lost = next((one for one in group.exceptions if isinstance(one, ConnectionLost)), None)
            if lost is None or group.split(ConnectionLost)[1] is not None:
                raise
            raise lost from None
        finally:
            if self._connection is not None:
                self._worked |= self._connection.settled > 0
            self._connection = None
            self._unsubscribed = False
            self._statistics.connected = self._statistics.subscribed = False

    @property
    def _mqtt(self) -> MqttSettings:
        """The settings, with the MQTT version in use."""
        return self._settings.mqtt.model_copy(update={"protocol": self._level})

    def _connected(self, connection: AiomqttConnection) -> None:
        mqtt = self._settings.mqtt
        self._connection = connection
        self._since = time.monotonic()
        self._statistics.connected = True
        self._trouble = "not subscribed"
        self._connections += 1
        if self._connections == 1:
            self.found_session = connection.session_present
        else:
            self._statistics.reconnects += 1
            if not connection.session_present:
                self._statistics.sessions_lost += 1
        session = "session resumed" if connection.session_present else "new session"
        if self._changes["on"].count():
            _log.info("connected to %s as %s, %s", mqtt.url, mqtt.client_id, session)
            if self._connections > 1 and not connection.session_present:
                _log.warning(
                    "session lost: the broker had none of %s; requests that it had queued are "
                    "lost, if their senders do not repeat them",
                    mqtt.client_id,
                )
        if self._draining.is_set():
            connection.drain()

    async def _subscribe(self, connection: AiomqttConnection) -> None:
        filters, older = connection.filters, await asyncio.to_thread(self._record.filters)
        recorded = older or self._settings.mqtt.share_group
        if recorded and not set(filters) <= set(older):
            await asyncio.to_thread(self._record.write, [*older, *filters])
        connection.recorded_filters = older
        await connection.subscribe()
        if recorded and not set(older) <= set(filters):
            await asyncio.to_thread(self._record.write, filters)
        self._statistics.subscribed = True
        self._trouble = ""
        self.was_ready = self._worked = True
        self._logged.clear()
        if self._changes["ready"].count():
            _log.info("subscribed, requests are being received")
        before, shortfalls = self._shortfalls, tuple(connection.shortfalls)
        self._shortfalls = shortfalls
        if shortfalls != before:
            for shortfall in shortfalls:
                _log.warning("broker grants less than requested: %s", shortfall)
        if SHARE_GROUP_UNVERIFIED in self.shortfalls and self._hints.count():
            _log.warning("%s", SHARE_GROUP_UNVERIFIED)
        self._statistics.shortfalls = len(shortfalls) + len(self._canary)
        if self._settings.mqtt.canary:
            await self._send_canaries()

    async def _unsubscribe(self, connection: AiomqttConnection) -> None:
        connection.recorded_filters = await asyncio.to_thread(self._record.filters)
        await connection.unsubscribe()
        self._trouble = ""
        self._unsubscribed = self.was_ready = self._worked = True
        _log.info("unsubscribed; requests that the broker has queued are being received")

    async def _send_canaries(self) -> None:
        """Run the canary until it succeeds."""
        while True:
            if self._canaries_lost >= _MAX_LOST_CANARIES:
                self._report_canary([canary.DISABLED])
                return
            self._canaries_lost += 1
            failures = await canary.probe(self._mqtt)
            self._canaries_lost = 0
            self._statistics.canaries["unanswered" if failures else "answered"] += 1
            self._request_seen |= not failures
            self._report_canary(failures)
            if not failures:
                return
            await asyncio.sleep(_CANARY_AGAIN)

    def _report_canary(self, failures: Sequence[str]) -> None:
        """Report the failures of a canary, and log them if they changed."""
        before, self._canary = self._canary, tuple(failures)
        self._statistics.shortfalls = len(self._shortfalls) + len(failures)
        if not failures and self._changes["canary"].count():
            _log.info("canary answered: requests and replies are delivered on both topics")
        elif self._canary != before and self._changes["canary"].count():
            for failure in failures:
                _log.warning("canary failed: %s", failure)

    def _on_lost(self, error: ConnectionLost) -> float:
        """Record a lost connection or failed attempt; returns the seconds to wait."""
        self._choose_version(error)
        since = self._since
        lasted = time.monotonic() - since if since is not None and self._worked else None
        wait = self._backoff.wait(error, lasted)
        if since is not None:
            self._statistics.connections_lost += 1
        if isinstance(error, SessionTakenOver):
            self._statistics.takeovers += 1
            self._trouble = "session taken over: another client uses the same client id"
            _log.error("%s; reconnecting in %.0f s; each client needs its own id", error, wait)
            return wait
        refused = isinstance(error, BrokerRefused)
        what = "refused by the broker" if refused else "not connected to the broker"
        self._trouble = f"{what}: {self._settings.mqtt.url}: {error}"
        self._log_lost(error, worked=lasted is not None)
        if self._backoff.suspects_takeover and self._hints.count():
            _log.warning(
                "broker closes each connection within seconds and accepts the next one at once: "
                "does another client use the client id %s?",
                self._settings.mqtt.client_id,
            )
        return wait

    def _choose_version(self, error: ConnectionLost) -> None:
        """With `protocol = "auto"`, switch to the other MQTT version if this one gets no answer."""
        self._unanswered = self._unanswered + 1 if isinstance(error, Unanswered) else 0
        refused = isinstance(error, ProtocolRefused) or self._unanswered >= _UNANSWERED
        if self._settings.mqtt.protocol == "auto" and refused:
            self._level, self._unanswered = 4 if self._level == MQTT_5 else 5, 0
            if self._changes["level"].count():
                version = "5" if self._level == MQTT_5 else "3.1.1"
                _log.warning('%s; mqtt.protocol = "auto": trying MQTT %s', error, version)

    def _log_lost(self, error: ConnectionLost, *, worked: bool) -> None:
        """Log a lost connection or failed attempt, rate-limited."""
        url, reason = self._settings.mqtt.url, str(error)
        if worked:
            if events := self._changes["lost"].count():
                more = f" ({events} times since the last such line)" if events > 1 else ""
                _log.warning("no connection to %s: %s; retrying%s", url, reason, more)
        elif reason not in self._logged and len(self._logged) < _REASONS:
            self._logged.add(reason)
            self._reminders.count()
            _log.warning("no connection to %s: %s; retrying", url, reason)
        elif self._reminders.count():
            _log.warning("still no connection to %s: %s", url, reason)

    def _reply_refused(self, reason: str) -> None:
        self._statistics.replies_refused += 1
        if events := self._refused_replies.count():
            _log.warning(
                "broker rejected %d replies (last: %s); check publish rights on ..._reply",
                events,
                reason,
            )
