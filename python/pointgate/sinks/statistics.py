"""The counters of a sink, which the drain updates and the metrics show."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SinkStatistics:
    """The statistics of one sink.

    Attributes:
        points: Points written.
        refused: Points permanently rejected by the sink (dead-lettered).
        dropped: Points deleted from the spool before this sink, which is not required, had them.
        failures: Writes that failed and were retried.
        lag_requests: Requests in the spool that it does not have.
        lag_points: Points in those requests.
        oldest: When the first of them was committed, in seconds since 1970; None without lag.
    """

    points: int = 0
    refused: int = 0
    dropped: int = 0
    failures: int = 0
    lag_requests: int = 0
    lag_points: int = 0
    oldest: float | None = None
