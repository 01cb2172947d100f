"""Inputs opened: the tables in a file, or the requests of an archive."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING

from pointgate.bulk.extract import document_in, is_document, lines_in, parts_of
from pointgate.importing.csv_rows import csv_table
from pointgate.importing.json_rows import ndjson_table
from pointgate.importing.parquet_rows import MARK, parquet_table
from pointgate.importing.records import Table, TableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointgate.bulk.streams import Source
    from pointgate.importing.mapping import Mapping


def parts(
    name: str, file: IO[bytes], mapping: Mapping | None
) -> Iterator[tuple[str, Source | Table | str]]:
    """The texts in a file, or its table where it is Parquet; or why there is none.

    Args:
        name: What the user calls it.
        file: The file, at its beginning.
        mapping: What it should be; None for archived requests.
    """
    seekable = file.seekable()
    if mapping and mapping.format == "parquet":
        yield name, _parquet(file, mapping, seekable=seekable)
        return
    for part, text in parts_of(name, file, file if seekable else None):
        if isinstance(text, str) and mapping:
            yield part, text.replace("expected requests", "expected a table")
        else:
            yield part, text


def _parquet(file: IO[bytes], mapping: Mapping, *, seekable: bool) -> Table | str:
    if not seekable:
        file = io.BytesIO(file.read())
    if file.read(len(MARK)) != MARK:
        return "expected a Parquet file, got another one"
    file.seek(0)
    columns = [str(one) for one in mapping.columns()]
    wide = mapping.wide
    try:
        return parquet_table(file, columns, every=wide is not None and wide.unlisted == "keep")
    except TableError as error:
        return str(error)


def table_of(text: Source, mapping: Mapping) -> Table:
    """A text as a table.

    Raises:
        TableError: It is none.
        DamagedError: Its first lines are damaged.
    """
    if mapping.format == "ndjson":
        return ndjson_table(text, [str(one) for one in mapping.columns()])
    return csv_table(text, mapping.csv)


def payloads(text: Source, name: str, keep: int) -> Iterator[tuple[int | None, bytes]]:
    """The requests in a text, each with its line."""
    if is_document(text, name, keep):
        data, damage = document_in(text, keep)
        if data or not damage:
            yield None, data
        if damage:
            raise damage
        return
    number = 0
    for chunk in lines_in(text, keep):
        for line in chunk.removesuffix(b"\n").split(b"\n"):
            number += 1
            if line.strip():
                yield number, line.removesuffix(b"\r")
