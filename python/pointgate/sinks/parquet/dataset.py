"""The folder of a Parquet dataset: its names, its locks, and commits of several files at once.

    points/date=2026-11-23/live-0001795407111095531-3f9c21aa-00001.parquet    of a service
                           import-0001795407111095531-3f9c21aa-00001.parquet  of an import
                           merged-0001795407111095531-3f9c21aa-00001.parquet  of `compact`
    points/.pointgate/     locks, unfinished files, the record of a commit, the committed sequence

The number in the name of a live file is the sequence of the last request of the commit that began
it, so that names sort by commit; imports and merges have the time at which they began, and can
never take the number of a later request. The order of names decides nothing: of two points with
the same key the one with the later `received` was accepted last.

A commit makes some files appear, or grow, as one step of the dataset's life:

    the temporary files are on the disk
    commit.json           written and synced: from here on the commit is decided
    rename them all, sync the folders
    committed-SEQUENCE    an empty file in place of the one before; the folder is synced
    remove commit.json

Each import counts for itself, in a file `committed-import-ID-CHUNK`: it takes nothing from the
count of a service, whose spool may hold requests while the import runs.

Whoever opens the dataset for writing carries out what is decided, and removes every other temporary
file. A name of a temporary file is never used twice, so that a record that is carried out again
finds nothing to rename.

Invariants: a file gets its name when its content is on the disk. Of a crash only files in
`.pointgate` are left. Files there are empty between commits: polars' scan of a whole folder
overlooks those.

It knows nothing of points: `files.py` writes them, `merging.py` merges them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

from pointgate import failpoint
from pointgate.durable_files import SHARED, make_folder, sync_folder, write_synced
from pointgate.sinks.base import LIVE
from pointgate.sinks.parquet.settings import FORMER_PREFIX, OWN_FOLDER, PREFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pointgate.sinks.parquet.settings import Partition
    from pointgate.sinks.settings import OnConflict

_REMEMBERED: Final = 20_000
"""Folders that are known to be there."""

_EPOCH: Final = date(1970, 1, 1).toordinal()
_EPOCH_YEAR: Final = 1970
_MONTHS: Final = 12

_RECORD: Final = "commit.json"

_DIGITS: Final = 19
"""They hold every sequence, and make names sort as numbers."""


_NAME: Final = re.compile(
    r"(?:live|import|merged)-\d{19}-[0-9a-f]{8}-\d{5,}\.parquet"
    r"|\d{19}-(?:\d{19}-)?[0-9a-f]{16}(?:-\d{4})?\.parquet"
)
"""Of a file with points; the second form is that of a former version."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A temporary file whose content is on the disk.

    Attributes:
        temporary: Its name in the dataset's own folder.
        path: What it will be called, relative to the dataset.
    """

    temporary: str
    path: str


@dataclass(frozen=True, slots=True)
class _Record:
    """A commit that is decided.

    Attributes:
        writer: Whose (see `sinks.base.LIVE`).
        sequence: The last one that is in it; 0 for none.
        files: The names of temporary files, and what they will be called.
    """

    writer: str
    sequence: int
    files: list[list[str]]


class Dataset:
    """A folder with points, of which this process may be one of several users."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own = path / OWN_FOLDER
        self._lasting: set[Path] = set()
        self._run = secrets.token_hex(4)

    @property
    def exists(self) -> bool:
        """Whether the folder was made by a sink, an import or `validate --out`."""
        return self.own.is_dir() or bool(self.partitions() or self.former())

    def create(self) -> None:
        """Make the folder, and make it last."""
        self._make(self.own)

    def folder(self, name: str) -> Path:
        """A partition's folder, which is there and lasts."""
        path = self.path / name
        self._make(path)
        return path

    def forget(self) -> None:
        """Something went wrong: maybe someone removed folders."""
        self._lasting.clear()

    def temporary(self, name: str) -> Path:
        """Where a file is written before it gets its name."""
        return self.own / f"{name}.tmp"

    def clear(self, prefix: str) -> None:
        """Remove what a crash left of the temporary files that begin with this."""
        for path in self.own.glob(f"{prefix}*.tmp"):
            path.unlink(missing_ok=True)

    def file_name(self, kind: str, number: int, part: int) -> str:
        """The name of a file, or of a temporary one, that no other file has had."""
        return f"{kind}-{number:019}-{self._run}-{part:05}"

    @contextmanager
    def locked(self, name: str, *, wait: bool) -> Iterator[None]:
        """Hold a lock that ends with the process.

        Raises:
            BlockingIOError: Another process holds it, and we were not to wait.
        """
        descriptor = os.open(self.own / f"{name}.lock", os.O_RDWR | os.O_CREAT, SHARED.file)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(descriptor)

    @property
    def on_conflict(self) -> OnConflict:
        """What was last set for this dataset."""
        return "ignore" if self._ignores.exists() else "update"

    @on_conflict.setter
    def on_conflict(self, value: OnConflict) -> None:
        if value == "ignore":
            self._ignores.touch(SHARED.file)
        else:
            self._ignores.unlink(missing_ok=True)

    @property
    def _ignores(self) -> Path:
        return self.own / "on_conflict=ignore"

    def partitions(self) -> list[Path]:
        """Every day, or month, in order."""
        return [path for prefix in PREFIXES.values() for path in _folders(self.path, prefix)]

    def former(self) -> list[Path]:
        """Every product's every day in the layout of a former version, in order."""
        return [
            day
            for product in _folders(self.path, FORMER_PREFIX)
            for day in _folders(product, PREFIXES["day"])
        ]

    # Commits

    def newest(self, writer: str = LIVE) -> int:
        """The last sequence of a writer that is committed; 0 if there is none.

        Raises:
            OSError: The folder cannot be listed.
        """
        with suppress(FileNotFoundError, NotADirectoryError):
            record = self._record()
            decided = record.sequence if record and record.writer == writer else 0
            return max([decided, *self._marks(writer)])
        return 0

    def decide(self, writer: str, sequence: int, files: Sequence[Finished]) -> None:
        """Decide a commit: from here on it is carried out, whatever happens.

        Args:
            writer: Whose (see `sinks.base.LIVE`).
            sequence: The last one that is in it; 0 if it need not be remembered.
            files: The files, which are on the disk.

        Raises:
            OSError: `decided` says whether it is decided nevertheless.
        """
        record = _Record(writer, sequence, [[file.temporary, file.path] for file in files])
        temporary = self.temporary("write-record")
        write_synced(temporary, json.dumps(asdict(record)).encode(), SHARED)
        sync_folder(self.own)  # a record without the files that it names would be a loss
        failpoint.hit("sink-before-record")
        temporary.replace(self.own / _RECORD)

    @property
    def decided(self) -> bool:
        """Whether a commit is decided and not carried out yet."""
        return (self.own / _RECORD).exists()

    def carry_out(self) -> None:
        """Carry out a commit that is decided, if there is one; may be called again after an error.

        Raises:
            OSError: Not now.
        """
        record = self._record()
        if record is None:
            return
        sync_folder(self.own)
        failpoint.hit("sink-before-rename")
        folders = {(self.path / name).parent for _, name in record.files}
        # Somebody may have removed a folder since the commit was decided.
        if missing := [folder for folder in folders if not folder.is_dir()]:
            self.forget()
            for folder in missing:
                self._make(folder)
        for temporary, name in record.files:
            path = self.path / name
            with suppress(FileNotFoundError):  # carried out before
                os.replace(self.own / temporary, path)  # noqa: PTH105 - strings, thousands of them
                failpoint.hit("sink-between-renames")
        failpoint.hit("sink-after-rename")
        for folder in folders:
            sync_folder(folder)
        if record.sequence:
            self._mark(record.writer, record.sequence)
        failpoint.hit("sink-before-forget")
        (self.own / _RECORD).unlink(missing_ok=True)

    def _mark(self, writer: str, sequence: int) -> None:
        marks = self._marks(writer)
        self._mark_path(writer, sequence).touch(SHARED.file)
        sync_folder(self.own)
        for mark in marks:
            if mark != sequence:
                self._mark_path(writer, mark).unlink()

    def _marks(self, writer: str) -> list[int]:
        prefix = self._mark_path(writer, 0).name[:-_DIGITS]
        mark = re.compile(rf"{re.escape(prefix)}(\d{{{_DIGITS}}})")
        found = [mark.fullmatch(path.name) for path in self.own.iterdir()]
        return [int(match[1]) for match in found if match]

    def _mark_path(self, writer: str, sequence: int) -> Path:
        whose = "" if writer == LIVE else f"{writer}-"
        return self.own / f"committed-{whose}{sequence:0{_DIGITS}}"

    def _record(self) -> _Record | None:
        try:
            return _Record(**json.loads((self.own / _RECORD).read_bytes()))
        except FileNotFoundError:
            return None

    def _make(self, path: Path) -> None:
        if path in self._lasting:
            return
        if self.path in path.parents:
            self._make(path.parent)
        make_folder(path, SHARED)
        if len(self._lasting) >= _REMEMBERED:
            self._lasting.clear()
        self._lasting.add(path)


def partition_name(partition: Partition, number: int) -> str:
    """The name of a partition's folder.

    Args:
        partition: What a folder stands for.
        number: The days, or months, since 1970.
    """
    if partition == "day":
        return f"{PREFIXES[partition]}{date.fromordinal(_EPOCH + number).isoformat()}"
    year, month = divmod(number, _MONTHS)
    return f"{PREFIXES[partition]}{_EPOCH_YEAR + year:04}-{month + 1:02}"


def stored_files(partition: Path) -> list[Path]:
    """The files with points of a folder, by name; none that others put there."""
    with os.scandir(partition) as entries:
        names = [entry.name for entry in entries if _NAME.fullmatch(entry.name)]
    return [partition / name for name in sorted(names)]


def _folders(path: Path, prefix: str) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            names = [
                entry.name for entry in entries if entry.name.startswith(prefix) and entry.is_dir()
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path / name for name in sorted(names)]
