"""The requests in flight of one connection: counted, and queued for bursts.

    intake.add(requests)         requests from one read
    burst = intake.burst()       the next ones, in order of arrival; none if the queue is empty
    intake.release(burst)        they are settled
    intake.close()               the connection has ended: the remaining ones will be redelivered

Invariants: a burst is within `BURST_REQUESTS` and `BURST_BYTES` unless it is one request.

It rejects nothing: the connection checks the admission budget before it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.sources.admission import Admission
    from pointgate.sources.mqtt.request import MqttRequest

BURST_REQUESTS: Final = 512
BURST_BYTES: Final = 200_000
"""The largest burst, so that the event loop is never blocked for long."""


class Intake:
    """The requests in flight of one connection.

    Args:
        admission: The budget that they count against.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._waiting: list[MqttRequest] = []
        self._requests = 0
        self._bytes = 0

    def add(self, requests: Sequence[MqttRequest]) -> None:
        """Append requests to the queue."""
        self._waiting += requests
        self._count(len(requests), sum(request.size for request in requests))

    def burst(self) -> list[MqttRequest]:
        """Remove the next requests from the queue; they stay in flight."""
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

    def release(self, requests: Sequence[MqttRequest]) -> None:
        """Release settled requests."""
        self._count(-len(requests), -sum(request.size for request in requests))

    def close(self) -> None:
        """Release all requests."""
        self._waiting.clear()
        self._count(-self._requests, -self._bytes)

    def _count(self, requests: int, size: int) -> None:
        self._requests += requests
        self._bytes += size
        if requests > 0:
            self._admission.acquire(requests, size)
        elif requests:
            self._admission.release(-requests, -size)
