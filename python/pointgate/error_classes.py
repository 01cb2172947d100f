"""Classifies the errors of storing and reading points; only this module decides about the class.

| class | example | handling |
| --- | --- | --- |
| MEMORY | an allocation failed | retry with a smaller batch; nothing is rejected or dropped |
| TRANSIENT | disk full, file locked, no descriptors, I/O error | retry with backoff, not ready |
| DAMAGE | stored bytes are corrupt | keep the file for inspection, continue after it, alert |
| OPERATOR | no permission, a file where a folder is expected | exit status 78 at startup |

Unknown errors are TRANSIENT: a retry loses nothing. `docs/operations.md` has the table for
operators.

It does not handle errors, and does not cover rejections by sinks (`sinks.base.SinkRefusedError`).
"""

from __future__ import annotations

import errno
import sqlite3
from enum import Enum
from typing import Final

from pointgate.errors import PointgateError


class ErrorClass(Enum):
    """How an error is handled."""

    MEMORY = "memory"
    TRANSIENT = "transient"
    DAMAGE = "damage"
    OPERATOR = "operator"


class DamageError(PointgateError):
    """Stored bytes are corrupt; a retry cannot help."""


_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""Primary result codes: the lowest byte of the extended ones."""

_DAMAGED_READING: Final = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}

_OPERATOR: Final = {
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}
"""Errors that only a change of settings or permissions resolves. Not EROFS: a file system that was
remounted read-only after an error can become writable again."""


_NO_THREAD: Final = "can't start new thread"
"""Python's message when there is no memory for a stack, or when a process limit is reached."""


def classify(error: BaseException) -> ErrorClass:
    """The class of an error that occurred while points were stored or read back."""
    # First: pyarrow's ArrowMemoryError is an ArrowException, too, and sqlite3 raises MemoryError.
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return ErrorClass.MEMORY
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return ErrorClass.MEMORY
    if isinstance(error, DamageError):
        return ErrorClass.DAMAGE
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)
        damaged = code & 0xFF in _DAMAGED or code in _DAMAGED_READING
        return ErrorClass.DAMAGE if damaged else ErrorClass.TRANSIENT
    if isinstance(error, OSError) and error.errno in _OPERATOR:
        return ErrorClass.OPERATOR
    return ErrorClass.TRANSIENT
