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
from typing import TYPE_CHECKING, Any, Protocol

from pointgate.rate_limiter import RateLimiter
from pointgate.store.none import Completed
from pointgate.store.spool.batch import COUNTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence

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


class _Spooled:
    """The result of a write to the spool, as `base.Store.append` has it."""

    __slots__ = ("_last", "_requests")

    def __init__(self, last: asyncio.Future[int | None], requests: int) -> None:
        self._last = last
        self._requests = requests

    def __await__(self) -> Generator[Any, None, Collection[int]]:
        return _stored((yield from self._last), self._requests)

    def done(self) -> bool:
        return self._last.done()


def _stored(last: int | None, requests: int) -> Collection[int]:
    """The spool has committed the points or, if `last` is None, permanently rejected them."""
    return () if last is not None else range(requests)


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
        return self._when_stored(self._spool.append(requests, points), len(requests))

    def _when_stored(self, last: asyncio.Future[int | None], requests: int) -> Stored:
        return _Spooled(last, requests)


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

    def _when_stored(self, last: asyncio.Future[int | None], requests: int) -> Stored:
        stored: asyncio.Future[Collection[int]] = self._loop.create_future()

        def spooled(done: asyncio.Future[int | None]) -> None:
            if done.cancelled() or stored.done():
                return
            if (number := done.result()) is None:
                stored.set_result(_stored(None, requests))
                return
            first = number - requests + 1

            def committed(refused: Collection[int]) -> None:
                if not stored.done():
                    # Some can be of before a restart: no caller waits for those.
                    stored.set_result([one - first for one in refused if one >= first])

            self._sink_offsets.when_committed(number, committed)

        last.add_done_callback(spooled)
        return stored


class KafkaStore(SinkStore):
    """Stores points in the topics of the sinks, which are all of type Kafka (see `base.Store`)."""

    ack = "kafka"
    promise = "a 200 means that all in-sync replicas of Kafka have acknowledged the points"

    async def until_written(self) -> None:
        """Return when the sinks have taken everything that was appended so far."""
        written: asyncio.Future[None] = self._loop.create_future()

        def is_written(_: Collection[int]) -> None:
            if not written.done():  # else whoever waited was cancelled
                written.set_result(None)

        self._sink_offsets.when_committed(self._spool.last, is_written)
        await written
