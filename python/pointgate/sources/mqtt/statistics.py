"""The statistics of the session with the broker, for the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class MqttStatistics:
    """The state of the session, and its event counts.

    Attributes:
        connected: Whether the broker has accepted the connection.
        subscribed: Whether the subscriptions were granted.
        shortfalls: The number of settings that the broker does not grant, and canary failures.
        canaries: Canary runs, by whether both requests were answered.
        connections_lost: Connections that ended unexpectedly.
        reconnects: Connections after the first one.
        sessions_lost: Reconnects for which the broker had no session.
        takeovers: Connections closed because another client connected with our client id.
        replies_refused: Replies that the broker rejected.
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
