"""The Delta Lake table of points: its columns, how it is created, and what makes a commit last."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.delta.settings import LOG_FOLDER
from pointgate.sinks.key_order import NAMES
from pointgate.sinks.parquet.rows import ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pointgate.sinks.settings import OnConflict

DATE: Final = "date"
"""The column of partitions."""

COLUMNS: Final = pa.schema(
    [
        *(
            pa.field(field.name, pa.string(), nullable=False) if field.name in NAMES else field
            for field in ROWS
        ),
        pa.field(DATE, pa.date32(), nullable=False),
    ]
)
"""The columns of the table; it is partitioned by `date`, the UTC day of `time`."""

IGNORES: Final = "Points; on_conflict = ignore"
"""The description of a table that was created so, for `compaction.py`."""

_CONFIGURATION: Final = {
    # Those of values skip no file, and texts are long.
    "delta.dataSkippingStatsColumns": "product,device,identifier,time,received",
}


def open_or_create(path: str, options: Mapping[str, str], *, on_conflict: OnConflict) -> DeltaTable:
    """Read a table of points, or create it.

    Args:
        path: A folder or a url.
        options: Those of the object store.
        on_conflict: Of a table that is created.

    Raises:
        SinkUnavailableError: The table is another one.
        DeltaError: Not now.
        OSError: The same.
    """
    try:
        table = DeltaTable(path, storage_options=dict(options))
    except TableNotFoundError:
        table = _create(path, dict(options), on_conflict=on_conflict)
    if wrong := mismatch(table, path):
        raise SinkUnavailableError(wrong)
    return table


def _create(path: str, options: dict[str, str], *, on_conflict: OnConflict) -> DeltaTable:
    with suppress(CommitFailedError):
        DeltaTable.create(
            path,
            COLUMNS,
            mode="ignore",
            partition_by=[DATE],
            description="Points" if on_conflict == "update" else IGNORES,
            configuration=_CONFIGURATION,
            storage_options=options,
            # Or the later of two creates would change the metadata of the earlier one.
            commit_properties=CommitProperties(max_commit_retries=0),
        )
    # Another writer may have created it at the same moment.
    return DeltaTable(path, storage_options=options)


def mismatch(table: DeltaTable, path: str) -> str:
    """Why it is another table than one of points; empty if it is one."""
    found = pa.schema(table.schema().to_arrow())
    missing = [name for name in COLUMNS.names if name not in found.names]
    if missing or table.metadata().partition_columns != [DATE]:
        lacks = f"it lacks {', '.join(missing)}" if missing else "it is partitioned otherwise"
        return f"{path} is not a table of points: {lacks}"
    return ""


def sync(path: Path, version: int) -> None:
    """Make a commit in a folder last: the library leaves that to the system."""
    log = path / LOG_FOLDER
    entry = log / f"{version:020}.json"
    names = re.findall(r'"add":\{"path":"([^"]+)"', entry.read_text("utf-8"))
    files = [path / unquote(name) for name in names]
    for one in (*files, entry, *{file.parent for file in files}, log, path):
        # Another writer may have merged its files into others already, which are its to sync.
        with suppress(FileNotFoundError):
            _fsync(one)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
