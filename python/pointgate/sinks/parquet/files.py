"""The files of one commit: new ones, and longer versions of those that may grow.

A reader who lists a folder opens the names later, and some open a file twice or trust the length
that was listed. So a name that was once there stays, and a file may only become longer: its next
version begins with every byte of the one before, footer included, and ends with a footer that has
the old row groups and the new ones.

    version 1    PAR1 rows-1 footer(1) PAR1
    version 2    PAR1 rows-1 footer(1) PAR1 rows-2 footer(1, 2) PAR1

Whoever took the footer of version 1 finds its row groups in version 2 where they were, and whoever
took the length of version 1 finds its footer there. The versions are files of their own until one
is renamed over the other, so that nobody sees half a version. A file takes `APPENDS` commits at
most, because the old footers stay in it: 0.2 MB at 24 commits, 2 MB at 64.

    files = CommitFiles(dataset, …)
    files.write(partition, rows)       # a row group, in a temporary file
    files.finish()                     # all are on the disk: what `Dataset.decide` wants

Invariants: a few files are open at a time; of a commit only temporary files are there. A file grows
only while it is what this process has left of it, and `compact` has not claimed it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pointgate.durable_files import SHARED
from pointgate.sinks.parquet.dataset import Finished
from pointgate.sinks.parquet.rows import ROW_GROUP, parquet_writer, row_groups

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pointgate.sinks.parquet.dataset import Dataset

APPENDS: Final = 24
"""Commits that a file takes."""

_OPEN: Final = 64
"""Files open at a time."""

_REMEMBERED: Final = 20_000
"""Files that may grow."""

_PARALLEL: Final = 8
"""Files synced at a time: syncs that wait together share a commit of the file system."""

_COPIED: Final = 2**20
"""Bytes copied at a time."""

_MAGIC: Final = 4
"""Bytes before the first row group."""


@dataclass(frozen=True, slots=True)
class Growing:
    """A file that may grow, as this process has left it.

    Attributes:
        path: Its path, relative to the dataset.
        inode: Its inode.
        size: Its size.
        commits: How many commits it has taken.
    """

    path: str
    inode: int
    size: int
    commits: int


class Growth:
    """The files that may grow, one a partition; those of an earlier process do not.

    Args:
        dataset: Where they are.
        most_bytes: A file of this size does not grow.
        appends: How many commits a file takes.
    """

    def __init__(self, dataset: Dataset, *, most_bytes: int, appends: int) -> None:
        self._dataset = dataset
        self._most_bytes = most_bytes
        self._appends = appends
        self._files: OrderedDict[str, Growing] = OrderedDict()

    def candidate(self, partition: str, claimed: Collection[str]) -> Growing | None:
        """The file of a partition that may grow, if there is one."""
        found = self._files.get(partition)
        if found is None or found.path in claimed:
            return None
        with suppress(OSError):
            status = os.stat(self._dataset.path / found.path)  # noqa: PTH116 - thousands of them
            if (status.st_ino, status.st_size) == (found.inode, found.size):
                return found
        return None

    def note(self, files: Collection[tuple[str, Growing]]) -> None:
        """Remember what a commit has made of which partitions."""
        for partition, file in files:
            self._files.pop(partition, None)
            if file.commits < self._appends and file.size < self._most_bytes:
                self._files[partition] = file
        while len(self._files) > _REMEMBERED:
            self._files.popitem(last=False)


class CommitFiles:
    """Writes the files of one commit.

    Args:
        dataset: Where; the caller holds its lock `files`.
        kind: What the names of new files begin with.
        number: The number in them.
        metadata: What new files say of themselves.
        growth: What may grow.
        claimed: What may not.

    Attributes:
        bytes: How much was written so far, without what was copied.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        kind: str,
        number: int,
        metadata: dict[str, str],
        growth: Growth,
        claimed: Collection[str],
    ) -> None:
        self.bytes = 0
        self._dataset = dataset
        self._kind = kind
        self._number = number
        self._metadata = metadata
        self._growth = growth
        self._claimed = claimed
        self._open: OrderedDict[str, _File] = OrderedDict()
        self._closed: dict[str, _File] = {}  # the last one of each partition
        self._before: list[tuple[str, _File]] = []  # others that are closed
        self._parts = 0

    def write(self, partition: str, rows: pa.RecordBatch) -> None:
        """Write rows of one partition, sorted, one a key.

        Raises:
            OSError: They cannot be written; the commit must be given up.
            pa.ArrowException: The same.
        """
        for group in row_groups(rows):
            file = self._open.get(partition)
            if file is None:
                file = self._begin(partition, group)
            self._open.move_to_end(partition)
            self.bytes += file.write(group)

    def finish(self) -> list[Finished]:
        """Close all files; they are on the disk when this returns.

        Raises:
            OSError: One cannot be written or synced; the commit must be given up.
        """
        while self._open:
            self._close_oldest()
        files = [file for _, file in self._all()]
        with ThreadPoolExecutor(min(_PARALLEL, max(1, len(files)))) as pool:
            list(pool.map(_File.sync, files))
        return [Finished(file.temporary.name, file.path) for file in files]

    def left(self) -> list[tuple[str, Growing]]:
        """What the commit has made of each partition, after it was carried out."""
        found = []
        for partition, file in self._all():
            with suppress(OSError):
                status = os.stat(self._dataset.path / file.path)  # noqa: PTH116 - as above
                left = Growing(file.path, status.st_ino, status.st_size, file.commits)
                found.append((partition, left))
        return found

    def discard(self) -> None:
        """Close and remove all files."""
        for file in self._open.values():
            file.abandon()
        self._open.clear()
        self._dataset.clear("write-")

    def _all(self) -> list[tuple[str, _File]]:
        return [*self._before, *self._closed.items()]

    def _begin(self, partition: str, first: pa.Table) -> _File:
        """Begin a file, or a longer version of one: also of one of this commit."""
        if len(self._open) >= _OPEN:
            self._close_oldest()
        self._dataset.folder(partition)
        self._parts += 1
        name = self._dataset.file_name(self._kind, self._number, self._parts)
        temporary = self._dataset.temporary(f"write-{name}")
        shorter = self._closed.pop(partition, None)
        if shorter is None:
            grown = self._growth.candidate(partition, self._claimed)
            before = self._dataset.path / grown.path if grown else None
            path = grown.path if grown else f"{partition}/{name}.parquet"
            file = _File(temporary, path, (grown.commits if grown else 0) + 1)
        elif shorter.commits < APPENDS:
            before = shorter.temporary
            file = _File(temporary, shorter.path, shorter.commits + 1)
        else:
            self._before.append((partition, shorter))
            before = None
            file = _File(temporary, f"{partition}/{name}.parquet", 1)
        self._open[partition] = file
        file.open(first, before, self._metadata)
        if shorter is not None and before is not None:
            shorter.temporary.unlink()
        return file

    def _close_oldest(self) -> None:
        partition, file = self._open.popitem(last=False)
        file.close()
        self._closed[partition] = file


class _File:
    """A temporary file.

    Attributes:
        temporary: Where it is.
        path: What it will be called, relative to the dataset.
        commits: How many commits are in it, with this one.
    """

    def __init__(self, temporary: Path, path: str, commits: int) -> None:
        self.temporary = temporary
        self.path = path
        self.commits = commits
        self._before: pq.FileMetaData | None = None
        self._collected: list[pq.FileMetaData] = []
        self._file: Any = None
        self._writer: Any = None

    def open(self, first: pa.Table, before: Path | None, metadata: dict[str, str]) -> None:
        """Begin to write.

        Args:
            first: The first row group.
            before: The file of which this is the next version.
            metadata: What the file says of itself.
        """
        os.close(SHARED.opener(str(self.temporary), os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        self._file = pa.OSFile(str(self.temporary), "wb")
        self._writer = parquet_writer(
            self._file, first, metadata=metadata, collector=self._collected
        )
        if before is not None:
            # The writer asks the system where in the file it is, each time it notes a place.
            with before.open("rb") as source:
                os.lseek(self._file.fileno(), 0, os.SEEK_SET)
                _copy(source.fileno(), self._file.fileno())
            self._before = pq.read_metadata(before)

    def write(self, group: pa.Table) -> int:
        """Write a row group; returns how many bytes it takes."""
        begin = os.lseek(self._file.fileno(), 0, os.SEEK_CUR)
        self._writer.write_table(group, ROW_GROUP)
        return os.lseek(self._file.fileno(), 0, os.SEEK_CUR) - begin

    def close(self) -> None:
        """Write the footer."""
        end = os.lseek(self._file.fileno(), 0, os.SEEK_CUR)
        self._writer.close()
        if self._before is not None:
            self._before.append_row_groups(self._collected[0])
            footer = pa.BufferOutputStream()
            self._before.write_metadata_file(footer)
            self._before = None
            # It is longer than the writer's own, which has the new row groups alone.
            os.lseek(self._file.fileno(), end, os.SEEK_SET)
            self._file.write(footer.getvalue()[_MAGIC:])
        self._file.close()

    def sync(self) -> None:
        """Make it last."""
        descriptor = os.open(self.temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def abandon(self) -> None:
        """Close it as it is."""
        # After a full disk the writer raises whatever it likes.
        for one in (self._writer, self._file):
            with suppress(Exception):
                one.close()


def _copy(source: int, target: int) -> None:
    """Copy the rest of a file to where another one is."""
    while data := os.read(source, _COPIED):
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(target, rest) :]
