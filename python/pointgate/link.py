"""The link to the broker: connects, runs the gate on it, and connects again when it is lost.

    connect ─► subscribe │ gate ─► lost ─► wait ─► connect …

The broker may be absent when the service starts, restart, refuse us or be gone for days: the link
tries again, at once at first, later every 5 s at most, each wait shortened at random so that a
fleet does not come in step. A log line says each change, and one every 30 s that nothing has
changed.

Two clients with one client id throw each other out for ever. When the broker says so, which MQTT 5
provides for, we stand aside for a minute, the next time for two, up to 15. In MQTT 3.1.1, and with
Mosquitto 2.0.11 in either, it looks like any other loss: so the wait grows to a minute while
connections last for seconds only.

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
from pointgate.mqtt.aiomqtt import connect
from pointgate.mqtt.base import BrokerRefused
from pointgate.seldom import Seldom

if TYPE_CHECKING:
    from pointgate.config import Settings
    from pointgate.gate import Gate
    from pointgate.metrics import Metrics
    from pointgate.mqtt.aiomqtt import AiomqttConnection

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0
_LONGEST_WAIT_SHORT_LIVED: Final = 60.0
"""Among short-lived connections, which may be a fight over the client id."""

_SHORT_LIVED: Final = 10.0
"""Seconds. A connection that lasted longer was a good one: the next wait is short again."""

_SUSPICIOUS: Final = 3
"""After so many short-lived connections in a row a fight over the client id is worth a hint."""

_ASIDE: Final = 60.0
_LONGEST_ASIDE: Final = 900.0

_REMINDER: Final = 30.0
_REFUSED_REPLIES: Final = 60.0

_log = logging.getLogger(__name__)


class Backoff:
    """How long to wait after a connection that ended, or never was.

    Attributes:
        suspicious: Whether the last connections were so short-lived that it may be a fight over the
        client id.
    """

    def __init__(self) -> None:
        self.suspicious = False
        self._short_lived = 0
        self._failures = 0
        self._aside = _ASIDE

    def wait(self, error: ConnectionLost, lasted: float | None) -> float:
        """Take note of an end.

        Args:
            error: Why it ended.
            lasted: How many seconds the connection was up; None if it never was.

        Returns:
            Seconds until the next try.
        """
        if lasted is not None and lasted > _LONGEST_ASIDE:
            self._aside = _ASIDE
        if isinstance(error, SessionTakenOver):
            wait, self._aside = self._aside, min(2 * self._aside, _LONGEST_ASIDE)
            return wait
        longest = _LONGEST_WAIT
        self.suspicious = False
        if isinstance(error, BrokerRefused):
            return longest  # only a person can change that: no hurry
        self._failures += 1
        if lasted is not None and lasted < _SHORT_LIVED:
            self._short_lived += 1
            self.suspicious = self._short_lived >= _SUSPICIOUS
            longest = _LONGEST_WAIT_SHORT_LIVED
        elif lasted is not None:
            self._failures, self._short_lived = 1, 0
        wait = min(longest, _FIRST_WAIT * 2.0 ** min(self._failures - 1, 16))
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads a fleet in time


class Link:
    """Owns the connection.

    Args:
        settings: Where the broker is, and the limits.
        gate: What handles the requests.
        metrics: Where the connection's state is kept.

    Attributes:
        trouble: Why requests are not being received, for /readyz; empty when they are.
        connected: Whether there is a connection.
        was_ready: Whether requests have been received at any time.
    """

    def __init__(self, settings: Settings, *, gate: Gate, metrics: Metrics) -> None:
        self.trouble = "not connected to the broker"
        self.was_ready = False
        self._settings = settings
        self._gate = gate
        self._metrics = metrics
        self._backoff = Backoff()
        self._draining = asyncio.Event()
        self._connection: AiomqttConnection | None = None
        self._since: float | None = None  # when the present or the last try was connected
        self._connections = 0
        self._said = ""
        self._reminders = Seldom(_REMINDER)
        self._refused_replies = Seldom(_REFUSED_REPLIES)

    @property
    def connected(self) -> bool:  # noqa: D102 - see the class
        return self._connection is not None

    async def run(self) -> None:
        """Hold a connection until `drain` was called and everything is answered."""
        running = cast("asyncio.Task[Any]", asyncio.current_task())
        while not self._draining.is_set():
            self._since = None
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
        mqtt, limits = self._settings.mqtt, self._settings.limits
        try:
            async with (
                connect(mqtt, limits, on_refused=self._reply_refused) as connection,
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
            self._connection = None
            self._metrics.mqtt_connected = self._metrics.subscribed = False

    def _connected(self, connection: AiomqttConnection) -> None:
        mqtt = self._settings.mqtt
        self._connection = connection
        self._since = time.monotonic()
        self._metrics.mqtt_connected = True
        self.trouble = "not subscribed"
        self._connections += 1
        if self._connections > 1:
            self._metrics.reconnects += 1
            if not connection.session_present:
                self._metrics.sessions_lost += 1
        session = "session resumed" if connection.session_present else "new session"
        _log.info("connected to %s as %s, %s", mqtt.url, mqtt.client_id, session)
        if self._draining.is_set():
            connection.drain()

    async def _subscribe(self, connection: AiomqttConnection) -> None:
        await connection.subscribe()
        self._metrics.subscribed = True
        self.trouble = self._said = ""
        self.was_ready = True
        _log.info("subscribed, requests are being received")

    def _lost(self, error: ConnectionLost) -> float:
        """Take note of a connection that ended or never was; returns the seconds to wait."""
        mqtt, since = self._settings.mqtt, self._since
        lasted = None if since is None else time.monotonic() - since
        wait = self._backoff.wait(error, lasted)
        if since is not None:
            self._metrics.connections_lost += 1
        if isinstance(error, SessionTakenOver):
            self._metrics.takeovers += 1
            self.trouble = "another client has taken the client id"
            _log.error("%s: standing aside for %.0f s; each client needs its own id", error, wait)
            return wait
        refused = isinstance(error, BrokerRefused)
        self.trouble = "refused by the broker" if refused else "not connected to the broker"
        hint = ""
        if self._backoff.suspicious:
            hint = f"; does another client use the client id {mqtt.client_id}?"
        if since is not None or str(error) != self._said:
            self._said = str(error)
            self._reminders.count()
            _log.warning("no connection to %s: %s; trying again%s", mqtt.url, error, hint)
        elif self._reminders.count():
            _log.warning("still no connection to %s: %s", mqtt.url, error)
        return wait

    def _reply_refused(self, reason: str) -> None:
        self._metrics.replies_refused += 1
        if events := self._refused_replies.count():
            _log.warning(
                "the broker refused %d replies, the last one: %s; may we publish to ..._reply?",
                events,
                reason,
            )
