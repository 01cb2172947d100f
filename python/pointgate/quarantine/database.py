"""The file of rejected requests: an SQLite table that commands filter.

    quarantine/rejected.db     WAL, synchronous = NORMAL: a crash of the machine may lose the last
                               requests, never the file; the service and commands can use it
                               at the same time

The arrival time is in two columns, milliseconds and the remaining microseconds. So a file of the
first version, which has only the former, is migrated by adding a column, without rewriting rows,
and queries on `received_ms` still work. If a row has no microseconds, its number replaces them, so
that requests of one millisecond have distinct instants. `answered` was added in the same way.

Invariants: requests are numbered in the order in which they were inserted; numbers are never
reused.
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

_BUSY_TIMEOUT_SECONDS: Final = 10.0
"""How long a process waits for another one's write lock."""

_VERSION: Final = 3

_DELETED_AT_ONCE: Final = 200
"""How many requests one statement deletes."""

_ROW_BYTES: Final = 256
"""The approximate size of a row without its payload."""

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
  received_rest_us INTEGER,
  answered INTEGER
)
"""

_RECEIVED_US: Final = "received_ms * 1000 + coalesce(received_rest_us, number % 1000)"

_NEWEST_ROWS: Final = 10_000
"""The latest arrival is searched among this many requests: those inserted last."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A request that was rejected.

    Attributes:
        number: Its number in the quarantine; 0 until it has one.
        received_us: When it first arrived, UTC microseconds; unique.
        product: The product key.
        topic: The topic of the request.
        code: The fault's code, which is that of the reply unless `answered` says otherwise.
        reason: The fault's reason; this and the following fields are the fault (contract 2.5).
        message: The message of the reply.
        pointer: The fault's JSON pointer.
        fault_offset: The fault's byte offset in the payload.
        entry: The index of the entry.
        device: The device key of the entry.
        identifier: The identifier of the point.
        expected: What was expected.
        got: What was found.
        did_you_mean: The most similar valid name.
        payload: The payload; None if it was too large to be kept.
        answered: The code of the reply, if that was another one: 200, by the mode of the product
            (contract 11).
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
    answered: int | None = None

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
_OF_PRODUCT: Final = ("device", "identifier")
"""Columns whose values are names in a product: others may have the same ones."""

_INSERTED: Final = ("received_ms", "received_rest_us", *_COLUMNS[2:])
_INSERT: Final = (
    f"INSERT INTO rejected ({', '.join(_INSERTED)}) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * len(_INSERTED))})"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects the requests that match every field that is not None.

    Attributes:
        product: The product key.
        device: The device key in the fault.
        identifier: The identifier of the fault.
        reason: The fault's reason.
        code: The fault's code.
        since_ms: The earliest arrival.
        limit: Select only the last `limit` requests.
    """

    product: str | None = None
    device: str | None = None
    identifier: str | None = None
    reason: str | None = None
    code: int | None = None
    since_ms: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Requests that have something in common.

    Attributes:
        product: The product key, where the value is one of a product: a device, an identifier.
        value: What that is; None where the fault has no such thing.
        requests: How many there are.
        first_us: When the first one arrived, UTC microseconds.
        last_us: When the last one did.
        newest: The number of the last one.
        answered_200: How many of them were answered 200, by the mode of the product.
    """

    product: str | None
    value: str | None
    requests: int
    first_us: int
    last_us: int
    newest: int
    answered_200: int


def _where(wanted: Filter) -> tuple[str, list[object]]:
    """The condition of a filter, and its values."""
    conditions = {
        "product = ?": wanted.product,
        "device = ?": wanted.device,
        "identifier = ?": wanted.identifier,
        "reason = ?": wanted.reason,
        "code = ?": wanted.code,
        "received_ms >= ?": wanted.since_ms,
    }
    given = {text: value for text, value in conditions.items() if value is not None}
    return (f"WHERE {' AND '.join(given)} " if given else "", [*given.values()])


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file is no database, or a damaged one."""
    name = getattr(error, "sqlite_errorname", None) or ""
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def set_aside(folder: Path) -> Path:
    """Rename the file, in place of one that was renamed before; returns its new path.

    Raises:
        OSError: It cannot be renamed.
    """
    path = folder / NAME
    for suffix in ("-wal", "-shm"):  # of the next file they would be damage, too
        path.with_name(NAME + suffix).unlink(missing_ok=True)
    return path.replace(path.with_name(f"{NAME}.damaged"))


class QuarantineDatabase:
    """The table in one folder. For one thread at a time.

    Args:
        folder: The folder; it is created if it does not exist.

    Raises:
        sqlite3.Error: The file cannot be used. Every method can raise this.
        OSError: The folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder, PRIVATE)
        with suppress(FileExistsError):  # SQLite gives its log the same mode
            (folder / NAME).touch(PRIVATE.file, exist_ok=False)
        self._connection = sqlite3.connect(
            folder / NAME,
            timeout=_BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # opened where errors can be reported, then used by a thread
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
        found = self._connection.execute("SELECT name FROM pragma_table_info('rejected')")
        columns = found.fetchall()
        for name in ("received_rest_us", "answered"):
            if (name,) not in columns:
                self._connection.execute(f"ALTER TABLE rejected ADD COLUMN {name} INTEGER")
        self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block as one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.execute("COMMIT")

    def insert(self, requests: Iterable[Rejected]) -> None:
        """Insert requests; this assigns their numbers."""
        rows = (
            [*divmod(one.received_us, 1000), *(getattr(one, name) for name in _COLUMNS[2:])]
            for one in requests
        )
        self._connection.executemany(_INSERT, rows)

    def delete(self, numbers: Iterable[int]) -> None:
        """Delete requests."""
        self._connection.executemany(
            "DELETE FROM rejected WHERE number = ?", ((number,) for number in numbers)
        )

    def delete_oldest(self, size: int) -> int:
        """Delete the oldest requests until `size` bytes are free; returns how many were deleted."""
        numbers = []
        for number, length in self._connection.execute(
            "SELECT number, coalesce(length(payload), 0) FROM rejected ORDER BY number LIMIT ?",
            (_DELETED_AT_ONCE,),
        ).fetchall():
            numbers.append(number)
            size -= length + _ROW_BYTES
            if size <= 0:
                break
        self.delete(numbers)
        return len(numbers)

    def delete_before(self, received_ms: int) -> int:
        """Delete some of the oldest if they arrived earlier; returns how many were deleted."""
        return self._connection.execute(
            "DELETE FROM rejected WHERE number IN "
            "(SELECT number FROM rejected ORDER BY number LIMIT ?) AND received_ms < ?",
            (_DELETED_AT_ONCE, received_ms),
        ).rowcount

    @property
    def size(self) -> int:
        """The size of the requests in the file, in bytes of whole pages."""
        pages, free, page_bytes = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * page_bytes

    @property
    def count(self) -> int:
        """How many requests there are."""
        return int(self._connection.execute("SELECT count(*) FROM rejected").fetchone()[0])

    def values(self, column: str, most: int) -> list[str]:
        """Some of the different values of a column, such as `product`."""
        assert column in _COLUMNS  # noqa: S101 - part of the statement
        found = self._connection.execute(
            f"SELECT DISTINCT {column} FROM rejected WHERE {column} NOT NULL LIMIT ?",  # noqa: S608
            (most,),
        )
        return [value for (value,) in found]

    @property
    def newest(self) -> int:
        """The latest arrival, UTC microseconds; 0 if there is none."""
        row = self._connection.execute(
            f"SELECT coalesce(max(received), 0) FROM (SELECT {_RECEIVED_US} AS received "  # noqa: S608
            "FROM rejected ORDER BY number DESC LIMIT ?)",
            (_NEWEST_ROWS,),
        ).fetchone()
        return int(row[0])

    def numbers(self, wanted: Filter) -> list[int]:
        """The numbers of the selected requests, in order."""
        where, values = _where(wanted)
        found = self._connection.execute(
            f"SELECT number FROM rejected {where}ORDER BY number DESC LIMIT ?",  # noqa: S608
            (*values, -1 if wanted.limit is None else wanted.limit),
        ).fetchall()
        return [number for (number,) in reversed(found)]

    def groups(self, wanted: Filter, by: str) -> list[Group]:
        """The selected requests in groups, the largest first; `limit` is that of groups.

        Args:
            wanted: Selects the requests.
            by: What those of a group have in common: a column. Devices and identifiers are those
                of a product.
        """
        assert by in _COLUMNS  # noqa: S101 - part of the statement
        where, values = _where(wanted)
        product = "product" if by in _OF_PRODUCT else "NULL"
        found = self._connection.execute(
            f"SELECT {product}, {by}, count(*), min({_RECEIVED_US}), max({_RECEIVED_US}), "  # noqa: S608
            "max(number), count(answered) "
            f"FROM rejected {where}GROUP BY 1, 2 ORDER BY 3 DESC, 6 DESC LIMIT ?",
            (*values, -1 if wanted.limit is None else wanted.limit),
        )
        return [Group(*row) for row in found]

    def get(self, number: int, *, payload: bool = True) -> Rejected | None:
        """A request; None if it was deleted."""
        names = ["number", _RECEIVED_US, *_COLUMNS[2:]]
        if not payload:
            names[_COLUMNS.index("payload")] = "NULL"
        row = self._connection.execute(
            f"SELECT {', '.join(names)} FROM rejected WHERE number = ?",  # noqa: S608
            (number,),
        ).fetchone()
        return Rejected(*row) if row else None
