"""The protocol of a sink: a destination that stores points durably.

The drain (`drain.py`) writes the spool's batches to each sink in order, and continues only when a
write has returned. A sink therefore never buffers a point in memory: when `write` returns, its
points survive a crash of this process and of the machine.

Delivery is at least once: after a crash the last write is repeated. Writes must therefore be
idempotent by the key of a point (product, device, identifier, time): the last value written wins,
or the first one if the sink is set to ignore later ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pointgate.errors import PointgateError

if TYPE_CHECKING:
    import pyarrow as pa


class SinkUnavailableError(PointgateError):
    """A temporary failure: the drain retries the same call indefinitely."""


class SinkRefusedError(PointgateError):
    """A permanent failure: the drain bisects the batch to isolate the request that causes it."""


class Sink(Protocol):
    """Stores points durably.

    Attributes:
        name: Its name in metrics and log lines: its type, or the `name` from its settings.
    """

    name: str

    def newest(self) -> int:
        """The greatest sequence that it has stored; 0 if it does not store sequences.

        May be called before `open`, in any thread.

        Raises:
            OSError: It cannot be read now.
        """

    async def open(self) -> None:
        """Connect, and create tables or folders that are missing.

        Raises:
            SinkUnavailableError: A temporary failure; the drain retries.
        """

    async def write(self, points: pa.Table, *, sequence: int) -> None:
        """Store points durably: all of them, or after an exception a part that a retry completes.

        Args:
            points: Rows of `store.points.SCHEMA` in the order of arrival, of one or more requests.
            sequence: The number of the last request in it. It increases from write to write. After
                a crash, a write that never returned is repeated, possibly with other batch limits.

        Raises:
            SinkUnavailableError: A temporary failure; the drain retries the same call.
            MemoryError: The same; the drain retries with fewer requests, if there are several.
            SinkRefusedError: A permanent failure: a value in these points can never be stored.
        """

    async def close(self) -> None:
        """Release all resources; points that were written stay."""
