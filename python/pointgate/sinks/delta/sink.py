"""The sink that writes a Delta Lake table, in a folder or in an object store.

    SELECT * FROM delta_scan('points')

A commit of the drain is a commit of the table: files with its rows, one or more for each UTC day,
and a log entry that makes all of them visible at once. The entry carries an application transaction
(`txn` in the protocol of Delta): the writer and the last sequence in the commit. `newest` reads it
back, and the drain begins behind it, so each request is in the table once, whatever crashes.

An answer can be lost while the commit is in the table. So a commit that raises stays `pending`, and
its repetition begins by reading the table again: it may find its own sequence there. Any other
sequence than the last one known is that of another service with the same `writer`, whose sequences
mean nothing here: nothing is written then, because each of the two would begin behind the requests
of the other one. Delta itself lets only one of two commits with the same writer pass.

Invariants: when `commit` returns, the points are in the table; if it raises and they are there
nevertheless, the repetition writes nothing. Rows in memory are bounded by `_BUFFER_BYTES` and one
write. Appends of several writers do not conflict.

A point that was posted again is there again: of the same key the greatest `received` counts
(docs/reading.md).
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from pointgate import failpoint
from pointgate.errors import ConfigError, Problem
from pointgate.sinks import object_stores
from pointgate.sinks.base import LIVE, Gather, SinkRefusedError, SinkUnavailableError
from pointgate.sinks.delta.table import COLUMNS, DATE, mismatch, open_or_create, sync
from pointgate.sinks.key_order import key_order, take
from pointgate.sinks.object_options import check_access
from pointgate.sinks.parquet.rows import row_group
from pointgate.sinks.tables import one_batch
from pointgate.store.points import DAY_US

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate.sinks.delta.settings import DeltaSettings

_BUFFER_BYTES: Final = 64 * 1024 * 1024
"""Rows that wait in memory, decoded: about a million points make a commit."""

_GATHERED: Final = 1_000_000
"""Points that are worth a commit, whatever their age."""

_COMMIT_RETRIES: Final = 15
"""Of a commit that meets those of other writers."""


def build(settings: DeltaSettings, writer: str) -> DeltaSink:
    """Make the sink from its settings.

    Raises:
        ConfigError: A secret cannot be read.
        ValueError: The options of the object store cannot work.
    """
    options = settings.options()
    check_access(str(settings.path), options, profiles=True)
    writer = settings.writer if writer == LIVE else writer
    return DeltaSink(settings, writer=writer, options=options)


class DeltaSink:
    """Writes points into a Delta table.

    Args:
        settings: Its table in the configuration.
        writer: The application of its transactions.
        options: Those of the object store, with secrets.

    Attributes:
        name: What its metrics and log lines call it.
        gather: When points are worth a commit.
    """

    def __init__(
        self, settings: DeltaSettings, *, writer: str = LIVE, options: dict[str, str] | None = None
    ) -> None:
        self.name = settings.name
        self.gather = Gather(seconds=settings.rotate_age, points=_GATHERED)
        self._path = str(settings.path)
        self._on_conflict = settings.on_conflict
        self._writer = writer
        self._options = options or {}
        self._table: DeltaTable | None = None
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0
        self._sequence = 0
        self._known = 0
        self._folder = settings.path if isinstance(settings.path, Path) else None
        self._synced = 0  # the last version that is known to be on the disk
        self._rows: pa.Table | None = None
        # One thread, so that a write goes to its end before the next one or before `close`.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink {self.name}")

    def __repr__(self) -> str:
        return f"DeltaSink(name={self.name!r})"

    @property
    def full(self) -> bool:
        """Whether as many rows wait as memory is for (see `base.Sink`)."""
        return self._bytes >= _BUFFER_BYTES

    @property
    def pending(self) -> bool:
        """Whether a commit may be in the table or not (see `base.Sink`)."""
        return self._rows is not None

    def newest(self) -> int:
        """The last sequence of its writer in the table (see `base.Sink`).

        Raises:
            OSError: The table cannot be read now.
        """
        try:
            table = DeltaTable(self._path, storage_options=self._options)
        except TableNotFoundError:
            return 0
        except (DeltaError, OSError) as error:
            raise OSError(self._words(error)) from error
        return table.transaction_version(self._writer) or 0

    def examine(self, *, writes: bool) -> None:  # noqa: ARG002 - a table has no place for a trial
        """Read the table, if there is one (see `base.Examines`)."""
        options = self._options | object_stores.IMPATIENT if self._folder is None else {}
        try:
            table = DeltaTable(self._path, storage_options=options)
        except TableNotFoundError:
            return
        except (DeltaError, OSError) as error:
            reason = f"cannot read {self._path}: {object_stores.reason(error)}"
            if object_stores.is_mistake(error):
                raise ConfigError([Problem("", f"sinks.{self.name}.path", reason)]) from error
            raise SinkUnavailableError(reason) from error
        if wrong := mismatch(table, self._path):
            raise ConfigError([Problem("", f"sinks.{self.name}.path", wrong)])

    async def open(self) -> None:
        """Read the table, or create it.

        Raises:
            SinkUnavailableError: The store cannot be reached, or the table is another one.
        """
        await self._run(self._open)

    async def write(self, points: pa.Table, *, sequence: int) -> None:
        """Take points; they are stored by the next `commit` (see `base.Sink`)."""
        if points.num_rows:
            try:
                batch = one_batch(points)
            except pa.ArrowCapacityError as error:
                self._give_up()
                raise SinkRefusedError(f"cannot be written to a Delta table: {error}") from error
            self._batches.append(batch)
            self._bytes += batch.nbytes
            self._sequence = sequence

    async def commit(self) -> None:
        """Store for good what was written since the last commit.

        Raises:
            SinkUnavailableError: Not now; the call must be repeated if `pending`.
            SinkRefusedError: Arrow has no place for something in it; it is given up.
            MemoryError: An allocation failed; the call must be repeated if `pending`.
        """
        await self._run(self._commit)

    async def close(self) -> None:
        """Release the table. A commit that was cancelled finishes before."""
        await self._run(self._give_up)
        self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except MemoryError:  # which Arrow's own is, beside an ArrowException
            raise
        except pa.ArrowException as error:
            raise SinkRefusedError(f"cannot be written to a Delta table: {error}") from error
        except (DeltaError, OSError) as error:
            raise SinkUnavailableError(self._words(error)) from error

    # In the thread

    def _open(self) -> None:
        table = open_or_create(self._path, self._options, on_conflict=self._on_conflict)
        self._known = table.transaction_version(self._writer) or 0
        self._synced = table.version()
        self._table = table

    def _commit(self) -> None:
        if self._rows is None:
            try:
                if not self._batches:
                    return
                rows = self._sorted()
            finally:
                self._batches, self._bytes = [], 0
            self._rows = rows
        if self._table is None:
            self._open()
        assert self._table is not None  # noqa: S101 - `_open` has set it
        if not self._is_there(self._table):
            self._append(self._table, self._rows)
        # Also what a former try has written: its own sync may be what failed.
        while self._folder and self._synced < self._table.version():
            sync(self._folder, self._synced + 1)
            self._synced += 1
        failpoint.hit("delta-after-commit")
        self._known = self._sequence
        self._rows = None

    def _is_there(self, table: DeltaTable) -> bool:
        """Whether a commit whose answer was lost has stored just this."""
        table.update_incremental()
        newest = table.transaction_version(self._writer) or 0
        if newest not in {self._known, self._sequence}:
            raise SinkUnavailableError(
                f"another process writes to {self._path} as {self._writer!r}: "
                "expected a `writer` of its own for each service"
            )
        return newest == self._sequence != self._known

    def _append(self, table: DeltaTable, rows: pa.Table) -> None:
        failpoint.hit("delta-before-commit")
        write_deltalake(
            table,
            rows,
            mode="append",
            writer_properties=WriterProperties(compression="ZSTD"),
            commit_properties=CommitProperties(
                max_commit_retries=_COMMIT_RETRIES,
                app_transactions=[Transaction(self._writer, self._sequence)],
            ),
        )

    def _sorted(self) -> pa.Table:
        """What was written, by day and key; of one key the last or the first."""
        batch = one_batch(pa.Table.from_batches(self._batches))
        days = pc.divide(batch["time"].view(pa.int64()), DAY_US)
        order = key_order(batch, on_conflict=self._on_conflict, groups=days)
        rows = row_group(take(batch, order))
        date = days.take(order).cast(pa.int32()).view(pa.date32())
        return rows.append_column(COLUMNS.field(DATE), date).cast(COLUMNS)

    def _give_up(self) -> None:
        self._batches, self._bytes, self._rows = [], 0, None

    def _words(self, error: Exception) -> str:
        return f"cannot write to {self._path}: {object_stores.reason(error)}"
