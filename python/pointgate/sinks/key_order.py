"""The order of points by key, one a key: what files of points are sorted by.

The key of a point is its product, device, identifier and time.

    order = key_order(rows, on_conflict="update")
    take(rows, order)     # sorted; of points with the same key the last one

Names are compared as numbers, their ranks among the batch's names, by a radix sort in Rust. The
order of 500,000 points of 1,000 devices takes 13 ms, by `pyarrow.compute.sort_indices` 26 (2 shared
cores).

Invariant: the sort is stable, as `pyarrow.compute.sort_indices` is: of equal keys the one that came
later stands behind.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from pointgate._core import unique_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.sinks.settings import OnConflict

NAMES: Final = ["product", "device", "identifier"]


def key_order(
    rows: pa.RecordBatch,
    *,
    on_conflict: OnConflict,
    groups: pa.Array | None = None,
    by_arrival: bool = False,
) -> pa.Array:
    """The indices of the rows that stay, in the order of their keys.

    Args:
        rows: Points, later ones behind earlier ones.
        on_conflict: Whether the last or the first one of a key stays.
        groups: A number for each row that comes before its key in the order, and is part of it.
        by_arrival: Whether `received` says which of two is the later one; the order of the rows
            does where it is the same.
    """
    times = rows["time"].view(pa.int64())
    if not by_arrival:
        major = [] if groups is None else [_buffer(groups)]
        names = [(_buffer(rows[name].indices), _buffer(_dense_ranks(rows[name]))) for name in NAMES]
        found = unique_order([*major, *names, _buffer(times)], keep_last=on_conflict == "update")
        if found is not None:
            return pa.Array.from_buffers(pa.uint32(), len(found) // 4, [None, pa.py_buffer(found)])
    columns = {"series": series_of(rows), "time": times}
    if groups is not None:
        columns = {"group": groups, **columns}
    keys = pa.record_batch(columns)
    by = [(name, "ascending") for name in columns]
    if by_arrival:
        sorted_by = pa.record_batch({**columns, "received": rows["received"].view(pa.int64())})
        order = pc.sort_indices(sorted_by, [*by, ("received", "ascending")])
    else:
        order = pc.sort_indices(keys, by)
    repeats = _repeats([column.take(order) for column in keys.columns])
    if not pc.any(repeats).as_py():
        return order
    edge = pa.array([False])
    # A row goes when its key comes again behind it, or has come before.
    sides = [repeats, edge] if on_conflict == "update" else [edge, repeats]
    return order.filter(pc.invert(pa.concat_arrays(sides)))


def _buffer(numbers: pa.Array) -> memoryview:
    content = memoryview(numbers.buffers()[1]).cast("B")
    content = content.cast("q" if numbers.type == pa.int64() else "i")
    return content[numbers.offset : numbers.offset + len(numbers)]


def keyed(rows: pa.RecordBatch, *, on_conflict: OnConflict) -> pa.RecordBatch:
    """Rows in the order of their keys, the last or the first one of each."""
    return take(rows, key_order(rows, on_conflict=on_conflict))


def take(rows: pa.RecordBatch, order: pa.Array) -> pa.RecordBatch:
    """Rows in an order; in less than half the time of `RecordBatch.take`."""
    columns = [
        column.slice(0, len(order)) if column.null_count == len(rows) else column.take(order)
        for column in rows.columns
    ]
    return pa.record_batch(columns, schema=rows.schema)


def series_of(rows: pa.RecordBatch, columns: Sequence[str] = NAMES) -> pa.Array:
    """A number for each row's product, device and identifier, in the order of their names.

    Args:
        rows: Points.
        columns: Which of the three.
    """
    series = pa.scalar(0, pa.int64())
    for column in columns:
        names = rows[column]
        ranks = _dense_ranks(names).take(names.indices)
        series = pc.add(pc.multiply(series, len(names.dictionary) + 1), ranks)
    return series


def _dense_ranks(names: pa.DictionaryArray) -> pa.Array:
    return pc.rank(names.dictionary, tiebreaker="dense").cast(pa.int64())


def _repeats(keys: list[pa.Array]) -> pa.Array:
    """For each row but the first one, whether its key is that of the row before."""
    return functools.reduce(pc.and_, (pc.equal(column[1:], column[:-1]) for column in keys))
