"""The interface of what runs beside the sources and decides when the service stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pointgate.sources.base import Source


class Companion(Protocol):
    """What runs beside the sources until it stops the service (`leave.py`).

    Attributes:
        sink_seconds: Seconds for the sinks to write the spool's points at the end.
        behind: Set at the end: how many requests in the spool each sink does not have.
    """

    sink_seconds: float
    behind: Mapping[str, int]

    def begin(self, sources: Sequence[Source]) -> None:
        """Called with the sources before they run."""

    async def run(self) -> None:
        """Runs beside them, and ends before or with the shutdown that it requests."""
