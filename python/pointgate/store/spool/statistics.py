"""What the spool counts, for the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pointgate.histogram import Histogram

_COMMIT_BOUNDS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


@dataclass(slots=True)
class SpoolStatistics:
    """The statistics of a spool, assigned by its threads.

    Attributes:
        bytes: The size of the batches that at least one sink has not committed.
        max_bytes: The limit of that.
        points: Points committed.
        failures: Failed writes.
        unreadable: Corrupt batches and file tails, whose points are lost.
    """

    bytes: int = 0
    max_bytes: int = 0
    points: int = 0
    failures: int = 0
    unreadable: int = 0
    _commits: Histogram = field(default_factory=lambda: Histogram(_COMMIT_BOUNDS))

    def commit(self, seconds: float, points: int) -> None:
        """Count a committed batch."""
        self.points += points
        self._commits.observe(seconds)

    def histogram(self) -> dict[str, Any]:
        """The durations of commits, in the form of the histograms of `_core.Counters`."""
        return self._commits.read()
