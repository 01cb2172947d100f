"""The sink that writes Parquet objects into an object store; needs the extra `pointgate[objects]`.

    SELECT * FROM read_parquet('s3://bucket/points/**/*.parquet', hive_partitioning = true)

The rows and columns are those of a dataset in a folder (`sink.py`), and so are the names of days or
months. What differs is what objects allow: none is ever changed, merged or made longer, and none is
deleted before it is older than `keep`. A commit of the drain is one object for each partition in
it; a large one has several. How it becomes one step: `object_commits.py`.

While the store is away, what was written is kept and the commit is repeated, so that an outage
neither makes small objects nor encodes anything twice.

Invariants: when `commit` returns, the points are in the store under names that readers look for;
whatever crashes, each request is there once. Memory is bounded by the rows that wait
(`row_buffer.py`), `rotate_bytes` of objects, and one write.

A point that was posted again is there again: of the same key the greatest `received` counts
(docs/reading.md).
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pointgate import failpoint
from pointgate.errors import ConfigError, Problem
from pointgate.sinks.base import LIVE, Gather, SinkRefusedError, SinkUnavailableError
from pointgate.sinks.object_stores import IMPATIENT, ObjectUrl
from pointgate.sinks.parquet.object_commits import Commits, is_own, new_id, try_requests
from pointgate.sinks.parquet.object_files import ObjectFiles
from pointgate.sinks.parquet.object_store import ObjectStore, StoreError
from pointgate.sinks.parquet.partitions import split
from pointgate.sinks.parquet.retention import expired_partitions
from pointgate.sinks.parquet.row_buffer import GATHERED, RowBuffer
from pointgate.sinks.parquet.settings import OWN_FOLDER, layout_mistake
from pointgate.sinks.tables import one_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pointgate.sinks.parquet.object_commits import Finished
    from pointgate.sinks.parquet.settings import ParquetSettings

_log = logging.getLogger(__name__)


def build_object_sink(settings: ParquetSettings, writer: str) -> ObjectSink:
    """Make the sink from its settings.

    Raises:
        ConfigError: A secret cannot be read.
        ValueError: An option is unknown.
    """
    return ObjectSink(
        settings,
        writer=settings.writer if writer == LIVE else writer,
        options=settings.options(),
        expires=writer == LIVE,
    )


@dataclass(slots=True)
class _Commit:
    """A commit whose objects are ready.

    Attributes:
        id: What no other one is called.
        sequence: The last one in it.
        objects: The objects.
        is_staged: Whether all of them are in the store.
    """

    id: str
    sequence: int
    objects: Sequence[Finished]
    is_staged: bool = False


class ObjectSink:
    """Writes points as Parquet objects.

    Args:
        settings: Its table in the configuration, with a url as path.
        writer: Whose sequences it is told; the names of objects begin with its first word.
        options: Those of the object store, with secrets.
        expires: Whether it deletes what is older than `keep`: an import may bring what is old.

    Attributes:
        name: What its metrics and log lines call it.
        gather: When points are worth a commit.
    """

    def __init__(
        self,
        settings: ParquetSettings,
        *,
        writer: str = LIVE,
        options: dict[str, str] | None = None,
        expires: bool = True,
    ) -> None:
        assert isinstance(settings.path, ObjectUrl)  # noqa: S101 - `sink.build` has looked
        self.name = settings.name
        self.gather = Gather(seconds=settings.rotate_age, points=GATHERED)
        self._settings = settings
        self._url = settings.path
        self._options = options or {}
        self._store = ObjectStore(settings.path, self._options)
        self._kind = writer.partition("-")[0]
        self._commits = Commits(self._store, writer, str(settings.path))
        self._keep = settings.keep if expires else None
        self._rows = RowBuffer()
        self._sequence = 0
        self._id = ""
        self._files: ObjectFiles | None = None
        self._ready: _Commit | None = None
        # One thread, so that a write goes to its end before the next one or before `close`.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink {self.name}")

    def __repr__(self) -> str:
        return f"ObjectSink(name={self.name!r})"

    @property
    def full(self) -> bool:
        """Whether what was written is an object of full size."""
        return self._files is not None and self._files.bytes >= self._settings.rotate_bytes

    @property
    def pending(self) -> bool:
        """Whether objects wait for the store (see `base.Sink`)."""
        return self._ready is not None

    def newest(self) -> int:
        """The last sequence of its writer that is committed (see `base.Sink`).

        Raises:
            OSError: The store cannot be read now.
        """
        try:
            return self._commits.newest()
        except (StoreError, SinkUnavailableError) as error:
            raise OSError(f"cannot read {self._url}: {error}") from error

    def examine(self, *, writes: bool) -> None:
        """List what is there, and try each kind of request (see `base.Examines`)."""
        store = ObjectStore(self._url, self._options | IMPATIENT)
        try:
            folders = store.folders()
            if writes:
                try_requests(store, str(self._url))
        except StoreError as error:
            reason = f"cannot read {self._url}: {error}"
            if error.is_mistake:
                raise ConfigError([Problem("", f"sinks.{self.name}.path", reason)]) from error
            raise SinkUnavailableError(reason) from error
        if mistake := layout_mistake(str(self._url), folders, self._settings.partition):
            raise ConfigError([Problem("", f"sinks.{self.name}.path", mistake)])

    async def open(self) -> None:
        """Take the writer's place, carry out what was decided, delete what else a crash left.

        Raises:
            SinkUnavailableError: The store cannot be used, or has another dataset.
        """
        await self._run(self._open)

    async def write(self, points: pa.Table, *, sequence: int) -> None:
        """Take points; they are stored by the next `commit` (see `base.Sink`).

        Raises:
            SinkRefusedError: Arrow has no place for something in it; everything since the last
                commit is given up.
            MemoryError: An allocation failed; the same.
        """
        await self._run(self._write, points, sequence)

    async def commit(self) -> None:
        """Store for good what was written since the last commit.

        Raises:
            SinkUnavailableError: Not now; the call must be repeated, because it is `pending`.
            SinkRefusedError: Arrow has no place for something in it; it is given up.
            MemoryError: An allocation failed; it is given up if it is not `pending`.
        """
        await self._run(self._commit)

    async def expire(self) -> bool:
        """Delete what is older than `keep`; whether that was possible now (see `base.Expires`).

        Raises:
            SinkUnavailableError: Objects cannot be listed or deleted.
        """
        return bool(await self._run(self._expire))

    async def close(self) -> None:
        """Drop the rows in memory. A commit that was cancelled finishes before."""
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, call, *arguments)
        except MemoryError:  # which Arrow's own is, beside an ArrowException
            raise
        except StoreError as error:
            raise SinkUnavailableError(f"cannot write to {self._url}: {error}") from error
        except pa.ArrowException as error:
            raise SinkRefusedError(f"cannot be written as Parquet: {error}") from error

    # In the thread

    def _open(self) -> None:
        folders = self._store.folders()
        if mistake := layout_mistake(str(self._url), folders, self._settings.partition):
            raise SinkUnavailableError(mistake)
        self._commits.open()
        try:
            self._expire()
        except StoreError as error:
            _log.warning("retention failed: %s", error)

    def _write(self, points: pa.Table, sequence: int) -> None:
        if not points.num_rows:
            return
        try:
            batch = one_batch(points)
            if not self._rows.has_room_for(batch):
                self._flush()
            self._rows.append(batch)
            self._sequence = sequence
            if self._rows.is_over_full:
                self._flush()
        except BaseException:
            self._give_up()
            raise

    def _flush(self) -> None:
        """Encode the rows in memory."""
        batch = self._rows.take()
        if batch is None:
            return
        if self._files is None:
            self._id = new_id()
            prefix = f"{self._kind}-{self._sequence:019}-{self._id}"
            metadata = {"pointgate.on_conflict": self._settings.on_conflict}
            self._files = ObjectFiles(prefix, metadata)
        for partition, rows in split(
            batch, partition=self._settings.partition, on_conflict=self._settings.on_conflict
        ):
            self._files.write(partition, rows)

    def _commit(self) -> None:
        if self._ready is None:
            self._ready = self._finished()
        commit = self._ready
        if commit is None:
            return
        if not commit.is_staged:
            self._commits.stage(commit.objects)
            commit.is_staged = True
        failpoint.hit("objects-before-record")
        self._commits.decide(commit.id, commit.sequence, commit.objects)
        failpoint.hit("objects-after-record")
        self._commits.carry_out()
        failpoint.hit("objects-after-copies")
        self._ready = None
        try:
            self._commits.forget()
        except StoreError as error:
            _log.warning("sink %s: staged objects stay until the next start: %s", self.name, error)

    def _finished(self) -> _Commit | None:
        """What was written, as objects; None if there is nothing."""
        try:
            self._flush()
            if self._files is None:
                return None
            return _Commit(self._id, self._sequence, self._files.finish())
        finally:
            self._give_up()

    def _give_up(self) -> None:
        self._rows.clear()
        self._files = None

    def _close(self) -> None:
        self._give_up()
        self._ready = None

    def _expire(self) -> bool:
        """Delete old partitions, by the clock of the store and as of the last commit."""
        if self._keep is None:
            return True
        if self._ready is not None:
            return False
        modified = self._commits.modified()
        if modified is None:
            return True
        names = [name for name in self._store.folders() if name != OWN_FOLDER]
        old = expired_partitions(names, keep=self._keep, now=modified.timestamp())
        for name in old:
            found = [one for one in self._store.objects(name) if is_own(one.key)]
            failpoint.hit("retention-before-delete")
            self._store.delete([one.key for one in found])
            _log.info(
                "retention: %s of %d files, %.1f MB, deleted from %s",
                name,
                len(found),
                sum(one.size for one in found) / 1e6,
                self._url,
            )
        return True
