"""The interface of a source: requests arrive from it, and their replies are sent through it.

A source delivers requests in bursts (all that have arrived), sends the replies of a burst, and
drains when the service stops. It encapsulates its protocol (packet ids, quality of service,
offsets, in-flight windows), and does not know models, codes or metrics.

    service/gate.py            uses a `Connection`
    sources/mqtt/source.py     opens one after another; so does sources/kafka/source.py
    service/serve.py           runs every `Source` that the settings name

Invariants: a request is acknowledged only in `settle`, after its reply was sent and in the order
of arrival (contract 7.2); requests are never dropped under load: the source stops reading when the
admission budget (`admission.py`) is exhausted (contract 7.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pointgate._core import Burst


class Connection(Protocol):
    """One connection of a source, from its beginning to its end.

    Attributes:
        settled: How many requests have been settled completely; this shows the progress of a
            `settle` that failed.
    """

    settled: int

    async def receive(self) -> Burst | None:
        """Wait for requests and return all that have arrived, in order.

        Returns:
            At least one request, bounded in count and in bytes; or None if the connection has
            drained: no more requests will follow.

        Raises:
            ConnectionLost: The connection has ended.
        """

    async def settle(self, burst: Burst, *, more: bool = False) -> None:
        """Send each request's reply, if it has one, then acknowledge the request, in order.

        Returns when all packets were handed to the socket; waits while too many bytes are
        buffered.

        Args:
            burst: The next burst from `receive`, judged.
            more: Whether another one is settled next, without waiting for anything: the packets may
                be handed over with those of that one.

        Raises:
            ConnectionLost: The connection ended; requests without acknowledgement are redelivered.
        """


class Source(Protocol):
    """Runs one connection after another.

    Attributes:
        was_ready: Whether requests have ever been received, or could have been.
    """

    was_ready: bool

    @property
    def connected(self) -> bool:
        """Whether there may be requests in flight."""

    @property
    def trouble(self) -> str:
        """Why requests are not being received, for /readyz; empty if they are."""

    @property
    def shortfalls(self) -> list[str]:
        """What the other side does not grant of the settings, for /readyz."""

    async def run(self) -> None:
        """Receive until `drain` was called and all received requests are answered."""

    def drain(self) -> None:
        """Stop receiving."""


class Handler(Protocol):
    """Handles the requests of a source: the gate."""

    async def run(self, connection: Connection) -> None:
        """Receive and settle requests until the connection has drained.

        Raises:
            ConnectionLost: The connection has ended.
        """
