"""What a merge reads: rows in the order of their keys, of files of any version.

A file of a commit has a run in each row group; one that `pointgate compact` has made, or that is in
the former layout, is sorted as a whole.

Invariants: what is read ahead of the runs that are read together, one file of each at a time, is
below `_READ_BYTES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from pointgate.sinks.key_order import NAMES
from pointgate.sinks.parquet.settings import FORMER_PREFIX
from pointgate.sinks.tables import TEXTS
from pointgate.store.points import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SORTED: Final = {"pointgate.sorted": "file"}
"""What a file says whose row groups follow each other in the order of their keys."""

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

COLUMNS: Final = pa.schema(
    [
        field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in TEXTS else field
        for field in SCHEMA
    ]
)
"""The columns of points as they are in memory: a text that repeats is there once."""


@dataclass(frozen=True, slots=True)
class Run:
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


def runs_of(path: Path) -> list[Run]:
    """The runs of a file."""
    footer = metadata(path)
    product = None
    if path.parent.parent.name.startswith(FORMER_PREFIX):
        product = unquote(path.parent.parent.name.removeprefix(FORMER_PREFIX))
    of_file = footer.metadata or {}
    key, value = next(iter(SORTED.items()))
    if product is not None or of_file.get(key.encode()) == value.encode():
        return [_run([(path, footer)], None, product)]
    groups = range(footer.num_row_groups)
    return [_run([(path, footer)], (number,), None) for number in groups]


def sorted_run(files: Sequence[Path], *, is_temporary: bool) -> Run:
    """Files that follow each other in the order of their keys."""
    parts = [(path, metadata(path)) for path in files]
    return _run(parts, None, None, is_temporary=is_temporary)


def _run(
    parts: Sequence[tuple[Path, pq.FileMetaData]],
    row_groups: tuple[int, ...] | None,
    product: str | None,
    *,
    is_temporary: bool = False,
) -> Run:
    rows = largest = longest = size = 0
    for _, footer in parts:
        for number in row_groups or range(footer.num_row_groups):
            group = footer.row_group(number)
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
    return Run(files, row_groups, product, rows, reading, longest, size, is_temporary)


def grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that are read together, at least two of them.

    Raises:
        pa.ArrowCapacityError: Two of them would take too much memory.
    """
    groups: list[list[Run]] = [[]]
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


def read(
    run: Run, most_bytes: int, progress: Callable[[float], object]
) -> Iterator[pa.RecordBatch]:
    """The rows of a run.

    Args:
        run: Where they are.
        most_bytes: About as many are decoded at a time.
        progress: Told how many more bytes of the files it has got through.

    Raises:
        MemoryError: An allocation failed.
        pa.ArrowInvalid: A file cannot be read.
    """
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
    arrays = [columns[field.name].cast(field.type) for field in COLUMNS]
    return pa.record_batch(arrays, schema=COLUMNS)


def metadata(path: Path) -> pq.FileMetaData:
    """The footer of a file.

    Raises:
        pa.ArrowInvalid: It cannot be read.
    """
    try:
        return pq.read_metadata(path)
    except MemoryError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise pa.ArrowInvalid(f"cannot read {path.name}: {error}") from error
