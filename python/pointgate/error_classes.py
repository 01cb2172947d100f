"""What an error means for accepted points: the only place that decides it.

| class | example | what is done |
| --- | --- | --- |
| MEMORY | an allocation failed | retry, with less at once; nothing is rejected or dropped |
| TRANSIENT | disk full, file locked, no descriptors, I/O error | retry with backoff, not ready |
| DAMAGE | the bytes on disk are not what was written | keep the evidence, go on behind it, alert |
| OPERATOR | no permission, a file where a folder is expected | exit status 78 at the start |

Unknown errors are TRANSIENT: a retry loses nothing. `docs/operations.md` has the table for
operators.

It does not handle anything, and does not know sinks' rejections (`sinks.base.SinkRefusedError`).
"""

from __future__ import annotations

import errno
import sqlite3
from enum import Enum
from typing import Final

from pointgate.errors import PointgateError


class ErrorClass(Enum):
    """What to do about an error."""

    MEMORY = "memory"
    TRANSIENT = "transient"
    DAMAGE = "damage"
    OPERATOR = "operator"


class DamageError(PointgateError):
    """Stored bytes are not what was written, and never will be again."""


_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""Primary result codes; of extended ones the lowest byte."""

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
"""What only somebody who changes settings or permissions can mend. Not EROFS: a file system that
was remounted read-only after an error can become writable again."""


_NO_THREAD: Final = "can't start new thread"
"""What Python says when there is no memory for a stack, or a limit on processes is reached."""


def classify(error: BaseException) -> ErrorClass:
    """The class of an error that came while points were stored or read back."""
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
