"""Compaction: merging the files of one product and day, with one point for each key.

    sources = the files, each sorted, in the order of their writes
    until all rows are read:
        read on in each source that is below its low-water mark
        edge = the least of the sources' greatest keys in memory
        take the rows below it from each source, sort them, deduplicate by key, write them

The merged files must be consecutive in the order of `dataset.stored_files`, so that the result has
a position in that order: with `update`, the later file wins for a key that is in both. This also
holds for a write that is repeated after a crash. The process that wrote a file had written, or was
repeating, everything before it. So a merged file has all points that a repeated write with a
sequence in its range can bring, and takes precedence over it: an older value never returns.

A merged file is written as a temporary file, synced, and renamed into the folder; only then its
sources are deleted. A reader sees each point at least once at any moment. It may see a point twice
for a moment, or after a crash in that moment until the next merge. A reader that lists the folder
meanwhile misses no file if the system lists the folder atomically, as it does for some hundred
files; `due_for_merge` keeps their number below that.

Invariants: sources are deleted only after the merged files are durable under their names, and only
if the numbers of rows read and written agree with the footers of both. One process merges at a time
(the caller holds the lock `compaction`). Memory is bounded, see `merge_sources.py`; texts are
decoded for one row group at a time. Merging 24 files of half a million points took 210 MB and 4
seconds (3 M points/s).

A merge rewrites files of former versions, whose times are milliseconds, with the current schema;
`compact_all` rewrites them even if there is only one file.

It does not decide when to merge: `maintenance.py` and `pointgate compact` do.
"""

from __future__ import annotations

import errno
import hashlib
import os
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
from pointgate.sinks.parquet.merge_sources import (
    Source,
    grouped,
    has_former_schema,
    metadata_of,
    open_cursors,
    passes,
    sources_of,
)
from pointgate.sinks.parquet.rows import (
    ROW_GROUP,
    ROW_GROUP_BYTES,
    decoded,
    key_order,
    parquet_writer,
    row_group,
    take,
)
from pointgate.sinks.tables import one_batch, pieces, text_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from pointgate.sinks.parquet.dataset import Dataset
    from pointgate.sinks.parquet.merge_sources import Cursor
    from pointgate.sinks.settings import OnConflict

FAN_IN: Final = 16
"""Files of similar size at which they are merged. With fewer, each point is written more often."""

FILE_BYTES: Final = 128 * 1024 * 1024
"""The size at which a merged file ends, and above which a file is not merged again in the
background: readers are efficient with files of this size."""

_SIZES: Final = (0, FILE_BYTES // FAN_IN**2, FILE_BYTES // FAN_IN, FILE_BYTES)
"""The limits of the size tiers. When a tier has enough files, they are merged, with smaller files
between them. So a point is rewritten three times (size-tiered compaction), not with every merge."""

_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors that the next folder would have, too."""


class MergeCancelled(PointgateError):  # noqa: N818 - requested, not an error
    """A merge was cancelled on request."""


@dataclass(slots=True)
class Summary:
    """The result of compacting a dataset.

    Attributes:
        folders: The number of folders, one for each product and day.
        merged: How many of them were merged; the other figures are about those.
        files_before: The number of files before.
        files_after: The number of files after.
        bytes_before: Their size before.
        bytes_after: Their size after.
        points_before: The number of rows before.
        duplicates: The number of rows removed, because another row had the same key.
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


def due_for_merge(files: Sequence[Stored]) -> list[Stored]:
    """The files of a folder that are due for a merge; none if there are few, or only large ones."""
    for low, high in pairwise(_SIZES):
        for below, run in groupby(files, lambda file: file.size < high):  # noqa: B023 - used at once
            due = list(run)
            if below and sum(file.size >= low for file in due) >= FAN_IN:
                return due
    return []


def is_compact(files: Sequence[Stored]) -> bool:
    """Whether each key occurs once: there is one file, or all are parts of one merge."""
    return all(one.merge and one.merge == other.merge for one, other in pairwise(files))


def merge(
    dataset: Dataset,
    files: Sequence[Stored],
    *,
    on_conflict: OnConflict,
    stopping: Callable[[], bool] = lambda: False,
    progress: Callable[[float], object] = lambda _: None,
) -> list[Stored]:
    """Merge files.

    Args:
        dataset: The dataset, for its temporary files.
        files: Consecutive files of one folder, in the order of `stored_files`.
        on_conflict: Which of the points with the same key is kept.
        stopping: Called between steps; true cancels the merge.
        progress: Called with the number of bytes of the files that were merged since the last call.

    Returns:
        The files that replace them.

    Raises:
        MergeCancelled: `stopping` returned true; passes that were not complete changed nothing.
        OSError: A file cannot be read or written; the same holds.
        MemoryError: An allocation failed; the same holds.
        pa.ArrowException: A file is corrupt, or two of them need more memory than the limit; the
            same holds.
    """
    sources = sources_of(files)
    number_of_passes = 0
    try:
        while True:
            groups = grouped(sources)
            number_of_passes = number_of_passes or passes(len(sources), len(groups))
            share = partial(_share, progress, number_of_passes)
            made: list[Stored] = []
            for group in groups:
                made += _merge(
                    dataset, group, on_conflict=on_conflict, stopping=stopping, progress=share
                )
            if len(groups) == 1:
                return made
            sources = sources_of(made)
    finally:
        dataset.clear("merge-")


def _share(progress: Callable[[float], object], number_of_passes: int, size: float) -> None:
    progress(size / number_of_passes)


@dataclass(slots=True)
class _Count:
    """Counts of a merge.

    Attributes:
        read: The number of rows read.
        keys: The number of different keys in them.
    """

    read: int = 0
    keys: int = 0


def _merge(
    dataset: Dataset,
    group: Sequence[Source],
    *,
    on_conflict: OnConflict,
    stopping: Callable[[], bool],
    progress: Callable[[float], object],
) -> list[Stored]:
    """Merge sources in one pass (see `merge`)."""
    cursors = open_cursors(group, progress)
    count = _Count()
    old = list(chain.from_iterable(source.files for source in group))
    written = _write(dataset, old, _row_groups(_blocks(cursors, on_conflict, stopping, count)))
    expected = sum(source.rows for source in group)
    stored = sum(pq.read_metadata(temporary).num_rows for temporary, _ in written)
    if count.read != expected or count.keys != stored:
        raise pa.ArrowInvalid(
            f"the merge read {count.read} of {expected} points "
            f"and wrote {stored} of {count.keys}: the files stay as they are"
        )
    return _replace(old, written)


def compact_all(dataset: Dataset, *, progress: Callable[[float, float], object]) -> Summary:
    """Merge all files of each product and day, except those that are compact and up to date.

    Args:
        dataset: The dataset, whose lock `compaction` the caller holds.
        progress: Called with the number of bytes merged since the last call, and with the total.
    """
    on_conflict = dataset.on_conflict
    folders = [stored_files(folder, on_conflict) for folder in dataset.partitions()]
    due = [
        files for files in folders if not is_compact(files) or any(map(has_former_schema, files))
    ]
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


def _points(files: Iterable[Stored]) -> int:
    return sum(metadata_of(file).num_rows for file in files)


def _blocks(
    cursors: Sequence[Cursor],
    on_conflict: OnConflict,
    stopping: Callable[[], bool],
    count: _Count,
) -> Iterator[pa.Table]:
    """The deduplicated rows of all cursors, sorted by key."""
    while not stopping():
        for cursor in cursors:
            cursor.fill()
        # All rows below the edge are in memory, at least one: each cursor has two different keys.
        edge = min((cursor.last_key() for cursor in cursors if not cursor.ended), default=None)
        rows = pa.concat_tables(cursor.take_below(edge) for cursor in cursors)
        if rows.num_rows:
            batch = one_batch(rows)
            order = key_order(batch, on_conflict=on_conflict)
            count.read += len(batch)
            count.keys += len(order)
            yield pa.Table.from_batches([take(batch, order)])
        if edge is None:
            return
    raise MergeCancelled


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
    """Write the files that replace old ones; returns their temporary and final paths."""
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


def _replace(old: Sequence[Stored], written: Sequence[tuple[Path, Stored]]) -> list[Stored]:
    """Rename the new files into the folder, then delete the old ones."""
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
