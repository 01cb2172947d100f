"""The sink that writes Parquet files, a folder for each UTC day or month.

    SELECT * FROM read_parquet('points/**/*.parquet')

Files are written large and late. The spool holds everything durably, so the drain leaves points
there until they are worth a commit (`Gather`): they are `rotate_age` old, or a few million, or the
service ends. Under `ack = "sink"` every write is committed at once. A commit takes the files of all
its partitions in one step (`dataset.py`), together with the sequence of its last request: whatever
crashes, no request is written twice or left out.

Points do not move from one file to another while the service runs, and no file goes away before it
is older than `keep` (`retention.py`), so that a reader with a glob sees each of them once. Small
files need not be merged, because a file grows with the commits that follow (`files.py`): a
partition that gets points all day has 60 files.

What a reader may see besides:

- A point that was posted again stands there twice. The last accepted one has the greatest
  `received`: `QUALIFY row_number() OVER (PARTITION BY product, device, identifier, time ORDER BY
  received DESC) = 1`; with `on_conflict = "ignore"` ascending. `pointgate compact` keeps that one.
- The files of one commit appear one after the other, so that for a moment a request may be there
  for one day and not for another.
- polars reads whatever is in a folder: `scan_parquet('points')` fails while files are unfinished,
  `scan_parquet('points/**/*.parquet')` does not see those.

Rows wait in memory until enough of them can be sorted together (`row_buffer.py`), and on disk until
enough of them are for the same partition (`spill.py`).

Invariants: when `commit` returns the files are on the disk under their names, and the sequence is.
One process writes to a dataset at a time; `pointgate compact` may run beside it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pointgate.diagnostics import numbered, os_reason
from pointgate.sinks.base import LIVE, Gather, SinkRefusedError, SinkUnavailableError
from pointgate.sinks.key_order import keyed
from pointgate.sinks.object_stores import ObjectUrl
from pointgate.sinks.parquet import recovery
from pointgate.sinks.parquet.dataset import Dataset
from pointgate.sinks.parquet.files import APPENDS, CommitFiles, Growth
from pointgate.sinks.parquet.partitions import split
from pointgate.sinks.parquet.retention import expire
from pointgate.sinks.parquet.row_buffer import GATHERED, RowBuffer
from pointgate.sinks.parquet.spill import FEW_ROWS, Spill
from pointgate.sinks.tables import one_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate.sinks.base import Sink
    from pointgate.sinks.parquet.settings import ParquetSettings

_log = logging.getLogger(__name__)


def build(settings: ParquetSettings, writer: str) -> Sink:
    """Make the sink from its settings: of a folder, or of an object store.

    Raises:
        ConfigError: A secret cannot be read, or an option is unknown.
        ModuleNotFoundError: The extra `objects` is not installed.
    """
    if isinstance(settings.path, ObjectUrl):
        from pointgate.sinks.parquet.object_sink import (  # noqa: PLC0415 - needs the extra
            build_object_sink,
        )

        return build_object_sink(settings, writer)
    return ParquetSink(settings, writer=writer)


class ParquetSink:
    """Writes points into a dataset of Parquet files.

    Args:
        settings: Its table in the configuration.
        writer: Who writes (see `base.LIVE`); the names of files begin with its first word. The
            dataset remembers the last sequence of each, unless that is 0.
        clock: Gives the time, in seconds since 1970, for `keep`.

    Attributes:
        name: What its metrics and log lines call it.
        gather: When points are worth a commit.
    """

    def __init__(
        self,
        settings: ParquetSettings,
        *,
        writer: str = LIVE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = settings.name
        self.gather = Gather(seconds=settings.rotate_age, points=GATHERED)
        self._settings = settings
        self._writer = writer
        self._clock = clock
        self._dataset = Dataset(settings.folder)
        self._growth = Growth(
            self._dataset,
            most_bytes=settings.rotate_bytes,
            appends=APPENDS if settings.grow else 1,
        )
        self._rows = RowBuffer()
        self._spill = Spill(self._dataset)
        self._sequence = 0
        self._files: CommitFiles | None = None
        self._decided = False
        self._held = ExitStack()
        self._held_files = ExitStack()
        # One thread, so that a write goes to its end before the next one or before `close`, also
        # when the task that waited for it is cancelled.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink {self.name}")

    def newest(self) -> int:
        """The last sequence of its writer that is committed (see `base.Sink`)."""
        return self._dataset.newest(self._writer)

    @property
    def full(self) -> bool:
        """Whether what was written is a file of full size."""
        return self._files is not None and self._files.bytes >= self._settings.rotate_bytes

    @property
    def pending(self) -> bool:
        """Whether a commit is decided and not carried out yet (see `base.Sink`)."""
        return self._decided

    async def open(self) -> None:
        """Take the dataset, carry out what was decided, remove what else a crash left.

        Raises:
            SinkUnavailableError: The folder cannot be used, or another process writes to it.
        """
        await self._run(self._open)

    async def write(self, points: pa.Table, *, sequence: int) -> None:
        """Take points; they are stored by the next `commit`.

        Args:
            points: Rows of `store.points.SCHEMA` in the order of arrival.
            sequence: Not less than in all writes of this writer before; 0 if it has none.

        Raises:
            SinkUnavailableError: The disk is full or failing; everything since the last commit is
                given up.
            SinkRefusedError: Arrow has no place for something in it; the same.
            MemoryError: An allocation failed; the same.
        """
        await self._run(self._write, points, sequence)

    async def commit(self) -> None:
        """Store for good what was written since the last commit.

        Raises:
            SinkUnavailableError: Not now. If `pending`, it is decided and the call must be
                repeated; else everything since the last commit is given up.
            SinkRefusedError: Arrow has no place for something in it; it is given up.
            MemoryError: An allocation failed; it is given up.
        """
        await self._run(self._commit)

    async def expire(self) -> bool:
        """Delete what is older than `keep`; whether that was possible now (see `base.Expires`).

        Raises:
            SinkUnavailableError: A file cannot be deleted.
        """
        return bool(await self._run(self._expire))

    async def close(self) -> None:
        """Let others write to the dataset. A write that was cancelled ends before that."""
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, call, *arguments)
        except MemoryError:  # which Arrow's own is, beside an ArrowException
            raise
        except OSError as error:
            # Arrow's own have the number of the system's, and other words.
            plain = OSError(error.errno, os.strerror(error.errno)) if error.errno else error
            raise SinkUnavailableError(
                f"cannot write to {self._settings.path}: {os_reason(plain)}"
            ) from error
        except pa.ArrowException as error:
            raise SinkRefusedError(f"cannot be written as Parquet: {error}") from error

    # In the thread

    def _open(self) -> None:
        if mistake := self._settings.mistake:
            raise SinkUnavailableError(mistake)
        self._dataset.create()
        self._held.close()
        try:
            self._held.enter_context(self._dataset.locked("writer", wait=False))
        except BlockingIOError:
            raise SinkUnavailableError(
                f"{self._settings.path} is written by another process: stop that, or write to "
                "another folder"
            ) from None
        self._dataset.carry_out()
        self._dataset.clear("write-")
        self._dataset.on_conflict = self._settings.on_conflict
        recovery.recover(self._dataset)
        if self._writer == LIVE:  # an import may bring what is old
            try:
                self._expire()
            except OSError as error:
                _log.warning("retention failed: %s", os_reason(error))

    def _expire(self) -> bool:
        if self._settings.keep is None:
            return True
        if self._decided or self._files is not None:
            return False
        keep = self._settings.keep
        deleted = expire(self._dataset, keep=keep, now=self._clock())
        if deleted is not None and deleted.partitions:
            _log.info(
                "retention: %s (%s to %s) of %s, %.1f MB, deleted from %s",
                numbered(len(deleted.partitions), "partition"),
                deleted.partitions[0],
                deleted.partitions[-1],
                numbered(deleted.files, "file"),
                deleted.bytes / 1e6,
                self._settings.path,
            )
        return deleted is not None

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

    def _flush(self, *, last: bool = False) -> None:
        """Write the rows in memory into temporary files; the last ones of a commit, or others."""
        batch = self._rows.take()
        if batch is not None:
            if self._files is None:
                self._files = self._begin()
            spills = (self._spill or not last) and self._spill.takes(batch)
            few = []
            for partition, rows in split(
                batch,
                partition=self._settings.partition,
                on_conflict=None if spills else self._settings.on_conflict,
            ):
                if not spills:
                    self._files.write(partition, rows)
                elif len(rows) < FEW_ROWS:
                    few.append((partition, rows))
                else:
                    self._write_sorted(partition, rows)
            self._spill.add(few)
        if self._files is not None and (last or self._spill.is_full):
            for partition, rows in self._spill.taken():
                self._write_sorted(partition, rows)

    def _write_sorted(self, partition: str, rows: pa.RecordBatch) -> None:
        assert self._files is not None  # noqa: S101 - as the caller has seen
        self._files.write(partition, keyed(rows, on_conflict=self._settings.on_conflict))

    def _begin(self) -> CommitFiles:
        self._dataset.create()
        self._held_files.enter_context(self._dataset.locked("files", wait=True))
        recovery.recover(self._dataset)
        return CommitFiles(
            self._dataset,
            kind=self._writer.partition("-")[0],
            number=self._sequence if self._writer == LIVE else time.time_ns() // 1000,
            metadata={"pointgate.on_conflict": self._settings.on_conflict},
            growth=self._growth,
            claimed=recovery.claimed(self._dataset),
        )

    def _commit(self) -> None:
        if not self._decided:
            try:
                self._flush(last=True)
                if self._files is None:
                    return
                finished = self._files.finish()
                self._dataset.decide(self._writer, self._sequence, finished)
            except BaseException:
                self._decided = self._dataset.decided
                if not self._decided:
                    self._give_up()
                raise
            self._decided = True
        self._dataset.carry_out()
        self._decided = False
        if self._files is not None:
            self._growth.note(self._files.left())
            self._files = None
        self._held_files.close()

    def _give_up(self) -> None:
        self._rows.clear()
        self._spill.clear()
        self._dataset.forget()
        if self._files is not None:
            self._files.discard()
            self._files = None
        self._held_files.close()

    def _close(self) -> None:
        if not self._decided:
            self._give_up()
        self._held_files.close()
        self._held.close()
