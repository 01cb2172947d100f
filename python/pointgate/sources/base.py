"""The interface of a source: requests arrive from it, and their replies are sent through it.

A source delivers requests in bursts (all that have arrived), sends the replies of a burst, and
drains when the service stops. It encapsulates its protocol (packet ids, quality of service,
offsets, in-flight windows), and does not know models, codes or metrics.

    service/gate.py            uses a `Connection`
    sources/mqtt/source.py     opens one after another

Invariants: a request is acknowledged only in `settle`, after its reply was sent and in the order
of arrival (contract 7.2); requests are never dropped under load: the source stops reading when the
admission budget (`admission.py`) is exhausted (contract 7.3).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

_OBJECT_BYTES: Final = 256
"""The memory of a request without its contents: its object, number and time."""


@dataclass(slots=True)
class Request:
    """One request as it arrived. A source may add fields for its acknowledgement.

    Attributes:
        topic: Its topic, which determines the product and the topic of the reply.
        payload: Its payload.
        arrived: When its last byte arrived, on the monotonic clock, in seconds.
        stale: Whether it is acknowledged without being judged: a stored message that the source
            delivers to every new subscriber (contract 1.5).
        observed: When it first arrived, in UTC microseconds, if it is a replay that states this
            (contract 3.5).
        size: Its memory in bytes, for every limit in bytes.
    """

    topic: str
    payload: bytes
    arrived: float
    stale: bool = False
    observed: int | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        # A single character outside of Latin-1 makes a str take 2 or 4 bytes per character.
        self.size = len(self.payload) + sys.getsizeof(self.topic) + _OBJECT_BYTES


R = TypeVar("R", bound=Request)


class Connection(Protocol[R]):
    """One connection of a source, from its beginning to its end.

    Attributes:
        settled: How many requests have been settled completely; this shows the progress of a
            `settle` that failed.
    """

    settled: int

    async def receive(self) -> Sequence[R]:
        """Wait for requests and return all that have arrived, in order.

        Returns:
            At least one request, bounded in count and in bytes; or none if the connection has
            drained: no more requests will follow.

        Raises:
            ConnectionLost: The connection has ended.
        """

    async def settle(self, requests: Sequence[R], replies: Sequence[bytes | None]) -> None:
        """Send each request's reply, then acknowledge the request, in order.

        Returns when all packets were handed to the socket; waits while too many bytes are
        buffered.

        Args:
            requests: Requests from `receive`, whole bursts or parts of them, in order.
            replies: One for each request; None for a request that is only acknowledged.

        Raises:
            ConnectionLost: The connection ended; requests without acknowledgement are redelivered.
        """


class Handler(Protocol):
    """Handles the requests of a source: the gate."""

    async def run(self, connection: Connection[Any]) -> None:
        """Receive and settle requests until the connection has drained.

        Raises:
            ConnectionLost: The connection has ended.
        """
