"""Reads batches from a spool's files, in order, while another thread writes.

Each read is one short transaction, so that a checkpoint can reset the write-ahead log. The batches
are joined into one table with unified dictionaries, as sinks need it.

A corrupt batch is skipped, logged and counted, and its file is kept; a corrupt file is read up to
the corruption. All other errors are retried.

Invariants: one thread only; nothing is written.
"""

from __future__ import annotations

import logging
import sqlite3
from array import array
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

import pyarrow as pa

from pointgate.diagnostics import numbered
from pointgate.error_classes import DamageError, ErrorClass, classify
from pointgate.store.points import SCHEMA
from pointgate.store.spool.batch import COUNTS, Batch, BrokenBatchError, decode
from pointgate.store.spool.folder import ENDLESS
from pointgate.store.spool.segment import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pointgate.store.spool.folder import File

_BATCHES: Final = 4096
"""The most batches in one read."""

_SELECT: Final = """
SELECT sequence, points, total, committed, counts, raw_bytes, checksum, body FROM batch
WHERE sequence > ? AND sequence <= ? ORDER BY sequence
"""

_Row: TypeAlias = tuple[int, int, int, int, Batch]
"""Number of the last request, total, time of the commit, points, and the batch itself."""

_log = logging.getLogger(__name__)


class DamagedFileError(DamageError):
    """The rest of a file is corrupt.

    Attributes:
        file: The file.
    """

    def __init__(self, file: File, reason: str) -> None:
        super().__init__(f"spool file damaged: {file.path}: {reason}")
        self.file = file


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive batches, joined.

    Attributes:
        points: Their points, in the order of arrival; none if no batch could be read.
        counts: How many points each request has.
        sequences: The number of each request.
        last: The number of the last request, including unreadable ones.
        begins: How many points had been written to the spool before this chunk.
        ends: The same after this chunk; 0 if unknown, because nothing could be read.
        since: When its first batch was committed, in milliseconds since 1970.
        unreadable: How many batches were skipped as corrupt.
        file: The file that contains them.
        more: Whether a limit ended it, so that more can be read at once.
    """

    points: pa.Table
    counts: array[int]
    sequences: Sequence[int]
    last: int
    begins: int = 0
    ends: int = 0
    since: int = 0
    unreadable: int = 0
    file: File | None = None
    more: bool = False


@dataclass(frozen=True, slots=True)
class BatchPosition:
    """The position of a batch in the spool.

    Attributes:
        after: The number of the last request before it.
        since: When it was committed, in milliseconds since 1970.
        begins: How many points had been written to the spool before it.
    """

    after: int
    since: int
    begins: int


class Reader:
    """Reads a spool's files."""

    def __init__(self) -> None:
        self._connections: dict[Path, sqlite3.Connection] = {}

    def read(self, files: Sequence[File], after: int, *, points: int, size: int) -> Chunk | None:
        """Read the batches after an offset.

        Args:
            files: All files, in order.
            after: The offset: the number of the last request that was read before.
            points: The most points to read; at least one batch is read.
            size: The most bytes they may have, decompressed; at least one batch is read.

        Returns:
            The batches, or None if there are none.

        Raises:
            DamagedFileError: The rest of a file is corrupt.
            sqlite3.Error: A read failed; a retry can succeed.
        """
        self.close_all_but(files)
        for file in files:
            if file.is_empty or file.last <= after:
                continue
            rows, more = self._rows(file, after, points, size)
            if rows:
                return _join(rows, file, more=more)
        return None

    def oldest(self, files: Sequence[File], after: int) -> BatchPosition | None:
        """The position of the first batch after an offset; None if there is none.

        Raises:
            DamagedFileError: The rest of a file is corrupt.
            sqlite3.Error: A read failed; a retry can succeed.
        """
        self.close_all_but(files)
        statement = (
            "SELECT sequence - length(counts) / 4, committed, total - points FROM batch "
            "WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT 1"
        )
        for file in files:
            if not file.is_empty and file.last > after:
                with self._open(file) as connection:
                    row = connection.execute(statement, (after, file.last)).fetchone()
                if row is not None:
                    return BatchPosition(*row)
        return None

    def close(self) -> None:
        """Close every file."""
        self.close_all_but(())

    def _rows(self, file: File, after: int, points: int, size: int) -> tuple[list[_Row], bool]:
        """Batches within the limits, and whether there are more of them."""
        rows: list[_Row] = []
        more = False
        with self._open(file) as connection:
            cursor = connection.execute(_SELECT, (after, file.last))
            for sequence, count, total, committed, counts, raw_bytes, checksum, body in cursor:
                points -= count
                size -= raw_bytes
                more = bool(rows) and (points < 0 or size < 0 or len(rows) == _BATCHES)
                if more:
                    break
                batch = Batch(counts, count, body, raw_bytes, checksum)
                rows.append((sequence, total, committed, count, batch))
            cursor.close()  # ends the transaction
        return rows, more

    def _open(self, file: File) -> _Opened:
        return _Opened(self._connections, file)

    def close_all_but(self, files: Sequence[File]) -> None:
        """Close all other files: an open file that was deleted still takes disk space."""
        wanted = {file.path for file in files}
        for path in [path for path in self._connections if path not in wanted]:
            self._connections.pop(path).close()


class _Opened:
    """A connection to a file; an error closes it, and corruption raises `DamagedFileError`."""

    def __init__(self, connections: dict[Path, sqlite3.Connection], file: File) -> None:
        self._connections = connections
        self._file = file

    def __enter__(self) -> sqlite3.Connection:
        path = self._file.path
        if path not in self._connections:
            written = self._file.last == ENDLESS
            self._connections[path] = open_for_reading(path, written=written)
        return self._connections[path]

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, sqlite3.Error):
            return
        self._connections.pop(self._file.path).close()
        if classify(error) is ErrorClass.DAMAGE:
            raise DamagedFileError(self._file, str(error)) from error


def _join(rows: list[_Row], file: File, *, more: bool) -> Chunk:
    counts = array(COUNTS)
    sequences: list[range] = []
    tables = []
    unreadable = 0
    for sequence, _, _, points, batch in rows:
        try:
            some, table = decode(batch)
        except BrokenBatchError as error:
            unreadable += 1
            _log.error(
                "spool batch damaged: %s lost in %s: %s",
                numbered(points, "point"),
                file.path,
                error,
            )
            continue
        counts.extend(some)
        sequences.append(range(sequence - len(some) + 1, sequence + 1))
        tables.append(table)
    joined = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    first, last = rows[0], rows[-1]
    return Chunk(
        points=joined.unify_dictionaries().combine_chunks(),
        counts=counts,
        sequences=_numbers(sequences),
        last=last[0],
        begins=first[1] - first[3],
        ends=last[1],
        since=first[2],
        unreadable=unreadable,
        file=file,
        more=more,
    )


def _numbers(batches: Sequence[range]) -> Sequence[int]:
    """The numbers of consecutive batches: one range, unless a batch between them is missing."""
    if not batches:
        return range(0)
    if all(before.stop == after.start for before, after in pairwise(batches)):
        return range(batches[0].start, batches[-1].stop)
    return array("q", chain.from_iterable(batches))
