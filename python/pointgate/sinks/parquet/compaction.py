"""Merging the files of a partition into fewer, with one point for each key.

    runs = the row groups of all files, or files that are sorted as a whole
    until all are read:
        read on wherever little is left
        edge = the lowest of the runs' last keys in memory
        take what is below it from each run, put it in order, keep one of each key, write it

Of two points with the same key the one with the later `received` was accepted last, and counts;
with `on_conflict = "ignore"` the earlier one. So any files can be merged in any order, whoever
wrote them. Merged files are written beside the data; `recovery.py` gives them their names and
deletes the files that they were made of, when no reader can hold their names any more.

Files of the former layout, a folder for each product and day, become files of this one.

Invariants: as many points are read and written as the footers say, or nothing is changed. One
process merges at a time (the caller holds the lock `compaction`); a service may write meanwhile.
Memory does not grow with the files: `_IN_MEMORY` bytes of rows, as much again some times while
they are sorted, a row group that is written, and what is read ahead of each open file, whose sum
is below `_READ_BYTES`. Texts are read as dictionaries and decoded only for a row group, because a
value that repeats takes no room in a file: 144 KB can hold 4 GB. What cannot be merged within that
is not merged, and named.
"""

from __future__ import annotations

import errno
import math
import os
import time
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from pointgate.durable_files import SHARED
from pointgate.sinks.parquet import recovery
from pointgate.sinks.parquet.dataset import stored_files
from pointgate.sinks.parquet.recovery import Merge
from pointgate.sinks.parquet.rows import (
    NAMES,
    ROW_GROUP,
    ROW_GROUP_BYTES,
    decoded,
    key_order,
    parquet_writer,
    row_group,
    take,
    with_own_texts,
)
from pointgate.sinks.parquet.settings import FORMER_PREFIX
from pointgate.sinks.tables import TEXTS, one_batch, pieces, text_bytes
from pointgate.store.points import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pointgate.sinks.parquet.dataset import Dataset
    from pointgate.sinks.settings import OnConflict

FILE_BYTES: Final = 128 * 1024 * 1024
"""A merged file ends at this size: readers work well with such."""

GRACE: Final = 600.0
"""Seconds for which the files that were merged stay: no reader lists names for longer and then
opens them."""

_SORTED: Final = {"pointgate.sorted": "file"}
"""What a file says whose row groups follow each other in the order of their keys."""

_IN_MEMORY: Final = 16 * 1024 * 1024
"""Bytes of rows of all runs together."""

_OPEN_FILES: Final = 64
"""Runs at a time; more are merged in several rounds."""

_ROWS_READ: Final = 8192
"""Rows decoded at a time; fewer where texts are long."""

_LEAST_ROWS_READ: Final = 64
"""However long they are: a row group, which bounds them, has no more of the longest texts."""

_READ_AHEAD: Final = 64 * 1024
"""Bytes of each column of each file."""

_OPEN_FILE_BYTES: Final = 2 * 1024 * 1024
"""What an open file takes besides its texts: `_READ_AHEAD` and a page of each column."""

_READ_BYTES: Final = 128 * 1024 * 1024
"""What all open files may take: their number is lower where row groups hold long texts."""

_COPIES: Final = 4
"""How often the texts of a row group are in memory while it is read: page, dictionary, rows."""

_DICTIONARIES: Final = [*NAMES, *TEXTS]

_READ: Final = pa.schema(
    [
        field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in TEXTS else field
        for field in SCHEMA
    ]
)
"""The columns of points as they are in memory: a text that repeats is there once."""

_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What would be wrong with the next folder, too."""

_Key = tuple[str, str, str, int]


@dataclass(slots=True)
class Summary:
    """What became of a dataset.

    Attributes:
        folders: How many days or months there are.
        merged: How many of them were merged; what follows is about those.
        files_before: How many files there were.
        files_after: How many there are now.
        bytes_before: How large they were.
        bytes_after: How large they are now.
        points_before: How many points were in them.
        duplicates: How many of those had the key of another one.
        problems: What could not be merged, and why.
    """

    folders: int
    merged: int = 0
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    points_before: int = 0
    duplicates: int = 0
    problems: list[str] = field(default_factory=list)


def compact_all(
    dataset: Dataset, *, grace: float, progress: Callable[[float, float], object]
) -> Summary:
    """Merge all files of each partition, where they are not merged already.

    The files that were merged stay for a while: `wait` deletes them.

    Args:
        dataset: Of which the caller holds the lock `compaction`.
        grace: For how many seconds.
        progress: Told how many more bytes it has got through, and how many there are in all.

    Raises:
        OSError: There is no room; what was merged so far is.
    """
    recovery.resume(dataset)
    waiting = recovery.claimed(dataset)
    folders = _partitions(dataset)
    due = {
        name: files
        for name, files in folders.items()
        if not _is_compact(files) and waiting.isdisjoint(_relative(dataset, files))
    }
    total = sum(_size(path) for files in due.values() for path in files)
    summary = Summary(folders=len(folders))
    for partition in due:
        try:
            _compact(dataset, partition, grace, summary, lambda size: progress(size, total))
        except Exception as error:
            recovery.resume(dataset)
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise
            summary.problems.append(f"{dataset.path / partition}: {error}")
    return summary


def wait(dataset: Dataset) -> None:
    """Wait until the files that were merged can be deleted, and delete them."""
    while (left := recovery.resume(dataset)) > 0:
        time.sleep(left)


def _compact(
    dataset: Dataset,
    partition: str,
    grace: float,
    summary: Summary,
    progress: Callable[[float], object],
) -> None:
    """Merge the files of one partition."""
    name = dataset.file_name("merge", time.time_ns() // 1000, 0)
    with dataset.locked("files", wait=True):
        files = _partitions(dataset)[partition]
        claim = Merge(_relative(dataset, files), grace=grace)
        recovery.record(dataset, name, claim)
    before = sum(map(_size, files))
    points = sum(_metadata(path).num_rows for path in files)
    made = merge(dataset, files, on_conflict=dataset.on_conflict, progress=progress)
    number = time.time_ns() // 1000
    for part, path in enumerate(made):
        new = f"{dataset.file_name('merged', number, part)}.parquet"
        claim.new.append([path.name, f"{partition}/{new}"])
    stored = sum(_metadata(path).num_rows for path in made)
    after = sum(map(_size, made))
    with dataset.locked("files", wait=True):
        dataset.folder(partition)
        recovery.place(dataset, name, claim)
        if not grace:
            recovery.delete(dataset, name, claim)
    summary.merged += 1
    summary.files_before += len(files)
    summary.files_after += len(made)
    summary.bytes_before += before
    summary.bytes_after += after
    summary.points_before += points
    summary.duplicates += points - stored


def merge(
    dataset: Dataset,
    files: Sequence[Path],
    *,
    on_conflict: OnConflict,
    progress: Callable[[float], object] = lambda _: None,
) -> list[Path]:
    """Put files together.

    Args:
        dataset: Where temporary files go.
        files: Any files with points.
        on_conflict: Which one stays of points with the same key.
        progress: Told how many more bytes of the files it has got through.

    Returns:
        Temporary files with the points of all, sorted; they are on the disk.

    Raises:
        OSError: A file cannot be read or written.
        MemoryError: An allocation failed.
        pa.ArrowException: A file is damaged, or two of them need more memory than a merge may take.
    """
    runs = list(chain.from_iterable(map(_runs, files)))
    rounds = number = 0
    while True:
        groups = _groups(runs)
        rounds = rounds or _rounds(len(runs), len(groups))
        share = partial(_share, progress, rounds)
        made: list[list[Path]] = []
        for group in groups:
            number += 1
            made.append(_merge(dataset, group, number, on_conflict=on_conflict, progress=share))
        for run in runs:
            if run.is_temporary:
                for path in run.files:
                    path.unlink(missing_ok=True)
        if len(groups) == 1:
            return made[0]
        runs = [_sorted_run(parts, is_temporary=True) for parts in made]


def _merge(
    dataset: Dataset,
    group: Sequence[_Run],
    number: int,
    *,
    on_conflict: OnConflict,
    progress: Callable[[float], object],
) -> list[Path]:
    """Merge runs in one pass (see `merge`)."""
    opened = [_Source(_read(run, _IN_MEMORY // len(group), progress), len(group)) for run in group]
    count = _Count()
    metadata = _SORTED | {"pointgate.on_conflict": on_conflict}
    written = _write(dataset, number, _row_groups(_blocks(opened, on_conflict, count)), metadata)
    expected = sum(run.rows for run in group)
    stored = sum(pq.read_metadata(temporary).num_rows for temporary in written)
    if count.read != expected or count.keys != stored:
        raise pa.ArrowInvalid(
            f"the merge read {count.read} of {expected} points "
            f"and wrote {stored} of {count.keys}: the files stay as they are"
        )
    return written


def _partitions(dataset: Dataset) -> dict[str, list[Path]]:
    """The files of each partition by the name of its folder; also those of the former layout."""
    found: dict[str, list[Path]] = {}
    for folder in [*dataset.former(), *dataset.partitions()]:
        if files := stored_files(folder):
            found.setdefault(folder.name, []).extend(files)
    return dict(sorted(found.items()))


def _relative(dataset: Dataset, files: Iterable[Path]) -> list[str]:
    return [str(path.relative_to(dataset.path)) for path in files]


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _is_compact(files: Sequence[Path]) -> bool:
    """Whether each key is in them once: they are the parts of one merge."""
    merges = {path.name.rpartition("-")[0] for path in files}
    return len(merges) == 1 and files[0].name.startswith("merged-")


class _Source:
    """Rows in the order of their keys, of which some are in memory."""

    def __init__(self, batches: Iterator[pa.RecordBatch], sources: int) -> None:
        self._batches = batches
        self._little = _IN_MEMORY // sources // 2
        self._rows = _READ.empty_table()
        self.ended = False

    def fill(self) -> None:
        """Read on if little is left; then there are two keys at least, or no more to come."""
        while not self.ended and (self._rows.nbytes < self._little or not self._two_keys()):
            batch = next(self._batches, None)
            if batch is None:
                self.ended = True
            else:
                self._rows = pa.concat_tables([self._rows, pa.Table.from_batches([batch])])

    def last_key(self) -> _Key:
        """The key up to which everything is in memory."""
        return self._key(self._rows.num_rows - 1)

    def take_below(self, edge: _Key | None) -> pa.Table:
        """Give away the rows with lower keys than this; all if there is none."""
        rows = range(self._rows.num_rows)
        end = len(rows) if edge is None else bisect_left(rows, edge, key=self._key)
        taken, self._rows = self._rows.slice(0, end), self._rows.slice(end)
        return with_own_texts(taken)

    def _two_keys(self) -> bool:
        return bool(self._rows.num_rows) and self._key(0) != self.last_key()

    def _key(self, row: int) -> _Key:
        # Python compares strings as Arrow does: code points and their UTF-8 have the same order.
        *names, instant = (self._rows[column][row] for column in range(4))
        product, device, identifier = (name.as_py() for name in names)
        return product, device, identifier, instant.value


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows in the order of their keys: row groups of one file, or files that follow each other.

    Attributes:
        files: They.
        row_groups: Which row groups of the only file; None for all of all files.
        product: The product of all rows; None if it is in the file.
        rows: How many rows they have.
        bytes: What reading them takes: one file is open at a time.
        text_bytes: The texts of a row, on average in that row group which has the longest ones.
        size: How many bytes the rows take in the files.
        is_temporary: Whether the files are to be removed when they are merged.
    """

    files: tuple[Path, ...]
    row_groups: tuple[int, ...] | None
    product: str | None
    rows: int
    bytes: int
    text_bytes: int
    size: int
    is_temporary: bool


@dataclass(slots=True)
class _Count:
    """Counts of a merge.

    Attributes:
        read: How many rows were read.
        keys: How many different keys they have.
    """

    read: int = 0
    keys: int = 0


def _runs(path: Path) -> list[_Run]:
    """The runs of a file."""
    metadata = _metadata(path)
    product = None
    if path.parent.parent.name.startswith(FORMER_PREFIX):
        product = unquote(path.parent.parent.name.removeprefix(FORMER_PREFIX))
    of_file = metadata.metadata or {}
    key, value = next(iter(_SORTED.items()))
    if product is not None or of_file.get(key.encode()) == value.encode():
        return [_run([(path, metadata)], None, product)]
    groups = range(metadata.num_row_groups)
    return [_run([(path, metadata)], (number,), None) for number in groups]


def _sorted_run(files: Sequence[Path], *, is_temporary: bool) -> _Run:
    parts = [(path, _metadata(path)) for path in files]
    return _run(parts, None, None, is_temporary=is_temporary)


def _run(
    parts: Sequence[tuple[Path, pq.FileMetaData]],
    row_groups: tuple[int, ...] | None,
    product: str | None,
    *,
    is_temporary: bool = False,
) -> _Run:
    rows = largest = longest = size = 0
    for _, metadata in parts:
        for number in row_groups or range(metadata.num_row_groups):
            group = metadata.row_group(number)
            columns = [group.column(place) for place in range(group.num_columns)]
            texts = sum(
                column.total_uncompressed_size
                for column in columns
                if column.path_in_schema in TEXTS
            )
            rows += group.num_rows
            size += sum(column.total_compressed_size for column in columns)
            largest = max(largest, texts)
            longest = max(longest, texts // max(1, group.num_rows))
    reading = _OPEN_FILE_BYTES + _COPIES * largest
    files = tuple(path for path, _ in parts)
    return _Run(files, row_groups, product, rows, reading, longest, size, is_temporary)


def _groups(runs: Sequence[_Run]) -> list[list[_Run]]:
    """Runs that are read together, at least two of them.

    Raises:
        pa.ArrowCapacityError: Two of them would take too much memory.
    """
    groups: list[list[_Run]] = [[]]
    for run in runs:
        size = sum(one.bytes for one in groups[-1]) + run.bytes
        if len(groups[-1]) >= _OPEN_FILES or (len(groups[-1]) > 1 and size > _READ_BYTES):
            groups.append([run])
            continue
        groups[-1].append(run)
        if size > 2 * _READ_BYTES:
            raise pa.ArrowCapacityError(
                f"cannot merge {run.files[0].name}: its row groups are too large, merging "
                f"would take {size} bytes of memory"
            )
    return groups


def _share(progress: Callable[[float], object], rounds: int, size: float) -> None:
    progress(size / rounds)


def _rounds(sources: int, groups: int) -> int:
    """How often each row will be written, when so many sources make so many groups."""
    return math.ceil(math.log(max(sources, 2), max(2, sources / groups)) - 1e-9)


def _read(
    run: _Run, most_bytes: int, progress: Callable[[float], object]
) -> Iterator[pa.RecordBatch]:
    rows = min(_ROWS_READ, max(_LEAST_ROWS_READ, most_bytes // (run.text_bytes + 1)))
    dictionaries = [name for name in _DICTIONARIES if name != "product" or run.product is None]
    for path in run.files:
        try:
            with pq.ParquetFile(
                path, read_dictionary=dictionaries, pre_buffer=False, buffer_size=_READ_AHEAD
            ) as file:
                for batch in file.iter_batches(rows, run.row_groups, use_threads=False):
                    yield _points(batch, run.product)
                    progress(run.size * len(batch) / run.rows)
        except MemoryError:  # which Arrow's own is, beside an ArrowException
            raise
        except (OSError, pa.ArrowException, KeyError) as error:
            raise pa.ArrowInvalid(f"cannot read {path.name}: {error}") from error


def _points(batch: pa.RecordBatch, product: str | None) -> pa.RecordBatch:
    """The columns of points, of a file of any version."""
    columns: dict[str, pa.Array] = {name: batch[name] for name in batch.schema.names}
    if product is not None:
        indices = pa.array([0], pa.int32()).take(pa.nulls(len(batch), pa.int32()).fill_null(0))
        columns["product"] = pa.DictionaryArray.from_arrays(indices, [product])
    arrays = [columns[field.name].cast(field.type) for field in _READ]
    return pa.record_batch(arrays, schema=_READ)


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except MemoryError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise pa.ArrowInvalid(f"cannot read {path.name}: {error}") from error


def _blocks(
    sources: Sequence[_Source],
    on_conflict: OnConflict,
    count: _Count,
) -> Iterator[pa.Table]:
    """Rows of all sources in the order of their keys, each key once."""
    while True:
        for source in sources:
            source.fill()
        # All rows below the edge are in memory; there are some, as its source has two keys.
        edge = min((source.last_key() for source in sources if not source.ended), default=None)
        rows = pa.concat_tables(source.take_below(edge) for source in sources)
        if rows.num_rows:
            batch = one_batch(rows)
            order = key_order(batch, on_conflict=on_conflict, by_arrival=True)
            count.read += len(batch)
            count.keys += len(order)
            yield pa.Table.from_batches([take(batch, order)])
        if edge is None:
            return


def _row_groups(blocks: Iterable[pa.Table]) -> Iterator[pa.Table]:
    gathered: list[pa.Table] = []
    rows = size = 0
    cut = (pieces(block, most_rows=ROW_GROUP, most_bytes=ROW_GROUP_BYTES) for block in blocks)
    for piece in map(decoded, chain.from_iterable(cut)):
        more = text_bytes(piece)
        if gathered and (rows + piece.num_rows > ROW_GROUP or size + more > ROW_GROUP_BYTES):
            yield pa.concat_tables(gathered)
            gathered, rows, size = [], 0, 0
        gathered.append(piece)
        rows += piece.num_rows
        size += more
    if gathered:
        yield pa.concat_tables(gathered)


def _write(
    dataset: Dataset, number: int, row_groups: Iterator[pa.Table], metadata: Mapping[str, str]
) -> list[Path]:
    """Write the rows into temporary files, which are on the disk when this returns."""
    written: list[Path] = []
    for first_rows in row_groups:
        name = dataset.file_name("merge", time.time_ns() // 1000, number)
        temporary = dataset.temporary(f"{name}-{len(written):05}")
        with open(temporary, "wb", opener=SHARED.opener) as file:
            first = row_group(one_batch(first_rows))
            with parquet_writer(file, first, metadata=dict(metadata)) as writer:
                writer.write_table(first, ROW_GROUP)
                while file.tell() < FILE_BYTES and (rows := next(row_groups, None)) is not None:
                    writer.write_table(row_group(one_batch(rows)), ROW_GROUP)
            file.flush()
            os.fsync(file.fileno())
        written.append(temporary)
    return written
