"""A brake for log lines that strangers can cause.

It counts what it holds back, so that the next line can say how much there was.
"""

from __future__ import annotations

import time


class Seldom:
    """Lets one event in `seconds` through.

    Args:
        seconds: The shortest time between two events that are let through.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0
        self._events = 0

    def count(self) -> int:
        """Note an event.

        Returns:
            How many there were since one was let through, this one included; 0 to hold this one
            back.
        """
        self._events += 1
        now = time.monotonic()
        if now < self._next:
            return 0
        events, self._events = self._events, 0
        self._next = now + self._seconds
        return events
