r"""CSV: lines of fields. A bad line is one bad record, and the next one is read.

A general reader of CSV takes an opening quote without its end for the begin of a field that may
have line breaks, and swallows the rest of the file. Exports of measurements have no line breaks
inside of fields, so a line is a record; `csv.line_breaks` is for files that do:

    a;"x;y";b          a record of three fields
    a;"x               without line_breaks: a bad line, alone
    y";b               with it: the rest of the record, found by counting quotes

Invariants: no more than `_LINES` lines and `_KEEP` bytes a line are held.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final

from pointgate.bulk.extract import lines_in
from pointgate.importing.records import Record, Table, TableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointgate.bulk.streams import Source
    from pointgate.importing.mapping import CsvMapping

_KEEP: Final = 1_048_576
_LINES: Final = 1000

csv.field_size_limit(2 * _KEEP)


def csv_table(text: Source, mapping: CsvMapping) -> Table:
    """A CSV file as a table.

    Raises:
        TableError: It has no header.
        DamagedError: It is damaged in its first lines.
    """
    lines = _lines(text, "utf-8" if mapping.encoding == "auto" else mapping.encoding)
    for _ in range(mapping.skip_lines):
        next(lines, None)
    records = _records(lines, mapping)
    columns = None
    if mapping.header:
        header = next(records, None)
        if header is None:
            raise TableError("expected a header, got an empty file")
        if header.fault:
            raise TableError(f"line {header.line}: {header.fault}")
        columns = [str(name).strip() for name in header.fields]
    return Table(columns, _of_width(records, len(columns) if columns else 0))


def _lines(text: Source, encoding: str) -> Iterator[tuple[int, str, str]]:
    """Each line that is not blank: its number, its text, and why it is none."""
    number = 0
    for chunk in lines_in(text, _KEEP):
        try:
            decoded = chunk.decode(encoding)
        except UnicodeDecodeError:
            for raw in chunk.split(b"\n"):
                number += 1
                if raw.strip():
                    yield number, *_decoded(raw, encoding)
            number -= chunk.endswith(b"\n")
            continue
        for line in decoded.split("\n"):
            number += 1
            if line and line != "\r":
                yield number, line.removesuffix("\r"), ""
        number -= decoded.endswith("\n")


def _decoded(line: bytes, encoding: str) -> tuple[str, str]:
    try:
        return line.decode(encoding).removesuffix("\r"), ""
    except UnicodeDecodeError as error:
        byte = f"byte 0x{line[error.start]:02X} at {error.start + 1}"
        reason = f"expected {encoding.upper()}, got {byte}: csv.encoding says another one"
        return line.decode("latin-1"), reason


def _records(lines: Iterator[tuple[int, str, str]], mapping: CsvMapping) -> Iterator[Record]:
    delimiter, quote = mapping.delimiter, mapping.quote
    for number, line, fault in lines:
        if fault:
            yield Record(number, [line], fault)
        elif not quote or quote not in line:
            yield Record(number, line.split(delimiter))
        elif mapping.line_breaks and line.count(quote) % 2:
            yield from _of_several(number, line, lines, mapping)
        else:
            yield _quoted(number, line, mapping)


def _of_several(
    number: int, line: str, lines: Iterator[tuple[int, str, str]], mapping: CsvMapping
) -> Iterator[Record]:
    """A record whose first line ends inside of quotes."""
    held = [line]
    for _, more, fault in lines:
        held.append(more)
        if not fault and more.count(mapping.quote) % 2:
            yield _quoted(number, "\n".join(held), mapping)
            return
        if fault or len(held) == _LINES:
            break
    reason = f"expected the end of a quoted field, got none in {len(held)} lines"
    yield Record(number, [line], reason)


def _quoted(number: int, text: str, mapping: CsvMapping) -> Record:
    rows = csv.reader(
        text.splitlines(keepends=True) if mapping.line_breaks else [text],
        delimiter=mapping.delimiter,
        quotechar=mapping.quote,
        strict=True,
    )
    try:
        fields = [row for row in rows if row]
    except csv.Error as error:
        return Record(number, [text], f"not CSV: {error}")
    return Record(number, fields[0] if fields else [""])


def _of_width(records: Iterator[Record], width: int) -> Iterator[Record]:
    """Records with as many fields as there are columns; empty ones behind them are dropped."""
    for record in records:
        count = len(record.fields)
        width = width or (0 if record.fault else count)
        if count == width or record.fault:
            yield record
        elif count > width and not any(record.fields[width:]):
            yield Record(record.line, record.fields[:width])
        else:
            reason = f"expected {width} columns, got {count}"
            yield Record(record.line, record.fields, reason)
