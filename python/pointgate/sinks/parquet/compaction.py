"""Merging files of one product and day into fewer, with one point for each key.

    sources = the files of a run, each sorted, in the order of their writes
    until all are read:
        read on wherever little is left
        edge = the lowest of the sources' last keys in memory
        take what is below it from each source, put it in order, keep one of each key, write it

A run is a stretch without gaps in the order of `dataset.stored_files`, so that its result has a
place in that order: with `update` the later file wins wherever two have the same key. That holds
for a write that comes again after a crash, too. Whoever wrote a file had written all before it, or
was writing it again, so a merged file has all that any later comer with a sequence of its range can
bring, and wins over it: an older value never comes back.

Merged files are written beside the data, synced, renamed into the folder; only then the files they
were made of are deleted. A reader sees each point at least once at any moment, and may see it twice
for the moment between, or from a crash there until the next merge. One who lists a folder meanwhile
misses no file as long as the system lists it in one piece, as it does with some hundred files;
`run_due` keeps their number below.

Invariants: a file is deleted only when those made of it are on the disk under their names, and when
as many points were read and written as the footers of both say. One process merges at a time (the
caller holds the lock `compaction`). Memory does not grow with the files: `_IN_MEMORY` bytes of
rows, as much again some times while they are sorted, a row group that is written, and what is read
ahead of each open file, whose sum is below `_READ_BYTES`. Texts are read as dictionaries and
decoded only for a row group, because a value that repeats takes no room in a file: 144 KB can hold
4 GB. What cannot be merged within that is not merged, and named. 24 files of half a million points
took 210 MB, and 4 seconds (3 M points/s).

Files of former versions, whose instants are milliseconds, become files of this one when they are
merged; `compact_all` merges them even where there is one alone.

It does not decide when: `upkeep.py` does, and `pointgate compact`.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby, pairwise
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pointgate import failpoint
from pointgate.durable_files import SHARED, sync_folder
from pointgate.errors import PointgateError
from pointgate.sinks.parquet.dataset import Stored, merged_name, stored_files
from pointgate.sinks.parquet.rows import (
    NAMES,
    ROW_GROUP,
    ROW_GROUP_BYTES,
    ROWS,
    decoded,
    key_order,
    parquet_writer,
    row_group,
    take,
    with_own_texts,
)
from pointgate.sinks.tables import TEXTS, one_batch, pieces, text_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from pointgate.sinks.parquet.dataset import Dataset
    from pointgate.sinks.settings import OnConflict

FAN_IN: Final = 16
"""Files of like size that are left as they are. Fewer: each point is written more often."""

FILE_BYTES: Final = 128 * 1024 * 1024
"""A file of this size is left alone, and a merged one ends: readers work well with such."""

_SIZES: Final = (0, FILE_BYTES // FAN_IN**2, FILE_BYTES // FAN_IN, FILE_BYTES)
"""Between two of these files are of like size: when there are enough of them, they are merged, with
smaller ones that stand between. So a point is written again three times, not with every merge."""

_IN_MEMORY: Final = 16 * 1024 * 1024
"""Bytes of rows of all sources together."""

_OPEN_FILES: Final = 64
"""Sources at a time; a longer run is merged in several rounds."""

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
        for field in ROWS
    ]
)
"""`ROWS` as they are in memory: a text that repeats is there once."""

_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What would be wrong with the next folder, too."""

_Key = tuple[str, str, int]


class Stopped(PointgateError):  # noqa: N818 - asked for, not a mistake
    """A merge was given up because it was asked to."""


@dataclass(slots=True)
class Summary:
    """What became of a dataset.

    Attributes:
        folders: How many days of products there are.
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


def run_due(files: Sequence[Stored]) -> list[Stored]:
    """The files that should be merged by now; none where there are few, or large ones."""
    for low, high in pairwise(_SIZES):
        for below, run in groupby(files, lambda file: file.size < high):  # noqa: B023 - used at once
            due = list(run)
            if below and sum(file.size >= low for file in due) >= FAN_IN:
                return due
    return []


def is_compact(files: Sequence[Stored]) -> bool:
    """Whether each key is in them once: they are one file, or the parts of one merge."""
    return all(one.merge and one.merge == other.merge for one, other in pairwise(files))


def merge(
    dataset: Dataset,
    files: Sequence[Stored],
    *,
    on_conflict: OnConflict,
    stopping: Callable[[], bool] = lambda: False,
    progress: Callable[[float], object] = lambda _: None,
) -> list[Stored]:
    """Put files together.

    Args:
        dataset: Where temporary files go.
        files: Of one folder, in the order of `stored_files`, with nothing left out between.
        on_conflict: Which one stays of points with the same key.
        stopping: Asked between steps: whether to give up.
        progress: Told how many more bytes of the files it has got through.

    Returns:
        The files that took their place.

    Raises:
        Stopped: It was to give up; what was not ready is as before.
        OSError: A file cannot be read or written; the same.
        MemoryError: An allocation failed; the same.
        pa.ArrowException: A file is damaged, or two of them need more memory than a merge may take;
            the same.
    """
    sources = _sources(files)
    rounds = 0
    try:
        while True:
            groups = _groups(sources)
            rounds = rounds or _rounds(len(sources), len(groups))
            share = partial(_share, progress, rounds)
            made: list[Stored] = []
            for group in groups:
                made += _merge(
                    dataset, group, on_conflict=on_conflict, stopping=stopping, progress=share
                )
            if len(groups) == 1:
                return made
            sources = _sources(made)
    finally:
        dataset.clear("merge-")


def _merge(
    dataset: Dataset,
    group: Sequence[_Parts],
    *,
    on_conflict: OnConflict,
    stopping: Callable[[], bool],
    progress: Callable[[float], object],
) -> list[Stored]:
    """Merge sources in one pass (see `merge`)."""
    opened = [
        _Source(_read(source, _IN_MEMORY // len(group), progress), len(group)) for source in group
    ]
    count = _Count()
    old = list(chain.from_iterable(source.files for source in group))
    written = _write(dataset, old, _row_groups(_blocks(opened, on_conflict, stopping, count)))
    expected = sum(source.rows for source in group)
    stored = sum(pq.read_metadata(temporary).num_rows for temporary, _ in written)
    if count.read != expected or count.keys != stored:
        raise pa.ArrowInvalid(
            f"the merge read {count.read} of {expected} points "
            f"and wrote {stored} of {count.keys}: the files stay as they are"
        )
    return _place(old, written)


def compact_all(dataset: Dataset, *, progress: Callable[[float, float], object]) -> Summary:
    """Merge all files of each product and day, where that is not so already in today's columns.

    Args:
        dataset: Of which the caller holds the lock `compaction`.
        progress: Told how many more bytes it has got through, and how many there are in all.
    """
    on_conflict = dataset.on_conflict
    folders = [stored_files(folder, on_conflict) for folder in dataset.partitions()]
    due = [files for files in folders if not is_compact(files) or any(map(_is_former, files))]
    total = sum(file.size for files in due for file in files)
    summary = Summary(folders=sum(map(bool, folders)))
    for files in due:
        try:
            points = _points(files)
            made = merge(
                dataset, files, on_conflict=on_conflict, progress=lambda size: progress(size, total)
            )
            removed = points - _points(made)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise
            summary.problems.append(f"{files[0].path.parent}: {error}")
            continue
        summary.merged += 1
        summary.files_before += len(files)
        summary.files_after += len(made)
        summary.bytes_before += sum(file.size for file in files)
        summary.bytes_after += sum(file.size for file in made)
        summary.points_before += points
        summary.duplicates += removed
    return summary


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
                more = pa.Table.from_batches([batch]).select(_READ.names).cast(_READ)
                self._rows = pa.concat_tables([self._rows, more])

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
        device, identifier, time = (self._rows[column][row] for column in range(3))
        return device.as_py(), identifier.as_py(), time.value


@dataclass(frozen=True, slots=True)
class _Parts:
    """A source: a file, or the parts of one merge, whose keys follow each other.

    Attributes:
        files: They.
        rows: How many rows they have.
        bytes: What reading them takes: one is open at a time.
        text_bytes: The texts of a row, on average in that row group which has the longest ones.
    """

    files: tuple[Stored, ...]
    rows: int
    bytes: int
    text_bytes: int


@dataclass(slots=True)
class _Count:
    """Counts of a merge.

    Attributes:
        read: How many rows were read.
        keys: How many different keys they have.
    """

    read: int = 0
    keys: int = 0


def _sources(files: Sequence[Stored]) -> list[_Parts]:
    """Files that follow each other."""
    return [
        _parts(tuple(parts)) for _, parts in groupby(files, lambda file: file.merge or file.path)
    ]


def _parts(files: tuple[Stored, ...]) -> _Parts:
    rows = largest = longest = 0
    for file in files:
        metadata = _metadata(file)
        rows += metadata.num_rows
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            columns = [group.column(place) for place in range(group.num_columns)]
            texts = sum(
                column.total_uncompressed_size
                for column in columns
                if column.path_in_schema in TEXTS
            )
            largest = max(largest, texts)
            longest = max(longest, texts // max(1, group.num_rows))
    return _Parts(files, rows, _OPEN_FILE_BYTES + _COPIES * largest, longest)


def _groups(sources: Sequence[_Parts]) -> list[list[_Parts]]:
    """Sources that are read together, at least two of them.

    Raises:
        pa.ArrowCapacityError: Two of them would take too much memory.
    """
    groups: list[list[_Parts]] = [[]]
    for source in sources:
        size = sum(one.bytes for one in groups[-1]) + source.bytes
        if len(groups[-1]) >= _OPEN_FILES or (len(groups[-1]) > 1 and size > _READ_BYTES):
            groups.append([source])
            continue
        groups[-1].append(source)
        if size > 2 * _READ_BYTES:
            raise pa.ArrowCapacityError(
                f"cannot merge {source.files[0].path.name}: its row groups are too large, merging "
                f"would take {size} bytes of memory"
            )
    return groups


def _share(progress: Callable[[float], object], rounds: int, size: float) -> None:
    progress(size / rounds)


def _rounds(sources: int, groups: int) -> int:
    """How often each row will be written, when so many sources make so many groups."""
    return math.ceil(math.log(max(sources, 2), max(2, sources / groups)) - 1e-9)


def _read(
    source: _Parts, most_bytes: int, progress: Callable[[float], object]
) -> Iterator[pa.RecordBatch]:
    rows = min(_ROWS_READ, max(_LEAST_ROWS_READ, most_bytes // (source.text_bytes + 1)))
    for part in source.files:
        try:
            with pq.ParquetFile(
                part.path, read_dictionary=_DICTIONARIES, pre_buffer=False, buffer_size=_READ_AHEAD
            ) as file:
                for batch in file.iter_batches(rows, use_threads=False):
                    yield batch
                    progress(part.size * len(batch) / file.metadata.num_rows)
        except MemoryError:  # which Arrow's own is, beside an ArrowException
            raise
        except (OSError, pa.ArrowException) as error:
            raise pa.ArrowInvalid(f"cannot read {part.path.name}: {error}") from error


def _is_former(file: Stored) -> bool:
    """Whether a former version wrote a file; one that cannot be read is no such file."""
    try:
        schema = pq.read_schema(file.path)
        return bool(schema.field("time").type != ROWS.field("time").type)
    except MemoryError:
        raise
    except (OSError, KeyError, pa.ArrowException):
        return False


def _metadata(file: Stored) -> pq.FileMetaData:
    try:
        return pq.read_metadata(file.path)
    except MemoryError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise pa.ArrowInvalid(f"cannot read {file.path.name}: {error}") from error


def _points(files: Iterable[Stored]) -> int:
    return sum(_metadata(file).num_rows for file in files)


def _blocks(
    sources: Sequence[_Source],
    on_conflict: OnConflict,
    stopping: Callable[[], bool],
    count: _Count,
) -> Iterator[pa.Table]:
    """Rows of all sources in the order of their keys, each key once."""
    while not stopping():
        for source in sources:
            source.fill()
        # All rows below the edge are in memory; there are some, as its source has two keys.
        edge = min((source.last_key() for source in sources if not source.ended), default=None)
        rows = pa.concat_tables(source.take_below(edge) for source in sources)
        if rows.num_rows:
            batch = one_batch(rows)
            order = key_order(batch, on_conflict=on_conflict)
            count.read += len(batch)
            count.keys += len(order)
            yield pa.Table.from_batches([take(batch, order)])
        if edge is None:
            return
    raise Stopped


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
    dataset: Dataset, old: Sequence[Stored], row_groups: Iterator[pa.Table]
) -> list[tuple[Path, Stored]]:
    """Write the files that take the place of old ones: where they are, and what they will be."""
    names = "\n".join(file.path.name for file in old)
    digest = hashlib.blake2b(names.encode(), digest_size=8).hexdigest()
    first, last = min(file.first for file in old), max(file.last for file in old)
    written: list[tuple[Path, Stored]] = []
    for first_rows in row_groups:
        temporary = dataset.temporary(f"merge-{len(written)}")
        with open(temporary, "wb", opener=SHARED.opener) as file:
            with parquet_writer(file) as writer:
                for rows in chain([first_rows], row_groups):
                    writer.write_table(row_group(one_batch(rows)), ROW_GROUP)
                    if file.tell() >= FILE_BYTES:
                        break
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        path = old[0].path.with_name(merged_name(first, last, digest, len(written)))
        written.append((temporary, Stored(path, first, last, digest, size)))
    return written


def _place(old: Sequence[Stored], written: Sequence[tuple[Path, Stored]]) -> list[Stored]:
    """Show the new files, then remove the old ones."""
    folder = old[0].path.parent
    failpoint.hit("merge-before-rename")
    for temporary, new in written:
        temporary.replace(new.path)
        failpoint.hit("merge-after-rename")
    sync_folder(folder)
    for file in old:
        failpoint.hit("merge-before-delete")
        file.path.unlink(missing_ok=True)
    failpoint.hit("merge-after-delete")
    sync_folder(folder)
    return [new for _, new in written]
