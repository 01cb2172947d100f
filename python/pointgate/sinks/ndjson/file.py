r"""An append-only file of lines, with recovery after a power cut.

    points.ndjson             the lines
    .points.ndjson.synced     <inode> <bytes>: at least so many bytes of that file are synced

After a power cut, a write that was not yet synced can be damaged in any way: some of its pages are
on the disk, others read as zeros, in any order, and the file can have any length. Whole lines may
follow damaged ones. Bytes that were synced before are intact. The mark beside the file is a
checkpoint: damage is possible only behind it. Recovery finds the first line behind the mark that
contains a zero byte, and truncates the file there. That line belongs to a write that was not
synced, which the drain delivers again. Lines of this sink contain no zero byte, because JSON
requires it to be escaped.

    synced                    {…}\n{…}\n
    after a power cut         {…}\n{…}\n{…}\n{"product":"so\0\0\0\0 … \0\0"}\n{…}\n
                                        ^    ^ truncated here: the first line with a zero byte
                                        | the mark

The mark is written and synced before an append, but only if the file was replaced or changed, or
if `_STEP` bytes were appended since the last mark: one more fsync for some 100,000 lines. A file
without a valid mark (from an older version, or copied) has not been written by this version, so
recovery removes only an incomplete last line.

Invariants: recovery never removes a whole line that was synced; after it, only whole lines follow
the mark; when `append` returns, its lines and the file's name are durable. One thread, one process.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final

from pointgate.durable_files import SHARED, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pyarrow as pa

_STEP: Final = 16 * 1024 * 1024
"""Bytes between two marks, and the most that recovery reads, in some 10 ms."""

_PIECE: Final = 1024 * 1024
"""Bytes read at a time."""

_MARK: Final = re.compile(rb"(\d{20}) (\d{20})\n")
"""Of fixed length, so that overwriting it never changes the size of its file."""


class LineFile:
    """A file of lines.

    Args:
        path: The file; another program may rotate it away at any time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = path.with_name(f".{path.name}.synced")
        self._inode = 0
        self._synced = 0  # the size in the mark
        self._end = 0  # the size after the last append
        self._torn = False  # whether part of a failed append may follow

    def recover(self) -> None:
        """Create the file if it is missing, and truncate it where it is damaged.

        Raises:
            OSError: It cannot be created or read.
        """
        with _open(self._path) as file:
            end = file.seek(0, os.SEEK_END)
            keep = _end_of_lines(file, end)
            synced = self._read_mark(os.fstat(file.fileno()).st_ino)
            if synced is not None and synced <= keep:
                keep = _end_of_lines(file, _find_zero(file, synced, keep))
            if keep < end:
                file.truncate(keep)
            self._write_mark(file, keep)
        sync_folder(self._path.parent)

    def append(self, lines: Iterable[pa.Buffer]) -> None:
        """Append lines.

        Raises:
            OSError: Nothing was appended; the same holds for any other exception.
        """
        with _open(self._path) as file:
            new = os.fstat(file.fileno()).st_ino != self._inode
            if self._torn and not new:
                file.truncate(self._end)
            self._torn = False
            size = file.seek(0, os.SEEK_END)
            if new or size != self._end or size - self._synced >= _STEP:
                self._write_mark(file, size)
            self._torn = True
            try:
                for data in lines:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:
                # After a failed fsync the state of the pages is unknown: the retry writes them all.
                with suppress(OSError):
                    file.truncate(size)
                raise
            self._torn, self._end = False, file.tell()
        if new:
            sync_folder(self._path.parent)

    def _write_mark(self, file: IO[bytes], size: int) -> None:
        """Sync the file, then write its mark."""
        os.fsync(file.fileno())
        inode = os.fstat(file.fileno()).st_ino
        new = not self._mark.exists()
        mark = os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, SHARED.file)
        try:
            os.pwrite(mark, b"%020d %020d\n" % (inode, size), 0)
            os.fsync(mark)
        finally:
            os.close(mark)
        if new:
            sync_folder(self._mark.parent)
        self._inode, self._synced, self._end = inode, size, size

    def _read_mark(self, inode: int) -> int | None:
        """The number of bytes that are synced at least; None if the mark is of another file."""
        try:
            found = _MARK.fullmatch(self._mark.read_bytes())
        except FileNotFoundError:
            return None
        return int(found[2]) if found and int(found[1]) == inode else None


def _open(path: Path) -> IO[Any]:
    return open(path, "ab+", buffering=0, opener=SHARED.opener)


def _end_of_lines(file: IO[bytes], end: int) -> int:
    """The offset behind the last line break."""
    while end:
        start = max(0, end - _PIECE)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        end = start + found + 1
        if found >= 0:
            break
    return end


def _find_zero(file: IO[bytes], start: int, end: int) -> int:
    """The offset of the first zero byte, or `end`."""
    file.seek(start)
    while start < end:
        piece = file.read(min(_PIECE, end - start))
        if not piece:
            break
        if (found := piece.find(b"\0")) >= 0:
            return start + found
        start += len(piece)
    return end
