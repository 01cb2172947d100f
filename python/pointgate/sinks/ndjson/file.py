r"""A file of lines that is appended to, and made whole again after a power cut.

    points.ndjson             the lines
    .points.ndjson.synced     <inode> <bytes>: so much of that file has been synced, at least

A power cut may leave anything of a write that was not synced yet: some of its pages and zeros in
the place of others, in any order, up to a length that may be any. Whole lines may follow damaged
ones. What was synced before is intact. So the mark beside the file says from where on damage is
possible; at the start the first line there with a zero is cut off, with all that follows: it
belongs to a write that was not synced, and is delivered again. No line that we write has a zero:
neither JSON nor orjson allows one.

    synced                    {…}\n{…}\n
    after a power cut         {…}\n{…}\n{…}\n{"product":"so\0\0\0\0 … \0\0"}\n{…}\n
                                        ^    ^ cut here: the first line with a zero begins
                                        | the mark

The mark is synced before a write, and only when the file is another one, somebody has changed it,
or `_STEP` bytes have been added since: one more fsync for some 100,000 lines. A file without a mark
of its own, from an older version or from elsewhere, was not written by us since its last start:
only a line without an end is cut off.

Invariants: no whole line is cut off that was synced; after `mend` only whole lines follow the mark;
when `append` returns its lines are durable, and so is the file's name. One thread at a time, one
process.
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
"""Bytes after which the mark is moved; so much is read at a start, some 10 ms."""

_PIECE: Final = 1024 * 1024
"""Bytes read at a time."""

_MARK: Final = re.compile(rb"(\d{20}) (\d{20})\n")
"""Always as long, so that writing over it never changes the length of its file."""


class LineFile:
    """A file of lines.

    Args:
        path: Where it is; it may be moved away at any time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = path.with_name(f".{path.name}.synced")
        self._inode = 0
        self._synced = 0  # what the mark says of it
        self._end = 0  # how long we left it
        self._torn = False  # whether part of a failed write may be behind that

    def mend(self) -> None:
        """Make the file if it is missing, and cut off what is damaged.

        Raises:
            OSError: It cannot be made or read.
        """
        with _open(self._path) as file:
            end = file.seek(0, os.SEEK_END)
            keep = _end_of_lines(file, end)
            synced = self._read_mark(os.fstat(file.fileno()).st_ino)
            if synced is not None and synced <= keep:
                keep = _end_of_lines(file, _find_zero(file, synced, keep))
            if keep < end:
                file.truncate(keep)
            self._note(file, keep)
        sync_folder(self._path.parent)

    def append(self, lines: Iterable[pa.Buffer]) -> None:
        """Append lines.

        Raises:
            OSError: Nothing was appended, as after any other exception.
        """
        with _open(self._path) as file:
            new = os.fstat(file.fileno()).st_ino != self._inode
            if self._torn and not new:
                file.truncate(self._end)
            self._torn = False
            size = file.seek(0, os.SEEK_END)
            if new or size != self._end or size - self._synced >= _STEP:
                self._note(file, size)
            self._torn = True
            try:
                for data in lines:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:
                # After a failed sync nobody knows what is on the disk: all is written anew.
                with suppress(OSError):
                    file.truncate(size)
                raise
            self._torn, self._end = False, file.tell()
        if new:
            sync_folder(self._path.parent)

    def _note(self, file: IO[bytes], size: int) -> None:
        """Write the mark of a file with so many bytes, which are synced before."""
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
        """How much of a file is synced at least; None if the mark is not of this file."""
        try:
            found = _MARK.fullmatch(self._mark.read_bytes())
        except FileNotFoundError:
            return None
        return int(found[2]) if found and int(found[1]) == inode else None


def _open(path: Path) -> IO[Any]:
    return open(path, "ab+", buffering=0, opener=SHARED.opener)


def _end_of_lines(file: IO[bytes], end: int) -> int:
    """Where the last line break ends."""
    while end:
        start = max(0, end - _PIECE)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        end = start + found + 1
        if found >= 0:
            break
    return end


def _find_zero(file: IO[bytes], start: int, end: int) -> int:
    """Where the first zero is, or the end."""
    file.seek(start)
    while start < end:
        piece = file.read(min(_PIECE, end - start))
        if not piece:
            break
        if (found := piece.find(b"\0")) >= 0:
            return start + found
        start += len(piece)
    return end
