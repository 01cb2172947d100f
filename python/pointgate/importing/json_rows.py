"""NDJSON of any shape: an object a line. A column is a member, or a path such as `data.value`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from pointgate.bulk.extract import lines_in
from pointgate.importing.records import Record, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pointgate.bulk.streams import Source

KEEP_BYTES: Final = 1_048_576
"""What is kept of a line."""


def ndjson_table(text: Source, columns: Sequence[str]) -> Table:
    """Lines of JSON as a table.

    Args:
        text: The lines.
        columns: The members that are needed.
    """
    return Table(list(columns), _records(text, columns))


def _records(text: Source, columns: Sequence[str]) -> Iterator[Record]:
    number = 0
    for chunk in lines_in(text, KEEP_BYTES):
        yield from json_records(chunk, number, columns)
        number += chunk.count(b"\n")


def json_records(chunk: bytes, before: int, columns: Sequence[str]) -> Iterator[Record]:
    """The records in whole lines; so many lines are before them."""
    paths = [(name, name.split(".")) for name in columns]
    for number, line in enumerate(chunk.removesuffix(b"\n").split(b"\n"), before + 1):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            shown = line.decode("utf-8", "backslashreplace")
            yield Record(number, [shown], f"not JSON: {error.msg}")
            continue
        if isinstance(found, dict):
            yield Record(number, [_member(found, *path) for path in paths])
        else:
            yield Record(number, [found], "expected an object, got another JSON value")


def _member(found: dict[str, Any], name: str, steps: Sequence[str]) -> object:
    """A member by its whole name, or else by its path."""
    if name in found:
        return found[name]
    value: object = found
    for step in steps:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value
