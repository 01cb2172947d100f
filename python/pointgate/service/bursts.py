"""Judged bursts that wait to be settled, between the two tasks of the gate.

    await queue.put(JudgedBurst(burst, points, stored))
    judged = await queue.next()                         # `LAST` when the connection has drained
    queue.done(judged)

Invariants: bursts leave the queue in the order of arrival; their points count against the admission
budget until they are settled or the queue is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointgate._core import Burst
from pointgate.store.none import Completed

if TYPE_CHECKING:
    from pointgate.sources.admission import Admission
    from pointgate.store.base import Stored


@dataclass(slots=True)
class JudgedBurst:
    """A burst between judging and settling; the last one of a connection has no requests.

    Attributes:
        burst: The requests, including stored retained ones, with verdicts and replies.
        points: The number of accepted points.
        stored: Completes when the points are stored (see `Store.append`).
    """

    burst: Burst
    points: int
    stored: Stored


LAST: Final = JudgedBurst(Burst.of([], []), 0, Completed())
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

    @property
    def next_is_stored(self) -> bool:
        """Whether the next burst can be settled at once."""
        return bool(self._bursts) and self._bursts[0] is not LAST and self._bursts[0].stored.done()

    def done(self, burst: JudgedBurst) -> None:
        """Release the points of a settled burst."""
        self._points -= burst.points
        self._admission.release_points(burst.points)

    def close(self) -> None:
        """Release the points of all bursts that will not be settled."""
        self._admission.release_points(self._points)
        self._points = 0
