"""The stores that keep what they accept: `ack = "spool"` and `ack = "sink"`.

With the first one a 200 says that the points are on this machine's disk, fsynced; with the second
one that every required sink has them (contract 7.1). Both begin with the spool: a sink gets its
points from there and nowhere else.

Invariants: a request whose points a required sink can never take is not answered 200 under
`ack = "sink"`; under `ack = "spool"` it was, and its points are set aside (`sinks/refused.py`).
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from typing import TYPE_CHECKING, Protocol

from pointgate.rate_limiter import RateLimiter
from pointgate.store.none import Kept
from pointgate.store.spool.batch import COUNTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from pointgate._core import Report
    from pointgate.store.base import Points
    from pointgate.store.spool.spool import Spool

_log = logging.getLogger(__name__)


class Arrivals(Protocol):
    """Who knows when required sinks have something (`sinks/drain.py`)."""

    @property
    def trouble(self) -> str:
        """Why the required sinks take nothing now; empty when they do."""

    def when_passed(self, sequence: int, call: Callable[[Collection[int]], None]) -> None:
        """Call when every required sink has passed this request.

        Args:
            sequence: The number of the request.
            call: Called with the numbers of requests, up to this one, that a sink refused and that
                were not told before.
        """


class SpoolStore:
    """Keeps points in the spool (see `base.Store`).

    Args:
        spool: The spool.
    """

    ack = "spool"
    promise = "a 200 says that the points are on this machine's disk"
    collects = True

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._lines = RateLimiter(60.0)

    @property
    def trouble(self) -> str:  # noqa: D102 - see base.Store
        return self._spool.trouble

    def keep(  # noqa: D102 - see base.Store
        self, reports: Sequence[Report], points: Sequence[Points]
    ) -> Awaitable[Collection[int]]:
        counts = array(COUNTS, [report.points for report in reports if report.points])
        if not counts:
            return Kept()
        positions = [place for place, report in enumerate(reports) if report.points]
        kept: asyncio.Future[Collection[int]] = self._loop.create_future()
        self._spool.keep(counts, points).add_done_callback(
            lambda done: None if done.cancelled() else self._stored(done.result(), positions, kept)
        )
        return kept

    def _stored(
        self, last: int | None, positions: list[int], kept: asyncio.Future[Collection[int]]
    ) -> None:
        """The spool has it, or, without a number, never will."""
        if not kept.done():
            kept.set_result(() if last is not None else positions)


class SinkStore(SpoolStore):
    """Keeps points in the spool and then in every required sink (see `base.Store`).

    Args:
        spool: The spool.
        arrivals: Who tells when the sinks have something.
    """

    ack = "sink"
    promise = "a 200 says that every required sink has the points"

    def __init__(self, spool: Spool, arrivals: Arrivals) -> None:
        super().__init__(spool)
        self._arrivals = arrivals

    @property
    def trouble(self) -> str:  # noqa: D102 - see base.Store
        return self._spool.trouble or self._arrivals.trouble

    def _stored(
        self, last: int | None, positions: list[int], kept: asyncio.Future[Collection[int]]
    ) -> None:
        if last is None:
            super()._stored(last, positions, kept)
            return
        first = last - len(positions) + 1

        def passed(refused: Collection[int]) -> None:
            if not kept.done():
                # Also told: requests of an earlier life, for which nobody waits any more.
                kept.set_result([positions[one - first] for one in refused if one >= first])

        self._arrivals.when_passed(last, passed)
