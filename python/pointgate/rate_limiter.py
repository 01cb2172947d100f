"""A rate limiter for log lines that untrusted input or a recurring fault can trigger.

It counts suppressed events, so that the next line can report how many there were.
"""

from __future__ import annotations

import time


class RateLimiter:
    """Allows at most `burst` events in each period.

    Args:
        seconds: The length of a period; it begins with the first allowed event.
        burst: How many events are allowed in a period.
    """

    def __init__(self, seconds: float, *, burst: int = 1) -> None:
        self._seconds = seconds
        self._burst = burst
        self._end = 0.0  # of the period
        self._left = 0
        self._events = 0

    def count(self, events: int = 1) -> int:
        """Count an event, or several that share a line.

        Returns:
            The number of events since the last allowed one, including these; 0 if these are
            suppressed.
        """
        self._events += events
        now = time.monotonic()
        if now >= self._end:
            self._end = now + self._seconds
            self._left = self._burst
        if not self._left:
            return 0
        self._left -= 1
        events, self._events = self._events, 0
        return events
