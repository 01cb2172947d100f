"""Accepted points on disk, in runs sorted by day, and chunks of whole days made from all runs.

    runs/000001.arrow     an Arrow IPC file: a record batch a day, in the order of days
    runs/000001.json      [[day, rows], …], a pair a batch

An export that is ordered by device has every day in every run; one that is ordered by time has
each day in one or two. Either way each day is read once, as a whole, so a sink gets the same
chunks whatever the order of the input was.

    chunk 1   2019-01-01 to 2019-01-09, 1.0 M points
    chunk 2   2019-01-10 to …

Invariants: what `spill` made is durable when it returns; a chunk is the same points in the same
order whenever it is loaded; of equal keys the one that was read last stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from pointgate.durable_files import PRIVATE, sync_folder, write_synced
from pointgate.sinks.key_order import keyed
from pointgate.sinks.tables import one_batch
from pointgate.store.points import DAY_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_OPEN: Final = 256
"""Runs that are open at a time."""

ROW_BYTES: Final = 64
"""What a point takes in memory, without its texts."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Points that go into the sinks by one write.

    Attributes:
        start: The first instant, UTC microseconds.
        stop: The first one behind it.
        rows: How many rows all runs have of it, equal keys counted each.
    """

    start: int
    stop: int
    rows: int


def spill(tables: Sequence[pa.Table], folder: Path, name: str) -> None:
    """Write points as a run.

    Raises:
        OSError: It cannot be written.
    """
    batch = one_batch(pa.concat_tables(tables))
    days = pc.divide(batch["time"].view(pa.int64()), DAY_US)
    order = pc.sort_indices(days)  # stable: rows of a day stay in their order
    rows = pa.record_batch([column.take(order) for column in batch.columns], schema=batch.schema)
    ends = pc.run_end_encode(days.take(order))
    index, start = [], 0
    sink = pa.BufferOutputStream()
    options = ipc.IpcWriteOptions(compression="lz4")
    with ipc.new_file(sink, rows.schema, options=options) as writer:
        for day, end in zip(ends.values.to_pylist(), ends.run_ends.to_pylist(), strict=True):
            writer.write_batch(rows.slice(start, end - start))
            index.append((day, end - start))
            start = end
    write_synced(folder / f"{name}.arrow", sink.getvalue(), PRIVATE)
    write_synced(folder / f"{name}.json", orjson.dumps(index), PRIVATE)
    sync_folder(folder)


class Runs:
    """Every run of an import, to be read.

    Args:
        folder: Where they are.
        names: Which of them.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._batches: dict[int, list[tuple[str, int, int]]] = {}
        self._folder = folder
        self._open: dict[str, ipc.RecordBatchFileReader] = {}
        for name in names:
            for number, (day, rows) in enumerate(
                orjson.loads((folder / f"{name}.json").read_bytes())
            ):
                self._batches.setdefault(day, []).append((name, number, rows))

    def plan(self, most_rows: int) -> list[Chunk]:
        """Cut all points into chunks of whole days; a day that has too many, into parts of it."""
        chunks: list[Chunk] = []
        for day in sorted(self._batches):
            rows = sum(count for _, _, count in self._batches[day])
            start, stop = day * DAY_US, (day + 1) * DAY_US
            parts = min(-(-rows // most_rows), DAY_US // 1000) if rows > most_rows else 1
            if parts > 1:
                edges = [start + (stop - start) * part // parts for part in range(parts)] + [stop]
                chunks += [Chunk(one, other, rows // parts) for one, other in pairwise(edges)]
            elif chunks and chunks[-1].rows + rows <= most_rows and not chunks[-1].stop % DAY_US:
                chunks[-1] = Chunk(chunks[-1].start, stop, chunks[-1].rows + rows)
            else:
                chunks.append(Chunk(start, stop, rows))
        return chunks

    def load(self, chunk: Chunk) -> pa.RecordBatch | None:
        """The points of a chunk, each key once, in the order of their keys; None without any."""
        first, last = chunk.start // DAY_US, (chunk.stop - 1) // DAY_US
        whole = chunk.start % DAY_US == 0 and chunk.stop % DAY_US == 0
        wanted = sorted(
            (name, number)
            for day in range(first, last + 1)
            for name, number, _ in self._batches.get(day, ())
        )
        tables = []
        for name, number in wanted:
            table = pa.Table.from_batches([self._reader(name).get_batch(number)])
            tables.append(table if whole else _between(table, chunk))
        if not tables:
            return None
        table = pa.concat_tables(tables)
        return keyed(one_batch(table), on_conflict="update") if table.num_rows else None

    def _reader(self, name: str) -> ipc.RecordBatchFileReader:
        reader = self._open.pop(name, None)
        if reader is None:
            if len(self._open) >= _OPEN:
                del self._open[next(iter(self._open))]
            # Not mapped: pages of compressed files would be counted as this process's memory.
            reader = ipc.open_file(pa.OSFile(str(self._folder / f"{name}.arrow")))
        self._open[name] = reader  # the last one used
        return reader


def _between(table: pa.Table, chunk: Chunk) -> pa.Table:
    time = table.column("time").cast(pa.int64())
    inside = pc.and_(pc.greater_equal(time, chunk.start), pc.less(time, chunk.stop))
    return table.filter(inside)
