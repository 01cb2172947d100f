"""The protocol of a sink: a destination that stores points durably.

The drain (`drain.py`) gives each sink the spool's batches in their order. The spool holds them
until the sink has committed them: when `commit` returns, what was written before survives a crash
of this process and of the machine. A sink that commits in each `write` is a `CommitsEachWrite`.

A sink whose commits are worth more the larger they are says so with `gather`; until then the points
are in the spool alone.

After a crash writes may come again that were not committed, and the last one that was, where the
sink does not keep sequences (`newest`). Such a sink stores the same point (product, device,
identifier, time) in a way that does no harm: the last one written wins, or the first one where it
is set to ignore later ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from pointgate.errors import PointgateError

if TYPE_CHECKING:
    import pyarrow as pa


LIVE: Final = "live"
"""The writer that a service is: its sequences are those of its spool. An import is another one,
`import-` and the import's id: it counts for itself, and takes nothing from a service's count."""


@dataclass(frozen=True, slots=True)
class Gather:
    """When points are worth a commit, whichever comes first.

    Attributes:
        seconds: So long after the first of them was stored in the spool.
        points: So many of them.
    """

    seconds: float
    points: int


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

    @property
    def gather(self) -> Gather | None:
        """When points are worth a commit; None: as soon as there are some."""

    @property
    def full(self) -> bool:
        """Whether what was written should be committed now."""

    @property
    def pending(self) -> bool:
        """After a `commit` that raised: whether it must be called again, and nothing else.

        If not, everything since the last commit was given up.
        """

    def newest(self) -> int:
        """The last sequence of its writer that is committed; 0 if it does not keep sequences.

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
        """Take points. If it raises, everything since the last commit was given up.

        Args:
            points: Rows of `store.points.SCHEMA` in the order of arrival, of one or more requests.
            sequence: The number of the last request in it. It grows from write to write; what was
                not committed may come again, cut at other requests.

        Raises:
            SinkUnavailableError: Nothing is wrong with the points.
            MemoryError: The same, with fewer points where there is more than one request.
            SinkRefusedError: Something in these points can never be stored.
        """

    async def commit(self) -> None:
        """Store for good what was written; all of it or, if it raises, see `pending`.

        Raises:
            SinkUnavailableError: As with `write`.
            MemoryError: As with `write`.
            SinkRefusedError: Something that was written can never be stored.
        """

    async def close(self) -> None:
        """Close connections and files; what was written stays."""


@runtime_checkable
class Expires(Protocol):
    """What a sink has that deletes old points, as its settings say."""

    async def expire(self) -> bool:
        """Delete them; whether that was possible now.

        Raises:
            SinkUnavailableError: It failed.
        """


class CommitsEachWrite:
    """What a sink has that commits in `write`: it stores all points or, if it raises, none."""

    gather: Final[Gather | None] = None
    full: Final = False
    pending: Final = False

    async def commit(self) -> None:
        """Do nothing."""
