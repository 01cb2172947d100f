"""Which points of a chunk were answered: a file that grows by a line with each reply.

    {"chunk":"3f9c21aa90b1c2d3-4"}  the chunk that is being posted
    [0,5000,200]                    rows 0 to 4999 are stored
    [5000,10000,1204]               rejected as a whole: its halves follow
    [7311,7312,1204,"range","…"]    a point that is rejected, with the reason and the message

A line is in the file as soon as its reply was read, so a kill loses none; what a power cut may
lose, the last second, is posted again. When a chunk is done, its rejected points are counted in the
state, and the file begins anew: what it says of another chunk is ignored.

Invariants: a row is reported as answered only if its line is whole.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from pointgate.codes import Code
from pointgate.durable_files import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SYNC_SECONDS: Final = 1.0


class Refused(NamedTuple):
    """A point that the service rejects.

    Attributes:
        row: Its row in the chunk.
        code: The code of the reply.
        reason: The reason, or the code's own word without `reply.detail`.
        message: The message.
    """

    row: int
    code: int
    reason: str
    message: str


class Answers:
    """The answers to the requests of one chunk.

    Args:
        path: The file.
        chunk: The import and the number of the chunk.

    Attributes:
        codes: How many replies had which code.
        refused: How many points were rejected.

    Raises:
        OSError: The file cannot be used.
    """

    def __init__(self, path: Path, chunk: str) -> None:
        self.codes: dict[int, int] = {}
        self.refused = 0
        self._path = path
        self._done: list[tuple[int, int]] = []
        size = self._load(chunk)
        self._file = PRIVATE.opener(str(path), os.O_RDWR | os.O_CREAT)
        os.ftruncate(self._file, size)
        os.lseek(self._file, size, os.SEEK_SET)
        self._synced = time.monotonic()
        if not size:
            self._append({"chunk": chunk})

    def _load(self, chunk: str) -> int:
        """Read what is known of the chunk; returns how much of the file that is."""
        size = 0
        try:
            with self._path.open("rb") as lines:
                for line in lines:
                    found = orjson.loads(line) if line.endswith(b"\n") else None
                    if not size and found != {"chunk": chunk}:
                        return 0
                    if found is None:
                        break
                    if size:
                        self._note(*found)
                    size += len(line)
        except (FileNotFoundError, orjson.JSONDecodeError):
            pass  # after a power cut the end of the file may be other bytes
        return size

    def _note(self, start: int, stop: int, code: int, *fault: str) -> None:
        self.codes[code] = self.codes.get(code, 0) + 1
        self.refused += bool(fault)
        if code == Code.OK or fault:
            self._done.append((start, stop))

    def missing(self, count: int) -> Iterator[tuple[int, int]]:
        """The rows of so many that were not answered."""
        start = 0
        for first, stop in sorted(self._done):
            if start < first:
                yield start, first
            start = max(start, stop)
        if start < count:
            yield start, count

    def stored(self, start: int, stop: int) -> None:
        """Rows were answered 200."""
        self._add(start, stop, Code.OK)

    def rejected(self, start: int, stop: int, code: int) -> None:
        """A request was rejected, whose rows are posted again apart."""
        self._add(start, stop, code)

    def refuse(self, point: Refused) -> None:
        """A point was rejected."""
        self._add(point.row, point.row + 1, *point[1:])

    def refusals(self) -> Iterator[Refused]:
        """Every point that was rejected."""
        with self._path.open("rb") as lines:
            next(lines)
            for line in lines:
                found = orjson.loads(line)
                if len(found) > 3:  # noqa: PLR2004 - a line with a reason
                    yield Refused(found[0], *found[2:])

    def close(self) -> None:
        """Close the file; may be called again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _add(self, start: int, stop: int, code: int, *fault: str) -> None:
        self._append([start, stop, int(code), *fault])
        self._note(start, stop, int(code), *fault)

    def _append(self, line: object) -> None:
        data = orjson.dumps(line) + b"\n"
        while data:
            data = data[os.write(self._file, data) :]
        now = time.monotonic()
        if now - self._synced >= _SYNC_SECONDS:
            os.fdatasync(self._file)
            self._synced = now
