"""The requests in flight of one connection: counted, and handed over in bursts.

    intake.add(requests)         a read has brought them
    burst = intake.burst()       the next ones, in order of arrival; none if nothing waits
    intake.release(burst)        they are settled
    intake.close()               the connection has ended: whatever is left will be redelivered

Invariants: a burst is within `BURST_REQUESTS` and `BURST_BYTES` unless it is one request.

It refuses nothing: the connection asks the admission budget before it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.sources.admission import Admission
    from pointgate.sources.mqtt.request import MqttRequest

BURST_REQUESTS: Final = 512
BURST_BYTES: Final = 200_000
"""How much one burst brings at most, so that the event loop is never held for long."""


class Intake:
    """The requests in flight of one connection.

    Args:
        admission: The budget that they are taken from.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._waiting: list[MqttRequest] = []
        self._requests = 0
        self._bytes = 0

    def add(self, requests: Sequence[MqttRequest]) -> None:
        """Take requests behind those that wait."""
        self._waiting += requests
        self._count(len(requests), sum(request.size for request in requests))

    def burst(self) -> list[MqttRequest]:
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

    def release(self, requests: Sequence[MqttRequest]) -> None:
        """Forget requests that are settled."""
        self._count(-len(requests), -sum(request.size for request in requests))

    def close(self) -> None:
        """Forget all of them."""
        self._waiting.clear()
        self._count(-self._requests, -self._bytes)

    def _count(self, requests: int, size: int) -> None:
        self._requests += requests
        self._bytes += size
        if requests > 0:
            self._admission.take(requests, size)
        elif requests:
            self._admission.release(-requests, -size)
