"""When the next commit begins: groups form under load, and a lone request does not wait.

    if (rest := pace.rest(waiting)) <= 0:       seconds until the waiting requests are committed
        pace.begin()
        ... commit ...
        pace.end(in_flight)                     those of the commit, and those that wait

A commit costs the same whether it has one request or a thousand, so under load each one begins at
least `max_delay` after the one before, if more requests are to be expected. That is the case until
as many wait as were in flight lately: their senders, or the broker's window, then wait for us. So
a sender that waits for each reply is never delayed, nor is a small window that is full, and a
request waits at most `max_delay` longer than without this.

The number that was in flight decays with each commit that saw fewer.

It does not wait, and knows neither points nor disks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_DECAY: Final = 0.75
"""From 1,000 requests in flight to 1 in 24 commits."""


class Pace:
    """The pace of commits. Used under the writer's lock.

    Args:
        max_delay: The shortest time between the beginnings of two commits, in seconds.
        now: The monotonic clock.

    Attributes:
        expected: How many requests are waited for.
    """

    def __init__(self, max_delay: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self.expected = 0
        self._max_delay = max_delay
        self._now = now
        self._next = 0.0

    def rest(self, waiting: int) -> float:
        """How many seconds so many waiting requests should wait for others."""
        return 0.0 if waiting >= self.expected else self._next - self._now()

    def begin(self) -> None:
        """A commit begins."""
        self._next = self._now() + self._max_delay

    def end(self, in_flight: int) -> None:
        """A commit ends; none of these requests has been answered."""
        self.expected = max(in_flight, int(self.expected * _DECAY))
