"""The folder of a Parquet dataset: file names, locks, and atomic creation of files.

    points/product=<key, percent-encoded>/date=<UTC day>/<sequence>-<digest>.parquet
                                                         <last>-<first>-<merge>-<part>.parquet
    points/.pointgate/        locks, and temporary files, which readers never see

The name of a file of one write consists of the write's sequence and a digest of the content, so
that a repeated write makes the same file again, and never overwrites another one. The name of a
merged file consists of the range of sequences in it and a digest of its sources. Files sorted by
name are sorted by age: of two, the one with the greater last sequence has the newer points.

Invariants: a file gets its name only when its content is synced; `durable_files.sync_folder` makes
the name durable. A crash leaves only temporary files in `.pointgate`, which the next process that
holds the lock removes.

It does not read or write points: `sink.py` writes them, `compaction.py` merges them.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from pointgate.durable_files import SHARED, make_folder
from pointgate.sinks.parquet.settings import OWN_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pointgate.sinks.settings import OnConflict

_REMEMBERED: Final = 20_000
"""Folders that are known to exist and to be durable."""

_EPOCH: Final = date(1970, 1, 1).toordinal()

_NO_KEY: Final = "__HIVE_DEFAULT_PARTITION__"
"""Hive's placeholder for NULL in a folder's name. A product of that name is percent-encoded; DuckDB
at least then distinguishes it from NULL."""

_NAME: Final = re.compile(
    r"(?P<last>\d{19})-(?:(?P<first>\d{19})-)?(?P<made_of>[0-9a-f]{16})(?:-\d{4})?\.parquet"
)
"""19 digits hold every sequence, and make names sort as numbers."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file with points.

    Attributes:
        path: The file.
        first: The lowest sequence of the writes in it.
        last: The highest one.
        merge: The digest that the parts of one merge share; empty for a file of one write.
        size: Its size in bytes.
    """

    path: Path
    first: int
    last: int
    merge: str
    size: int


class Dataset:
    """A folder of Parquet files, which several processes may use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = path / OWN_FOLDER
        self._durable: set[Path] = set()

    @property
    def exists(self) -> bool:
        """Whether the folder was made by a sink, or by `validate --out`."""
        return any(one.is_dir() for one in [self._own, *_folders(self.path, "product=")])

    def create(self) -> None:
        """Create the folder durably."""
        self._make(self._own)

    def folder(self, product: str, day: int) -> Path:
        """The folder of a product and day, created durably if it is missing.

        Args:
            product: The product key; any text.
            day: The day, counted from 1970.
        """
        key = "%5F" + _NO_KEY[1:] if product == _NO_KEY else quote(product, safe="")
        utc_day = date.fromordinal(_EPOCH + day).isoformat()
        path = self.path / f"product={key}" / f"date={utc_day}"
        self._make(path)
        return path

    def forget(self) -> None:
        """Forget which folders exist: after an error, someone may have removed them."""
        self._durable.clear()

    def temporary(self, name: str) -> Path:
        """The path of a temporary file."""
        return self._own / f"{name}.tmp"

    def clear(self, prefix: str) -> None:
        """Remove the temporary files with this prefix that a crash has left."""
        for path in self._own.glob(f"{prefix}*.tmp"):
            path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, name: str, *, wait: bool) -> Iterator[None]:
        """Hold a file lock, which the system releases when the process ends.

        Raises:
            BlockingIOError: Another process holds it, and `wait` is false.
        """
        # Lock files are empty: polars skips empty files when it scans a whole folder.
        descriptor = os.open(self._own / f"{name}.lock", os.O_RDWR | os.O_CREAT, SHARED.file)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(descriptor)

    @property
    def on_conflict(self) -> OnConflict:
        """The setting of the sink that last wrote to this dataset."""
        return "ignore" if self._ignores.exists() else "update"

    @on_conflict.setter
    def on_conflict(self, value: OnConflict) -> None:
        if value == "ignore":
            self._ignores.touch(SHARED.file)
        else:
            self._ignores.unlink(missing_ok=True)

    @property
    def _ignores(self) -> Path:
        return self._own / "on_conflict=ignore"

    def partitions(self) -> list[Path]:
        """The folders of all products and days, in order."""
        return [
            day for product in _folders(self.path, "product=") for day in _folders(product, "date=")
        ]

    def newest(self) -> int:
        """The greatest sequence in the names of its files; 0 without files.

        Raises:
            OSError: A folder cannot be listed.
        """
        partitions = (stored_files(folder, "update") for folder in self.partitions())
        return max((file.last for files in partitions for file in files), default=0)

    def _make(self, path: Path) -> None:
        if path in self._durable:
            return
        if self.path in path.parents:
            self._make(path.parent)
        make_folder(path, SHARED)
        if len(self._durable) >= _REMEMBERED:
            self._durable.clear()
        self._durable.add(path)


def written_name(sequence: int, digest: str) -> str:
    """The name of a file of one write."""
    return f"{sequence:019}-{digest}.parquet"


def merged_name(first: int, last: int, merge: str, part: int) -> str:
    """The name of a merged file."""
    return f"{last:019}-{first:019}-{merge}-{part:04}.parquet"


def stored_files(partition: Path, on_conflict: OnConflict) -> list[Stored]:
    """The files of a folder in order of precedence.

    With `update`, points in later files replace those in earlier ones; with `ignore`, points in
    earlier files win. Several writes may contain the same batches, because a crash interrupted one
    of them. They then contain the same points, so their relative order does not matter. A merged
    file has the points of all writes in its range. When one of those writes is repeated, the merged
    file must follow it with `update`, and precede it with `ignore`.
    """
    files: list[Stored] = []
    with os.scandir(partition) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is None:
                continue
            last = int(match["last"])
            merge = match["made_of"] if match["first"] else ""
            with suppress(FileNotFoundError):  # another process has just merged it
                size = entry.stat().st_size
                path = partition / entry.name
                files.append(Stored(path, int(match["first"] or last), last, merge, size))
    if on_conflict == "update":
        return sorted(files, key=lambda file: (file.last, -file.first, file.path))
    return sorted(files, key=lambda file: (file.first, -file.last, file.path))


def _folders(path: Path, prefix: str) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            names = [
                entry.name for entry in entries if entry.name.startswith(prefix) and entry.is_dir()
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path / name for name in sorted(names)]
