"""The arrival clock: a unique instant for each request (contract 3.5).

    clock = ArrivalClock(last)      # the greatest instant issued before
    first = clock.issue(60)          # 60 requests: first, first + 1, … first + 59, in microseconds

Points without `time` are stored under the instant at which their request arrived, and a second
point of the same device, identifier and time replaces the first one. So instants never repeat: not
within a burst, not when the system clock is set back, not after a restart. Where the system clock
is behind the last instant, this clock runs ahead of it until it has caught up.

`last` is persisted in the spool (`segment.py`), where each commit writes it with its points, and in
the quarantine, whose requests have instants, too. An instant that is in neither was never stored.

Invariants: instants increase strictly over the life of a spool. One thread calls `issue`; any
thread may read `last`.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from pointgate.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

_TOLERATED_US: Final = 10_000_000
"""How far the system clock may be behind the last instant before that is logged."""

_log = logging.getLogger(__name__)


def system_us() -> int:
    """UTC microseconds by the system clock."""
    return time.time_ns() // 1000


class ArrivalClock:
    """Issues instants.

    Args:
        last: The greatest instant issued before.
        now: The system clock, in UTC microseconds.

    Attributes:
        last: The greatest instant issued.
    """

    def __init__(self, last: int = 0, *, now: Callable[[], int] = system_us) -> None:
        self.last = last
        self._now = now
        self._lines = RateLimiter(60.0)

    def advance(self, last: int) -> None:
        """Register an instant issued earlier: from now on only greater ones are issued."""
        self.last = max(self.last, last)

    def issue(self, count: int) -> int:
        """Issue `count` consecutive instants, one microsecond apart; returns the first."""
        now = self._now()
        first = max(now, self.last + 1)
        if first - now > _TOLERATED_US and self._lines.count():
            _log.warning(
                "system clock is %.0f s behind the last arrival: requests without time are stored "
                "with the time of the last arrival until the clock has caught up",
                (first - now) / 1e6,
            )
        self.last = first + count - 1
        return first
