"""The arrival clock: an instant for each request that no other request has (contract 3.5).

    clock = ArrivalClock(last)      # the greatest instant that was given before
    first = clock.take(60)          # 60 requests: first, first + 1, … first + 59, in microseconds

Points without `time` are stored under the instant at which their request arrived, and a second
point of the same device, identifier and time replaces the first one. So instants never repeat: not
within a burst, not when the system clock is set back, not after a restart. The clock is ahead of
the system's by as much as it must, and follows it again as soon as that has caught up.

`last` survives a restart in the spool (`segment.py`), where each commit writes it with its points,
and in the quarantine, whose requests have instants, too. What was in neither was never stored.

Invariants: instants grow strictly over the life of a spool. One thread takes; any thread may read
`last`.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from pointgate.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

_TOLERATED_US: Final = 10_000_000
"""How far behind the last instant the system clock may be before that is worth a log line."""

_log = logging.getLogger(__name__)


def system_us() -> int:
    """UTC microseconds by the system clock."""
    return time.time_ns() // 1000


class ArrivalClock:
    """Gives instants.

    Args:
        last: The greatest instant that was given before.
        now: The system clock, in UTC microseconds.

    Attributes:
        last: The greatest instant that was given.
    """

    def __init__(self, last: int = 0, *, now: Callable[[], int] = system_us) -> None:
        self.last = last
        self._now = now
        self._lines = RateLimiter(60.0)

    def advance(self, last: int) -> None:
        """Learn of an instant that was given before: from now on only greater ones are given."""
        self.last = max(self.last, last)

    def take(self, count: int) -> int:
        """The first of so many instants, each one microsecond after the one before."""
        now = self._now()
        first = max(now, self.last + 1)
        if first - now > _TOLERATED_US and self._lines.count():
            _log.warning(
                "the system clock is %.0f s behind the last arrival: "
                "requests without time are stored as of the last arrival until it has caught up",
                (first - now) / 1e6,
            )
        self.last = first + count - 1
        return first
