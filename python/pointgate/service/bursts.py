"""Bursts on their way through the gate: to be judged, and judged ones that wait to be settled.

    arrived = ArrivedBurst.stamp(requests, clock)       # an arrival instant for each request
    await queue.put(JudgedBurst(requests, reports, points, stored))
    burst = await queue.next()                          # `LAST` when the connection has drained
    queue.done(burst)

Invariants: bursts leave the queue in the order of arrival; their points count against the admission
budget until they are settled or the queue is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from pointgate.store.arrival_clock import system_us
from pointgate.store.none import Completed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Sequence

    from pointgate._core import Report
    from pointgate.sources.admission import Admission
    from pointgate.sources.base import Request
    from pointgate.store.arrival_clock import ArrivalClock


@dataclass(slots=True)
class ArrivedBurst:
    """Requests that are judged together, with their arrival instants (contract 3.5).

    Attributes:
        requests: The requests.
        first: The arrival instant of the first one; each one after it is a microsecond later.
        now_ms: The system clock, for the products' time windows.
        topics: Their topics.
        payloads: Their payloads.
    """

    requests: Sequence[Request]
    first: int
    now_ms: int
    topics: list[str] = field(init=False)
    payloads: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.topics = [request.topic for request in self.requests]
        self.payloads = [request.payload for request in self.requests]

    @classmethod
    def stamp(cls, requests: Sequence[Request], clock: ArrivalClock) -> Self:
        """Give each request its arrival instant."""
        return cls(requests, clock.issue(len(requests)), system_us() // 1000)

    def part(self, start: int, end: int) -> ArrivedBurst:
        """A slice of the burst; the same object if that is all of it, which is the usual case."""
        if start == 0 and end >= len(self.requests):
            return self
        return ArrivedBurst(self.requests[start:end], self.first + start, self.now_ms)

    def observed(self) -> list[int | None] | None:
        """When each request was first observed, if it says so; None if no request does.

        Instants later than the arrival are ignored.
        """
        if all(request.observed is None for request in self.requests):
            return None
        found = (request.observed for request in self.requests)
        return [
            one if one is not None and one <= self.first + place else None
            for place, one in enumerate(found)
        ]

    def instants(self) -> list[int]:
        """The instant that each request's points without a time get."""
        observed = self.observed() or [None] * len(self.requests)
        return [self.first + place if one is None else one for place, one in enumerate(observed)]


@dataclass(slots=True)
class JudgedBurst:
    """A burst between judging and settling; the last one of a connection has no requests.

    Attributes:
        requests: The requests, including stored retained ones.
        reports: One for each request; None for requests without a verdict.
        points: The number of accepted points.
        stored: Completes when the points are stored (see `Store.append`).
    """

    requests: Sequence[Request]
    reports: Sequence[Report | None]
    points: int
    stored: Awaitable[Collection[int]]


LAST: Final = JudgedBurst((), (), 0, Completed())
"""Ends the queue: the connection has drained."""


class SettleQueue:
    """The judged bursts of one connection, in order, between the two tasks of the gate.

    Attributes:
        requests: How many requests were received and have not been settled.
    """

    def __init__(self, admission: Admission) -> None:
        self.requests = 0
        self._admission = admission
        self._bursts: deque[JudgedBurst] = deque()
        self._points = 0  # of these bursts, and of the one that is being settled
        self._filled = asyncio.Event()

    async def put(self, burst: JudgedBurst) -> None:
        """Append a burst; wait while too many points wait for the store."""
        self._bursts.append(burst)
        self._points += burst.points
        self._admission.add_points(burst.points)
        self._filled.set()
        await self._admission.wait_for_points()

    async def next(self) -> JudgedBurst:
        """Remove the first burst; wait while there is none."""
        while not self._bursts:
            self._filled.clear()
            await self._filled.wait()
        return self._bursts.popleft()

    def done(self, burst: JudgedBurst) -> None:
        """Release the points of a settled burst."""
        self._points -= burst.points
        self._admission.release_points(burst.points)

    def close(self) -> None:
        """Release the points of all bursts that will not be settled."""
        self._admission.release_points(self._points)
        self._points = 0
