"""`pointgate compact` of a Delta table: few files a day, with each point once.

    for each day with a key that occurs twice:
        replace its rows by one a key                # a commit; readers see the day before or after
    merge small files                                # appends of a service do not conflict with it
    delete files that no version within the retention has

A service may write meanwhile: a day that gets points while it is replaced is read again, `_TRIES`
times. A day that is larger than `MOST_ROWS` is merged and not deduplicated, and is named, because
its rows would not fit in memory; the documented query (docs/reading.md) has each point once anyway.

Only files that the log has removed are deleted, so those that a writer has not committed yet stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from deltalake import DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError

from pointgate.sinks.delta.table import COLUMNS, IGNORES
from pointgate.sinks.key_order import key_order, take
from pointgate.sinks.parquet.rows import row_group
from pointgate.sinks.tables import one_batch
from pointgate.store.points import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.sinks.settings import OnConflict

MOST_ROWS: Final = 4_000_000
"""Rows of a day that are sorted in memory: some gigabyte."""

RETENTION_HOURS: Final = 168
"""How long files stay that a reader of an earlier version may open: Delta's own default."""

_TRIES: Final = 5


@dataclass(slots=True)
class Summary:
    """What became of a table.

    Attributes:
        days: How many there are.
        files_before: How many files there were.
        files_after: How many there are now.
        duplicates: How many points had the key of another one, and were removed.
        deleted: How many files were deleted.
        problems: What could not be done, and why.
    """

    days: int = 0
    files_before: int = 0
    files_after: int = 0
    duplicates: int = 0
    deleted: int = 0
    problems: list[str] = field(default_factory=list)


def compact_table(path: Path, *, retention_hours: int = RETENTION_HOURS) -> Summary:
    """Deduplicate, merge and delete.

    Args:
        path: The folder of the table.
        retention_hours: Files that were replaced so long ago are deleted.

    Raises:
        deltalake.exceptions.DeltaError: The table cannot be read or written.
        OSError: The same.
    """
    table = DeltaTable(path)
    on_conflict: OnConflict = "ignore" if table.metadata().description == IGNORES else "update"
    rows = _rows_by_day(table)
    summary = Summary(days=len(rows), files_before=len(table.file_uris()))
    for day, count in rows.items():
        if count > MOST_ROWS:
            summary.problems.append(
                f"{path}: date={day} has {count:,} points, more than the {MOST_ROWS:,} that are "
                "deduplicated in memory; its files are merged only"
            )
            continue
        try:
            summary.duplicates += _deduplicate(path, day, on_conflict)
        except CommitFailedError as error:
            summary.problems.append(f"{path}: date={day}: {' '.join(str(error).split())}")
    table = DeltaTable(path)
    table.optimize.compact(writer_properties=WriterProperties(compression="ZSTD"))
    deleted = table.vacuum(
        retention_hours=retention_hours, dry_run=False, enforce_retention_duration=False
    )
    summary.deleted = len(deleted)
    summary.files_after = len(DeltaTable(path).file_uris())
    return summary


def _rows_by_day(table: DeltaTable) -> dict[str, int]:
    found: dict[str, int] = {}
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    for action in actions:
        day = str(action["partition.date"])
        found[day] = found.get(day, 0) + (action["num_records"] or 0)
    return dict(sorted(found.items()))


def _deduplicate(path: Path, day: str, on_conflict: OnConflict) -> int:
    """Keep one row a key; returns how many were removed."""
    for left in reversed(range(_TRIES)):
        table = DeltaTable(path)
        found: Any = table.to_pyarrow_table(partitions=[("date", "=", day)])
        date = found["date"]
        batch = one_batch(found.select(SCHEMA.names).cast(SCHEMA))
        order = key_order(batch, on_conflict=on_conflict, by_arrival=True)
        if len(order) == len(batch):
            return 0
        rows = row_group(take(batch, order))
        days = date.slice(0, len(order))
        try:
            write_deltalake(
                table,
                rows.append_column(COLUMNS.field("date"), days).cast(COLUMNS),
                mode="overwrite",
                predicate=f"date = '{day}'",
                writer_properties=WriterProperties(compression="ZSTD"),
            )
        except CommitFailedError:  # a service has appended to this day meanwhile
            if not left:
                raise
        else:
            return len(batch) - len(order)
    return 0
