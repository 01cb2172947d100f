"""The store that discards all points: `ack = "verdict"`.

A 200 then means only that the request was judged and accepted (contract 7.1). It is for services
that only validate, while the points are stored elsewhere. It never waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence

    from pointgate.store.base import Points


class Completed:
    """An awaitable that is already complete. Any number of tasks may await it."""

    def __await__(self) -> Generator[None, None, Collection[int]]:
        yield from ()
        return ()

    def done(self) -> bool:
        """It is."""
        return True


class NullStore:
    """Discards every point (see `base.Store`)."""

    ack = "verdict"
    promise = "a 200 means that the request was judged; points are not stored"
    collects = False
    trouble = ""

    def append(
        self,
        counts: bytes,  # noqa: ARG002 - see base.Store
        points: Sequence[Points],  # noqa: ARG002
    ) -> Completed:
        """Complete at once."""
        return Completed()
