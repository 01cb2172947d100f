"""Writes accepted points into a Parquet dataset.

Tables arrive job by job and are collected until a write is large enough. One write is under way, on
an event loop in its own thread, while the next one is collected.

Files appear when enough is written for files of full size, and at the end. They have names of their
own, so that an import never takes the place of a service's writes; of two points with the same key
the one that was accepted last counts, wherever it came from.

Invariants: points reach the sink in the order of the inputs; at most two writes' points are held.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pointgate.bulk.jobs import ARRIVAL_BASE
from pointgate.sinks.registry import build

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    from pointgate.sinks.parquet.settings import ParquetSettings

_WRITE_POINTS: Final = 1_000_000
"""Points a write: enough that files are not tiny if the points spread over many days."""

_WRITE_BYTES: Final = 64 * 1024 * 1024
"""The limit on the memory of a write, which so many points without texts reach, too."""

T = TypeVar("T")


class PointsWriter:
    """Appends points to a dataset.

    Args:
        out: Where the dataset is. No running service may write to a folder.

    Raises:
        ConfigError: The extra for object stores is missing.
        SinkUnavailableError: On entering and on writing: the folder cannot be used.
        SinkRefusedError: On writing: a value cannot be stored.
    """

    def __init__(self, out: ParquetSettings) -> None:
        if isinstance(out.path, Path) and any(out.path.glob("month=*")):
            out = out.model_copy(update={"partition": "month"})
        ((self._sink, _),) = build([out], writer="import")
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="out", daemon=True)
        self._tables: list[pa.Table] = []
        self._points = 0
        self._bytes = 0
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._begin(self._sink.open()).result()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._write()
                self._write()  # waits for the former
                self._begin(self._sink.commit()).result()
            elif self._writing is not None:
                self._writing.cancel()
        finally:
            try:
                self._begin(self._sink.close()).result()
            finally:
                self._stop()

    def add(self, table: pa.Table, *, arrived_us: int) -> None:
        """Add the points of one job; jobs must be added in their order.

        Args:
            table: The points, whose instants of arrival are relative to `jobs.ARRIVAL_BASE`.
            arrived_us: The instant at which its first request arrives, UTC microseconds.
        """
        for name in ("time", "received"):
            table = _shifted(table, name, arrived_us - ARRIVAL_BASE)
        self._tables.append(table)
        self._points += table.num_rows
        self._bytes += table.nbytes
        if self._points >= _WRITE_POINTS or self._bytes >= _WRITE_BYTES:
            self._write()

    def _write(self) -> None:
        """Wait for the write that is under way, then begin the next one."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()
        if self._tables:
            write = self._store(pa.concat_tables(self._tables))
            self._tables, self._points, self._bytes = [], 0, 0
            self._writing = self._begin(write)

    async def _store(self, points: pa.Table) -> None:
        await self._sink.write(points, sequence=0)  # there is nothing to go on from
        if self._sink.full:
            await self._sink.commit()

    def _begin(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _shifted(table: pa.Table, name: str, shift: int) -> pa.Table:
    """Make the relative instants of a column absolute; only these are negative."""
    at = table.schema.get_field_index(name)
    instants = table.column(at).cast(pa.int64())
    bounds = pc.min_max(instants).as_py()
    if bounds["min"] >= 0:
        return table
    moved = pc.add(instants, shift)
    if bounds["max"] >= 0:
        moved = pc.if_else(pc.less(instants, 0), moved, instants)
    return table.set_column(at, table.schema.field(at), moved.cast(table.schema.field(at).type))
