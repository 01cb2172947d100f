"""What a connection to a broker is, whichever client library makes it.

A connection hands over requests in bursts (all that has arrived) and takes the replies of a burst
back. It owns MQTT: topics, packet ids, quality of service, acknowledgement, windows. It knows
nothing of models, codes or metrics. `gate.py` is the user of `Connection`; `link.py` opens and ends
it.

Invariants: a request is acknowledged only in `settle`, after its reply was handed to the socket and
in the order of arrival (contract 7.2); nothing is dropped for want of room, the connection stops
reading instead (contract 7.3).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from pointgate.errors import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Sequence

_OBJECT_BYTES: Final = 256
"""What a request takes besides its contents: its object, its number and time, their allocation."""


@dataclass(slots=True)
class Request:
    """One MQTT message on a served topic filter.

    Attributes:
        topic: The topic it came on.
        payload: Its bytes.
        qos: 0, 1 or, in a session that another program began, 2.
        retained: Whether the broker sent it from its store at subscription (contract 1.5).
        packet_id: What the acknowledgement must carry; 0 at QoS 0.
        arrived: When the socket gave its last byte, on the monotonic clock, in seconds.
        correlation: MQTT 5 Correlation Data to echo, when present (contract 1.2).
        observed: When it first arrived, in UTC microseconds, if it is posted again and says so
            (contract 3.5).
        size: How much memory it takes, for every bound in bytes.
    """

    topic: str
    payload: bytes
    qos: int
    retained: bool
    packet_id: int
    arrived: float
    correlation: bytes | None = None
    observed: int | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        # One rare character makes a topic take four bytes for each of its characters.
        size = len(self.payload) + sys.getsizeof(self.topic) + _OBJECT_BYTES
        self.size = size if self.correlation is None else size + len(self.correlation)


class BrokerRefused(ConnectionLost):
    """The broker does not let this client in or subscribe: settings or rights are wrong."""


class ProtocolRefused(BrokerRefused):
    """The broker does not speak this version of MQTT."""


class ClosedByBroker(ConnectionLost):
    """The broker closed the connection and gave no reason: it stopped, or another has our id."""


class Unanswered(ClosedByBroker):
    """The broker took the connection and gave no answer to CONNECT."""


class Connection(Protocol):
    """One connection, from a successful CONNACK to its end.

    Attributes:
        settled: How many requests have been settled, each in full: where `settle` has got to when
            it ends early.
    """

    settled: int

    async def receive(self) -> list[Request]:
        """Wait for requests and return all that have arrived, in order.

        Returns:
            At least one request, bounded in count and in bytes; or none, which says that the
            connection is draining and that nothing more will come.

        Raises:
            ConnectionLost: The connection has ended.
        """

    async def settle(self, requests: Sequence[Request], replies: Sequence[bytes | None]) -> None:
        """Publish each reply to its request's topic + `_reply`, then acknowledge the request.

        In order. Returns when everything was handed to the socket; waits while the window of
        unacknowledged replies or the socket's buffer is full.

        Args:
            requests: What `receive` returned, whole or in parts, in its order.
            replies: As many; None for a request that is only acknowledged.

        Raises:
            ConnectionLost: The connection ended; what was not acknowledged comes again.
        """
