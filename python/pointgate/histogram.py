"""A histogram of durations, in the form of those of `_core.Counters`: what Prometheus scrapes."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class Histogram:
    """Counts of durations by upper bound.

    Args:
        bounds: The upper bounds in seconds, ascending.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self._sum += seconds
        self._counts[bisect_left(self._bounds, seconds)] += 1

    def read(self) -> dict[str, Any]:
        """`bounds`, cumulative `buckets` (one more: +Inf last) and `sum`."""
        buckets = [*itertools.accumulate(self._counts)]
        return {"bounds": self._bounds, "buckets": buckets, "sum": self._sum}
