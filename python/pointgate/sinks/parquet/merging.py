"""Merging files of a dataset: sorted rows of several files become those of one.

    runs = the row groups of all files, or files that are sorted as a whole
    until all are read:
        read on wherever little is left
        edge = the lowest of the runs' last keys in memory
        take what is below it from each run, put it in order, keep one of each key, write it

Of two points with the same key the one with the later `received` was accepted last, and counts;
with `on_conflict = "ignore"` the earlier one. So any files can be merged in any order, whoever
wrote them.

Invariants: memory does not grow with the files: `_IN_MEMORY` bytes of rows, as much again some
times while they are sorted, a row group that is written, and what is read ahead of each open file,
whose sum is below `_READ_BYTES`. Texts are read as dictionaries and decoded only for a row group,
because a value that repeats takes no room in a file: 144 KB can hold 4 GB.
"""

from __future__ import annotations

import math
import os
import time
from bisect import bisect_left
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pointgate.durable_files import SHARED
from pointgate.sinks.key_order import key_order, take
from pointgate.sinks.parquet.rows import (
    ROW_GROUP,
    ROW_GROUP_BYTES,
    decoded,
    parquet_writer,
    row_group,
    with_own_texts,
)
from pointgate.sinks.parquet.runs import COLUMNS, SORTED, Run, grouped, read, runs_of, sorted_run
from pointgate.sinks.tables import one_batch, pieces, text_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pointgate.sinks.parquet.dataset import Dataset
    from pointgate.sinks.settings import OnConflict

FILE_BYTES: Final = 128 * 1024 * 1024
"""A merged file ends at this size: readers work well with such."""

_IN_MEMORY: Final = 16 * 1024 * 1024
"""Bytes of rows of all runs together."""


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
    runs = list(chain.from_iterable(map(runs_of, files)))
    rounds = number = 0
    while True:
        groups = grouped(runs)
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
        runs = [sorted_run(parts, is_temporary=True) for parts in made]


def _merge(
    dataset: Dataset,
    group: Sequence[Run],
    number: int,
    *,
    on_conflict: OnConflict,
    progress: Callable[[float], object],
) -> list[Path]:
    """Merge runs in one pass (see `merge`)."""
    opened = [_Source(read(run, _IN_MEMORY // len(group), progress), len(group)) for run in group]
    count = _Count()
    described = SORTED | {"pointgate.on_conflict": on_conflict}
    written = _write(dataset, number, _row_groups(_blocks(opened, on_conflict, count)), described)
    expected = sum(run.rows for run in group)
    stored = sum(pq.read_metadata(temporary).num_rows for temporary in written)
    if count.read != expected or count.keys != stored:
        raise pa.ArrowInvalid(
            f"the merge read {count.read} of {expected} points "
            f"and wrote {stored} of {count.keys}: the files stay as they are"
        )
    return written


_Key = tuple[str, str, str, int]


class _Source:
    """Rows in the order of their keys, of which some are in memory."""

    def __init__(self, batches: Iterator[pa.RecordBatch], sources: int) -> None:
        self._batches = batches
        self._little = _IN_MEMORY // sources // 2
        self._rows = COLUMNS.empty_table()
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


@dataclass(slots=True)
class _Count:
    """Counts of a merge.

    Attributes:
        read: How many rows were read.
        keys: How many different keys they have.
    """

    read: int = 0
    keys: int = 0


def _share(progress: Callable[[float], object], rounds: int, size: float) -> None:
    progress(size / rounds)


def _rounds(sources: int, groups: int) -> int:
    """How often each row will be written, when so many sources make so many groups."""
    return math.ceil(math.log(max(sources, 2), max(2, sources / groups)) - 1e-9)


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
    dataset: Dataset, number: int, row_groups: Iterator[pa.Table], described: Mapping[str, str]
) -> list[Path]:
    """Write the rows into temporary files, which are on the disk when this returns."""
    written: list[Path] = []
    for first_rows in row_groups:
        name = dataset.file_name("merge", time.time_ns() // 1000, number)
        temporary = dataset.temporary(f"{name}-{len(written):05}")
        with open(temporary, "wb", opener=SHARED.opener) as file:
            first = row_group(one_batch(first_rows))
            with parquet_writer(file, first, metadata=dict(described)) as writer:
                writer.write_table(first, ROW_GROUP)
                while file.tell() < FILE_BYTES and (rows := next(row_groups, None)) is not None:
                    writer.write_table(row_group(one_batch(rows)), ROW_GROUP)
            file.flush()
            os.fsync(file.fileno())
        written.append(temporary)
    return written
