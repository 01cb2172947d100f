"""The mapping file: what the columns of a historian's export mean.

    product = "solar"

    [time]
    column = "Zeit"
    format = "%d.%m.%Y %H:%M:%S"
    zone = "Europe/Berlin"

    [device]
    column = "Asset"

    [long]                      # a row is a point; [wide]: a column is a point
    identifier = "Tag"
    value = "Wert"

    [points."T.INV.1"]          # their name, in [wide] the column's
    identifier = "temp"
    factor = 0.1

Checked as a whole like all settings: every mistake is reported at once, with file and key.
"""

from __future__ import annotations

import codecs
import csv
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from pointgate.diagnostics import os_reason, shown
from pointgate.errors import ConfigError, Problem
from pointgate.toml.document import Document, check, read_toml
from pointgate.toml.values import ReadableFile

if TYPE_CHECKING:
    from pathlib import Path

COLUMN_WORDS: Final = "a column: its name, or its number from 1"


def _column(value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if is_number or (isinstance(value, str) and value):
        return value
    raise ValueError(f"expected {COLUMN_WORDS}, got {shown(value)}")


Column = Annotated[str | int, PlainValidator(_column)]
"""A column by its name in the header, or by its number."""

OptionalColumn = Annotated[str | int | None, PlainValidator(_column)]

EPOCHS: Final = {"epoch_s": 1000, "epoch_ms": 1, "epoch_us": 1000, "epoch_ns": 1_000_000}

TIME_WORDS: Final = (
    '"iso", "excel", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", '
    'or a pattern such as "%d.%m.%Y %H:%M:%S"'
)

_DIRECTIVES: Final = frozenset("aAbBdmyYHIpMSfzjZ%")


def _time_format(value: str) -> str:
    if value in {"iso", "excel", *EPOCHS}:
        return value
    if "%" not in value:
        raise ValueError(f"expected {TIME_WORDS}, got {shown(value)}")
    for found in re.findall("%(.?)", value):
        if found not in _DIRECTIVES:
            raise ValueError(f"expected a pattern of strptime, got {shown('%' + found)} in it")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f'expected an IANA time zone such as "Europe/Berlin" or "UTC", got {shown(value)}; '
            "where the system has no zones at all: pip install tzdata"
        ) from None
    return value


def _encoding(value: str) -> str:
    try:
        name = codecs.lookup(value).name
        fits = value == "auto" or ("\n;".encode(name) == b"\n;")
    except (LookupError, UnicodeError):
        fits = value == "auto"
    if not fits:
        raise ValueError(
            'expected "auto" (UTF-8, or UTF-16 and UTF-32 as the file shows), or an encoding '
            f'that extends ASCII, such as "cp1252", got {shown(value)}'
        )
    return value


def _number(value: object) -> object:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _decimal(value: str) -> str:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", value):
        raise ValueError(f"expected a number, got {shown(value)}")
    return value


Number = Annotated[str, BeforeValidator(_number), AfterValidator(_decimal)]
"""A number as TOML has it, kept as its decimal text so that 0.1 is a tenth."""

_Character = Annotated[str, Field(min_length=1, max_length=1)]
_CharacterOrNone = Annotated[str, Field(max_length=1)]


class CsvMapping(Document):
    """How a CSV file is written."""

    delimiter: _Character = Field(default=",", description='one character, such as ";" or "\\t"')
    quote: _CharacterOrNone = Field(
        default='"', description='one character, or "" for files without quotes'
    )
    header: bool = Field(default=True, description="true, or false for columns by number")
    skip_lines: int = Field(
        default=0, ge=0, le=1000, description="0 to 1000 lines before the header"
    )
    encoding: Annotated[str, AfterValidator(_encoding)] = Field(
        default="auto", description='"auto" or an encoding such as "cp1252"'
    )
    line_breaks: bool = Field(
        default=False, description="true for files with line breaks inside of quotes, or false"
    )


class NameMapping(Document):
    """A product or a device: of a column, or the same for all."""

    column: OptionalColumn = Field(default=None, description=COLUMN_WORDS)
    value: str | None = Field(default=None, min_length=1, description="a key")
    template: str = Field(default="{}", description='a text with {} in it, such as "inverter-{}"')
    names: dict[str, str] = Field(default={}, description='a table, { "their name" = "key" }')
    file: ReadableFile | None = Field(
        default=None, description="a CSV file of two columns without a header: their name, key"
    )
    unlisted: Literal["reject", "keep"] = Field(
        default="reject", description='"reject" or "keep", for names that the table lacks'
    )

    def known(self) -> dict[str, str]:
        """The table of names, from the file and from here."""
        return _table(self.file) | self.names


class TimeMapping(Document):
    """When a row was observed."""

    column: OptionalColumn = Field(default=None, description=COLUMN_WORDS)
    columns: list[Column] = Field(
        default=[], description="a list of columns that together are a time, joined by a blank"
    )
    format: Annotated[str, AfterValidator(_time_format)] = Field(
        default="iso", description=TIME_WORDS
    )
    zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="an IANA time zone, of times that do not say theirs"
    )
    overlap: Literal["reject", "first", "second", "order"] = Field(
        default="reject",
        description='"reject", "first", "second" or "order", for an hour that exists twice',
    )
    gap: Literal["reject", "shift"] = Field(
        default="reject", description='"reject" or "shift", for an hour that does not exist'
    )

    @property
    def all_columns(self) -> list[str | int]:
        """The columns that make a time."""
        return [self.column] if self.column is not None else list(self.columns)


class ValueMapping(Document):
    """How values are written."""

    decimal: _Character = Field(default=".", description='one character, "." or ","')
    thousands: _CharacterOrNone = Field(
        default="", description='one character that stands between digits, or ""'
    )
    null: list[str] = Field(
        default=["", "NaN", "nan", "null", "NULL"], description="a list of texts that are no value"
    )


class LongMapping(Document):
    """A row is a point."""

    identifier: Column = Field(description=COLUMN_WORDS)
    value: Column = Field(description=COLUMN_WORDS)
    quality: OptionalColumn = Field(default=None, description=COLUMN_WORDS)
    unlisted: Literal["keep", "skip", "reject"] = Field(
        default="keep", description='"keep", "skip" or "reject", for names that [points] lacks'
    )


class WideMapping(Document):
    """A column is a point; those that `[points]` names are read."""

    unlisted: Literal["skip", "keep"] = Field(
        default="skip",
        description='"skip" or "keep", for columns that [points] lacks; kept by their names',
    )


class PointMapping(Document):
    """A point, by the name that the export has for it."""

    identifier: str = Field(min_length=1, description="an identifier of the model")
    factor: Number = Field(default="1", description="a number, by which a value is multiplied")
    offset: Number = Field(default="0", description="a number, which is added behind the factor")
    null: list[str] = Field(default=[], description="a list of texts that are no value, besides")
    quality: OptionalColumn = Field(default=None, description=COLUMN_WORDS)


class QualityMapping(Document):
    """What the quality column says."""

    names: dict[str, Annotated[int, Field(ge=0, le=9, description="0 to 9")]] = Field(
        default={}, description='a table, { "Good" = 0 }, of numbers 0 to 9'
    )


def _point(value: object) -> object:
    return {"identifier": value} if isinstance(value, str) else value


Points = dict[str, Annotated[PointMapping, BeforeValidator(_point)]]


class Mapping(Document):
    """The whole file."""

    format: Literal["csv", "ndjson", "parquet"] = Field(
        default="csv", description='"csv", "ndjson" or "parquet"'
    )
    product: Annotated[
        NameMapping, BeforeValidator(lambda it: {"value": it} if isinstance(it, str) else it)
    ] = Field(description="a product key, or a table")
    csv: CsvMapping = CsvMapping()
    device: Annotated[
        NameMapping, BeforeValidator(lambda it: {"value": it} if isinstance(it, str) else it)
    ] = Field(description="a device key, or a table")
    time: TimeMapping = Field(description="a table")
    values: ValueMapping = ValueMapping()
    quality: QualityMapping = QualityMapping()
    long: LongMapping | None = Field(default=None, description="a table")
    wide: WideMapping | None = Field(default=None, description="a table")
    points: Points = Field(default={}, description="a table of points")

    @property
    def is_cut(self) -> bool:
        """Whether a file can be cut into blocks that are read without the others."""
        has_line_breaks = self.format == "csv" and self.csv.line_breaks
        return not has_line_breaks and self.time.overlap != "order"

    def columns(self) -> list[str | int]:
        """Every column that is named, for a source that reads only these."""
        found: list[str | int | None] = [self.product.column, self.device.column]
        found += self.time.all_columns
        if self.long:
            found += [self.long.identifier, self.long.value, self.long.quality]
        found += [point.quality for point in self.points.values()]
        if self.wide:
            found += list(self.points)
        return list(dict.fromkeys(one for one in found if one is not None))


def load_mapping(path: Path) -> Mapping:
    """Read a mapping.

    Raises:
        ConfigError: There are mistakes; `problems` has them all.
    """
    document, problems = read_toml(path)
    if problems:
        raise ConfigError(problems)
    checked = check(Mapping, document, file=str(path), base=path.parent)
    if not isinstance(checked, Mapping):
        raise ConfigError(checked) from None
    found = [Problem(str(path), key, reason) for key, reason in _contradictions(checked)]
    if found:
        raise ConfigError(found)
    return checked


def _contradictions(mapping: Mapping) -> list[tuple[str, str]]:
    """What is wrong only because of something else."""
    found: list[tuple[str, str]] = []
    for key, name in ("product", mapping.product), ("device", mapping.device):
        if (name.column is None) == (name.value is None):
            got = "nothing" if name.column is None else "both"
            found.append((key, f"expected either column or value, got {got}"))
        if "{}" not in name.template:
            reason = f"expected a text with {{}} in it, got {shown(name.template)}"
            found.append((f"{key}.template", reason))
        found += [(f"{key}.file", reason) for reason in _table_problem(name)]
    if (mapping.time.column is None) == (not mapping.time.columns):
        got = "nothing" if mapping.time.column is None else "both"
        found.append(("time.column", f"expected either column or columns, got {got}"))
    if (mapping.long is None) == (mapping.wide is None):
        got = "nothing" if mapping.long is None else "both"
        found.append(("long", f"expected either [long] or [wide], got {got}"))
    if mapping.wide and mapping.wide.unlisted == "skip" and not mapping.points:
        found.append(("points", "expected a table of points beside [wide], got nothing"))
    if mapping.values.decimal == mapping.values.thousands:
        got = shown(mapping.values.thousands)
        found.append(("values.thousands", f"expected another character than decimal, got {got}"))
    if mapping.format == "csv" and mapping.csv.delimiter == mapping.csv.quote:
        got = shown(mapping.csv.quote)
        found.append(("csv.quote", f"expected another character than delimiter, got {got}"))
    if mapping.format != "csv" or not mapping.csv.header:
        found += _wrong_columns(mapping)
    return found


def _wrong_columns(mapping: Mapping) -> list[tuple[str, str]]:
    """Columns by name where there are none, and by number where they have names alone."""
    by_number = mapping.format == "csv"
    columns = mapping.columns()
    if by_number and mapping.wide:
        columns = [one for one in columns if not (isinstance(one, str) and one.isdigit())]
    wrong = [one for one in columns if isinstance(one, str) == by_number]
    if not wrong:
        return []
    if by_number:
        reason = f"expected columns by number without a header, got {shown(wrong[0])}"
        return [("csv.header", reason)]
    return [("format", f"expected columns by name, got {wrong[0]}")]


def _table(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        sample = file.readline()
        file.seek(0)
        delimiter = next((one for one in ";\t" if one in sample), ",")
        rows = [row for row in csv.reader(file, delimiter=delimiter) if any(row)]
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or not all(row):  # noqa: PLR2004 - a name and a key
            raise ValueError(f"row {number}: expected two columns, their name and ours")
    return {theirs.strip(): ours.strip() for theirs, ours in rows}


def _table_problem(name: NameMapping) -> list[str]:
    try:
        _table(name.file)
    except UnicodeDecodeError:
        return ["expected UTF-8, got other bytes"]
    except (OSError, ValueError, csv.Error) as error:
        return [str(error) if not isinstance(error, OSError) else os_reason(error)]
    return []


def column_name(column: Any) -> str:
    """A column in words."""
    return f"column {column}" if isinstance(column, int) else f"column {shown(column)}"
