"""What every source gives: the columns of a table, and its records, each with its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from pointgate.diagnostics import did_you_mean, shown
from pointgate.errors import PointgateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHOWN_COLUMNS: Final = 12
DELIMITERS: Final = (";", "\t", ",", "|")


class Record(NamedTuple):
    """One row.

    Attributes:
        line: Where it begins, from 1.
        fields: What is in its columns.
        fault: Why it cannot be read; empty when it can.
    """

    line: int
    fields: Sequence[object]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """An input as columns and rows.

    Attributes:
        columns: The names of the columns; None where they have numbers alone.
        records: The rows, in order; raises `DamagedError` where the input is damaged.
    """

    columns: list[str] | None
    records: Iterator[Record]

    def place(self, column: str | int) -> int:
        """Where a column is among a record's fields.

        Raises:
            TableError: There is no such column.
        """
        names = self.columns
        if isinstance(column, int):
            if names is not None and column > len(names):
                raise TableError(f"expected column {column}, got {len(names)} columns")
            return column - 1
        if names is None:
            raise TableError(f"expected columns by number without a header, got {shown(column)}")
        if names.count(column) > 1:
            raise TableError(f"expected one column {shown(column)}, got {names.count(column)}")
        if column not in names:
            there = ", ".join(shown(name) for name in names[:SHOWN_COLUMNS]) or "none"
            more = ", …" if len(names) > SHOWN_COLUMNS else ""
            near = did_you_mean(column, names) or _delimiter(column, names)
            raise TableError(f"expected a column {shown(column)}{near}; there are {there}{more}")
        return names.index(column)


class TableError(PointgateError):
    """An input is not the table that the mapping says; the text says how it differs."""


def _delimiter(column: str, names: Sequence[str]) -> str:
    """What to set where one column has all the titles."""
    if len(names) != 1:
        return ""
    for delimiter in DELIMITERS:
        if column in [name.strip() for name in names[0].split(delimiter)]:
            return f": csv.delimiter = {shown(delimiter)} would have it"
    return ""
