"""A mapping proposed from the first rows of a CSV file: a beginning that a person completes."""

from __future__ import annotations

import csv
import re
from contextlib import suppress
from itertools import islice
from typing import IO, TYPE_CHECKING, Final

from pointgate.bulk.extract import parts_of
from pointgate.diagnostics import shown
from pointgate.importing.records import DELIMITERS, TableError
from pointgate.importing.sample_times import Columns, mostly, time_of, words
from pointgate.toml.document import dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pointgate.bulk.streams import Source

_HEAD_BYTES: Final = 65_536
_ROWS: Final = 200
_MEMBERS: Final = 50
"""Files of an archive that are looked at."""

_OTHERS: Final = 2
"""Other formats that a comment names."""

_SEPARATOR: Final = re.compile("[Ss][Ee][Pp]=(.)")
_COMMA: Final = re.compile(r"-?[0-9]+,[0-9]+")
_GROUPED: Final = re.compile(r"-?[0-9]{1,3}(\.[0-9]{3})+,[0-9]+")
_NUMBER: Final = re.compile(r"|-?[0-9.,']+([eE][+-]?[0-9]+)?")
_NAMES: Final = {
    "device": (
        *("device", "asset", "equipment", "meter", "station", "machine", "sensor"),
        *("anlage", "gerät", "maschine", "zähler", "wechselrichter"),
    ),
    "identifier": (
        *("identifier", "tag", "tagname", "point", "signal", "channel", "measurement", "parameter"),
        *("variable", "metric", "name", "kanal", "messstelle", "messpunkt", "datenpunkt"),
        *("messgröße", "kennung", "bezeichnung"),
    ),
    "value": ("value", "wert", "val", "reading", "messwert", "istwert"),
    "quality": ("quality", "status", "qualität", "qualitaet", "güte", "q"),
}
_STEM: Final = 5
"""Letters of a word that a title may continue: `Gerätename`, but not `Tagesertrag`."""


def propose(name: str, file: IO[bytes], product: str) -> str:
    """A mapping file for a CSV file that begins like this one.

    Raises:
        TableError: It is no CSV file with a header and a time.
        DamagedError: It is damaged in its first lines.
    """
    problem: TableError | None = None
    for part, text in islice(parts_of(name, file), _MEMBERS):
        try:
            return _proposal(_head(text), product)
        except TableError as error:  # another file of an archive may be one
            problem = problem or (TableError(f"{part}: {error}") if part != name else error)
    raise problem or TableError("expected a header, got an empty file")


def _head(text: Source | str) -> bytes:
    if isinstance(text, str):
        raise TableError(text.replace("expected requests", "expected a CSV file"))
    return text.peek(_HEAD_BYTES)


def _proposal(head: bytes, product: str) -> str:
    rows, delimiter, encoding = _rows(head)
    width = len(rows[0])
    body = [[field.strip() for field in row] for row in rows[1:] if len(row) == width]
    if not body:
        raise TableError("expected a header and rows of as many columns, got none")
    titles = [title.strip() for title in rows[0]]
    columns: Columns = {
        # A title that others have, too, or none, is named by its number.
        title if title and titles.count(title) == 1 else number + 1: [row[number] for row in body]
        for number, title in enumerate(titles)
    }
    time = time_of(columns)
    rest = {title: texts for title, texts in columns.items() if title not in time.columns}
    comma = any(_COMMA.fullmatch(text) for texts in rest.values() for text in texts)
    found = _roles(rest)
    out = [f"product = {shown(product)}", "", "[csv]", f"delimiter = {shown(delimiter)}"]
    out += [f"encoding = {shown(encoding)}"] if encoding else []
    out += ["", "[time]", _times(time.columns), f"format = {shown(time.format)}{_or(time.others)}"]
    out += ['zone = "UTC"    # or that of the clock, such as "Europe/Berlin"']
    if comma and delimiter != ",":
        out += ["", "[values]", 'decimal = ","']
        if any(_GROUPED.fullmatch(text) for texts in rest.values() for text in texts):
            out += ['thousands = "."']
    out += ["", "[device]"]
    device = found["device"]
    out += [f"column = {shown(device)}" if device else 'value = "CHANGE-ME"']
    if found["identifier"] and found["value"]:
        out += _long(found, columns)
    else:
        out += _wide(rest, device)
    return "\n".join(out) + "\n"


def _rows(data: bytes) -> tuple[list[list[str]], str, str]:
    """The first rows, their delimiter, and their encoding where the mapping must say it."""
    # A peek may end within a line.
    data = data[: data.rfind(b"\n") + 1 or None] if len(data) >= _HEAD_BYTES else data
    if b"\x00" in data:
        raise TableError("expected a CSV file, got binary data")
    text, encoding = _decoded(data)
    if "\n" not in text and "\r" in text:
        raise TableError("expected lines that end with LF or CR LF, got CR alone")
    lines = [line.removesuffix("\r") for line in text.split("\n") if line.strip("\r")][: _ROWS + 1]
    if not lines:
        raise TableError("expected a header, got an empty file")
    if found := _SEPARATOR.fullmatch(lines[0]):
        raise TableError(
            f"expected a header, got {shown(lines[0])}, a line for Excel: remove it, or set "
            f"csv.skip_lines = 1 and csv.delimiter = {shown(found[1])} by hand"
        )
    if lines[0].count('"') % 2:
        raise TableError("expected a header of one line, got a quoted line break in it")
    delimiter = max(DELIMITERS, key=lines[0].count)
    rows = [row for line in lines for row in csv.reader([line], delimiter=delimiter)]
    return rows, delimiter, encoding


def _decoded(data: bytes) -> tuple[str, str]:
    """The text, and its encoding where the mapping must say it."""
    for encoding in ("utf-8-sig", "cp1252"):
        with suppress(UnicodeDecodeError):
            return data.decode(encoding), "" if encoding == "utf-8-sig" else encoding
    return data.decode("latin-1"), "latin-1"


def _times(columns: Sequence[str | int]) -> str:
    """The columns of the time, as the mapping names them."""
    if len(columns) == 1:
        return f"column = {shown(columns[0])}"
    return f"columns = [{', '.join(map(shown, columns))}]"


def _or(formats: Sequence[str]) -> str:
    """A comment with formats that may be meant just as well."""
    return f"    # or {', '.join(map(shown, formats[:_OTHERS]))}" if formats else ""


def _roles(columns: Columns) -> dict[str, str | int]:
    """Which column is the device, the identifier, the value and the quality; empty for none."""
    found: dict[str, str | int] = dict.fromkeys(_NAMES, "")
    for is_word in (str.__eq__, _begins):
        for role, names in _NAMES.items():
            free = (title for title in columns if title not in found.values())
            found[role] = found[role] or _named(free, names, is_word)
    numbers = [
        title
        for title, texts in columns.items()
        if title not in found.values() and mostly(texts, _NUMBER.fullmatch)
    ]
    if found["identifier"] and not found["value"] and len(numbers) == 1:
        found["value"] = numbers[0]
    return found


def _named(
    titles: Iterable[str | int], names: Sequence[str], is_word: Callable[[str, str], bool]
) -> str | int:
    """The first title with one of these words, in the order of the words."""
    said = {title: words(title) for title in titles}
    found = (
        title
        for name in names
        for title, some in said.items()
        if any(is_word(s, name) for s in some)
    )
    return next(found, "")


def _begins(text: str, word: str) -> bool:
    return len(word) >= _STEM and text.startswith(word)


def _long(found: dict[str, str | int], columns: Columns) -> list[str]:
    out = ["", "[long]", f"identifier = {shown(found['identifier'])}"]
    out += [f"value = {shown(found['value'])}"]
    if found["quality"]:
        out += [f"quality = {shown(found['quality'])}"]
    out += ["", "[points]", "# their name = an identifier of the model"]
    names = dict.fromkeys(columns[found["identifier"]])
    return out + [f"{dotted([name])} = {shown(name)}" for name in names]


def _wide(columns: Iterable[str | int], device: str | int) -> list[str]:
    out = ["", "[wide]", "", "[points]", "# their column = an identifier of the model"]
    for title in columns:
        if isinstance(title, str) and title != device:
            out.append(f"{dotted([title])} = {shown(title)}")
        elif title != device:
            out.append(f"# column {title} has no title of its own")
    return out
