"""An excerpt of a payload: the line with a fault, and the column of the caret below it.

A payload can contain anything: megabytes on one line, control bytes, invalid UTF-8, wide
characters. The excerpt is one line of limited width, without control characters, in which the
character at the offset is exactly above the caret.

    cells: one for each character; escaped if it is invisible, not UTF-8, or a control character
    window: grows from the faulty cell to both sides until the width is used
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Sequence

_BYTES_A_CELL: Final = 4
"""A character has at most four bytes of UTF-8 and takes at least one cell."""

_LONGEST_TAIL: Final = 3
"""The greatest distance of a byte from the first byte of its character."""

_LEFT_SHARE: Final = 0.65
"""The share of a long line that is shown before the fault, where its cause usually is."""

_BYTE_AS_CHARACTER: Final = 0xDC00
"""The code point to which `surrogateescape` maps byte 0: 0xE9 becomes U+DCE9."""

_CUT: Final = "…"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of one line of a payload.

    Attributes:
        line: The line's number, from 1.
        column: The character in that line, from 1. A byte that is not UTF-8 counts as one.
        text: The line, or the part of it around the fault.
        caret: The number of terminal cells before the fault in `text`.
    """

    line: int
    column: int
    text: str
    caret: int


def excerpt(payload: bytes, offset: int, *, width: int) -> Excerpt:
    """Make the excerpt around a byte of a payload.

    Args:
        payload: The whole payload.
        offset: The offset of the byte. The payload's length means an unexpected end, which is shown
            after the last character that is not white space.
        width: The limit on the text, in terminal cells.
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
    after = _characters(payload[offset : min(end, offset + width * _BYTES_A_CELL)])
    cells = before + [_cell(character) for character in after]
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
    """The offset of the first byte of a byte's character; the same offset if it is in none."""
    for first in range(max(start, offset - _LONGEST_TAIL), offset):
        character = _characters(payload[first : first + _BYTES_A_CELL])[0]
        if first + len(character.encode("utf-8", "surrogateescape")) > offset:
            return first
    return offset


def _cell(character: str) -> str:
    """A character as it is shown: itself, or escaped."""
    code = ord(character)
    if unicodedata.category(character) == "Cs":  # a byte that is not UTF-8
        return f"\\x{code - _BYTE_AS_CHARACTER:02x}"
    if character.isprintable() and cell_len(character) > 0:
        return character
    if unicodedata.category(character) == "Zs":  # a space that is not the ASCII one
        return f"\\u{code:04x}"
    return character.encode("unicode_escape").decode()


def _window(widths: Sequence[int], target: int, budget: int) -> tuple[int, int]:
    """The range of cells to show: as many around the target as fit."""
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
