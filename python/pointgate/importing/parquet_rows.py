"""Parquet of any shape, a batch of rows at a time, as records or as blocks for a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pointgate.bulk.streams import DamagedError
from pointgate.importing.records import Record, Table, TableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

MARK: Final = b"PAR1"

_ROWS: Final = 8192
"""Rows of a batch: some 50 ms of work, as with a block of lines."""


class RowBatch(NamedTuple):
    """Consecutive rows, to be read by any process.

    Attributes:
        before: How many rows are before them.
        stream: The rows, an Arrow IPC stream.
    """

    before: int
    stream: bytes


class ParquetRows:
    """The rows of a Parquet file.

    Args:
        file: The file.
        columns: The columns that are needed.
        every: Whether all the others are, too.

    Attributes:
        columns: The columns that are read.

    Raises:
        TableError: It cannot be read, or lacks a column.
    """

    def __init__(self, file: IO[bytes], columns: Sequence[str], *, every: bool) -> None:
        import pyarrow as pa  # noqa: PLC0415 - other sources need none
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above

        try:
            self._opened = pq.ParquetFile(file)
        except (OSError, pa.ArrowException) as error:
            raise TableError(f"damaged: {error}") from None
        there = list(self._opened.schema_arrow.names)
        table = Table(there, iter(()))
        for name in columns:
            table.place(name)
        self.columns = there if every else [name for name in there if name in set(columns)]

    def table(self) -> Table:
        """All rows as records."""
        return Table(self.columns, self._records())

    def _records(self) -> Iterator[Record]:
        for before, batch in self._batches(0):
            yield from _records_in(before, batch)

    def blocks(self, skip: int) -> Iterator[RowBatch]:
        """The rows behind the first ones, for a pool.

        Raises:
            DamagedError: They cannot be read from there on.
        """
        import pyarrow as pa  # noqa: PLC0415 - as above

        for before, batch in self._batches(skip):
            stream = pa.BufferOutputStream()
            with pa.ipc.new_stream(stream, batch.schema) as writer:
                writer.write_batch(batch)
            yield RowBatch(before, stream.getvalue().to_pybytes())

    def _batches(self, skip: int) -> Iterator[tuple[int, Any]]:
        import pyarrow as pa  # noqa: PLC0415 - as above

        before = 0
        try:
            for batch in self._opened.iter_batches(_ROWS, columns=self.columns):
                first = min(max(skip - before, 0), batch.num_rows)
                if first < batch.num_rows:
                    yield before + first, batch.slice(first)
                before += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise DamagedError(f"damaged behind row {before}: {error}") from None


def records_of_batch(rows: RowBatch) -> Iterator[Record]:
    """The records in a batch of rows."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    before = rows.before
    for batch in pa.ipc.open_stream(rows.stream):
        yield from _records_in(before, batch)
        before += batch.num_rows


def _records_in(before: int, batch: Any) -> Iterator[Record]:
    fields = zip(*(_values(column) for column in batch.columns), strict=True)
    for number, values in enumerate(fields, before + 1):
        yield Record(number, values)


def _values(column: Any) -> list[object]:
    import pyarrow as pa  # noqa: PLC0415 - as above

    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        unit = pa.timestamp("us", column.type.tz)
        column = column.cast(unit, safe=False)  # Python has no nanoseconds
    return column.to_pylist()  # type: ignore[no-any-return]
