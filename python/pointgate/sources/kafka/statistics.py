"""The statistics of the consumer group, which `service/source_metrics.py` shows."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class KafkaStatistics:
    """The state of the consumer, and its event counts.

    Attributes:
        connected: Whether a broker of the cluster is connected.
        partitions: How many partitions this member has.
        lag: Records in these partitions whose offsets are not committed.
        paused: Whether fetching is paused, at the limit of requests in flight.
        rebalances: Times that partitions were assigned or revoked.
        commits: Commits of offsets, by result.
        errors: Errors that the client library reported.
        replies_refused: Replies that Kafka permanently rejected.
    """

    connected: bool = False
    partitions: int = 0
    lag: int = 0
    paused: bool = False
    rebalances: int = 0
    commits: dict[str, int] = field(default_factory=lambda: {"success": 0, "failure": 0})
    errors: int = 0
    replies_refused: int = 0
