"""Reading: text in blocks, cut where lines end.

Invariants: however long a line is, no more of it is held than was asked for.
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
"""How much is read at once. It stays in a processor's cache until it is judged, and it is less than
what the C library asks the system for anew each time, which costs as much as reading it."""


def read_at_most(stream: Readable, size: int) -> bytes:
    """The beginning of a stream, up to a size, whatever the stream gives at once."""
    blocks = []
    while size > 0 and (block := stream.read(min(size, BLOCK_BYTES))):
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


def blocks_of(stream: Readable) -> Iterator[bytes]:
    """Everything in a stream."""
    while block := stream.read(BLOCK_BYTES):
        yield block


def blocks_of_span(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """The lines of a plain file that begin in a range of its bytes, and nothing else.

    A byte-order mark at the beginning of the file is none of them.
    """
    with path.open("rb", buffering=0) as file:
        place = max(start - 1, 0)
        file.seek(place)
        begun = start == 0
        while block := file.read(BLOCK_BYTES):
            # The range ends behind the first line's end that stands at `stop - 1` or later.
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
    """Cut blocks where lines end.

    Args:
        blocks: Blocks of any size.
        keep: How much is kept of a line that is longer than a block.
    """
    held = _Held(keep)
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
    """The lines in blocks, each with the LF that ends it; lists of any length.

    Args:
        blocks: Blocks of any size.
        keep: How much is kept of a line that is longer than a block.
    """
    held = _Held(keep)
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


class _Held:
    """The beginning of a line whose end was not read yet; of a long one, so much and no more."""

    def __init__(self, keep: int) -> None:
        self.size = 0
        self._keep = keep
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        if part and self.size < self._keep:
            self._parts.append(part[: self._keep - self.size])
            self.size += len(self._parts[-1])

    def joined(self, last: bytes = b"") -> bytes:
        """The line; from here on another one is held."""
        self.add(last)
        line = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return line
