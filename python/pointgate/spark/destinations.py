"""Where `write` puts points: a dataset in a folder or an object store, or a Delta Lake table.

Tasks put whole files where no reader looks for them; the driver commits those of the tasks that
have succeeded, all at once and together with the sequence of the writer. So a task may be repeated
or run twice, and a batch that is written again after a crash finds its sequence there.

    destination   tasks put                  the commit
    Folder        .pointgate/write-….tmp     the dataset's record (`sinks/parquet/dataset.py`)
    Store         .pointgate/staged/…        the writer's record (`sinks/parquet/object_commits.py`)
    Delta         date=…/….parquet           an entry of the log, with a transaction (`delta.py`)

Invariants: a name of a file is never used twice. What a commit does not name is removed by the next
one to open a dataset; in a Delta table it stays until a vacuum.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pointgate.durable_files import SHARED, write_synced
from pointgate.errors import ConfigError, Problem
from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.object_stores import ObjectUrl
from pointgate.sinks.parquet import recovery
from pointgate.sinks.parquet.dataset import Dataset, Finished
from pointgate.sinks.parquet.object_commits import Commits, new_id
from pointgate.sinks.parquet.object_commits import Finished as Encoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pointgate.sinks.parquet.settings import ParquetSettings, Partition
    from pointgate.sinks.settings import OnConflict


@dataclass(frozen=True)
class Layout:
    """How rows become files.

    Attributes:
        partition: The UTC time that a folder stands for.
        on_conflict: Which of several rows with one key stays.
        file_bytes: A task puts its files when they are so large together.
    """

    partition: Partition
    on_conflict: OnConflict
    file_bytes: int = 64 * 2**20


class Commit(Protocol):
    """A destination that the driver has opened."""

    def newest(self) -> int:
        """The last sequence of the writer that is committed; 0 if there is none."""

    def commit(self, sequence: int, files: Sequence[dict[str, Any]]) -> None:
        """Make files appear, all at once.

        Args:
            sequence: That of the batch; 0 if it need not be remembered.
            files: What `Destination.put` has returned.
        """


class Destination(Protocol):
    """A place for points, known to driver and tasks."""

    @property
    def layout(self) -> Layout:
        """How rows become files."""

    def prefix(self) -> str:
        """What the names of the next files of a task begin with, and no others do."""

    def put(self, files: Sequence[Encoded]) -> list[dict[str, Any]]:
        """Put files of a task; returns what the commit must know of each."""

    def opened(self) -> Any:
        """Open it in the driver: a context manager with a `Commit`.

        Raises:
            SinkUnavailableError: It cannot be used, or another process writes to it.
        """


def _layout(settings: ParquetSettings) -> Layout:
    return Layout(settings.partition, settings.on_conflict, settings.rotate_bytes)


@dataclass(frozen=True)
class Folder:
    """A dataset in a folder that driver and executors share.

    Attributes:
        settings: Those of the dataset.
        writer: Whose sequences are counted.
    """

    settings: ParquetSettings
    writer: str

    @property
    def layout(self) -> Layout:
        """See `Destination`."""
        return _layout(self.settings)

    def prefix(self) -> str:
        """See `Destination`."""
        return f"import-{time.time_ns() // 1000:019}-{secrets.token_hex(4)}"

    def put(self, files: Sequence[Encoded]) -> list[dict[str, Any]]:
        """See `Destination`."""
        dataset = Dataset(self.settings.folder)
        found = []
        for file in files:
            temporary = dataset.temporary(f"write-{file.name}")
            write_synced(temporary, file.content, SHARED)
            found.append({"temporary": temporary.name, "path": file.key})
        return found

    @contextmanager
    def opened(self) -> Iterator[_FolderCommit]:
        """See `Destination`."""
        if mistake := self.settings.mistake:
            raise ConfigError([Problem("", "path", mistake)])
        dataset = Dataset(self.settings.folder)
        dataset.create()
        try:
            with dataset.locked("writer", wait=False):
                dataset.carry_out()
                dataset.clear("write-")
                dataset.on_conflict = self.settings.on_conflict
                yield _FolderCommit(dataset, self.writer)
        except BlockingIOError:
            words = f"{self.settings.path} is written by another process"
            raise SinkUnavailableError(words) from None


@dataclass(frozen=True)
class _FolderCommit:
    dataset: Dataset
    writer: str

    def newest(self) -> int:
        return self.dataset.newest(self.writer)

    def commit(self, sequence: int, files: Sequence[dict[str, Any]]) -> None:
        finished = [Finished(file["temporary"], file["path"]) for file in files]
        for file in finished:
            if not (self.dataset.own / file.temporary).exists():
                raise SinkUnavailableError(
                    f"{self.dataset.path}: expected a folder that driver and executors share; "
                    f"a file of a task is not there: {file.temporary}"
                )
        for partition in {os.path.dirname(file.path) for file in finished}:  # noqa: PTH120 - names
            self.dataset.folder(partition)
        with self.dataset.locked("files", wait=True):
            recovery.recover(self.dataset)
            self.dataset.decide(self.writer, sequence, finished)
            self.dataset.carry_out()


@dataclass(frozen=True)
class Store:
    """A dataset in an object store.

    Attributes:
        settings: Those of the dataset.
        writer: Whose sequences are counted.
        options: Those of the object store, with secrets.
    """

    settings: ParquetSettings
    writer: str
    options: dict[str, str]

    @property
    def layout(self) -> Layout:
        """See `Destination`."""
        return _layout(self.settings)

    def prefix(self) -> str:
        """See `Destination`."""
        return f"import-{time.time_ns() // 1000:019}-{secrets.token_hex(8)}"

    def put(self, files: Sequence[Encoded]) -> list[dict[str, Any]]:
        """See `Destination`."""
        self._commits().stage(files)
        return [{"name": file.name, "key": file.key} for file in files]

    @contextmanager
    def opened(self) -> Iterator[_StoreCommit]:
        """See `Destination`."""
        from pointgate.sinks.parquet.object_store import StoreError  # noqa: PLC0415 - the extra

        commits = self._commits()
        try:
            commits.open()
            yield _StoreCommit(commits)
        except StoreError as error:
            words = f"cannot write to {self.settings.path}: {error}"
            raise SinkUnavailableError(words) from error

    def _commits(self) -> Commits:
        from pointgate.sinks.parquet.object_store import ObjectStore  # noqa: PLC0415 - the extra

        url = self.settings.path
        assert isinstance(url, ObjectUrl)  # noqa: S101 - `writing.destination` has looked
        return Commits(ObjectStore(url, self.options), self.writer, str(url))


@dataclass(frozen=True)
class _StoreCommit:
    commits: Commits

    def newest(self) -> int:
        return self.commits.newest()

    def commit(self, sequence: int, files: Sequence[dict[str, Any]]) -> None:
        staged = [Encoded(file["name"], file["key"], None) for file in files]
        self.commits.decide(new_id(), sequence, staged)
        self.commits.carry_out()
        self.commits.forget()
