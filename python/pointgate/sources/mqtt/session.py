"""The link to the broker: connects, runs the gate on it, and connects again when it is lost.

    connect ─► subscribe │ gate ─► lost ─► wait ─► connect …

The broker may be absent when the service starts, restart, refuse us or be gone for days. The wait
between attempts grows with failed attempts, from 0.1 to 5 s, shortened at random so that a fleet
does not come in step. A connection that worked, which means that it was subscribed or settled a
request, ends that: the next attempt follows at once. So a broker that restarts twice within seconds
is met as soon as it is back. Connections that work for seconds only, again and again, are attempted
every 5 s at last.

Two clients with one client id disconnect each other for ever. When the broker says so, which MQTT 5
provides for, we stand aside for a minute, the next time for two, up to 15. In MQTT 3.1.1, and with
Mosquitto 2.0.11 in either, the broker only closes the connection, as it does when it stops. The one
difference that we can see: a broker that stopped refuses the next attempt, and one that gave our
client id to another takes it. Three such ends in a row are worth a hint in the log, nothing else.

Invariants: one connection at a time; after `drain`, `run` returns with everything answered that had
arrived.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from pointgate.errors import ConfigError, ConnectionLost, SessionTakenOver
from pointgate.rate_limiter import RateLimiter
from pointgate.sources.admission import Admission
from pointgate.sources.mqtt import canary
from pointgate.sources.mqtt.capabilities import UNPROVEN
from pointgate.sources.mqtt.connection import connect
from pointgate.sources.mqtt.errors import BrokerRefused, ClosedByBroker, ProtocolRefused, Unanswered
from pointgate.sources.mqtt.packets import MQTT_5
from pointgate.sources.mqtt.subscriptions import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.config import MqttSettings, Settings
    from pointgate.sources.base import Handler
    from pointgate.sources.mqtt.connection import AiomqttConnection
    from pointgate.sources.mqtt.statistics import MqttStatistics

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0

_SHORT_LIVED: Final = 10.0
"""Seconds. Connections that worked for less, in a row, come at growing intervals, too."""

_SUSPICIOUS: Final = 3
"""So many in a row that the broker closed after seconds, and took again at the first attempt."""

_ASIDE: Final = 60.0
_LONGEST_ASIDE: Final = 900.0

_REMINDER: Final = 30.0
_REFUSED_REPLIES: Final = 60.0

_CHANGES: Final = 10
"""How many lines of one kind a minute may have when connections come and go in a loop."""

_KINDS: Final = ("on", "ready", "lost", "level", "canary")

_CANARY_AGAIN: Final = 30.0
"""Seconds until a canary without a reply is followed by another."""

_CANARY_CUT: Final = 3
"""So many in a row that a lost connection ended are the reason for it."""

_UNANSWERED: Final = 2
"""After so many attempts without an answer, "auto" tries the other version of MQTT."""

_REASONS: Final = 16
"""How many reasons of failed attempts are remembered as logged."""

_log = logging.getLogger(__name__)


class Backoff:
    """How long to wait after an attempt to connect that failed, or a connection that ended.

    Attributes:
        suspicious: Whether the last ends look like a fight over the client id.
    """

    def __init__(self) -> None:
        self.suspicious = False
        self._closed = 0  # short-lived in a row, closed by the broker, none refused in between
        self._short_lived = 0  # that worked, in a row
        self._failures = 0  # in a row
        self._aside = _ASIDE

    def wait(self, error: ConnectionLost, lasted: float | None) -> float:
        """Take note of an end.

        Args:
            error: Why it ended.
            lasted: How many seconds the connection was up; None for an attempt that failed, which
                is one without a connection that worked.

        Returns:
            Seconds until the next attempt.
        """
        self._look(error, lasted)
        if lasted is not None and lasted > _LONGEST_ASIDE:
            self._aside = _ASIDE
        if isinstance(error, SessionTakenOver):
            wait, self._aside = self._aside, min(2 * self._aside, _LONGEST_ASIDE)
            return wait
        if isinstance(error, BrokerRefused):
            return _LONGEST_WAIT  # only a person can change that: no hurry
        if lasted is None:
            self._failures += 1
        else:
            self._failures = 0
            self._short_lived = self._short_lived + 1 if lasted < _SHORT_LIVED else 0
        doublings = max(self._failures, self._short_lived, 1) - 1
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(doublings, 16))
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads a fleet in time

    def _look(self, error: ConnectionLost, lasted: float | None) -> None:
        """Look for the signs of a fight over the client id."""
        closed = isinstance(error, ClosedByBroker)
        if closed and lasted is not None and lasted < _SHORT_LIVED:
            self._closed += 1
        else:
            self._closed = 0
        self.suspicious = self._closed >= _SUSPICIOUS


class Session:
    """Owns the connection.

    Args:
        settings: Where the broker is, and the limits.
        gate: What handles the requests.
        statistics: Where its state is kept for the metrics.
        admission: How much may be in flight in this process; one of its own if None.

    Attributes:
        trouble: Why requests are not being received, for /readyz; empty when they are.
        connected: Whether there is a connection.
        was_ready: Whether requests have been received at any time.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        gate: Handler,
        statistics: MqttStatistics,
        admission: Admission | None = None,
    ) -> None:
        self.trouble = f"not connected to the broker: {settings.mqtt.url}"
        self.was_ready = False
        self._shortfalls: tuple[str, ...] = ()
        self._arrived = False  # whether a request has, ever
        self._canary: tuple[str, ...] = ()  # what the last one missed
        self._canaries_cut = 0  # in a row
        self._settings = settings
        self._gate = gate
        self._statistics = statistics
        self._admission = admission or Admission(settings.limits)
        self._record = Subscriptions(settings.spool.path, settings.mqtt.client_id)
        self._backoff = Backoff()
        self._draining = asyncio.Event()
        self._connection: AiomqttConnection | None = None
        self._since: float | None = None  # when the present or the last try was connected
        self._worked = False  # whether that was subscribed, or settled a request
        self._level = settings.mqtt.level
        self._unanswered = 0  # attempts in a row, at this level
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
    def shortfalls(self) -> list[str]:
        """What the broker grants less than the settings ask for or does, for /readyz."""
        found = [*self._shortfalls, *self._canary]
        if self._connection is not None and self._connection.settled:
            self._arrived = True
        proven = self._arrived or self._canary
        if self._level != MQTT_5 and self._settings.mqtt.share_group and not proven:
            found.append(UNPROVEN)
        return found

    async def run(self) -> None:
        """Hold a connection until `drain` was called and everything is answered."""
        running = cast("asyncio.Task[Any]", asyncio.current_task())
        while not self._draining.is_set():
            self._since, self._worked = None, False
            try:
                await self._hold()
            except ConnectionLost as error:
                wait = self._lost(error)
            except ConfigError as error:
                # A certificate or password file has gone bad since the start, and can become good
                # again.
                wait = self._lost(BrokerRefused(str(error)))
            else:
                return
            if running.cancelling():
                # Before Python 3.13, a TaskGroup with an error forgets a cancellation.
                raise asyncio.CancelledError
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._draining.wait()

    def drain(self) -> None:
        """Take nothing new; `run` returns when what has arrived is answered."""
        self._draining.set()
        if self._connection is not None:
            self._connection.drain()

    async def _hold(self) -> None:
        """Connect, and stay until the connection has drained or is lost."""
        try:
            async with (
                connect(self._mqtt, self._admission, on_refused=self._reply_refused) as connection,
                asyncio.TaskGroup() as tasks,
            ):
                self._connected(connection)
                # Beside the gate: a resumed session delivers first, and its requests want room.
                subscribing = tasks.create_task(self._subscribe(connection), name="subscribe")
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
            self._statistics.connected = self._statistics.subscribed = False

    @property
    def _mqtt(self) -> MqttSettings:
        """The settings, with the version of MQTT that is in use."""
        return self._settings.mqtt.model_copy(update={"protocol": self._level})

    def _connected(self, connection: AiomqttConnection) -> None:
        mqtt = self._settings.mqtt
        self._connection = connection
        self._since = time.monotonic()
        self._statistics.connected = True
        self.trouble = "not subscribed"
        self._connections += 1
        if self._connections > 1:
            self._statistics.reconnects += 1
            if not connection.session_present:
                self._statistics.sessions_lost += 1
        session = "session resumed" if connection.session_present else "new session"
        if self._changes["on"].count():
            _log.info("connected to %s as %s, %s", mqtt.url, mqtt.client_id, session)
        if self._draining.is_set():
            connection.drain()

    async def _subscribe(self, connection: AiomqttConnection) -> None:
        filters, older = connection.filters, await asyncio.to_thread(self._record.filters)
        recorded = older or self._settings.mqtt.share_group
        if recorded and not set(filters) <= set(older):
            await asyncio.to_thread(self._record.write, [*older, *filters])
        connection.older = older
        await connection.subscribe()
        if recorded and not set(older) <= set(filters):
            await asyncio.to_thread(self._record.write, filters)
        self._statistics.subscribed = True
        self.trouble = ""
        self.was_ready = self._worked = True
        self._logged.clear()
        if self._changes["ready"].count():
            _log.info("subscribed, requests are being received")
        before, shortfalls = self._shortfalls, tuple(connection.shortfalls)
        self._shortfalls = shortfalls
        if shortfalls != before:
            for shortfall in shortfalls:
                _log.warning("the broker grants less than asked for: %s", shortfall)
        if UNPROVEN in self.shortfalls and self._hints.count():
            _log.warning("%s", UNPROVEN)
        self._statistics.shortfalls = len(shortfalls) + len(self._canary)
        if self._settings.mqtt.canary:
            await self._send_canaries()

    async def _send_canaries(self) -> None:
        """Post requests of our own until they are answered."""
        while True:
            if self._canaries_cut >= _CANARY_CUT:
                self._show_canary([canary.CUT])
                return
            self._canaries_cut += 1
            missed = await canary.ask(self._mqtt)
            self._canaries_cut = 0
            self._statistics.canaries["unanswered" if missed else "answered"] += 1
            self._arrived |= not missed
            self._show_canary(missed)
            if not missed:
                return
            await asyncio.sleep(_CANARY_AGAIN)

    def _show_canary(self, missed: Sequence[str]) -> None:
        """Show what a canary has missed, and log it where it is news."""
        before, self._canary = self._canary, tuple(missed)
        self._statistics.shortfalls = len(self._shortfalls) + len(missed)
        if not missed and self._changes["canary"].count():
            _log.info("canary answered: requests and replies are delivered on both topics")
        elif self._canary != before and self._changes["canary"].count():
            for one in missed:
                _log.warning("canary failed: %s", one)

    def _lost(self, error: ConnectionLost) -> float:
        """Take note of a connection that ended or never was; returns the seconds to wait."""
        self._choose_level(error)
        since = self._since
        lasted = time.monotonic() - since if since is not None and self._worked else None
        wait = self._backoff.wait(error, lasted)
        if since is not None:
            self._statistics.connections_lost += 1
        if isinstance(error, SessionTakenOver):
            self._statistics.takeovers += 1
            self.trouble = "another client has taken the client id"
            _log.error("%s: standing aside for %.0f s; each client needs its own id", error, wait)
            return wait
        refused = isinstance(error, BrokerRefused)
        what = "refused by the broker" if refused else "not connected to the broker"
        self.trouble = f"{what}: {self._settings.mqtt.url}: {error}"
        self._log_lost(error, worked=lasted is not None)
        if self._backoff.suspicious and self._hints.count():
            _log.warning(
                "the broker closes each connection within seconds and takes the next at once; "
                "does another client use the client id %s?",
                self._settings.mqtt.client_id,
            )
        return wait

    def _choose_level(self, error: ConnectionLost) -> None:
        """With `protocol = "auto"`, try the other version of MQTT if this one is not answered."""
        self._unanswered = self._unanswered + 1 if isinstance(error, Unanswered) else 0
        refused = isinstance(error, ProtocolRefused) or self._unanswered >= _UNANSWERED
        if self._settings.mqtt.protocol == "auto" and refused:
            self._level, self._unanswered = 4 if self._level == MQTT_5 else 5, 0
            if self._changes["level"].count():
                version = "5" if self._level == MQTT_5 else "3.1.1"
                _log.warning('%s; mqtt.protocol = "auto": trying MQTT %s', error, version)

    def _log_lost(self, error: ConnectionLost, *, worked: bool) -> None:
        """Log an end, unless a loop of them has filled its share of the log."""
        url, reason = self._settings.mqtt.url, str(error)
        if worked:
            if events := self._changes["lost"].count():
                more = f" ({events} times since the last such line)" if events > 1 else ""
                _log.warning("no connection to %s: %s; trying again%s", url, reason, more)
        elif reason not in self._logged and len(self._logged) < _REASONS:
            self._logged.add(reason)
            self._reminders.count()
            _log.warning("no connection to %s: %s; trying again", url, reason)
        elif self._reminders.count():
            _log.warning("still no connection to %s: %s", url, reason)

    def _reply_refused(self, reason: str) -> None:
        self._statistics.replies_refused += 1
        if events := self._refused_replies.count():
            _log.warning(
                "the broker refused %d replies, the last one: %s; may we publish to ..._reply?",
                events,
                reason,
            )
