"""The rows of a Parquet file: its columns, in the order of their keys, one a key.

The key of a point is its product, device, identifier and time. A row group holds points in that
order, so that row groups can be merged without reading them into memory, and so that a reader who
wants one device skips the rest.

Besides the columns of `store.points` there is `value`: every number and boolean as a double, so
that `avg(value)` works whatever the type. It is null for texts and JSON.

Only names are written as dictionaries. Measurements rarely repeat, and zstd finds those that do:
1 M points took 320 ms and 8.0 MB with dictionaries for all columns, 140 ms and 7.4 MB so. zstd sets
up 40 µs of state for every page, which is most of what a file of some hundred rows costs; columns
that are small anyway are compressed with Snappy: 365 files of 2,740 rows took 1.28 ms each with
zstd for all (8.7 MB), 0.85 with Snappy for all (14.5 MB), 1.0 so (9.0 MB).

Invariants: a table is never cut: what does not fit in one record batch raises. A row group holds at
most `ROW_GROUP_BYTES` of texts or one row, so that whoever reads one row group at a time stays
within that, however often a value repeats in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pointgate._core import __version__
from pointgate.sinks.key_order import NAMES
from pointgate.sinks.tables import TEXTS, one_batch, pieces
from pointgate.store.points import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

_VALUE: Final = "value"
_KEY_COLUMNS: Final = 4

ROWS: Final = pa.schema(
    [*list(SCHEMA)[:_KEY_COLUMNS], pa.field(_VALUE, pa.float64()), *list(SCHEMA)[_KEY_COLUMNS:]]
)
"""The columns of a file: those of points, with `value` behind the key."""

FORMAT: Final = "2"
"""The version of the layout of a dataset. Version 1 had a folder for each product."""

ROW_GROUP: Final = 1 << 18
"""Rows. A reader of one device reads some row groups of a large file, and none of the others."""

ROW_GROUP_BYTES: Final = 8 * 1024 * 1024
"""Bytes of `TEXTS`, decoded: a row group ends there before it has `ROW_GROUP` rows."""

_ZSTD: Final = {"time", _VALUE, "value_double", "value_long", *TEXTS, "received"}

_SORTED: Final = [pq.SortingColumn(column) for column in range(_KEY_COLUMNS)]


def with_own_texts(rows: pa.Table) -> pa.Table:
    """The same rows, without the texts in their dictionaries that only other rows have."""
    for name in TEXTS:
        place = rows.schema.get_field_index(name)
        chunks = [own_entries(chunk) for chunk in rows.column(place).chunks]
        column = pa.chunked_array(chunks, rows.schema.field(place).type)
        rows = rows.set_column(place, rows.schema.field(place), column)
    return rows


def own_entries(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same column, without the entries of its dictionary that only other rows have."""
    used = column.indices.unique().drop_null()
    if len(used) == len(column.dictionary):
        return column
    indices = pc.index_in(column.indices, value_set=used)
    return pa.DictionaryArray.from_arrays(indices, column.dictionary.take(used))


def decoded(rows: pa.Table) -> pa.Table:
    """The same rows with plain texts."""
    for name in TEXTS:
        place = rows.schema.get_field_index(name)
        column = rows.column(place).cast(pa.string())
        rows = rows.set_column(place, SCHEMA.field(name), column)
    return rows


def parquet_writer(
    file: Any, first: pa.Table, *, metadata: dict[str, str], collector: list[Any] | None = None
) -> pq.ParquetWriter:
    """What writes `row_group`s to a file.

    Args:
        file: Where to.
        first: The first row group: its empty columns are not worth a compressor.
        metadata: What the file says of itself besides the versions.
        collector: Gets the file's metadata when it is closed.
    """
    writer = pq.ParquetWriter(
        file,
        ROWS,
        compression={
            name: "ZSTD" if name in _ZSTD and first[name].null_count < len(first) else "SNAPPY"
            for name in ROWS.names
        },
        use_dictionary=NAMES,
        # Those of values would skip no row group that is not sorted by them, and every footer that
        # a file has had stays in it.
        write_statistics=[*NAMES, "time", "received"],
        # Readers get strings, not dictionaries that differ from file to file.
        store_schema=False,
        sorting_columns=_SORTED,
        metadata_collector=collector,
    )
    writer.add_key_value_metadata(
        {"pointgate.format": FORMAT, "pointgate.version": __version__, **metadata}
    )
    return writer


def row_group(rows: pa.RecordBatch) -> pa.Table:
    """Rows of points for writing: ten rows do not name a hundred thousand devices."""
    columns = {name: rows[name] for name in SCHEMA.names}
    for name in NAMES:
        # Arrow writes a dictionary as it is, in a third of the time that plain strings take.
        if len(columns[name].dictionary) > len(rows):
            columns[name] = columns[name].cast(pa.string()).dictionary_encode()
    for name in TEXTS:
        columns[name] = columns[name].cast(pa.string())
    columns[_VALUE] = numbers(rows)
    return pa.table([columns[name] for name in ROWS.names], schema=ROWS)


def row_groups(rows: pa.RecordBatch) -> Iterator[pa.Table]:
    """Rows of one partition, sorted, for writing: as few row groups as their limits allow."""
    if len(rows) <= ROW_GROUP and all(rows[name].null_count == len(rows) for name in TEXTS):
        yield row_group(rows)  # mostly there are no texts, and measuring them takes its time
        return
    table = pa.Table.from_batches([rows])
    for piece in pieces(table, most_rows=ROW_GROUP, most_bytes=ROW_GROUP_BYTES):
        yield row_group(one_batch(piece))


def numbers(rows: pa.RecordBatch) -> pa.Array:
    """Numbers and booleans as doubles; a whole number beyond 2**53 becomes the nearest one."""
    numbers = rows["value_double"]
    for name in ("value_long", "value_bool"):
        if numbers.null_count and rows[name].null_count < len(rows):
            numbers = pc.coalesce(numbers, rows[name].cast(pa.float64(), safe=False))
    return numbers
