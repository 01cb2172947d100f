"""What a sink is: a place that takes points for good.

The drain (`drain.py`) gives each sink the spool's batches in their order, and goes on only when a
write has returned. A sink therefore never holds a point back in memory: when `write` returns, what
it was given survives a crash of this process and of the machine.

After a crash the last write may come again, so a sink stores the same point (product, device,
identifier, time) in a way that does no harm: the last one written wins, or the first one where it
is set to ignore later ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pointgate.errors import PointgateError

if TYPE_CHECKING:
    import pyarrow as pa


class SinkUnavailableError(PointgateError):
    """The sink takes nothing now: the same call comes again, for as long as it takes."""


class SinkRefusedError(PointgateError):
    """The sink can never take something of this: the drain looks for the request that it is."""


class Sink(Protocol):
    """Takes points.

    Attributes:
        name: What its metrics and log lines call it: its type, or the name it was given.
    """

    name: str

    def newest(self) -> int:
        """The greatest sequence that it has stored; 0 if it does not keep sequences.

        May be called before `open`, in any thread.

        Raises:
            OSError: Not now.
        """

    async def open(self) -> None:
        """Make ready: connect, create what is missing.

        Raises:
            SinkUnavailableError: Not now; the drain tries again.
        """

    async def write(self, points: pa.Table, *, sequence: int) -> None:
        """Store points for good; all of them or, if it raises, none that would be seen twice.

        Args:
            points: Rows of `store.points.SCHEMA` in the order of arrival, of one or more requests.
            sequence: The number of the last request in it. It grows from write to write; after a
                crash a write that never returned may come again, cut at other requests.

        Raises:
            SinkUnavailableError: Nothing is wrong with the points; the same call comes again.
            MemoryError: The same, with fewer points where there is more than one request.
            SinkRefusedError: Something in these points can never be stored.
        """

    async def close(self) -> None:
        """Let go of everything; what was written stays."""
