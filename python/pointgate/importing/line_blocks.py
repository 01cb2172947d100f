"""NDJSON as blocks of whole lines, for a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pointgate.bulk.extract import lines_in
from pointgate.bulk.streams import DamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointgate.bulk.streams import Source

_BLOCK_BYTES: Final = 400_000
"""A block takes a worker some 50 ms."""


class WholeLines(NamedTuple):
    """Whole lines, to be read by any process.

    Attributes:
        before: How many lines are before them.
        data: The lines.
    """

    before: int
    data: bytes


def line_blocks(text: Source, keep: int, skip: int) -> Iterator[WholeLines]:
    """The lines of a text, in blocks.

    Args:
        text: The text.
        keep: How many bytes of a long line are kept.
        skip: The number of lines to skip, without blank ones.

    Raises:
        DamagedError: The text is damaged, after all whole lines before the damage.
    """
    before = 0
    held: list[bytes] = []
    chunks = lines_in(text, keep)
    is_open, failure = True, None
    while is_open:
        try:
            while sum(map(len, held)) < _BLOCK_BYTES:
                chunk = next(chunks)
                if skip:
                    passed, skip, lines = _passed(chunk, skip)
                    before += lines
                    chunk = chunk[passed:]
                if chunk:
                    held.append(chunk)
        except StopIteration:
            is_open = False
        except DamagedError as error:
            is_open, failure = False, error
        if held:
            data = b"".join(held)
            yield WholeLines(before, data)
            before += data.count(b"\n")
        held = []
    if failure:
        raise failure


def _passed(chunk: bytes, skip: int) -> tuple[int, int, int]:
    """Pass over lines; returns the place behind them, the rest of the skip, and their count."""
    place = lines = 0
    while skip and place < len(chunk):
        end = chunk.find(b"\n", place) + 1 or len(chunk)
        skip -= bool(chunk[place:end].strip())
        lines += chunk[end - 1 : end] == b"\n"
        place = end
    return place, skip, lines
