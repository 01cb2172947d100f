"""Reading text in blocks that end at line ends.

Invariants: of a long line, only the first `keep` bytes are buffered; the rest is discarded.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pointgate.bulk.streams import Readable

UTF8_MARK: Final = b"\xef\xbb\xbf"

BLOCK_BYTES: Final = 120_000
"""The size of a read. The block fits in the processor's cache until it is validated, and is below
malloc's threshold for mmap, above which each allocation costs as much as the read."""


def read_at_most(stream: Readable, size: int) -> bytes:
    """The first bytes of a stream, up to `size`, in as many reads as needed."""
    blocks = []
    while size > 0 and (block := stream.read(min(size, BLOCK_BYTES))):
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


def blocks_of(stream: Readable) -> Iterator[bytes]:
    """All blocks of a stream."""
    while block := stream.read(BLOCK_BYTES):
        yield block


def blocks_of_range(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """The lines of a plain file that begin in a range of its bytes, in blocks.

    A byte-order mark at the beginning of the file is skipped.
    """
    with path.open("rb", buffering=0) as file:
        place = max(start - 1, 0)
        file.seek(place)
        begun = start == 0
        while block := file.read(BLOCK_BYTES):
            # The range ends after the first line end at `stop - 1` or later.
            end = block.find(b"\n", max(stop - 1 - place, 0)) + 1
            first = 0 if begun else block.find(b"\n") + 1
            if place == 0 and begun and block.startswith(UTF8_MARK):
                first = len(UTF8_MARK)
            begun = begun or first > 0
            if begun and (end == 0 or first < end):
                yield block[first : end or None]
            place += len(block)
            if end or (not begun and place >= stop):
                return


def whole_lines(blocks: Iterable[bytes], keep: int) -> Iterator[bytes]:
    """Regroup blocks so that they end at line ends.

    Args:
        blocks: Blocks of any size.
        keep: The number of bytes to keep of a line that is longer than a block.
    """
    held = _PartialLine(keep)
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end and held.size:
            first = block.find(b"\n")
            yield held.joined(block[:first]) + block[first:end]
        elif end:
            yield block[:end]
        held.add(block[end:])
    if held.size:
        yield held.joined()


def lines_of(blocks: Iterable[bytes], keep: int) -> Iterator[list[bytes]]:
    """The lines in blocks, each with its LF; lists of any length.

    Args:
        blocks: Blocks of any size.
        keep: The number of bytes to keep of a line that is longer than a block.
    """
    held = _PartialLine(keep)
    for block in blocks:
        if b"\n" not in block:
            held.add(block)
            continue
        lines = BytesIO(block).readlines()  # twice as fast as bytes.split
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        if held.size:
            lines[0] = held.joined(lines[0])
        yield lines
        held.add(rest)
    if held.size:
        yield [held.joined()]


class _PartialLine:
    """The beginning of a line whose end was not read yet, up to `keep` bytes."""

    def __init__(self, keep: int) -> None:
        self.size = 0
        self._keep = keep
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        if part and self.size < self._keep:
            self._parts.append(part[: self._keep - self.size])
            self.size += len(self._parts[-1])

    def joined(self, last: bytes = b"") -> bytes:
        """Return the line, and start the next one."""
        self.add(last)
        line = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return line
