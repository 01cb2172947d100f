"""What a session with a broker counts, for the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class MqttStatistics:
    """The state of the session, and what has happened to it.

    Attributes:
        connected: Whether the broker has accepted us.
        subscribed: Whether requests can arrive.
        shortfalls: How many things the broker grants less than asked for, or the canary misses.
        canaries: Canaries, by whether both requests were answered.
        connections_lost: Connections that ended unexpectedly.
        reconnects: Connections after the first one.
        sessions_lost: Times the broker had forgotten our session.
        takeovers: Times another client took our client id.
        replies_refused: Replies the broker did not let us publish.
    """

    connected: bool = False
    subscribed: bool = False
    shortfalls: int = 0
    canaries: dict[str, int] = field(default_factory=lambda: {"answered": 0, "unanswered": 0})
    connections_lost: int = 0
    reconnects: int = 0
    sessions_lost: int = 0
    takeovers: int = 0
    replies_refused: int = 0
