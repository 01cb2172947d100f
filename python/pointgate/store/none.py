"""The store that keeps nothing: `ack = "verdict"`.

A 200 then says that the request was judged and accepted, and nothing more (contract 7.1). It is for
services that only answer, while the points go another way. It never waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Generator, Sequence

    from pointgate._core import Report
    from pointgate.store.base import Points


class Kept:
    """Has kept everything as soon as it exists. Any number of tasks may await it."""

    def __await__(self) -> Generator[None, None, Collection[int]]:
        yield from ()
        return ()


class NullStore:
    """Lets every point go (see `base.Store`)."""

    ack = "verdict"
    promise = "a 200 says that the request was judged; points are not stored"
    collects = False
    trouble = ""

    def keep(
        self,
        reports: Sequence[Report],  # noqa: ARG002 - see base.Store
        points: Sequence[Points],  # noqa: ARG002
    ) -> Awaitable[Collection[int]]:
        """Return at once."""
        return Kept()
