"""A Delta Lake table as a destination of `write`; needs the extra `pointgate[delta]`.

Tasks put files where the table has them, under new names; nobody reads a file that no entry of the
log names. The driver appends one entry with all files of a batch and an application transaction:
the writer and the sequence. A batch that is written again finds its sequence in the table.

The statistics of a file are those by which readers skip files: the log has instants in
milliseconds, so the first one is rounded down and the last one up.
"""

from __future__ import annotations

import json
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction

from pointgate import failpoint
from pointgate.durable_files import SHARED, make_folder, write_synced
from pointgate.sinks import object_stores
from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.delta.table import COLUMNS, DATE, open_or_create, sync
from pointgate.sinks.key_order import NAMES
from pointgate.sinks.object_stores import ObjectUrl
from pointgate.spark.destinations import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from deltalake import DeltaTable
    from deltalake.transaction import RemoveAction

    from pointgate.sinks.delta.settings import DeltaSettings
    from pointgate.sinks.parquet.object_commits import Finished as Encoded

_COMMIT_RETRIES: Final = 15
"""Of a commit that meets those of other writers."""


@dataclass(frozen=True)
class Delta:
    """A Delta Lake table in a folder that driver and executors share, or in an object store.

    Attributes:
        settings: Those of the table.
        writer: The application of its transactions.
        options: Those of the object store, with secrets.
    """

    settings: DeltaSettings
    writer: str
    options: dict[str, str]

    @property
    def layout(self) -> Layout:
        """See `Destination`."""
        return Layout("day", self.settings.on_conflict)

    def prefix(self) -> str:
        """See `Destination`."""
        return f"import-{time.time_ns() // 1000:019}-{secrets.token_hex(8)}"

    def put(self, files: Sequence[Encoded]) -> list[dict[str, Any]]:
        """See `Destination`."""
        for file in files:
            self._put(file)
        return [
            {"path": file.key, "size": len(file.content), "statistics": _statistics(file.content)}
            for file in files
        ]

    def _put(self, file: Encoded) -> None:
        if isinstance(self.settings.path, ObjectUrl):
            from pointgate.sinks.parquet.object_store import ObjectStore  # noqa: PLC0415 - the extra

            ObjectStore(self.settings.path, self.options).put(file.key, file.content)
            return
        path = self.settings.path / file.key
        make_folder(path.parent, SHARED)
        write_synced(path, file.content, SHARED)

    @contextmanager
    def opened(self) -> Iterator[_DeltaCommit]:
        """See `Destination`."""
        path = str(self.settings.path)
        try:
            table = open_or_create(path, self.options, on_conflict=self.settings.on_conflict)
            yield _DeltaCommit(self, table)
        except (DeltaError, OSError) as error:
            words = f"cannot write to {path}: {object_stores.reason(error)}"
            raise SinkUnavailableError(words) from error


@dataclass(frozen=True)
class _DeltaCommit:
    destination: Delta
    table: DeltaTable

    def newest(self) -> int:
        return self.table.transaction_version(self.destination.writer) or 0

    def commit(self, sequence: int, files: Sequence[dict[str, Any]]) -> None:
        now_ms = time.time_ns() // 1_000_000
        actions: list[AddAction | RemoveAction] = [
            AddAction(
                path=file["path"],
                size=file["size"],
                partition_values={DATE: file["path"].partition("/")[0].partition("=")[2]},
                modification_time=now_ms,
                data_change=True,
                stats=file["statistics"],
            )
            for file in files
        ]
        transactions = [Transaction(self.destination.writer, sequence)] if sequence else []
        before = self.table.version()
        failpoint.hit("delta-before-commit")
        self.table.create_write_transaction(
            actions,
            mode="append",
            schema=COLUMNS,
            partition_by=[DATE],
            commit_properties=CommitProperties(
                max_commit_retries=_COMMIT_RETRIES, app_transactions=transactions
            ),
        )
        path = self.destination.settings.path
        if not isinstance(path, ObjectUrl):
            self.table.update_incremental()
            for version in range(before + 1, self.table.version() + 1):
                sync(path, version)
        failpoint.hit("delta-after-commit")


def _statistics(content: Any) -> str:
    """What the log says of a file, from the statistics in its footer."""
    metadata = pq.read_metadata(pa.BufferReader(content))
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            name, found = column.path_in_schema, column.statistics
            if name in {*NAMES, "time", "received"} and found is not None and found.has_min_max:
                least[name] = min(found.min, least.get(name, found.min))
                most[name] = max(found.max, most.get(name, found.max))
    return json.dumps(
        {
            "numRecords": metadata.num_rows,
            "minValues": {name: _shown(value, up=False) for name, value in least.items()},
            "maxValues": {name: _shown(value, up=True) for name, value in most.items()},
        }
    )


def _shown(value: str | datetime, *, up: bool) -> str:
    if isinstance(value, str):
        return value
    if up:
        value += timedelta(microseconds=-value.microsecond % 1000)
    return value.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
