"""What the spool counts, for the metrics."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, Final

_COMMIT_BOUNDS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


@dataclass(slots=True)
class SpoolStatistics:
    """The figures of a spool, which its threads assign.

    Attributes:
        bytes: What the batches in it take that some sink still needs.
        max_bytes: The bound on that.
        points: Points committed.
        failures: Times it could not be written.
        unreadable: Batches, and ends of files, that could not be read again.
    """

    bytes: int = 0
    max_bytes: int = 0
    points: int = 0
    failures: int = 0
    unreadable: int = 0
    _buckets: list[int] = field(default_factory=lambda: [0] * (len(_COMMIT_BOUNDS) + 1))
    _seconds: float = 0.0

    def commit(self, seconds: float, points: int) -> None:
        """A batch was committed."""
        self.points += points
        self._seconds += seconds
        self._buckets[bisect_left(_COMMIT_BOUNDS, seconds)] += 1

    def histogram(self) -> dict[str, Any]:
        """How long commits took, as `_core.Counters` tells its own."""
        buckets = [*itertools.accumulate(self._buckets)]
        return {"bounds": _COMMIT_BOUNDS, "buckets": buckets, "sum": self._seconds}
