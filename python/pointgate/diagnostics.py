"""Parts of error messages: values as written, suggestions, reasons of the operating system."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN_CHARACTERS: Final = 64
"""The length to which a wrong value is truncated, as in replies (contract 2.5)."""


def shown(value: object) -> str:
    """A value of a document as it was written, on one line and truncated."""
    match value:
        case dict():
            return "a table"
        case list():
            return "an array"
        case int() if abs(value) >= 10**_SHOWN_CHARACTERS:  # Python limits the digits it prints
            return f"an integer of more than {_SHOWN_CHARACTERS} digits"
        case bool() | int() | float() | str():
            text = json.dumps(value, ensure_ascii=False)
            if len(text) > _SHOWN_CHARACTERS:
                text = text[: _SHOWN_CHARACTERS - 1] + "…"
            return text if text.isprintable() else ascii(text)
        case _:
            return f"a {type(value).__name__}"


def shown_bytes(data: bytes, most: int) -> str:
    """The beginning of a payload as ASCII on one line; other bytes are escaped."""
    text = data[:most].decode("ascii", "backslashreplace")
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def numbered(number: int, noun: str) -> str:
    """A number with its noun: `1 request`, `2,000 requests`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion to append to an error, with the most similar known name; empty without one."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]}" if near else ""


def os_reason(error: OSError | ValueError) -> str:
    """The operating system's reason, in the style of pointgate's errors.

    Python raises a ValueError for a path that no system allows, such as one with U+0000.
    """
    words = error.strerror if isinstance(error, OSError) else None
    text = words or str(error) or "it gave no reason"
    return text[:1].lower() + text[1:]
