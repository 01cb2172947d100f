"""Reads batches back out of a spool's files, in their order, while another thread writes.

Each read is one short transaction, so that the writer's log can start anew. What is read is joined
into one table, whose dictionaries are shared, because that is how sinks want it.

A batch that is not what was written is left out, logged and counted, and its file is kept; a file
that breaks in the middle is read up to there. Whatever else fails is retried.

Invariants: one thread only; nothing is changed.
"""

from __future__ import annotations

import logging
import sqlite3
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import pyarrow as pa

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
"""Batches in one read at most, however small."""

_SELECT: Final = """
SELECT sequence, points, total, committed, counts, raw_bytes, checksum, body FROM batch
WHERE sequence > ? AND sequence <= ? ORDER BY sequence
"""

_Row: TypeAlias = tuple[int, int, int, int, Batch]
"""Number of the last request, total, time of the commit, points, and the batch itself."""

_log = logging.getLogger(__name__)


class DamagedFileError(DamageError):
    """Nothing more can be read from a file.

    Attributes:
        file: The file.
    """

    def __init__(self, file: File, reason: str) -> None:
        super().__init__(f"the spool's file {file.path} cannot be read any further: {reason}")
        self.file = file


@dataclass(frozen=True, slots=True)
class Portion:
    """Batches that follow one another, joined.

    Attributes:
        points: Their points, in the order of arrival; none if no batch could be read.
        counts: How many points each request has.
        sequences: The number of each request.
        last: The number of the last request, also of one that could not be read.
        begins: How many points there had been in the spool before this portion.
        ends: How many with it; 0 when that is not known, because nothing could be read.
        since: When the first of it was committed, in milliseconds since 1970.
        unreadable: How many batches were left out.
        file: The file that they stand in.
        more: Whether it ends because of the bounds, so that more can be read at once.
    """

    points: pa.Table
    counts: array[int]
    sequences: array[int]
    last: int
    begins: int = 0
    ends: int = 0
    since: int = 0
    unreadable: int = 0
    file: File | None = None
    more: bool = False


@dataclass(frozen=True, slots=True)
class Oldest:
    """Where a batch stands.

    Attributes:
        after: The number of the last request before it.
        since: When it was committed, in milliseconds since 1970.
        begins: How many points there had been in the spool before it.
    """

    after: int
    since: int
    begins: int


class Reader:
    """Reads a spool's files."""

    def __init__(self) -> None:
        self._connections: dict[Path, sqlite3.Connection] = {}

    def read(self, files: Sequence[File], after: int, *, points: int, size: int) -> Portion | None:
        """Read what follows a request.

        Args:
            files: All files, in order.
            after: The number of the last request that is not wanted.
            points: How many points to read at most, if one batch has not more.
            size: How many bytes they may take, decoded, if one batch does not take more.

        Returns:
            What follows, or None if nothing does.

        Raises:
            DamagedFileError: A file cannot be read any further.
            sqlite3.Error: Nothing can be read now.
        """
        self.close_all_but(files)
        for file in files:
            if file.is_empty or file.last <= after:
                continue
            rows, more = self._rows(file, after, points, size)
            if rows:
                return _join(rows, file, more=more)
        return None

    def oldest(self, files: Sequence[File], after: int) -> Oldest | None:
        """The first batch that follows a request; None if none does.

        Raises:
            DamagedFileError: A file cannot be read any further.
            sqlite3.Error: Nothing can be read now.
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
                    return Oldest(*row)
        return None

    def close(self) -> None:
        """Close every file."""
        self.close_all_but(())

    def _rows(self, file: File, after: int, points: int, size: int) -> tuple[list[_Row], bool]:
        """Batches within the bounds, and whether there are more of them."""
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
        """Close what is no longer among the files, so that its room becomes free."""
        wanted = {file.path for file in files}
        for path in [path for path in self._connections if path not in wanted]:
            self._connections.pop(path).close()


class _Opened:
    """A connection to a file; a failure closes it and says whether it will last."""

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


def _join(rows: list[_Row], file: File, *, more: bool) -> Portion:
    counts, sequences = array(COUNTS), array("q")
    tables = []
    unreadable = 0
    for sequence, _, _, points, batch in rows:
        try:
            some, table = decode(batch)
        except BrokenBatchError as error:
            unreadable += 1
            _log.error(
                "a batch of %d points in the spool's file %s cannot be read and is lost: %s",
                points,
                file.path,
                error,
            )
            continue
        counts.extend(some)
        sequences.extend(range(sequence - len(some) + 1, sequence + 1))
        tables.append(table)
    joined = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    first, last = rows[0], rows[-1]
    return Portion(
        points=joined.unify_dictionaries().combine_chunks(),
        counts=counts,
        sequences=sequences,
        last=last[0],
        begins=first[1] - first[3],
        ends=last[1],
        since=first[2],
        unreadable=unreadable,
        file=file,
        more=more,
    )
