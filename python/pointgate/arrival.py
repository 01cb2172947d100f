"""A request with the time of its arrival written into those entries that leave it out.

An entry without `time`, or with null, was observed when it arrived (contract 3.5). Posted again
later it would get a later time, so its own is written into it first:

    {"measurepoints":{…}}              {"time":1700000000000,"measurepoints":{…}}
    {"measurepoints":{…},"time":null}  {"measurepoints":{…},"time":1700000000000}

Invariants: not a byte of the payload changes besides; numbers stay as they were printed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLANK: Final = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder(parse_int=float).raw_decode
"""Values are only passed over: as floats, integers of any length are no work."""


def with_arrival(payload: bytes, received_ms: int) -> bytes:
    """Write the time of arrival where it is missing.

    Args:
        payload: A request that is accepted, so that it is known to be right.
        received_ms: When it arrived, UTC milliseconds.
    """
    text = payload.decode()
    time = str(received_ms)
    changes: list[tuple[int, int, str]] = []
    for entry in _entries(text):
        found = [(start, end) for name, start, end in _members(text, entry) if name == "time"]
        if not found:
            is_empty = text[_skip(text, entry + 1)] == "}"
            changes.append((entry + 1, entry + 1, f'"time":{time}' + "," * (not is_empty)))
        elif text[slice(*found[0])] == "null":
            changes.append((*found[0], time))
    for start, end, new in reversed(changes):
        text = text[:start] + new + text[end:]
    return text.encode()


def _entries(text: str) -> Iterator[int]:
    """Where each entry begins."""
    for name, start, _ in _members(text, _skip(text, 0)):
        if name == "params" and text[start] == "{":
            yield start
        elif name == "params":
            yield from (place for place, _ in _elements(text, start))


def _members(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    """The members of an object: name, and where the value begins and ends."""
    place = _skip(text, start + 1)
    while text[place] != "}":
        name, place = _decode(text, place)
        place = _skip(text, _skip(text, place) + 1)
        _, end = _decode(text, place)
        yield name, place, end
        place = _skip(text, end)
        if text[place] == ",":
            place = _skip(text, place + 1)


def _elements(text: str, start: int) -> Iterator[tuple[int, int]]:
    """The elements of an array: where each begins and ends."""
    place = _skip(text, start + 1)
    while text[place] != "]":
        _, end = _decode(text, place)
        yield place, end
        place = _skip(text, end)
        if text[place] == ",":
            place = _skip(text, place + 1)


def _skip(text: str, place: int) -> int:
    """The next character that is no white space."""
    found = _BLANK.match(text, place)
    return found.end() if found else place
