"""The sink that writes Parquet files, a folder for each product and UTC day.

    SELECT * FROM read_parquet('points/**/*.parquet', hive_partitioning = true)

A write becomes one file for each product and day in it, sorted by device, identifier and time, one
point a key. `product` and `date` stand in the folders' names, as Hive, Spark, DuckDB, polars and
`pyarrow.dataset` read them; the other columns are those of `store.points.SCHEMA`, with plain
strings. Files are compressed in memory, written beside the data, synced, renamed, and then the
folders are synced, so that a reader sees a file as a whole or not at all.

What a reader may see besides:

- A point that was posted again stands in two files until they are merged (`compaction.py`); the
  one that counts is in the file with the greater name, with `on_conflict = "ignore"` in that with
  the smaller one. `QUALIFY row_number() OVER (PARTITION BY product, device, identifier, time ORDER
  BY filename DESC) = 1` is the same in SQL, `pointgate compact` does it for good.
- The files of one write appear one after the other, so that for a moment, or after a crash until
  the write comes again, a request may be there for one day and not for another.
- A write that comes again is the same files again where it is cut at the same batches; where it is
  cut otherwise its points stand in two files, as if they were posted again.
- A file that was listed may be merged away before it is opened: list again.
- polars reads whatever is in a folder: `scan_parquet('points')` fails while files are unfinished,
  `scan_parquet('points/**/*.parquet', hive_partitioning=True)` does not see those.
- A product called `__HIVE_DEFAULT_PARTITION__` is NULL to all but DuckDB.

Invariants: when `write` returns its files are on the disk under their names. Sequences never start
anew in the life of a dataset: which of two points is the newer one is told by them alone. One
process writes to a dataset at a time; `pointgate compact` may run beside it.

Measured with `benches/bench_parquet.py` on 2 cores with twice as much other work as they can do:
1 M points of a day take 0.35 to 0.5 s, 0.15 s when nobody disturbs; of the 365 days of a year 0.5
to 1 s; a write of a thousand points 2 to 7 ms, so that those who lag behind should write more at
a time.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pointgate import failpoint
from pointgate.diagnostics import os_reason
from pointgate.durable_files import SHARED, sync_folder, write_synced
from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.sinks.parquet.dataset import Dataset, written_name
from pointgate.sinks.parquet.maintenance import Upkeep
from pointgate.sinks.parquet.rows import (
    ROW_GROUP,
    ROW_GROUP_BYTES,
    key_order,
    parquet_writer,
    row_group,
    take,
)
from pointgate.sinks.tables import one_batch, pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pointgate.sinks.parquet.settings import ParquetSettings
    from pointgate.sinks.settings import OnConflict

_DAY: Final = 24 * 60 * 60 * 1_000_000
"""In the unit of `time`, microseconds."""

_FILES: Final = 1024
"""Files that get their names together. A request may have a point on each of 175,000 days: what is
written of it stays when the service ends, and memory is bounded by these."""

_PARALLEL: Final = 8
"""Files written at a time. Syncs that wait together share a commit of the file system: 365 days of
20,000 points took 0.7 s in 2 threads, 0.3 to 0.5 s in 4, 8 or 16, and of 1 M points 1.4 s in 2, 0.5
to 1.1 s in 8 (2 shared cores, ext4)."""


def build(settings: ParquetSettings) -> ParquetSink:
    """The sink that a table of the configuration asks for."""
    return ParquetSink(name=settings.name, path=settings.path, on_conflict=settings.on_conflict)


class ParquetSink:
    """Writes points into a dataset of Parquet files.

    Attributes:
        name: What its metrics and log lines call it.
    """

    def __init__(self, *, name: str, path: Path, on_conflict: OnConflict) -> None:
        self.name = name
        self._path = path
        self._on_conflict: OnConflict = on_conflict
        self._dataset = Dataset(path)
        self._upkeep = Upkeep(self._dataset, name=name)
        self._held = ExitStack()
        # One thread, so that a write goes to its end before the next one or before `close`, also
        # when the task that waited for it is cancelled.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink {name}")
        self._files = ThreadPoolExecutor(_PARALLEL, thread_name_prefix=f"files of {name}")

    def newest(self) -> int:
        """The greatest sequence in the dataset (see `base.Sink`)."""
        return self._dataset.newest()

    async def open(self) -> None:
        """Take the dataset, remove what a crash left, begin to merge files in the background.

        Raises:
            SinkUnavailableError: The folder cannot be used, or another process writes to it.
        """
        await self._run(self._open)
        self._upkeep.start()

    async def write(self, points: pa.Table, *, sequence: int) -> None:
        """Store points for good.

        Args:
            points: Rows of `store.points.SCHEMA` in the order of arrival.
            sequence: What makes the names of the files; greater than in all writes before, but
                for those that come again.

        Raises:
            SinkUnavailableError: The disk is full or failing; nothing is seen of the write, or
                some of its days, which become whole when it comes again.
            SinkRefusedError: Arrow or the file system has no place for something in it.
            MemoryError: An allocation failed; as with SinkUnavailableError.
        """
        files = self._split(points)
        while folders := await self._run(self._write, files, sequence):
            for folder in folders:
                self._upkeep.touched(folder)

    async def close(self) -> None:
        """Let others write to the dataset. A write that was cancelled ends before that."""
        await self._upkeep.stop()
        await self._run(self._held.close)
        self._thread.shutdown(wait=False)
        self._files.shutdown(wait=False)

    async def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, call, *arguments)
        except OSError as error:
            self._dataset.forget()
            if error.errno == errno.ENAMETOOLONG:
                raise SinkRefusedError(f"{error.filename}: {os_reason(error)}") from error
            raise SinkUnavailableError(
                f"cannot write to {self._path}: {os_reason(error)}"
            ) from error
        except MemoryError:  # which Arrow's own is, beside an ArrowException
            raise
        except pa.ArrowException as error:
            raise SinkRefusedError(f"cannot be written as Parquet: {error}") from error

    def _open(self) -> None:
        self._dataset.create()
        self._held.close()
        try:
            self._held.enter_context(self._dataset.locked("writer", wait=False))
        except BlockingIOError:
            raise SinkUnavailableError(f"{self._path} is written by another process") from None
        self._dataset.clear("write-")
        self._dataset.on_conflict = self._on_conflict

    def _write(self, parts: Iterator[tuple[str, int, pa.RecordBatch]], sequence: int) -> set[Path]:
        """Write the next files; returns the folders that they are in."""
        some = list(islice(parts, _FILES))
        if not some:
            return set()
        self._dataset.create()
        files = [
            self._files.submit(self._write_file, number, *part, sequence)
            for number, part in enumerate(some)
        ]
        wait(files)
        try:
            written = [file.result() for file in files]
            failpoint.hit("sink-before-rename")
            for temporary, path in written:
                if temporary is not None:
                    temporary.replace(path)
        except (OSError, MemoryError, pa.ArrowException):
            self._dataset.clear("write-")
            raise
        failpoint.hit("sink-after-rename")
        folders = {path.parent for _, path in written}
        list(self._files.map(sync_folder, folders))
        return folders

    def _split(self, points: pa.Table) -> Iterator[tuple[str, int, pa.RecordBatch]]:
        """The rows of each product and day, in the order of their keys."""
        if not points.num_rows:
            return
        batch = one_batch(points)
        products = batch["product"].dictionary
        days = pc.divide(batch["time"].view(pa.int64()), _DAY)
        first, last = (day.as_py() for day in pc.min_max(days).values())
        span = last - first + 1
        codes = batch["product"].indices.cast(pa.int64())
        groups = pc.add(pc.multiply(codes, span), pc.subtract(days, first))
        # Mostly there is but one group, and without them the sort takes half the time.
        one = pc.equal(*pc.min_max(groups).values()).as_py()
        order = key_order(batch, on_conflict=self._on_conflict, groups=None if one else groups)
        rows = take(batch, order)
        runs = pc.run_end_encode(groups.take(order))
        start = 0
        for group, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            code, day = divmod(group, span)
            yield products[code].as_py(), first + day, rows.slice(start, end - start)
            start = end

    def _write_file(
        self, number: int, product: str, day: int, rows: pa.RecordBatch, sequence: int
    ) -> tuple[Path | None, Path]:
        """Write one file, and say where it is and what it will be called.

        A file that has its name already is left as it is: it is of the same write, which did not
        come to its end.
        """
        folder = self._dataset.folder(product, day)
        content = _encode(rows)
        digest = hashlib.blake2b(content, digest_size=8).hexdigest()
        path = folder / written_name(sequence, digest)
        if path.exists():
            return None, path
        temporary = self._dataset.temporary(f"write-{number}")
        write_synced(temporary, content, SHARED)
        return temporary, path


def _encode(rows: pa.RecordBatch) -> pa.Buffer:
    content = pa.BufferOutputStream()
    with parquet_writer(content) as writer:
        table = pa.Table.from_batches([rows])
        for piece in pieces(table, most_rows=ROW_GROUP, most_bytes=ROW_GROUP_BYTES):
            writer.write_table(row_group(one_batch(piece)), ROW_GROUP)
    return content.getvalue()
