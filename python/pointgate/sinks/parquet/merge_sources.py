"""The input of a merge: sorted sources, read in small blocks within a memory budget.

    sources = sources_of(files)             # a file, or the parts of one earlier merge, each
    for group in grouped(sources):          # as many as the budget allows, at least two
        cursors = open_cursors(group, …)    # each reads ahead; `take_below` removes rows in order

Memory does not grow with the files: `_IN_MEMORY` bytes of rows for all cursors together, several
times as much while they are sorted, and the read buffers of the open files, whose sum is at most
`_READ_BYTES`. Texts are read as dictionaries, because a repeated value takes no room in a file:
144 KB can expand to 4 GB. Two sources that need more memory than that are not merged; the error
names the file.

It does not decide which files are merged, and does not write: `compaction.py` does.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pointgate.sinks.parquet.rows import NAMES, ROWS, compact_dictionaries
from pointgate.sinks.tables import TEXTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pointgate.sinks.parquet.dataset import Stored

_IN_MEMORY: Final = 16 * 1024 * 1024
"""Bytes of rows of all cursors together."""

_OPEN_FILES: Final = 64
"""The limit on sources in a group; more of them are merged in several passes."""

_ROWS_READ: Final = 8192
"""Rows decoded at a time; fewer if texts are long."""

_LEAST_ROWS_READ: Final = 64
"""The lower limit for long texts: the limit on a row group bounds their size, too."""

_READ_AHEAD: Final = 64 * 1024
"""Bytes of each column of each file."""

_OPEN_FILE_BYTES: Final = 2 * 1024 * 1024
"""The memory of an open file besides its texts: `_READ_AHEAD` and a page of each column."""

_READ_BYTES: Final = 128 * 1024 * 1024
"""The memory of all open files: groups are smaller if row groups have long texts."""

_COPIES: Final = 4
"""Copies of the texts of a row group in memory while it is read: page, dictionary, rows."""

_DICTIONARIES: Final = [*NAMES, *TEXTS]

_READ: Final = pa.schema(
    [
        field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in TEXTS else field
        for field in ROWS
    ]
)
"""`ROWS` with dictionary-encoded texts, so that a repeated text is in memory once."""

_Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Source:
    """A sorted source of rows: one file, or the parts of one merge, whose key ranges are disjoint.

    Attributes:
        files: Its files, in the order of their keys.
        rows: The number of rows in them.
        bytes: The memory needed to read it, with one file open at a time.
        text_bytes: The size of the texts of a row: the mean of the row group with the longest.
    """

    files: tuple[Stored, ...]
    rows: int
    bytes: int
    text_bytes: int


class Cursor:
    """Reads a source in the order of its keys, with a limited number of rows in memory."""

    def __init__(self, batches: Iterator[pa.RecordBatch], low_water: int) -> None:
        self._batches = batches
        self._low_water = low_water
        self._rows = _READ.empty_table()
        self.ended = False

    def fill(self) -> None:
        """Read on below the low-water mark, until there are two different keys or no more rows."""
        while not self.ended and (self._rows.nbytes < self._low_water or not self._two_keys()):
            batch = next(self._batches, None)
            if batch is None:
                self.ended = True
            else:
                more = pa.Table.from_batches([batch]).select(_READ.names).cast(_READ)
                self._rows = pa.concat_tables([self._rows, more])

    def last_key(self) -> _Key:
        """The greatest key in memory."""
        return self._key(self._rows.num_rows - 1)

    def take_below(self, edge: _Key | None) -> pa.Table:
        """Remove and return the rows with lower keys than `edge`; all rows if it is None."""
        rows = range(self._rows.num_rows)
        end = len(rows) if edge is None else bisect_left(rows, edge, key=self._key)
        taken, self._rows = self._rows.slice(0, end), self._rows.slice(end)
        return compact_dictionaries(taken)

    def _two_keys(self) -> bool:
        return bool(self._rows.num_rows) and self._key(0) != self.last_key()

    def _key(self, row: int) -> _Key:
        # Python compares strings as Arrow does: code points and their UTF-8 have the same order.
        device, identifier, time = (self._rows[column][row] for column in range(3))
        return device.as_py(), identifier.as_py(), time.value


def sources_of(files: Sequence[Stored]) -> list[Source]:
    """The sources in consecutive files.

    Raises:
        OSError: A file cannot be read.
        pa.ArrowInvalid: A file is corrupt.
    """
    return [
        _source(tuple(parts)) for _, parts in groupby(files, lambda file: file.merge or file.path)
    ]


def _source(files: tuple[Stored, ...]) -> Source:
    rows = largest = longest = 0
    for file in files:
        metadata = metadata_of(file)
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
    return Source(files, rows, _OPEN_FILE_BYTES + _COPIES * largest, longest)


def grouped(sources: Sequence[Source]) -> list[list[Source]]:
    """Split sources into groups that are merged in one pass, of at least two sources each.

    Raises:
        pa.ArrowCapacityError: Two of them need too much memory.
    """
    groups: list[list[Source]] = [[]]
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


def passes(sources: int, groups: int) -> int:
    """The number of times that each row is written, for so many sources in so many groups."""
    return math.ceil(math.log(max(sources, 2), max(2, sources / groups)) - 1e-9)


def open_cursors(group: Sequence[Source], progress: Callable[[float], object]) -> list[Cursor]:
    """A cursor on each source of a group.

    Args:
        group: The sources.
        progress: Called with the number of bytes of the files that were read since the last call.
    """
    most_bytes = _IN_MEMORY // len(group)
    return [Cursor(_read(source, most_bytes, progress), most_bytes // 2) for source in group]


def _read(
    source: Source, most_bytes: int, progress: Callable[[float], object]
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
        except MemoryError:  # Arrow's own is also an ArrowException
            raise
        except (OSError, pa.ArrowException) as error:
            raise pa.ArrowInvalid(f"cannot read {part.path.name}: {error}") from error


def metadata_of(file: Stored) -> pq.FileMetaData:
    """The footer of a file.

    Raises:
        pa.ArrowInvalid: It cannot be read.
    """
    try:
        return pq.read_metadata(file.path)
    except MemoryError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise pa.ArrowInvalid(f"cannot read {file.path.name}: {error}") from error


def has_former_schema(file: Stored) -> bool:
    """Whether a former version wrote a file; false if it cannot be read."""
    try:
        schema = pq.read_schema(file.path)
        return bool(schema.field("time").type != ROWS.field("time").type)
    except MemoryError:
        raise
    except (OSError, KeyError, pa.ArrowException):
        return False
