"""The folder of a spool: its lock, its files, and the range of request numbers in each file.

    spool/lock                                the id of the process that holds the lock
    spool/spool-000007-1763870000001200.db    file 7, and the number of its first request
    spool/spool-000006-….db.damaged           a corrupt file, kept for inspection

Requests are numbered through the life of the spool. The first number is the time of its creation in
microseconds since 1970, or follows the greatest number that a sink has seen if the clock is behind.
So a spool that was deleted and created again reuses no number, and its points replace older ones.
A file's range ends where the next file begins. Rows beyond that are the remains of a failed
transaction, which was written again into the next file.

**A file is written by one process, from its creation until the first failure; from then on it is
read-only.** After a failed fsync the kernel may have dropped dirty pages, and the next fsync
reports success; a killed process may have left such a file, and the next process could not detect
it. So every start and every failure begin a new file, and nothing is appended after bytes that may
not be on disk. A full disk is handled like any other failure: once all sinks have committed the old
file, it is deleted, which needs no free space, while removing rows from it would.

Invariants: numbers are never reused; a file is deleted only after all sinks have committed it; one
process holds the folder.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason
from pointgate.durable_files import PRIVATE, make_folder, sync_folder
from pointgate.error_classes import ErrorClass, classify
from pointgate.errors import ConfigError, Problem, TemporaryFailure
from pointgate.store.arrival_clock import ArrivalClock
from pointgate.store.spool.segment import (
    Segment,
    is_uninitialized,
    last_arrival,
    open_for_reading,
    wal_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_NAME: Final = re.compile(r"spool-(\d{6,})-(\d{16,})\.db")

ENDLESS: Final = 2**62
"""The `last` of the file that is being written."""

_LEAST_SEQUENCE: Final = 10**15
"""The least first number, so that file names sort: a clock before 2001 is wrong."""

_DAMAGED: Final = ".damaged"

_BESIDE: Final = ("wal", "shm", "journal")
"""The suffixes of SQLite's own files: write-ahead log, its index, and rollback journal."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class File:
    """A file of the spool.

    Attributes:
        path: The path.
        number: The file's number; files are read in this order.
        first: The number of the first request that can be in it.
        last: The number of the last one.
        live_bytes: The size of its batches, as it counts against `spool.max_bytes`.
    """

    path: Path
    number: int
    first: int
    last: int = ENDLESS
    live_bytes: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever committed to it."""
        return self.last < self.first


class Folder:
    """The files of a spool. One thread only, after `open`.

    Attributes:
        path: The folder.
        files: Oldest first; the last one is being written, unless a write has failed. It is not
            deleted before there is a newer one, because numbering continues from its name.
        progress: Each sink's committed offset when the folder was opened.
        last: The number of the last request.
        total: How many points have been written in total.
        arrivals: The clock that continues from the last arrival recorded in the files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: tuple[File, ...] = ()
        self.progress: dict[str, int] = {}
        self.last = 0
        self.total = 0
        self.arrivals = ArrivalClock()
        self._number = 0
        self._lock = -1

    def open(self, floor: Callable[[], int] = lambda: 0) -> None:
        """Lock the folder and recover its files. After an error use another `Folder`.

        Args:
            floor: Called for a new folder: returns the greatest number that any sink has seen.

        Raises:
            ConfigError: The folder cannot be used; a retry cannot help.
            TemporaryFailure: Another process holds the lock.
            OSError: Temporary; a retry can succeed.
            sqlite3.Error: Temporary, too.
            MemoryError: Temporary, too.
        """
        try:
            self._open(floor)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and classify(error) is ErrorClass.OPERATOR:
                reason = f"cannot use {self.path}: {os_reason(error)}"
                raise ConfigError([Problem("", "spool.path", reason)]) from error
            raise

    def _open(self, floor: Callable[[], int]) -> None:
        make_folder(self.path, PRIVATE)
        self._acquire_lock()
        names = sorted(entry.name for entry in self.path.iterdir())
        for name in names:  # an orphaned log: a crash came after its file was deleted or renamed
            owner, _, kind = name.rpartition("-")
            if kind not in _BESIDE or not _NAME.fullmatch(owner) or owner in names:
                continue
            if kind == "wal" and (kept := owner + _DAMAGED) in names:
                (self.path / name).rename(wal_path(self.path / kept))
            else:
                (self.path / name).unlink(missing_ok=True)
        found = [(int(m[1]), int(m[2]), m[0]) for m in map(_NAME.fullmatch, names) if m]
        files = [File(self.path / name, number, first) for number, first, name in sorted(found)]
        if not files:
            # Not 1: a sink may have seen that number from a spool that was deleted.
            self.last = max(time.time_ns() // 1000, floor(), _LEAST_SEQUENCE)
        for file, following in zip(files, (*files[1:], None), strict=False):
            self._number = file.number
            self.last = max(self.last, file.first - 1)
            bounded = replace(file, last=following.first - 1) if following else file
            self._recover(bounded)

    def _acquire_lock(self) -> None:
        path = self.path / "lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE.file)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._lock, 32).decode("ascii", "replace").strip()
            reason = f"spool.path: {self.path} is in use by process {owner}"
            raise TemporaryFailure(reason) from None
        with suppress(OSError):  # a full disk: the lock holds without it
            os.ftruncate(self._lock, 0)
            os.write(self._lock, b"%d\n" % os.getpid())

    def _recover(self, file: File) -> None:
        """Read the numbers, offsets and arrivals from a file of an earlier process."""
        try:
            with closing(open_for_reading(file.path, written=False)) as connection:
                live_bytes, last, total = connection.execute(
                    "SELECT coalesce(sum(size), 0), coalesce(max(sequence), 0), "
                    "coalesce(max(total), 0) FROM batch WHERE sequence <= ?",
                    (file.last,),
                ).fetchone()
                progress = dict(connection.execute("SELECT sink, sequence FROM progress"))
                self.arrivals.advance(last_arrival(connection))
        except sqlite3.Error as error:
            if not is_uninitialized(file.path, error):
                if classify(error) is not ErrorClass.DAMAGE:
                    raise
                _log.error("cannot read %s: %s", file.path, error)
                self.rename_damaged(file)
                return
            live_bytes, last, total, progress = 0, 0, 0, {}
        self.last = max(self.last, last, *progress.values())
        self.total = max(self.total, total)
        for sink, sequence in progress.items():
            self.progress[sink] = max(sequence, self.progress.get(sink, 0))
        self.files += (replace(file, last=min(file.last, self.last), live_bytes=live_bytes),)

    def create(self, progress: Mapping[str, int]) -> Segment:
        """Begin a new file.

        Raises:
            sqlite3.Error: It cannot be made.
            OSError: The same.
        """
        self._number += 1
        path = self.path / f"spool-{self._number:06}-{self.last + 1:016}.db"
        # First an empty file, which needs no free space: its name records the numbering, so that
        # older files can be deleted even when a full disk prevents a new database.
        path.touch(PRIVATE.file, exist_ok=False)  # SQLite gives its log the same mode
        sync_folder(self.path)
        file = File(path, self._number, self.last + 1, last=self.last)
        self.files += (file,)
        try:
            segment = Segment.create(path, progress, arrived=self.arrivals.last)
            sync_folder(self.path)
        except (sqlite3.Error, OSError):
            _delete(path, keep_name=True)
            raise
        self.files = (*self.files[:-1], replace(file, last=ENDLESS))
        return segment

    def retire(self, live_bytes: int) -> None:
        """Make the file that was being written read-only.

        Args:
            live_bytes: The size of its batches.
        """
        *others, file = self.files
        self.files = (*others, replace(file, last=self.last, live_bytes=live_bytes))

    def release(self, file: File, *, damaged: bool) -> None:
        """Delete a file that all sinks have committed.

        Args:
            file: The file.
            damaged: Whether part of it is corrupt; then it is renamed for inspection instead.
        """
        self.files = tuple(other for other in self.files if other.path != file.path)
        if damaged:
            self.rename_damaged(file)
        else:
            _delete(file.path)

    def rename_damaged(self, file: File) -> None:
        """Rename a corrupt file and its log."""
        kept = file.path.with_name(file.path.name + _DAMAGED)
        _log.error("spool file damaged: %s renamed to %s for inspection", file.path.name, kept)
        for path, new in ((file.path, kept), (wal_path(file.path), wal_path(kept))):
            if path.exists():
                path.rename(new)
                sync_folder(self.path)  # durable before its log is renamed, as in `_delete`

    def close(self) -> None:
        """Release the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _delete(path: Path, *, keep_name: bool = False) -> None:
    """Delete a file and SQLite's files beside it; it is empty, or all sinks have committed it."""
    try:
        # The deletion must be durable before the log is deleted. Otherwise a power failure could
        # restore an old state of the file, and sinks would get old values after the values that
        # corrected them; or half of a checkpoint, which is corrupt without the log.
        if keep_name:
            with path.open("r+b", buffering=0) as file:
                file.truncate(0)
                os.fsync(file.fileno())
        else:
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
        for kind in _BESIDE:
            path.with_name(f"{path.name}-{kind}").unlink(missing_ok=True)
    except OSError as error:
        _log.warning("cannot delete %s: %s", path, os_reason(error))
