"""Tables of points: measuring their size and splitting them, for several sinks.

Invariants: a table is never truncated: rows that do not fit in one record batch raise.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS: Final = ["value_text", "value_json"]
"""The columns whose values vary in size."""


def one_batch(rows: pa.Table) -> pa.RecordBatch:
    """The same rows in one record batch, with one dictionary a column; at least one row.

    Raises:
        pa.ArrowCapacityError: They do not fit: Arrow counts the bytes of a column with 31 bits, and
            leaves the columns of a larger table in several chunks.
    """
    batches = rows.unify_dictionaries().combine_chunks().to_batches()
    if len(batches) != 1:
        raise pa.ArrowCapacityError(
            f"{rows.num_rows} rows with {text_bytes(rows)} bytes of text do not fit in one batch"
        )
    return batches[0]


def text_bytes(rows: pa.Table | pa.RecordBatch) -> int:
    """The size of the texts of some rows in bytes, decoded."""
    chunks = (chunk for name in TEXTS for chunk in _chunks(rows[name]))
    return sum(
        _between_offsets(chunk)
        if pa.types.is_string(chunk.type)
        else pc.sum(_sizes(chunk)).as_py() or 0
        for chunk in chunks
    )


def _chunks(column: Any) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]


def _between_offsets(texts: pa.Array) -> int:
    """The size of all texts of an array: their offsets say it, so none is looked at."""
    if not len(texts):
        return 0
    offsets = memoryview(texts.buffers()[1]).cast("B").cast("i")
    return int(offsets[texts.offset + len(texts)] - offsets[texts.offset])


def pieces(rows: pa.Table, *, most_rows: int, most_bytes: int) -> Iterator[pa.Table]:
    """Split rows, in their order, into tables of limited size.

    Args:
        rows: Any number of rows.
        most_rows: The limit on the rows of a piece.
        most_bytes: The limit on the bytes of its texts, decoded; a single row may exceed it.
    """
    total = text_bytes(rows)
    if rows.num_rows <= most_rows and total <= most_bytes:
        if rows.num_rows:
            yield rows
        return
    ends = pc.cumulative_sum(_text_sizes(rows)) if total > most_bytes else None
    start, before = 0, 0
    while start < rows.num_rows:
        end = min(start + most_rows, rows.num_rows)
        if ends is not None:
            fitting = range(start, end)
            count = bisect_right(fitting, before + most_bytes, key=lambda row: ends[row].as_py())
            end = start + max(1, count)
            before = ends[end - 1].as_py()
        yield rows.slice(start, end - start)
        start = end


def _text_sizes(rows: pa.Table | pa.RecordBatch) -> Any:
    """The size of the texts of each row in bytes, decoded."""
    return functools.reduce(pc.add, (_sizes(rows[name]) for name in TEXTS))


def _sizes(texts: Any) -> Any:
    if isinstance(texts, pa.ChunkedArray):
        chunks = [_sizes(chunk) for chunk in texts.chunks]
        return pa.chunked_array(chunks, pa.int64())
    if isinstance(texts, pa.DictionaryArray):
        lengths = pc.binary_length(texts.dictionary).take(texts.indices)
    else:
        lengths = pc.binary_length(texts)
    return pc.fill_null(lengths, 0).cast(pa.int64())
