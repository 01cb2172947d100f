"""The admission budget: the in-flight window of this process, in requests, bytes and points.

    admission.acquire(requests, size)    they arrived
    admission.release(requests, size)    they are settled, or their connection has ended
    admission.exceeds(1.0)               whether more is in flight than the limits allow

One budget for all sources, so that a second source does not double the memory. This is
backpressure: a source stops reading while the budget is exceeded, and resumes below `RESUME` of it;
no request is dropped.

Points are counted separately, because a short payload can hold many: the gate stops judging while
more than `POINTS` wait for the store.

Invariants: everything acquired is released exactly once. Only the event loop's thread uses it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate.config import LimitSettings

POINTS: Final = 500_000
"""The most points that may wait for the store before judging pauses: some 30 MB."""

RESUME: Final = 0.5
"""The low-water mark: the share of the limits below which a paused source resumes reading."""


class Admission:
    """Counts what is in flight.

    Args:
        limits: The limits of requests and bytes in flight.

    Attributes:
        limits: These limits.
        points: Accepted points whose requests are not settled.
    """

    def __init__(self, limits: LimitSettings) -> None:
        self.points = 0
        self.limits = limits
        self._requests = 0
        self._bytes = 0
        self._resume_callbacks: set[Callable[[], object]] = set()
        self._fewer_points = asyncio.Event()

    def acquire(self, requests: int, size: int) -> None:
        """Add requests that arrived."""
        self._requests += requests
        self._bytes += size

    def release(self, requests: int, size: int) -> None:
        """Remove requests, and call the resume callbacks below the low-water mark."""
        was_above = self.exceeds(RESUME)
        self._requests -= requests
        self._bytes -= size
        if was_above and not self.exceeds(RESUME):
            for callback in list(self._resume_callbacks):
                callback()

    def exceeds(self, share: float) -> bool:
        """Whether more than this share of the limits is in flight."""
        return (
            self._requests > share * self.limits.in_flight_requests
            or self._bytes > share * self.limits.in_flight_bytes
        )

    def add_resume_callback(self, callback: Callable[[], object]) -> None:
        """Register a function to call whenever usage falls below `RESUME` of the limits."""
        self._resume_callbacks.add(callback)

    def remove_resume_callback(self, callback: Callable[[], object]) -> None:
        """Undo `add_resume_callback`."""
        self._resume_callbacks.discard(callback)

    def add_points(self, points: int) -> None:
        """Add points that wait for the store."""
        self.points += points

    def release_points(self, points: int) -> None:
        """Remove points that were added."""
        self.points -= points
        self._fewer_points.set()

    async def wait_for_points(self) -> None:
        """Wait while more than `POINTS` wait for the store."""
        while self.points > POINTS:
            self._fewer_points.clear()
            await self._fewer_points.wait()
