"""The counters of a sink, which the drain updates and the metrics show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pointgate.histogram import Histogram

_COMMIT_BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Seconds: from a line in a file to a large commit to a distant object store."""


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
        commits: The time that the sink took for each commit, with the writes in it.
        oldest: When the first of them was committed, in seconds since 1970; None without lag.
    """

    points: int = 0
    refused: int = 0
    dropped: int = 0
    failures: int = 0
    lag_requests: int = 0
    lag_points: int = 0
    oldest: float | None = None
    commits: Histogram = field(default_factory=lambda: Histogram(_COMMIT_BOUNDS))
