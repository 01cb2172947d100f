"""The requests in flight of one connection, counted against the admission budget.

    intake.add(requests, size)   requests that one read has completed
    intake.release(burst)        they are settled
    intake.close()               the connection has ended: the remaining ones will be redelivered

It rejects nothing: the connection checks the admission budget before it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pointgate._core import Burst
    from pointgate.sources.admission import Admission

BURST_REQUESTS: Final = 512
BURST_BYTES: Final = 200_000
"""The largest burst, so that the event loop is never blocked for long; a single request may be
larger."""


class Intake:
    """The requests in flight of one connection.

    Args:
        admission: The budget that they count against.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._requests = 0
        self._bytes = 0

    @property
    def requests(self) -> int:
        """The number of requests in flight."""
        return self._requests

    def add(self, requests: int, size: int) -> None:
        """Count requests that have arrived, and their memory in bytes."""
        self._requests += requests
        self._bytes += size
        self._admission.acquire(requests, size)

    def release(self, burst: Burst) -> None:
        """Release the requests of a settled burst."""
        self._release(len(burst), burst.size)

    def close(self) -> None:
        """Release all requests."""
        self._release(self._requests, self._bytes)

    def _release(self, requests: int, size: int) -> None:
        self._requests -= requests
        self._bytes -= size
        self._admission.release(requests, size)
