"""One file of the spool: an SQLite database that one process writes, until its first failure.

    batch     (sequence, points, total, committed, size, counts, raw_bytes, checksum, arrived, body)
    progress  (sink, sequence)
    state     (name, value)       arrived: the greatest instant given to a request (`arrivals.py`)

WAL with `synchronous = FULL`: a commit returns after the fsync of the log. Checkpoints are ours,
because SQLite's own, after a commit, hide their errors: they come after whoever waits was told, and
as soon as `CHECKPOINT_BYTES` are in the log, so that it stays small.

What may get lost without harm, the progress of sinks and the removal of batches they all have, goes
with the next commit or, when nobody sends, without fsync.

Invariants: a transaction is there as a whole or not at all; after any `sqlite3.Error` the file is
not written again, by anybody (`folder.py` says why).
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
"""A checkpoint of so much takes some 10 ms, which the next commit waits for."""

_LONGEST_LOG: Final = 16 * CHECKPOINT_BYTES
"""A reader can keep the log from starting anew. When it has grown to this, readers have to wait."""

_REMOVED_AT_ONCE: Final = 512
"""Batches that one transaction removes at most, so that no commit waits for long."""

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
class Excess:
    """What may be removed.

    Attributes:
        passed: Every batch up to here: all sinks have it.
        required: Up to here the required sinks have it: enough of these, oldest first, to free
            `need`.
        need: How many bytes have to become free, at the expense of sinks that are not required.
    """

    passed: int
    required: int = 0
    need: int = 0


class Segment:
    """The file that is being written. Use `create`; one thread only.

    Attributes:
        path: The file.
        live_bytes: How much the batches in it take.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.live_bytes = 0
        self._connection = connection
        self._logged = 0  # bytes since the last checkpoint
        self._arrived = 0  # what stands in the file

    @classmethod
    def create(cls, path: Path, progress: Mapping[str, int], *, arrived: int) -> Self:
        """Make a new file, durable but for its name, which the folder must make so.

        Args:
            path: The file.
            progress: How far each sink is.
            arrived: The greatest instant of an arrival.

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
            segment.write(None, progress=progress, excess=Excess(0), arrived=arrived, durable=True)
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
        excess: Excess,
        arrived: int,
        sequence: int = 0,
        total: int = 0,
        durable: bool = False,
    ) -> bool:
        """Write everything in one transaction.

        Args:
            batch: What to add; the transaction is then on disk when this returns.
            progress: How far each sink is.
            excess: What to remove.
            arrived: The greatest instant of an arrival.
            sequence: The number of the batch's last request.
            total: How many points all batches up to this one have had.
            durable: Whether the transaction must be on disk even without a batch.

        Returns:
            Whether there is more to remove.

        Raises:
            sqlite3.Error: Nothing of it was done, or all of it: nobody knows.
        """
        execute = self._connection.execute
        relaxed = batch is None and not durable
        if relaxed:
            execute("PRAGMA synchronous = NORMAL")
        execute("BEGIN IMMEDIATE")
        size = 0
        if batch is not None:
            now = time.time_ns() // 1_000_000
            size = batch.size
            numbers = (sequence, batch.points, total, now, size, batch.counts)
            execute(_INSERT, (*numbers, batch.raw_bytes, batch.checksum, arrived, batch.body))
        for item in progress.items():
            execute("INSERT OR REPLACE INTO progress VALUES (?, ?)", item)
        removed, more = self._remove(excess)
        # While a batch is there, it says so itself: a row of its own is a page more in the log.
        if arrived != self._arrived and (batch is None or removed):
            execute(_ARRIVED, (arrived,))
            self._arrived = arrived
        if batch is not None:
            failpoint.hit("after-write")
        execute("COMMIT")
        if relaxed:
            execute("PRAGMA synchronous = FULL")
        self.live_bytes += size - removed
        self._logged += max(size, PAGE_BYTES)
        return more

    def _remove(self, excess: Excess) -> tuple[int, bool]:
        """Returns the bytes removed, and whether there is more to remove."""
        last = max(excess.passed, excess.required if excess.need > 0 else 0)
        found = self._connection.execute(
            "SELECT sequence, size FROM batch WHERE sequence <= ? ORDER BY sequence LIMIT ?",
            (last, _REMOVED_AT_ONCE),
        ).fetchall()
        removed = taken = upto = 0
        for sequence, size in found:
            if sequence > excess.passed and removed >= excess.need:
                break
            removed += size
            taken += 1
            upto = sequence
        if taken:
            self._connection.execute("DELETE FROM batch WHERE sequence <= ?", (upto,))
        return removed, taken == _REMOVED_AT_ONCE

    def checkpoint(self) -> None:
        """Copy the log into the database when there is enough of it.

        Raises:
            sqlite3.Error: It failed. What was committed is still in the log.
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
        """Close it well: SQLite checkpoints and removes the log, if no one else has it open."""
        self._connection.close()

    def abandon(self) -> None:
        """Close it after a failure without touching a byte of its files."""
        guard = None
        with contextlib.suppress(sqlite3.Error):  # while this has it open, nothing is checkpointed
            guard = open_for_reading(self.path, written=True)
            guard.execute("SELECT 1 FROM progress").fetchone()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        if guard is not None:
            guard.close()


def open_for_reading(path: Path, *, written: bool) -> sqlite3.Connection:
    """Open a file of the spool so that nothing in it can change.

    A file that nobody writes and that has no log needs no index of the log either, which a full
    disk would have no room for.

    Args:
        path: The file.
        written: Whether it is being written.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    log = log_of(path)
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
    """The greatest instant of an arrival that a file knows of, in microseconds.

    Files of the first version say when they were committed to, which is no earlier.

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


def is_unborn(path: Path, error: sqlite3.Error) -> bool:
    """Whether a file was left by a process that died before anything could be in it.

    It has no tables yet, or is still on its way from a rollback journal to a write-ahead log, which
    a reader cannot roll back. On that way SQLite writes one page, beside a journal that says that
    there was none before; a power cut may leave zeros of it, which look like damage:

        spool-000003-….db            4096 bytes: zeros, or any part of the page
        spool-000003-….db-journal

    A file that can hold a batch has more pages, made durable before the first one is committed, and
    a log in the place of the journal.

    Args:
        path: The file.
        error: Why it cannot be read.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    if classify(error) is ErrorClass.DAMAGE:
        return path.stat().st_size <= PAGE_BYTES and _journal_of(path).exists()
    return code in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY_ROLLBACK}


def log_of(path: Path) -> Path:
    """The write-ahead log of a file."""
    return path.with_name(path.name + "-wal")


def _journal_of(path: Path) -> Path:
    """The rollback journal of a file, which is there only while the file is made."""
    return path.with_name(path.name + "-journal")
