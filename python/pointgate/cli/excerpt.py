"""The line of a payload in which a fault stands, with the place of the caret under it.

A payload is anything: megabytes on one line, control bytes, broken UTF-8, wide characters. What
comes out is one line of at most a given width, in which the character at the offset stands exactly
at the caret, and which does nothing to the terminal it is written to.

    cells: one a character; escaped when it is invisible, not UTF-8, or would be obeyed
    window: grown from the faulty cell to both sides until the width is used
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Sequence

_BYTES_A_CELL: Final = 4
"""A character is at most four bytes of UTF-8, and what is shown of it at least one cell."""

_LONGEST_TAIL: Final = 3
"""A byte stands at most this far behind the first byte of its character."""

_LEFT_SHARE: Final = 0.65
"""How much of a long line is shown before the fault: the cause mostly stands before it."""

_BYTE_AS_CHARACTER: Final = 0xDC00
"""What `surrogateescape` adds to a byte that is not UTF-8."""

_CUT: Final = "…"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of one line of a payload.

    Attributes:
        line: The line's number, from 1.
        column: The character in that line, from 1. A byte that is not UTF-8 counts as one.
        text: The line, or the part of it around the fault.
        caret: How many terminal cells stand before the fault in `text`.
    """

    line: int
    column: int
    text: str
    caret: int


def excerpt(payload: bytes, offset: int, *, width: int) -> Excerpt:
    """Show where in a payload a byte stands.

    Args:
        payload: The whole payload.
        offset: The byte; the payload's length for a sudden end, which is shown behind the last
            character that is not white space.
        width: How many terminal cells the text may have.
    """
    if offset >= len(payload):
        offset = len(payload.rstrip())
    start = payload.rfind(b"\n", 0, offset) + 1
    end = payload.find(b"\n", offset)
    end = len(payload) if end < 0 else end
    if end > offset and payload[end - 1] == ord("\r"):
        end -= 1
    offset = _character_start(payload, offset, start)
    first = _character_start(payload, max(start, offset - width * _BYTES_A_CELL), start)
    before = [_cell(character) for character in _characters(payload[first:offset])]
    behind = _characters(payload[offset : min(end, offset + width * _BYTES_A_CELL)])
    cells = before + [_cell(character) for character in behind]
    left, right = _window([cell_len(cell) for cell in cells], len(before), width - 2)
    cut_left = left > 0 or first > start
    cut_right = right < len(cells) or offset + width * _BYTES_A_CELL < end
    text = "".join(cells[left:right])
    caret = cell_len("".join(cells[left : len(before)])) + cut_left
    return Excerpt(
        line=payload.count(b"\n", 0, offset) + 1,
        column=len(_characters(payload[start:offset])) + 1,
        text=_CUT * cut_left + text + _CUT * cut_right,
        caret=caret,
    )


def _characters(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _character_start(payload: bytes, offset: int, start: int) -> int:
    """The first byte of the character that a byte belongs to; itself when it belongs to none."""
    for first in range(max(start, offset - _LONGEST_TAIL), offset):
        character = _characters(payload[first : first + _BYTES_A_CELL])[0]
        if first + len(character.encode("utf-8", "surrogateescape")) > offset:
            return first
    return offset


def _cell(character: str) -> str:
    """What is shown of a character: itself, or an escape."""
    code = ord(character)
    if unicodedata.category(character) == "Cs":  # a byte that is not UTF-8
        return f"\\x{code - _BYTE_AS_CHARACTER:02x}"
    if character.isprintable() and cell_len(character) > 0:
        return character
    if unicodedata.category(character) == "Zs":  # a space that is not the ASCII one
        return f"\\u{code:04x}"
    return character.encode("unicode_escape").decode()


def _window(widths: Sequence[int], target: int, budget: int) -> tuple[int, int]:
    """The range of cells to show: around the target, as many as fit."""
    left = right = target
    used_left = used_right = 0
    if target < len(widths):
        right, used_right = target + 1, widths[target]
    while True:
        room = budget - used_left - used_right
        fits_left = left > 0 and widths[left - 1] <= room
        fits_right = right < len(widths) and widths[right] <= room
        if fits_left and (used_left <= _LEFT_SHARE * budget or not fits_right):
            left -= 1
            used_left += widths[left]
        elif fits_right:
            used_right += widths[right]
            right += 1
        else:
            return left, right
