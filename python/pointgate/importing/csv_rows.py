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
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from pointgate.bulk.extract import lines_in
from pointgate.bulk.streams import DamagedError
from pointgate.importing.records import Record, Table, TableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pointgate.bulk.streams import Source
    from pointgate.importing.mapping import CsvMapping

_KEEP: Final = 1_048_576
_SHOWN_BYTES: Final = 1000
_LINES: Final = 1000
_BLOCK_BYTES: Final = 400_000
"""A block takes a worker some 50 ms."""

csv.field_size_limit(2 * _KEEP)

_BINARY: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Control characters that no text has."""


def csv_table(text: Source, mapping: CsvMapping) -> Table:
    """A CSV file as a table.

    Raises:
        TableError: It has no header.
        DamagedError: It is damaged in its first lines.
    """
    lines = _lines(text, _encoding(mapping))
    for _ in range(mapping.skip_lines):
        next(lines, None)
    records = _records(lines, mapping)
    columns = None
    if mapping.header:
        columns = _titles(next(records, None))
    return Table(columns, _of_width(records, len(columns) if columns else 0))


class Lines(NamedTuple):
    """Whole lines of a CSV file behind its header, to be read by any process.

    Attributes:
        before: How many lines are before them.
        data: The lines.
        width: How many columns they should have; 0 where they are all bad.
    """

    before: int
    data: bytes
    width: int


class CsvBlocks:
    """A CSV file as blocks of lines; not for `csv.line_breaks`.

    Args:
        text: The file.
        mapping: How it is written.

    Attributes:
        columns: The titles of the columns; None without a header.

    Raises:
        TableError: It has no header.
        DamagedError: On making and on iterating: the file is damaged there.
    """

    def __init__(self, text: Source, mapping: CsvMapping) -> None:
        self._mapping = mapping
        self._encoding = _encoding(mapping)
        self._chunks = lines_in(text, _KEEP)
        self._before = 0
        self._rest = b""
        self.columns: list[str] | None = None
        self.skip(mapping.skip_lines)
        if mapping.header:
            line = self.skip(1)
            header = _records(iter([line] if line else []), mapping)
            self.columns = _titles(next(header, None))

    def skip(self, count: int) -> tuple[int, str, str] | None:
        """Pass over so many lines that are not blank; returns the last one of them."""
        last = (0, "", "")
        while count:
            self._rest = self._rest or next(self._chunks, b"")
            if not self._rest:
                return None
            for line in _lines_of(self._rest, self._before, self._encoding):
                last = line
                count -= 1
                if not count:
                    break
            else:
                self._before += self._rest.count(b"\n")
                self._rest = b""
                continue
            place = 0
            for _ in range(last[0] - self._before):
                place = self._rest.find(b"\n", place) + 1 or len(self._rest)
            self._before, self._rest = last[0], self._rest[place:]
        return last

    def __iter__(self) -> Iterator[Lines]:
        width = len(self.columns) if self.columns else 0
        held = [self._rest] if self._rest else []
        is_open, failure = True, None
        while is_open:
            try:
                while sum(map(len, held)) < _BLOCK_BYTES:
                    held.append(next(self._chunks))
            except StopIteration:
                is_open = False
            except DamagedError as error:
                is_open, failure = False, error
            if held:
                width = width or self._width(held)
                yield self._block(b"".join(held), width)
            held = []
        if failure:
            raise failure

    def _block(self, data: bytes, width: int) -> Lines:
        before = self._before
        self._before += data.count(b"\n")
        return Lines(before, data, width)

    def _width(self, chunks: Sequence[bytes]) -> int:
        """The columns of the first line that is none of the bad ones."""
        for chunk in chunks:
            for record in _records(_lines_of(chunk, 0, self._encoding), self._mapping):
                if not record.fault:
                    return len(record.fields)
        return 0


def records_of(lines: Lines, mapping: CsvMapping) -> Iterator[Record]:
    """The records in a block of lines."""
    found = _lines_of(lines.data, lines.before, _encoding(mapping))
    return _of_width(_records(found, mapping), lines.width)


def _encoding(mapping: CsvMapping) -> str:
    return "utf-8" if mapping.encoding == "auto" else mapping.encoding


def _titles(header: Record | None) -> list[str]:
    if header is None:
        raise TableError("expected a header, got an empty file")
    if _BINARY.search(str(header.fields[0])):
        raise TableError("expected a CSV file, got binary data")
    if header.fault:
        raise TableError(f"line {header.line}: {header.fault}")
    return [str(name).strip() for name in header.fields]


def _lines(text: Source, encoding: str) -> Iterator[tuple[int, str, str]]:
    """Each line that is not blank: its number, its text, and why it is none."""
    number = 0
    for chunk in lines_in(text, _KEEP):
        yield from _lines_of(chunk, number, encoding)
        number += chunk.count(b"\n")


def _lines_of(chunk: bytes, number: int, encoding: str) -> Iterator[tuple[int, str, str]]:
    """The same of whole lines; `number` of them are before."""
    try:
        decoded = chunk.decode(encoding) if len(chunk) < _KEEP else None
    except UnicodeDecodeError:
        decoded = None
    if decoded is None:
        for raw in chunk.split(b"\n"):
            number += 1
            if raw and raw != b"\r":
                yield number, *_decoded(raw, encoding)
        return
    for line in decoded.split("\n"):
        number += 1
        if line and line != "\r":
            yield number, line.removesuffix("\r"), ""


def _decoded(line: bytes, encoding: str) -> tuple[str, str]:
    if len(line) >= _KEEP:
        reason = "expected a line of less than 1 MiB, got a longer one"
        return line[:_SHOWN_BYTES].decode("latin-1"), reason
    try:
        return line.decode(encoding).removesuffix("\r"), ""
    except UnicodeDecodeError as error:
        byte = f"byte 0x{line[error.start]:02X} at {error.start + 1}"
        reason = f"expected {encoding.upper()}, got {byte}; if the file has another encoding, "
        reason += 'set csv.encoding, such as "cp1252"'
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
