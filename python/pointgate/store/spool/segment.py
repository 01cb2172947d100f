"""One file of the spool: an SQLite database, written by one process until the first failure.

    batch     (sequence, points, total, committed, size, counts, raw_bytes, checksum, arrived, body)
    progress  (sink, sequence)
    state     (name, value)       arrived: the greatest arrival instant (`arrival_clock.py`)

It is a write-ahead log (WAL) with `synchronous = FULL`: a commit returns after the fsync of the
log. Checkpoints are explicit, because SQLite's automatic ones, after a commit, hide their errors.
They run after the waiting callers were notified, whenever the log has `CHECKPOINT_BYTES`, so that
it stays small.

Sinks' offsets and the removal of batches that all sinks have committed may be lost without harm:
they are written with the next commit or, when no requests arrive, without fsync.

Invariants: a transaction is atomic; after any `sqlite3.Error` the file is never written again
(`folder.py` explains why).
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

from pointgate import failpoint
from pointgate.error_classes import ErrorClass, classify
from pointgate.store.spool.batch import PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pointgate.store.spool.batch import Batch

CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""A checkpoint of this size takes some 10 ms, which the next commit waits for."""

_LONGEST_LOG: Final = 16 * CHECKPOINT_BYTES
"""A reader can prevent a reset of the log. Beyond this size a checkpoint makes readers wait."""

_REMOVED_AT_ONCE: Final = 512
"""The most batches that one transaction removes, so that no commit takes long."""

_VERSION: Final = 2

_SCHEMA: Final = f"""
CREATE TABLE batch (
    sequence INTEGER PRIMARY KEY,
    points INTEGER NOT NULL,
    total INTEGER NOT NULL,
    committed INTEGER NOT NULL,
    size INTEGER NOT NULL,
    counts BLOB NOT NULL,
    raw_bytes INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    arrived INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE progress (sink TEXT PRIMARY KEY, sequence INTEGER NOT NULL) STRICT;
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""

_INSERT: Final = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_ARRIVED: Final = "INSERT OR REPLACE INTO state VALUES ('arrived', ?)"


@dataclass(frozen=True, slots=True)
class Retention:
    """Which batches may be removed.

    Attributes:
        all_committed: All sinks have committed up to here: every batch may be removed.
        required_committed: The required sinks have committed up to here: batches may be removed,
            oldest first, until `bytes_needed` are free.
        bytes_needed: How many bytes must be freed at the expense of sinks that are not required.
    """

    all_committed: int
    required_committed: int = 0
    bytes_needed: int = 0


class Segment:
    """The file that is being written. Use `create`; one thread only.

    Attributes:
        path: The file.
        live_bytes: The size of its batches.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.live_bytes = 0
        self._connection = connection
        self._logged = 0  # bytes since the last checkpoint
        self._arrived = 0  # as the `state` table has it
        self._progress: dict[str, int] = {}  # as the `progress` table has it
        self._swept = -1  # no batch up to this request is left

    @classmethod
    def create(cls, path: Path, progress: Mapping[str, int], *, arrived: int) -> Self:
        """Make a new file. It is durable, except for its name: the caller must sync the folder.

        Args:
            path: The file.
            progress: Each sink's committed offset.
            arrived: The greatest arrival instant.

        Raises:
            sqlite3.Error: It cannot be made.
        """
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute(
                "PRAGMA secure_delete = OFF"
            )  # Debian's default writes twice as much
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA busy_timeout = 2000")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}; COMMIT;")
            segment = cls(path, connection)
            segment.write(
                None, progress=progress, retention=Retention(0), arrived=arrived, durable=True
            )
            segment._checkpoint("TRUNCATE")
        except sqlite3.Error:
            connection.close()
            raise
        return segment

    def write(
        self,
        batch: Batch | None,
        *,
        progress: Mapping[str, int],
        retention: Retention,
        arrived: int,
        sequence: int = 0,
        total: int = 0,
        durable: bool = False,
    ) -> bool:
        """Write everything in one transaction; returns whether there is more to remove.

        Args:
            batch: The batch to add; the transaction is then durable when this returns.
            progress: Each sink's committed offset.
            retention: Which batches may be removed.
            arrived: The greatest arrival instant.
            sequence: The number of the batch's last request.
            total: How many points have been written, including this batch.
            durable: Whether the transaction must be durable without a batch, too.

        Raises:
            sqlite3.Error: The transaction failed; whether it was committed is unknown.
        """
        execute, relaxed = self._connection.execute, batch is None and not durable
        if relaxed:
            execute("PRAGMA synchronous = NORMAL")
        execute("BEGIN IMMEDIATE")
        size = 0
        if batch is not None:
            size = batch.size
            now = time.time_ns() // 1_000_000
            row = (sequence, batch.points, total, now, size, batch.counts)
            execute(_INSERT, (*row, batch.raw_bytes, batch.checksum, arrived, batch.body))
        # Sinks commit twice a second: an unchanged row would add a page to the log.
        for item in progress.items() - self._progress.items():
            execute("INSERT OR REPLACE INTO progress VALUES (?, ?)", item)
        removed, more = self._remove(retention)
        # A batch has this in its own row: a row in `state` adds a page to the log.
        if arrived != self._arrived and (batch is None or removed):
            execute(_ARRIVED, (arrived,))
            self._arrived = arrived
        if batch is not None:
            failpoint.hit("after-write")
        execute("COMMIT")
        if relaxed:
            execute("PRAGMA synchronous = FULL")
        self._progress = dict(progress)
        self.live_bytes += size - removed
        self._logged += max(size, PAGE_BYTES)
        return more

    def _remove(self, retention: Retention) -> tuple[int, bool]:
        """Returns the bytes removed, and whether there is more to remove."""
        last = max(
            retention.all_committed,
            retention.required_committed if retention.bytes_needed > 0 else 0,
        )
        if last <= self._swept:
            return 0, False
        found = self._connection.execute(
            "SELECT sequence, size FROM batch WHERE sequence <= ? ORDER BY sequence LIMIT ?",
            (last, _REMOVED_AT_ONCE),
        ).fetchall()
        removed = taken = upto = 0
        for sequence, size in found:
            if sequence > retention.all_committed and removed >= retention.bytes_needed:
                break
            removed += size
            taken += 1
            upto = sequence
        if taken:
            self._connection.execute("DELETE FROM batch WHERE sequence <= ?", (upto,))
        if taken == len(found) < _REMOVED_AT_ONCE:
            self._swept = last
        return removed, taken == _REMOVED_AT_ONCE

    def checkpoint(self) -> None:
        """Copy the log into the database if it has reached `CHECKPOINT_BYTES`.

        Raises:
            sqlite3.Error: It failed. Committed transactions are still in the log.
        """
        if self._logged < CHECKPOINT_BYTES:
            return
        log_pages = self._checkpoint("PASSIVE")
        if log_pages * PAGE_BYTES > _LONGEST_LOG:
            self._checkpoint("TRUNCATE")
        self._logged = 0

    def _checkpoint(self, mode: str) -> int:
        """Returns how many pages the log has."""
        row = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return int(row[1])

    def close(self) -> None:
        """Close it cleanly: SQLite checkpoints and removes the log if no reader has it open."""
        self._connection.close()

    def abandon(self) -> None:
        """Close it after a failure without changing its files."""
        guard = None
        with contextlib.suppress(sqlite3.Error):  # an open reader prevents the last checkpoint
            guard = open_for_reading(self.path, written=True)
            guard.execute("SELECT 1 FROM progress").fetchone()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        if guard is not None:
            guard.close()


def open_for_reading(path: Path, *, written: bool) -> sqlite3.Connection:
    """Open a file of the spool read-only.

    A file without a writer and without a log is opened as immutable: that needs no index of the
    log, which could not be created on a full disk.

    Args:
        path: The file.
        written: Whether it is being written.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    log = wal_path(path)
    try:
        plain = not written and log.stat().st_size == 0
    except FileNotFoundError:
        plain = True
    how = "immutable=1" if plain else "mode=ro"
    address = f"file:{quote(str(path.absolute()))}?{how}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA busy_timeout = 2000")
    return connection


def last_arrival(connection: sqlite3.Connection) -> int:
    """The greatest arrival instant that a file records, in microseconds.

    Files of the first version record only commit times, which are no earlier.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    if connection.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
        statement = "SELECT (coalesce(max(committed), -1) + 1) * 1000 FROM batch"
    else:
        statement = (
            "SELECT max(coalesce((SELECT value FROM state WHERE name = 'arrived'), 0), "
            "coalesce((SELECT arrived FROM batch ORDER BY sequence DESC LIMIT 1), 0))"
        )
    return int(connection.execute(statement).fetchone()[0])


def is_uninitialized(path: Path, error: sqlite3.Error) -> bool:
    """Whether a file was left by a process that died before it could commit a batch to it.

    The file has no tables yet, or the switch from a rollback journal to a write-ahead log was
    interrupted, which a read-only connection cannot roll back. During the switch SQLite writes one
    page, with a journal that records an empty file; a power failure may leave a page of zeros,
    which looks like corruption:

        spool-000003-….db            4096 bytes: zeros, or any part of the page
        spool-000003-….db-journal

    A file that can hold a batch has more pages, durable before the first commit, and a write-ahead
    log instead of the journal.

    Args:
        path: The file.
        error: Why it cannot be read.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    if classify(error) is ErrorClass.DAMAGE:
        return path.stat().st_size <= PAGE_BYTES and _journal_path(path).exists()
    return code in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY_ROLLBACK}


def wal_path(path: Path) -> Path:
    """The write-ahead log of a file."""
    return path.with_name(path.name + "-wal")


def _journal_path(path: Path) -> Path:
    """The rollback journal of a file, which exists only while the file is being created."""
    return path.with_name(path.name + "-journal")
