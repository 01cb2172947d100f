"""Sources of device tables that change: a snapshot, ordered changes, and a position between them.

    snapshot          all keys
    changes(None)     what has changed since the snapshot, and the position behind it
    changes(position) what has changed since that position
                      None: that position is gone; begin with the snapshot again

Applying changes again changes nothing, so a snapshot may be newer than the position that its
changes begin with. The source here is a file of lines that are only ever appended; others, such as
a change table of a database or a compacted topic, need no more than `ChangeSource`.

Invariants: changes are applied in their order, each whole; a line without its line feed is being
written, and waits.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

_TAIL_BYTES: Final = 256
"""Bytes before a position that must still be there: of a file that was rewritten, others are."""

_HEAD_BYTES: Final = 1024 * 1024
_BLOCK_BYTES: Final = 64 * 1024
"""Of what is before a position, this much at the begin and at the end is compared by a digest: a
millisecond. So a rewrite in place is noticed unless it changes nothing but what is between them."""

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Changes(Generic[P]):
    """Changes that follow a position.

    Attributes:
        lines: `+KEY` and `-KEY`, whole lines.
        first_line: The number of the first one, for error messages.
        position: The position behind them.
    """

    lines: bytes
    first_line: int
    position: P


class ChangeSource(Protocol[P]):
    """What a source of ordered changes can do."""

    def changes(self, position: P | None) -> Changes[P] | None:
        """What has changed since a position; since the snapshot without one.

        Returns:
            None if the source does not know this position any more.

        Raises:
            OSError: The source cannot be read now.
        """


@dataclass(frozen=True, slots=True)
class FilePosition:
    """A place in a file of changes.

    Attributes:
        file: The inode and device of the file; None of one that is missing.
        offset: The byte behind the last whole line.
        line: The number of the next line.
        tail: The last bytes before `offset`.
        digest: A digest of what is before `offset`, as much of it as is compared.
    """

    file: tuple[int, int] | None = None
    offset: int = 0
    line: int = 1
    tail: bytes = b""
    digest: bytes = b""


_START: Final = FilePosition()


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe without a writer, too, which is then refused."""
    return os.open(path, flags | os.O_NONBLOCK)


class FileChanges:
    """A file to which changes are appended.

    Args:
        path: The file; a missing one has no changes yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def changes(self, position: FilePosition | None) -> Changes[FilePosition] | None:
        """See `ChangeSource`. A file that was replaced, cut or rewritten is another one.

        Raises:
            ValueError: Its lines do not end with line feeds.
        """
        try:
            opened = open(self._path, "rb", opener=_without_waiting)  # noqa: SIM115 - closed below
        except FileNotFoundError:
            known = position is None or position.file is None
            return Changes(b"", 1, _START) if known else None
        with opened as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise IsADirectoryError(0, "expected a file")
            identity = (status.st_ino, status.st_dev)
            start = _START if position is None else position
            if start.file not in {None, identity} or status.st_size < start.offset:
                return None
            file.seek(start.offset - len(start.tail))
            if file.read(len(start.tail)) != start.tail:
                return None
            if start.digest and _digest(file, start.offset) != start.digest:
                return None
            file.seek(start.offset)
            data = file.read()
            lines = data[: data.rfind(b"\n") + 1]
            line = start.line + lines.count(b"\n")
            if b"\r" in data[len(lines) : -1]:
                raise ValueError(
                    f"line {line}: expected a line feed behind each line, got a carriage return"
                )
            end = FilePosition(
                file=identity,
                offset=start.offset + len(lines),
                line=line,
                tail=(start.tail + lines[-_TAIL_BYTES:])[-_TAIL_BYTES:],
                digest=_digest(file, start.offset + len(lines)),
            )
        return Changes(lines, start.line, end)


def _digest(file: BinaryIO, offset: int) -> bytes:
    """The digest of what is before a position, see `_HEAD_BYTES`."""
    file.seek(0)
    digest = hashlib.blake2b(file.read(min(offset, _HEAD_BYTES)), digest_size=16)
    if offset > _HEAD_BYTES:
        start = max(_HEAD_BYTES, offset - _BLOCK_BYTES)
        file.seek(start)
        digest.update(file.read(offset - start))
    return digest.digest()
