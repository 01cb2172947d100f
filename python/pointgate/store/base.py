"""The interface of a store, which makes accepted points durable before the reply (contract 7.1).

The gate calls `append` after judging and awaits its result before it replies. A store that cannot
write lets the gate wait. That is backpressure: the gate stops receiving, and the connection stops
reading (contract 7.3).

A store does not decide what is accepted and never sees a rejected request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence


class Points(Protocol):
    """Accepted points of some requests, one row each, in order (`points.SCHEMA`)."""

    @property
    def nbytes(self) -> int:
        """How much memory they take."""

    def __len__(self) -> int:
        """The number of rows."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows, through the Arrow PyCapsule interface."""


class Stored(Protocol):
    """An awaitable of `Store.append`."""

    def __await__(self) -> Generator[Any, None, Collection[int]]:
        """See `Store.append`."""

    def done(self) -> bool:
        """Whether it is complete."""


class Store(Protocol):
    """Stores accepted points.

    Attributes:
        ack: The acknowledgement level, as in the settings: `verdict`, `spool` or `sink`.
        promise: What a 200 guarantees at that level, for the log.
        collects: Whether it needs the points; without them the judge is faster.
    """

    ack: str
    promise: str
    collects: bool

    @property
    def trouble(self) -> str:
        """Why nothing can be stored now, for /readyz; empty if it can."""

    def append(self, counts: bytes, points: Sequence[Points]) -> Stored:
        """Begin to store the accepted points of a burst; calls take effect in order.

        Args:
            counts: How many points each request with accepted points has, in the order of arrival:
                native four-byte integers.
            points: These points in the same order, cut anywhere between two requests; empty for a
                store that does not collect.

        Returns:
            An awaitable that completes when everything is stored as `ack` demands. Its result
            lists the requests, by place in `counts`, whose points were permanently rejected: they
            must not be answered 200.
        """
