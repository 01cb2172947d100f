"""The reconnect backoff: how many seconds pass between a lost connection and the next attempt.

    wait = backoff.wait(error, lasted)      # after each connection or failed attempt

    an attempt failed                    exponential backoff with jitter, from 0.1 to 5 s
    a connection that worked was lost    at most 0.1 s; more if such connections last only seconds
    the broker refuses us                5 s, until somebody changes its settings or ours
    the broker reports a takeover        1 min, then 2, up to 15

Jitter keeps the services of a fleet from reconnecting in step. A connection that worked (it was
subscribed or settled a request) resets the backoff: the next attempt follows at once. So the
service reconnects immediately even to a broker that restarts twice within seconds. Connections that
repeatedly work only for seconds back off, too.

Two clients with one client id take the session over from each other indefinitely. If the broker
reports a takeover, as in MQTT 5, we wait for a minute before reconnecting, then two, up to 15. In
MQTT 3.1.1, and with Mosquitto 2.0.11 in both versions, the broker only closes the connection, as it
does when it stops. The one visible difference: a stopped broker refuses the next attempt, and after
a takeover the broker accepts it. After three such closes in a row a takeover is suspected, for a
hint in the log.

It does not wait, log or connect: `source.py` does.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from pointgate.errors import SessionTakenOver
from pointgate.sources.mqtt.errors import BrokerRefused, ClosedByBroker

if TYPE_CHECKING:
    from pointgate.errors import ConnectionLost

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0

_SHORT_LIVED: Final = 10.0
"""Seconds. Consecutive connections that worked for less increase the backoff, too."""

_SUSPECT_AFTER: Final = 3
"""Consecutive connections that the broker closed within seconds and accepted at the next attempt,
until a takeover is suspected."""

_TAKEOVER_WAIT: Final = 60.0
_LONGEST_TAKEOVER_WAIT: Final = 900.0


class Backoff:
    """Exponential backoff with jitter between two attempts to connect.

    Attributes:
        suspects_takeover: Whether another client seems to use the same client id.
    """

    def __init__(self) -> None:
        self.suspects_takeover = False
        self._closed = 0  # consecutive short-lived connections that the broker closed
        self._short_lived = 0  # consecutive short-lived connections that worked
        self._failures = 0  # consecutive failed attempts
        self._takeover_wait = _TAKEOVER_WAIT

    def wait(self, error: ConnectionLost, lasted: float | None) -> float:
        """Record the end of a connection or attempt.

        Args:
            error: Why it ended.
            lasted: How many seconds the connection was up; None for a failed attempt: the
                connection never worked.

        Returns:
            Seconds until the next attempt.
        """
        self._detect_takeovers(error, lasted)
        if lasted is not None and lasted > _LONGEST_TAKEOVER_WAIT:
            self._takeover_wait = _TAKEOVER_WAIT
        if isinstance(error, SessionTakenOver):
            wait = self._takeover_wait
            self._takeover_wait = min(2 * wait, _LONGEST_TAKEOVER_WAIT)
            return wait
        if isinstance(error, BrokerRefused):
            return _LONGEST_WAIT  # permanent until somebody changes the settings
        if lasted is None:
            self._failures += 1
        else:
            self._failures = 0
            self._short_lived = self._short_lived + 1 if lasted < _SHORT_LIVED else 0
        doublings = max(self._failures, self._short_lived, 1) - 1
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(doublings, 16))
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    def _detect_takeovers(self, error: ConnectionLost, lasted: float | None) -> None:
        """Detect the pattern of takeovers that the broker does not report."""
        closed = isinstance(error, ClosedByBroker)
        if closed and lasted is not None and lasted < _SHORT_LIVED:
            self._closed += 1
        else:
            self._closed = 0
        self.suspects_takeover = self._closed >= _SUSPECT_AFTER
