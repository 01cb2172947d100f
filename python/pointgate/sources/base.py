"""What a source of requests is: where they arrive from, and where their replies go.

A source hands over requests in bursts (all that has arrived), takes the replies of a burst back,
and drains when the service stops. What belongs to its protocol (packet ids, quality of service,
offsets, windows) stays behind it. It knows nothing of models, codes or metrics.

    service/gate.py            uses a `Connection`
    sources/mqtt/session.py    opens one after another

Invariants: a request is acknowledged only in `settle`, after its reply was sent and in the order
of arrival (contract 7.2); nothing is dropped for want of room: the source stops reading when the
admission budget (`admission.py`) is used up (contract 7.3).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

_OBJECT_BYTES: Final = 256
"""What a request takes besides its contents: its object, its number and time, their allocation."""


@dataclass(slots=True)
class Request:
    """One request as it arrived. A source may add what its acknowledgement needs.

    Attributes:
        topic: Whose topic it is: what says the product and where the reply goes.
        payload: Its bytes.
        arrived: When its last byte arrived, on the monotonic clock, in seconds.
        stale: Whether it is acknowledged without being judged: an old message that the source
            delivers again to every new subscriber (contract 1.5).
        observed: When it first arrived, in UTC microseconds, if it is posted again and says so
            (contract 3.5).
        size: How much memory it takes, in bytes, for every bound in bytes.
    """

    topic: str
    payload: bytes
    arrived: float
    stale: bool = False
    observed: int | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        # One rare character makes a topic take four bytes for each of its characters.
        self.size = len(self.payload) + sys.getsizeof(self.topic) + _OBJECT_BYTES


R = TypeVar("R", bound=Request)


class Connection(Protocol[R]):
    """One connection to where requests come from, from its beginning to its end.

    Attributes:
        settled: How many requests have been settled, each in full: where `settle` has got to when
            it ends early.
    """

    settled: int

    async def receive(self) -> Sequence[R]:
        """Wait for requests and return all that have arrived, in order.

        Returns:
            At least one request, bounded in count and in bytes; or none, which says that the
            connection is draining and that nothing more will come.

        Raises:
            ConnectionLost: The connection has ended.
        """

    async def settle(self, requests: Sequence[R], replies: Sequence[bytes | None]) -> None:
        """Send each request's reply, then acknowledge the request.

        In order. Returns when everything was handed to the socket; waits while too much waits to
        be sent.

        Args:
            requests: What `receive` returned, whole or in parts, in its order.
            replies: As many; None for a request that is only acknowledged.

        Raises:
            ConnectionLost: The connection ended; requests without acknowledgement are redelivered.
        """


class Handler(Protocol):
    """Who answers the requests of a source: the gate."""

    async def run(self, connection: Connection[Any]) -> None:
        """Receive and settle everything that arrives, until the connection has drained.

        Raises:
            ConnectionLost: The connection has ended.
        """
