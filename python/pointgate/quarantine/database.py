"""The file of rejected requests: a table in SQLite, filtered by whoever looks into it.

    quarantine/rejected.db     WAL, synchronous = NORMAL: a crash of the machine may lose the last
                               requests, never the file; the service and a person's commands
                               may use it at the same time

The time of arrival is in two columns, milliseconds and the microseconds beyond them: so a file of
the first version, which has the former only, needs one more column and no row written anew, and a
person's queries on `received_ms` go on working. Where a row has no microseconds, its number stands
in for them, so that requests of one millisecond have instants of their own.

Invariants: requests are numbered in the order in which they were kept, and no number comes twice.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from pointgate.durable_files import PRIVATE, make_folder
from pointgate.fault_document import StoredFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

NAME: Final = "rejected.db"

_PATIENCE_SECONDS: Final = 10.0
"""How long one process waits for another that writes."""

_VERSION: Final = 2

_AT_ONCE: Final = 200
"""How many requests are forgotten by one statement."""

_ROW_BYTES: Final = 256
"""About what a row takes besides its payload."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS rejected (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  received_ms INTEGER NOT NULL,
  product TEXT NOT NULL,
  topic TEXT NOT NULL,
  code INTEGER NOT NULL,
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  pointer TEXT,
  fault_offset INTEGER NOT NULL,
  entry INTEGER,
  device TEXT,
  identifier TEXT,
  expected TEXT,
  got TEXT,
  did_you_mean TEXT,
  payload BLOB,
  received_rest_us INTEGER
)
"""

_RECEIVED_US: Final = "received_ms * 1000 + coalesce(received_rest_us, number % 1000)"

_LOOKED_AT: Final = 10_000
"""Requests in which the newest arrival is looked for: the last ones that were kept."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A request that was rejected.

    Attributes:
        number: Its number in the quarantine; 0 until it has one.
        received_us: When it first arrived, UTC microseconds; no other request has the same.
        product: The product key.
        topic: The topic it came on.
        code: The reply's code.
        reason: The fault's reason, as all that follow (contract 2.5).
        message: The sentence of the reply.
        pointer: Where the fault is.
        fault_offset: At which byte of the payload.
        entry: In which entry.
        device: Of which device.
        identifier: In which point.
        expected: What was expected.
        got: What came.
        did_you_mean: What was most likely meant.
        payload: What was posted; None when it was too large to be kept.
    """

    number: int
    received_us: int
    product: str
    topic: str
    code: int
    reason: str
    message: str
    pointer: str | None
    fault_offset: int
    entry: int | None
    device: str | None
    identifier: str | None
    expected: str | None
    got: str | None
    did_you_mean: str | None
    payload: bytes | None

    @property
    def fault(self) -> StoredFault:
        """Why it was rejected."""
        return StoredFault(
            self.reason,
            self.message,
            self.pointer,
            self.fault_offset,
            self.entry,
            self.device,
            self.identifier,
            self.expected,
            self.got,
            self.did_you_mean,
        )


_COLUMNS: Final = tuple(field.name for field in fields(Rejected))
_KEPT: Final = ("received_ms", "received_rest_us", *_COLUMNS[2:])
_INSERT: Final = (
    f"INSERT INTO rejected ({', '.join(_KEPT)}) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * len(_KEPT))})"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which requests are meant: those for which everything holds that is not None.

    Attributes:
        product: The product key.
        device: The device key in the fault.
        reason: The fault's reason.
        code: The reply's code.
        since_ms: The earliest arrival.
        limit: Only so many, the last ones.
    """

    product: str | None = None
    device: str | None = None
    reason: str | None = None
    code: int | None = None
    since_ms: int | None = None
    limit: int | None = None


class QuarantineDatabase:
    """The table in one folder. For one thread at a time.

    Args:
        folder: The folder; it is made when it is missing.

    Raises:
        sqlite3.Error: As every method: the file cannot be used.
        OSError: The folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder, PRIVATE)
        with suppress(FileExistsError):  # SQLite gives its log the same mode
            (folder / NAME).touch(PRIVATE.file, exist_ok=False)
        self._connection = sqlite3.connect(
            folder / NAME,
            timeout=_PATIENCE_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # opened where a mistake can be told, used by a thread
        )
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            with self.transaction():
                self._migrate()
        except BaseException:
            self._connection.close()
            raise

    def _migrate(self) -> None:
        self._connection.execute(_SCHEMA)
        columns = self._connection.execute("SELECT name FROM pragma_table_info('rejected')")
        if ("received_rest_us",) not in columns.fetchall():
            self._connection.execute("ALTER TABLE rejected ADD COLUMN received_rest_us INTEGER")
        self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.execute("COMMIT")

    def insert(self, requests: Iterable[Rejected]) -> None:
        """Keep requests; their numbers are given here."""
        rows = (
            [*divmod(one.received_us, 1000), *(getattr(one, name) for name in _COLUMNS[2:])]
            for one in requests
        )
        self._connection.executemany(_INSERT, rows)

    def delete(self, numbers: Iterable[int]) -> None:
        """Forget requests."""
        self._connection.executemany(
            "DELETE FROM rejected WHERE number = ?", ((number,) for number in numbers)
        )

    def delete_oldest(self, size: int) -> int:
        """Forget the oldest requests, of so many bytes; returns how many there were."""
        numbers = []
        for number, length in self._connection.execute(
            "SELECT number, coalesce(length(payload), 0) FROM rejected ORDER BY number LIMIT ?",
            (_AT_ONCE,),
        ).fetchall():
            numbers.append(number)
            size -= length + _ROW_BYTES
            if size <= 0:
                break
        self.delete(numbers)
        return len(numbers)

    def delete_before(self, received_ms: int) -> int:
        """Forget some of the oldest if they arrived earlier; returns how many there were."""
        return self._connection.execute(
            "DELETE FROM rejected WHERE number IN "
            "(SELECT number FROM rejected ORDER BY number LIMIT ?) AND received_ms < ?",
            (_AT_ONCE, received_ms),
        ).rowcount

    @property
    def size(self) -> int:
        """The bytes that requests take in the file, whole pages."""
        pages, free, page_bytes = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * page_bytes

    @property
    def count(self) -> int:
        """How many requests there are."""
        return int(self._connection.execute("SELECT count(*) FROM rejected").fetchone()[0])

    @property
    def newest(self) -> int:
        """The latest arrival, UTC microseconds; 0 when there is none."""
        row = self._connection.execute(
            f"SELECT coalesce(max(received), 0) FROM (SELECT {_RECEIVED_US} AS received "  # noqa: S608
            "FROM rejected ORDER BY number DESC LIMIT ?)",
            (_LOOKED_AT,),
        ).fetchone()
        return int(row[0])

    def numbers(self, wanted: Filter) -> list[int]:
        """The numbers of the requests that are meant, in order."""
        conditions = {
            "product = ?": wanted.product,
            "device = ?": wanted.device,
            "reason = ?": wanted.reason,
            "code = ?": wanted.code,
            "received_ms >= ?": wanted.since_ms,
        }
        given = {text: value for text, value in conditions.items() if value is not None}
        where = f"WHERE {' AND '.join(given)} " if given else ""
        limit = -1 if wanted.limit is None else wanted.limit
        found = self._connection.execute(
            f"SELECT number FROM rejected {where}ORDER BY number DESC LIMIT ?",  # noqa: S608
            (*given.values(), limit),
        ).fetchall()
        return [number for (number,) in reversed(found)]

    def get(self, number: int, *, payload: bool = True) -> Rejected | None:
        """A request; None when it is there no more."""
        last = "payload" if payload else "NULL"
        names = ["number", _RECEIVED_US, *_COLUMNS[2:-1], last]
        row = self._connection.execute(
            f"SELECT {', '.join(names)} FROM rejected WHERE number = ?",  # noqa: S608
            (number,),
        ).fetchone()
        return Rejected(*row) if row else None
