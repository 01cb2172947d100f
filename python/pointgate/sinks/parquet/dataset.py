"""The folder of a Parquet dataset: its names, its locks, and files that appear whole or not at all.

    points/product=<key, percent-encoded>/date=<UTC day>/<sequence>-<digest>.parquet
                                                         <last>-<first>-<merge>-<part>.parquet
    points/.pointgate/        locks, and files that are being written: readers never see one

A file of one write is named after the write's sequence and its own content: the same write makes
the same file again, and no other file ever takes its place. A merged file is named after the
sequences it covers and the files it was made of. In the order of their names, files stand in the
order of what they hold: of two, the one with the greater last sequence has the newer points.

Invariants: a file gets its name when its content is on the disk; `durable.sync_folder` makes the
name last. Of a crash only files in `.pointgate` are left, which the next to hold the lock removes.

It knows nothing of points: `parquet.py` writes them, `compaction.py` merges them.
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
"""Folders that are known to be there."""

_EPOCH: Final = date(1970, 1, 1).toordinal()

_NO_KEY: Final = "__HIVE_DEFAULT_PARTITION__"
"""What stands for NULL where readers expect a key. Encoded, at least DuckDB tells it from NULL."""

_NAME: Final = re.compile(
    r"(?P<last>\d{19})-(?:(?P<first>\d{19})-)?(?P<made_of>[0-9a-f]{16})(?:-\d{4})?\.parquet"
)
"""19 digits hold every sequence, and make names sort as numbers."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file with points.

    Attributes:
        path: Where it is.
        first: The lowest sequence of the writes in it.
        last: The highest one.
        merge: What the parts of one merge have in common; empty for a file of one write.
        size: Bytes.
    """

    path: Path
    first: int
    last: int
    merge: str
    size: int


class Dataset:
    """A folder with points, of which this process may be one of several users."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = path / OWN_FOLDER
        self._lasting: set[Path] = set()

    @property
    def exists(self) -> bool:
        """Whether the folder was made by a sink, or by `validate --out`."""
        return any(one.is_dir() for one in [self._own, *_folders(self.path, "product=")])

    def create(self) -> None:
        """Make the folder, and make it last."""
        self._make(self._own)

    def folder(self, product: str, day: int) -> Path:
        """The folder of a product's points of a day, which is there and lasts.

        Args:
            product: Its key; any text.
            day: Days since 1970.
        """
        key = "%5F" + _NO_KEY[1:] if product == _NO_KEY else quote(product, safe="")
        utc_day = date.fromordinal(_EPOCH + day).isoformat()
        path = self.path / f"product={key}" / f"date={utc_day}"
        self._make(path)
        return path

    def forget(self) -> None:
        """Something went wrong: maybe someone removed folders."""
        self._lasting.clear()

    def temporary(self, name: str) -> Path:
        """Where a file is written before it gets its name."""
        return self._own / f"{name}.tmp"

    def clear(self, prefix: str) -> None:
        """Remove what a crash left of the temporary files that begin with this."""
        for path in self._own.glob(f"{prefix}*.tmp"):
            path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, name: str, *, wait: bool) -> Iterator[None]:
        """Hold a lock that ends with the process.

        Raises:
            BlockingIOError: Another process holds it, and we were not to wait.
        """
        # The locks are empty files: polars' scan of a whole folder overlooks those.
        descriptor = os.open(self._own / f"{name}.lock", os.O_RDWR | os.O_CREAT, SHARED.file)
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
        return self._own / "on_conflict=ignore"

    def partitions(self) -> list[Path]:
        """Every product's every day, in order."""
        return [
            day for product in _folders(self.path, "product=") for day in _folders(product, "date=")
        ]

    def newest(self) -> int:
        """The greatest sequence in the names of its files; 0 if there are none.

        Raises:
            OSError: A folder cannot be listed.
        """
        partitions = (stored_files(folder, "update") for folder in self.partitions())
        return max((file.last for files in partitions for file in files), default=0)

    def _make(self, path: Path) -> None:
        if path in self._lasting:
            return
        if self.path in path.parents:
            self._make(path.parent)
        make_folder(path, SHARED)
        if len(self._lasting) >= _REMEMBERED:
            self._lasting.clear()
        self._lasting.add(path)


def written_name(sequence: int, digest: str) -> str:
    """The name of a file of one write."""
    return f"{sequence:019}-{digest}.parquet"


def merged_name(first: int, last: int, merge: str, part: int) -> str:
    """The name of a file made of others."""
    return f"{last:019}-{first:019}-{merge}-{part:04}.parquet"


def stored_files(partition: Path, on_conflict: OnConflict) -> list[Stored]:
    """The files of a folder, those first whose points yield to (`update`) or win over the others'.

    Where several writes hold the same batches because one of them was cut short by a crash, they
    hold the same points, so that their order among each other makes no difference. A merged file
    has the points of all writes it covers: when one of those comes again, the merged file must
    stand behind it for the last point to win, and before it for the first one.
    """
    files: list[Stored] = []
    with os.scandir(partition) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is None:
                continue
            last = int(match["last"])
            merge = match["made_of"] if match["first"] else ""
            with suppress(FileNotFoundError):  # another process merged it away
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
