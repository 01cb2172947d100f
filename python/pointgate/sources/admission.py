"""The admission budget: how many requests, bytes and points are in flight in this process.

    admission.take(requests, size)       they arrived
    admission.release(requests, size)    they are settled, or their connection has ended
    admission.is_beyond(1.0)             whether more is in flight than the limits allow

One budget for all sources, so that a second source does not double the memory of the first. A
source that finds it used up stops reading and is told when there is room again: backpressure, never
a dropped request.

Points are counted apart, because a short payload can hold many: the gate stops judging while more
than `POINTS` wait for the store.

Invariants: everything taken is released exactly once. One thread only, the event loop's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate.config import LimitSettings

POINTS: Final = 500_000
"""Points that may wait for the store before judging waits, too: some 30 MB."""

RESUME: Final = 0.5
"""The share of the limits below which a source that stopped reading reads again."""


class Admission:
    """What is in flight.

    Args:
        limits: How many requests and bytes may be.

    Attributes:
        limits: These.
        points: Points between the judge and the end of their requests.
    """

    def __init__(self, limits: LimitSettings) -> None:
        self.points = 0
        self.limits = limits
        self._requests = 0
        self._bytes = 0
        self._room: set[Callable[[], object]] = set()
        self._fewer_points = asyncio.Event()

    def take(self, requests: int, size: int) -> None:
        """Count requests that arrived."""
        self._requests += requests
        self._bytes += size

    def release(self, requests: int, size: int) -> None:
        """Forget requests that were taken, and tell who waits for room."""
        was_short = self.is_beyond(RESUME)
        self._requests -= requests
        self._bytes -= size
        if was_short and not self.is_beyond(RESUME):
            for tell in list(self._room):
                tell()

    def is_beyond(self, share: float) -> bool:
        """Whether more than this share of the limits is in flight."""
        return (
            self._requests > share * self.limits.in_flight_requests
            or self._bytes > share * self.limits.in_flight_bytes
        )

    def on_room(self, tell: Callable[[], object]) -> None:
        """Have a function called whenever less than `RESUME` of the limits is in flight again."""
        self._room.add(tell)

    def forget(self, tell: Callable[[], object]) -> None:
        """Undo `on_room`."""
        self._room.discard(tell)

    def add_points(self, points: int) -> None:
        """Count points that wait for the store."""
        self.points += points

    def release_points(self, points: int) -> None:
        """Forget points that were added."""
        self.points -= points
        self._fewer_points.set()

    async def points_fit(self) -> None:
        """Wait while more than `POINTS` wait for the store."""
        while self.points > POINTS:
            self._fewer_points.clear()
            await self._fewer_points.wait()
