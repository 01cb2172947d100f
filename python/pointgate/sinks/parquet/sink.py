"""The sink that writes Parquet files, a folder for each product and UTC day.

    SELECT * FROM read_parquet('points/**/*.parquet', hive_partitioning = true)

A write becomes one file for each product and day in it, sorted by device, identifier and time, with
one point for each key. `product` and `date` are in the folders' names, as Hive, Spark, DuckDB,
polars and `pyarrow.dataset` read them; the other columns are those of `store.points.SCHEMA`, with
plain strings. Files are compressed in memory, written to a temporary file, synced and renamed, and
then the folders are synced, so that a reader sees a whole file or none.

A reader can see these transient states:

- A point that was posted twice is in two files until they are merged (`compaction.py`). The valid
  one is in the file with the greater name; with `on_conflict = "ignore"`, with the smaller name. In
  SQL: `QUALIFY row_number() OVER (PARTITION BY product, device, identifier, time ORDER BY filename
  DESC) = 1`. `pointgate compact` removes the duplicates.
- The files of one write appear one after the other. For a moment, or after a crash until the write
  is repeated, a request may be visible for one day and not for another.
- A write that is repeated after a crash makes the same files if it has the same batches; otherwise
  its points are in two files, as if they were posted twice.
- A file may be merged between listing and opening it: list again.
- polars reads all files in a folder: `scan_parquet('points')` fails while there are temporary
  files, `scan_parquet('points/**/*.parquet', hive_partitioning=True)` skips them.
- A product called `__HIVE_DEFAULT_PARTITION__` is NULL to all readers but DuckDB.

Invariants: when `write` returns, its files and their names are durable. Sequences increase over the
whole life of a dataset, because they alone decide which of two points is newer. One process writes
to a dataset at a time; `pointgate compact` may run beside it.

Measured with `benches/bench_parquet.py` on 2 cores with twice as much other work as they can do:
1 M points of a day take 0.35 to 0.5 s (0.15 s on an idle machine), of the 365 days of a year 0.5
to 1 s; a write of a thousand points takes 2 to 7 ms, so a sink with lag should write more at a
time.
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
from pointgate.sinks.parquet.maintenance import BackgroundMerger
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
"""Files that are renamed together, which bounds memory. A request may have points on 175,000 days;
if the service stops in between, the files that were renamed stay."""

_PARALLEL: Final = 8
"""Files written in parallel. Concurrent fsync calls share a commit of the file system: 365 days of
20,000 points took 0.7 s in 2 threads, 0.3 to 0.5 s in 4, 8 or 16, and of 1 M points 1.4 s in 2, 0.5
to 1.1 s in 8 (2 shared cores, ext4)."""


def build(settings: ParquetSettings) -> ParquetSink:
    """Make the sink from its settings."""
    return ParquetSink(name=settings.name, path=settings.path, on_conflict=settings.on_conflict)


class ParquetSink:
    """Writes points into a dataset of Parquet files.

    Attributes:
        name: Its name in metrics and log lines.
    """

    def __init__(self, *, name: str, path: Path, on_conflict: OnConflict) -> None:
        self.name = name
        self._path = path
        self._on_conflict: OnConflict = on_conflict
        self._dataset = Dataset(path)
        self._merger = BackgroundMerger(self._dataset, name=name)
        self._lock = ExitStack()
        # One thread, so that a write completes before the next one or before `close`, even when
        # the task that awaits it is cancelled.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink {name}")
        self._files = ThreadPoolExecutor(_PARALLEL, thread_name_prefix=f"files of {name}")

    def newest(self) -> int:
        """The greatest sequence in the dataset (see `base.Sink`)."""
        return self._dataset.newest()

    async def open(self) -> None:
        """Lock the dataset, remove temporary files of a crash, start the background merger.

        Raises:
            SinkUnavailableError: The folder cannot be used, or another process writes to it.
        """
        await self._run(self._open)
        self._merger.start()

    async def write(self, points: pa.Table, *, sequence: int) -> None:
        """Store points durably.

        Args:
            points: Rows of `store.points.SCHEMA` in the order of arrival.
            sequence: The first part of the files' names; greater than in all earlier writes,
                except when a write is repeated.

        Raises:
            SinkUnavailableError: The disk is full or failing. Some days of the write may be
                visible; a retry completes it.
            SinkRefusedError: Arrow cannot store a value, or the file system a name.
            MemoryError: An allocation failed; as with SinkUnavailableError.
        """
        files = self._split(points)
        while folders := await self._run(self._write, files, sequence):
            for folder in folders:
                self._merger.file_added(folder)

    async def close(self) -> None:
        """Unlock the dataset, after a write that was cancelled has ended."""
        await self._merger.stop()
        await self._run(self._lock.close)
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
        except MemoryError:  # Arrow's own is also an ArrowException
            raise
        except pa.ArrowException as error:
            raise SinkRefusedError(f"cannot be written as Parquet: {error}") from error

    def _open(self) -> None:
        self._dataset.create()
        self._lock.close()
        try:
            self._lock.enter_context(self._dataset.locked("writer", wait=False))
        except BlockingIOError:
            raise SinkUnavailableError(f"another process writes to {self._path}") from None
        self._dataset.clear("write-")
        self._dataset.on_conflict = self._on_conflict

    def _write(self, parts: Iterator[tuple[str, int, pa.RecordBatch]], sequence: int) -> set[Path]:
        """Write the next files; returns their folders."""
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
        """The rows of each product and day, sorted by key."""
        if not points.num_rows:
            return
        batch = one_batch(points)
        products = batch["product"].dictionary
        days = pc.divide(batch["time"].view(pa.int64()), _DAY)
        first, last = (day.as_py() for day in pc.min_max(days).values())
        span = last - first + 1
        codes = batch["product"].indices.cast(pa.int64())
        groups = pc.add(pc.multiply(codes, span), pc.subtract(days, first))
        # Usually there is only one group; without groups the sort takes half the time.
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
        """Write one temporary file; returns its path and the final one.

        A file that exists under the final name is left as it is: it belongs to an earlier attempt
        of the same write.
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
