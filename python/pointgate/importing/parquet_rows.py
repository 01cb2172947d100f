"""Parquet of any shape, a batch of rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pointgate.importing.records import Record, Table, TableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

MARK: Final = b"PAR1"
_ROWS: Final = 8192


def parquet_table(file: IO[bytes], columns: Sequence[str], *, every: bool) -> Table:
    """A Parquet file as a table.

    Args:
        file: The file.
        columns: The columns that are needed.
        every: Whether all the others are, too.

    Raises:
        TableError: It cannot be read.
    """
    import pyarrow as pa  # noqa: PLC0415 - other sources need none
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    try:
        opened = pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"damaged: {error}") from None
    there = list(opened.schema_arrow.names)
    wanted = there if every else [name for name in there if name in set(columns)]
    table = Table(wanted if every else there, iter(()))
    for name in columns:
        table.place(name)
    return Table(wanted, _records(opened, wanted))


def _records(opened: Any, columns: Sequence[str]) -> Iterator[Record]:
    import pyarrow as pa  # noqa: PLC0415 - as above

    from pointgate.bulk.streams import DamagedError  # noqa: PLC0415 - as above

    number = 0
    try:
        for batch in opened.iter_batches(_ROWS, columns=list(columns)):
            for fields in zip(*(_values(column) for column in batch.columns), strict=True):
                number += 1
                yield Record(number, fields)
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(f"damaged behind row {number}: {error}") from None


def _values(column: Any) -> list[object]:
    import pyarrow as pa  # noqa: PLC0415 - as above

    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        unit = pa.timestamp("us", column.type.tz)
        column = column.cast(unit, safe=False)  # Python has no nanoseconds
    return column.to_pylist()  # type: ignore[no-any-return]
