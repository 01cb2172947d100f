"""Inputs opened: the tables in a file, or the requests of an archive."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Final

from pointgate.bulk.extract import document_in, is_document, lines_in, parts_of
from pointgate.bulk.streams import READ_BYTES, Source
from pointgate.importing.csv_rows import csv_table
from pointgate.importing.json_rows import ndjson_table
from pointgate.importing.parquet_rows import MARK, ParquetRows
from pointgate.importing.records import TableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pointgate.importing.mapping import Mapping
    from pointgate.importing.records import Table

SPOOLED_BYTES: Final = 4 * 2**30
"""The limit on a Parquet file that is compressed or in an archive."""


_OFFICE: Final = "an Office document"
_PARQUET: Final = "a Parquet file"


class ParquetPart:
    """A Parquet file, which is read from its end.

    Args:
        file: The file, where it is one by itself.
        source: Its bytes, where they are packed.
    """

    def __init__(self, file: IO[bytes] | None, source: Source) -> None:
        self._file = file
        self._source = source

    def open(self, folder: Path) -> IO[bytes]:
        """The file, or a temporary copy of what is packed.

        Args:
            folder: Where the copy is; its name is removed at once.

        Raises:
            TableError: It is too large for a copy.
            DamagedError: What it is packed in is damaged.
            OSError: The copy cannot be written.
        """
        if self._file is not None:
            self._file.seek(0)
            return self._file
        with ExitStack() as stack:
            copy = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            _copy(self._source, copy)
            stack.pop_all()
        copy.seek(0)
        return copy


def _copy(source: Source, copy: IO[bytes]) -> None:
    size = 0
    while data := source.read(READ_BYTES):
        size += len(data)
        if size > SPOOLED_BYTES:
            raise TableError(
                f"expected a packed Parquet file of at most {SPOOLED_BYTES} bytes, got more: "
                "unpack it first"
            )
        copy.write(data)


def parts(
    name: str, file: IO[bytes], mapping: Mapping | None
) -> Iterator[tuple[str, Source | ParquetPart | str]]:
    """The texts in a file, or its Parquet files; or why there is none.

    Args:
        name: What the user calls it.
        file: The file, at its beginning.
        mapping: What it should be; None for archived requests.
    """
    seekable = file.seekable()
    wants_parquet = mapping is not None and mapping.format == "parquet"
    binary = MARK if wants_parquet else b""
    is_parquet = False
    if wants_parquet and seekable:
        is_parquet = file.read(len(MARK)) == MARK
        file.seek(0)
    for part, text in parts_of(name, file, file if seekable else None, binary=binary):
        if isinstance(text, str):
            yield part, _of_table(text) if mapping else text
            if text.endswith(_OFFICE):
                return  # what else is in it is none of the user's files
        elif not wants_parquet:
            yield part, text
        elif not text.peek(len(MARK)):
            yield part, "expected a Parquet file, got an empty one"
        elif text.peek(len(MARK)) != MARK:
            yield (
                part,
                'expected a Parquet file, got a text: format = "csv" or "ndjson" reads those',
            )
        else:
            yield part, ParquetPart(file if is_parquet else None, text)


def _of_table(reason: str) -> str:
    """The reason why there are no requests in a file, for one that should be a table."""
    reason = reason.replace("expected requests", "expected a table")
    if reason.endswith(_PARQUET):
        reason += ': format = "parquet" reads it'
    return f"{reason}: save its sheet as CSV" if reason.endswith(_OFFICE) else reason


def table_of(text: Source, mapping: Mapping) -> Table:
    """A text as a table.

    Raises:
        TableError: It is none.
        DamagedError: Its first lines are damaged.
    """
    if mapping.format == "ndjson":
        return ndjson_table(text, [str(one) for one in mapping.columns()])
    return csv_table(text, mapping.csv)


def parquet_rows(file: IO[bytes], mapping: Mapping) -> ParquetRows:
    """A Parquet file as rows.

    Raises:
        TableError: It cannot be read, or lacks a column.
    """
    columns = [str(one) for one in mapping.columns()]
    wide = mapping.wide
    return ParquetRows(file, columns, every=wide is not None and wide.unlisted == "keep")


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
