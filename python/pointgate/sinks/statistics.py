"""What the drain counts for each sink, for the metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SinkStatistics:
    """The figures of one sink, which the drain assigns.

    Attributes:
        points: Points written.
        refused: Points that the sink can never take.
        dropped: Points that were deleted before this sink, which is not required, had them.
        failures: Writes that failed and came again.
        lag_requests: Requests in the spool that it does not have.
        lag_points: Their points.
        oldest: When the first of them was committed, in seconds since 1970; None if there is none.
    """

    points: int = 0
    refused: int = 0
    dropped: int = 0
    failures: int = 0
    lag_requests: int = 0
    lag_points: int = 0
    oldest: float | None = None
