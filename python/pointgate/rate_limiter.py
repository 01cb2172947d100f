"""A rate limiter for log lines that a stranger or a fault can cause in a loop.

It counts what it holds back, so that the next line can say how much there was.
"""

from __future__ import annotations

import time


class RateLimiter:
    """Lets some events in every `seconds` through.

    Args:
        seconds: How long a period is; it begins with the first event that is let through.
        burst: How many events a period lets through.
    """

    def __init__(self, seconds: float, *, burst: int = 1) -> None:
        self._seconds = seconds
        self._burst = burst
        self._end = 0.0  # of the period
        self._left = 0
        self._events = 0

    def count(self) -> int:
        """Note an event.

        Returns:
            How many there were since one was let through, this one included; 0 to hold this one
            back.
        """
        self._events += 1
        now = time.monotonic()
        if now >= self._end:
            self._end = now + self._seconds
            self._left = self._burst
        if not self._left:
            return 0
        self._left -= 1
        events, self._events = self._events, 0
        return events
