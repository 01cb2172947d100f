"""The folder of a spool: its lock, its files, and which numbers stand in which.

    spool/lock                                the process that has it
    spool/spool-000007-1763870000001200.db    file 7, and the number of its first request
    spool/spool-000006-….db.damaged           what could not be read to its end

Requests are numbered through the life of the spool, from the microseconds since 1970 at which it
was begun, or from behind the greatest number that a sink has seen where the clock is behind: so one
that was deleted and begun again gives no number a second time, and its points win over older ones.
A file reaches up to where the next one begins: whatever stands in it beyond is the unknown end of a
transaction that failed, and was written again into the next file.

**A file is written by one process, from its creation until the first failure; from then on it is
only read.** After a failed fsync the kernel may have dropped what it could not write, and says
nothing at the next fsync; a process that was killed may have left such a file behind, and the next
one could not know. So every start and every failure begin a new file, and nothing is ever appended
to bytes that are perhaps not on the disk. A full disk is a failure like any other: once all sinks
have what is in the old file it is deleted, which needs no room, while removing rows from it would.

Invariants: numbers are never used twice; a file is deleted only when all that is in it has been
passed; one process has the folder.
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
from pointgate.store.spool.segment import Segment, is_unborn, last_arrival, log_of, open_for_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_NAME: Final = re.compile(r"spool-(\d{6,})-(\d{16,})\.db")

ENDLESS: Final = 2**62
"""Where a file ends that is being written."""

_LEAST_SEQUENCE: Final = 10**15
"""Where numbers begin at least, so that their digits sort: a clock before 2001 is wrong."""

_DAMAGED: Final = ".damaged"

_BESIDE: Final = ("wal", "shm", "journal")
"""What SQLite puts beside a file: its log, the index of that, and what comes before both."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class File:
    """A file of the spool.

    Attributes:
        path: Where it is.
        number: Files are read in the order of their numbers.
        first: The number of the first request that can be in it.
        last: The number of the last one.
        live_bytes: How much it holds, as far as that counts against the bound.
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
        files: Oldest first; the last one is written, unless its writer has failed. It stays until
            there is a newer one, because the numbers go on from its name.
        progress: How far each sink was when the folder was opened.
        last: The number of the last request.
        total: How many points all batches together have had.
        arrivals: The clock that goes on from the last arrival that the files know of.
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
        """Take the folder and look through what is in it. After an error use another `Folder`.

        Args:
            floor: Asked where the folder is new: the greatest number that any sink has seen.

        Raises:
            ConfigError: It can never be used as it is.
            TemporaryFailure: Another process has it.
            OSError: Not now; the same call, retried, can succeed.
            sqlite3.Error: The same.
            MemoryError: The same.
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
        self._take()
        names = sorted(entry.name for entry in self.path.iterdir())
        for name in names:  # a log whose file a crash has deleted or renamed for good
            owner, _, kind = name.rpartition("-")
            if kind not in _BESIDE or not _NAME.fullmatch(owner) or owner in names:
                continue
            if kind == "wal" and (kept := owner + _DAMAGED) in names:
                (self.path / name).rename(log_of(self.path / kept))
            else:
                (self.path / name).unlink(missing_ok=True)
        found = [(int(m[1]), int(m[2]), m[0]) for m in map(_NAME.fullmatch, names) if m]
        files = [File(self.path / name, number, first) for number, first, name in sorted(found)]
        if not files:
            # Not 1: a sink may have seen that number from a spool that somebody has deleted.
            self.last = max(time.time_ns() // 1000, floor(), _LEAST_SEQUENCE)
        for file, following in zip(files, (*files[1:], None), strict=False):
            self._number = file.number
            self.last = max(self.last, file.first - 1)
            bounded = replace(file, last=following.first - 1) if following else file
            self._look_into(bounded)

    def _take(self) -> None:
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

    def _look_into(self, file: File) -> None:
        """Take what a file of an earlier process holds into account."""
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
            if not is_unborn(file.path, error):
                if classify(error) is not ErrorClass.DAMAGE:
                    raise
                _log.error("cannot read %s: %s", file.path, error)
                self.set_aside(file)
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
        # First the bare name, which takes no room: it holds the numbers when the disk is full, so
        # that files can go although no other one can be made.
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
        """From now on the file that was written is only read.

        Args:
            live_bytes: How much it holds.
        """
        *others, file = self.files
        self.files = (*others, replace(file, last=self.last, live_bytes=live_bytes))

    def release(self, file: File, *, damaged: bool) -> None:
        """Let go of a file that has been passed.

        Args:
            file: The file.
            damaged: Whether something in it could not be read; then it stays for a person to see.
        """
        self.files = tuple(other for other in self.files if other.path != file.path)
        if damaged:
            self.set_aside(file)
        else:
            _delete(file.path)

    def set_aside(self, file: File) -> None:
        """Rename a file that cannot be read, with its log."""
        kept = file.path.with_name(file.path.name + _DAMAGED)
        _log.error("%s is kept as %s for a person to look into", file.path.name, kept)
        for path, new in ((file.path, kept), (log_of(file.path), log_of(kept))):
            if path.exists():
                path.rename(new)
                sync_folder(self.path)  # for good before its log, as in `_delete`

    def close(self) -> None:
        """Let another process have the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _delete(path: Path, *, keep_name: bool = False) -> None:
    """Delete a file and what SQLite puts beside it. What cannot be deleted is empty or passed."""
    try:
        # For good before its log: without that, a power cut could bring back what the file had
        # long ago, and sinks would get old values after those that corrected them; or half of a
        # checkpoint, which is damage without the log.
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
