"""What a store is: whatever makes true that a 200 promises something (contract 7.1).

The gate calls `keep` between judging and answering, and answers only when what it returned has been
awaited. A store that cannot keep now lets it wait; the gate then takes nothing more, and the
connection stops reading (contract 7.3).

It does not decide what is accepted and never sees a request that is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Sequence

    from pointgate._core import Report


class Points(Protocol):
    """Accepted points of some requests, a row each, in their order (`points.SCHEMA`)."""

    @property
    def nbytes(self) -> int:
        """How much memory they take."""

    def __len__(self) -> int:
        """The number of rows."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows, through the Arrow PyCapsule interface."""


class Store(Protocol):
    """Keeps what was accepted.

    Attributes:
        ack: The name of what it promises, as in the settings: `verdict`, `spool` or `sink`.
        promise: The same in words, for the log.
        collects: Whether it wants the points; without them the judge is faster.
    """

    ack: str
    promise: str
    collects: bool

    @property
    def trouble(self) -> str:
        """Why nothing can be kept now, for /readyz; empty when it can."""

    def keep(
        self, reports: Sequence[Report], points: Sequence[Points]
    ) -> Awaitable[Collection[int]]:
        """Begin to keep everything accepted in these reports; calls take effect in their order.

        Args:
            reports: The verdicts of one burst, in the order of arrival.
            points: Their accepted points in the same order, cut anywhere between two requests;
                empty for a store that does not collect.

        Returns:
            What to await: it is done when everything is kept as `ack` promises. Its result is
            which of the reports, by position, can never be kept, so that nobody is told they were.
        """
