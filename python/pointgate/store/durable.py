"""The durable stores: `ack = "spool"`, `ack = "sink"` and `ack = "kafka"`.

With `spool`, a 200 means that the points are fsynced to this machine's disk; with `sink`, that
every required sink has them, and with `kafka` that all in-sync replicas of the sinks' topics have
them (contract 7.1). All write to the spool first, or to a queue in memory where a Kafka topic is
the spool (`queue.py`): sinks get their points only from there.

Invariants: under `ack = "sink"`, a request whose points a required sink permanently rejects is not
answered 200. Under `ack = "spool"` it was, and its points are dead-lettered
(`sinks/dead_letters.py`).
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from typing import TYPE_CHECKING, Protocol

from pointgate.rate_limiter import RateLimiter
from pointgate.store.none import Completed
from pointgate.store.spool.batch import COUNTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pointgate.store.base import Points, Stored
    from pointgate.store.queue import PointQueue

_log = logging.getLogger(__name__)


class SinkOffsets(Protocol):
    """The committed offsets of the required sinks (`sinks/drain.py`)."""

    @property
    def trouble(self) -> str:
        """Why the required sinks cannot write now; empty if they can."""

    def when_committed(self, sequence: int, call: Callable[[Collection[int]], None]) -> None:
        """Register a call for when every required sink has committed this request.

        Args:
            sequence: The number of the request.
            call: Called with the numbers of requests, up to this one, that a sink permanently
                rejected and that were not reported before.
        """


class SpoolStore:
    """Stores points in the spool (see `base.Store`).

    Args:
        spool: The spool.
    """

    ack = "spool"
    promise = "a 200 means that the points are fsynced to this machine's disk"
    collects = True

    def __init__(self, spool: PointQueue) -> None:
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._lines = RateLimiter(60.0)

    @property
    def trouble(self) -> str:  # noqa: D102 - see base.Store
        return self._spool.trouble

    def append(  # noqa: D102 - see base.Store
        self, counts: bytes, points: Sequence[Points]
    ) -> Stored:
        if not counts:
            return Completed()
        requests = array(COUNTS, counts)
        stored: asyncio.Future[Collection[int]] = self._loop.create_future()
        self._spool.append(requests, points).add_done_callback(
            lambda done: (
                None if done.cancelled() else self._stored(done.result(), len(requests), stored)
            )
        )
        return stored

    def _stored(
        self, last: int | None, requests: int, stored: asyncio.Future[Collection[int]]
    ) -> None:
        """The spool has committed the points or, if `last` is None, permanently rejected them."""
        if not stored.done():
            stored.set_result(() if last is not None else range(requests))


class SinkStore(SpoolStore):
    """Stores points in the spool and then in every required sink (see `base.Store`).

    Args:
        spool: The spool.
        sink_offsets: Reports what the sinks have committed.
    """

    ack = "sink"
    promise = "a 200 means that every required sink has written the points"

    def __init__(self, spool: PointQueue, sink_offsets: SinkOffsets) -> None:
        super().__init__(spool)
        self._sink_offsets = sink_offsets

    @property
    def trouble(self) -> str:  # noqa: D102 - see base.Store
        return self._spool.trouble or self._sink_offsets.trouble

    def _stored(
        self, last: int | None, requests: int, stored: asyncio.Future[Collection[int]]
    ) -> None:
        if last is None:
            super()._stored(last, requests, stored)
            return
        first = last - requests + 1

        def committed(refused: Collection[int]) -> None:
            if not stored.done():
                # `refused` can include requests from before a restart: no caller waits for those.
                stored.set_result([one - first for one in refused if one >= first])

        self._sink_offsets.when_committed(last, committed)


class KafkaStore(SinkStore):
    """Stores points in the topics of the sinks, which are all of type Kafka (see `base.Store`)."""

    ack = "kafka"
    promise = "a 200 means that all in-sync replicas of Kafka have acknowledged the points"
