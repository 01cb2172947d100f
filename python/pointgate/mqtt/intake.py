"""What has arrived and is not settled yet: counted, and handed over in bursts.

    intake.add(requests)         a read has brought them
    burst = intake.burst()       the next ones, in order of arrival; none if nothing waits
    intake.release(burst)        they are settled
    intake.is_beyond(1.0)        whether more than the limits is in flight: added, not released

Invariants: a burst is within `BURST_REQUESTS` and `BURST_BYTES` unless it is one request.

It refuses nothing: the connection asks before it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.config import LimitSettings
    from pointgate.mqtt.base import Request

BURST_REQUESTS: Final = 512
BURST_BYTES: Final = 200_000
"""How much one burst brings at most, so that the event loop is never held for long."""


class Intake:
    """The requests in flight of one connection.

    Args:
        limits: How much may be in flight.
    """

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._waiting: list[Request] = []
        self._requests = 0
        self._bytes = 0

    def add(self, requests: Sequence[Request]) -> None:
        """Take requests behind those that wait."""
        self._waiting += requests
        self._requests += len(requests)
        self._bytes += sum(request.size for request in requests)

    def burst(self) -> list[Request]:
        """Hand over the next requests; they stay in flight."""
        waiting = self._waiting
        size = taken = 0
        for request in waiting[:BURST_REQUESTS]:
            size += request.size
            if size > BURST_BYTES and taken:
                break
            taken += 1
        burst = waiting[:taken]
        del waiting[:taken]
        return burst

    def release(self, requests: Sequence[Request]) -> None:
        """Forget requests that are settled."""
        self._requests -= len(requests)
        self._bytes -= sum(request.size for request in requests)

    def is_beyond(self, share: float) -> bool:
        """Whether more than this share of the limits is in flight."""
        return (
            self._requests > share * self._limits.in_flight_requests
            or self._bytes > share * self._limits.in_flight_bytes
        )
