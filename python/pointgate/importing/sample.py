"""A mapping proposed from the first rows of a CSV file: a beginning that a person completes."""

from __future__ import annotations

import csv
import re
from functools import partial
from typing import IO, TYPE_CHECKING, Final

from pointgate.bulk.extract import parts_of
from pointgate.diagnostics import shown
from pointgate.importing.mapping import TimeMapping
from pointgate.importing.records import DELIMITERS, SHOWN_COLUMNS, TableError
from pointgate.importing.times import TimeError, Times
from pointgate.toml.document import dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_HEAD_BYTES: Final = 65_536
_ROWS: Final = 200
_FORMATS: Final = (
    "iso",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%Y%m%d%H%M%S",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d.%m.%y %H:%M:%S",
    "%d.%m.%y %H:%M",
    "%d-%m-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M",
)
_CLOCK: Final = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?( ?[AaPp][Mm])?")
"""The time of a day, in a column of its own."""

_COMMA: Final = re.compile(r"-?[0-9]+,[0-9]+")
_GROUPED: Final = re.compile(r"-?[0-9]{1,3}(\.[0-9]{3})+,[0-9]+")
_POINT: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_NUMBER: Final = re.compile(r"|-?[0-9.,']+([eE][+-]?[0-9]+)?")
_EXCEL: Final = re.compile(r"[345][0-9]{4}[.,][0-9]+")
"""Days since 1899-12-30 of the years 1982 to 2064."""
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
    """
    rows, delimiter, encoding = _rows(name, file)
    header, body = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    if not body:
        raise TableError("expected a header and rows of as many columns, got none")
    columns = {title: [row[place] for row in body] for place, title in enumerate(header)}
    times, pattern = _time(columns)
    rest = {title: texts for title, texts in columns.items() if title not in times}
    comma = any(_COMMA.fullmatch(text) for texts in columns.values() for text in texts)
    found = _roles(rest)
    out = [f"product = {shown(product)}", "", "[csv]", f"delimiter = {shown(delimiter)}"]
    out += [f"encoding = {shown(encoding)}"] if encoding else []
    texts = [" ".join(parts) for parts in zip(*(columns[one] for one in times), strict=True)]
    out += ["", "[time]", _times(times), f"format = {shown(pattern)}{_other_order(pattern, texts)}"]
    out += ['zone = "UTC"    # or that of the clock, such as "Europe/Berlin"']
    if comma and delimiter != ",":
        out += ["", "[values]", 'decimal = ","']
        if any(_GROUPED.fullmatch(text) for texts in columns.values() for text in texts):
            out += ['thousands = "."']
    out += ["", "[device]"]
    device = found["device"]
    out += [f"column = {shown(device)}" if device else 'value = "CHANGE-ME"']
    if found["identifier"] and found["value"]:
        out += _long(found, columns)
    else:
        out += _wide(rest, device)
    return "\n".join(out) + "\n"


def _rows(name: str, file: IO[bytes]) -> tuple[list[list[str]], str, str]:
    """The first rows, their delimiter, and their encoding where the mapping must say it."""
    for _, text in parts_of(name, file):
        if isinstance(text, str):
            raise TableError(text.replace("expected requests", "expected a CSV file"))
        data = text.peek(_HEAD_BYTES)
        # A peek may end within a character.
        data = data[: data.rfind(b"\n") + 1 or None] if len(data) >= _HEAD_BYTES else data
        if b"\x00" in data:
            raise TableError("expected a CSV file, got binary data")
        try:
            lines, encoding = data.decode("utf-8-sig").splitlines(), ""
        except UnicodeDecodeError:
            lines, encoding = data.decode("cp1252", "replace").splitlines(), "cp1252"
        lines = lines[: _ROWS + 1]
        if not lines:
            break
        delimiter = max(DELIMITERS, key=lines[0].count)
        return list(csv.reader(lines, delimiter=delimiter)), delimiter, encoding
    raise TableError("expected a header, got an empty file")


def _times(columns: Sequence[str]) -> str:
    """The columns of the time, as the mapping names them."""
    if len(columns) == 1:
        return f"column = {shown(columns[0])}"
    return f"columns = [{', '.join(map(shown, columns))}]"


def _time(columns: dict[str, list[str]]) -> tuple[list[str], str]:
    """The columns that are the time, and its format."""
    if found := _date_and_clock(columns):
        return found
    title, pattern = _time_in_one(columns)
    return [title], pattern


def _date_and_clock(columns: dict[str, list[str]]) -> tuple[list[str], str] | None:
    """Two columns that together are a time."""
    for clock, clocks in columns.items():
        if not _mostly(clocks, _CLOCK.fullmatch):
            continue
        for pattern in _FORMATS:
            times = Times(TimeMapping(column=1, format=pattern))
            for title, texts in columns.items():
                both = [" ".join(pair) for pair in zip(texts, clocks, strict=True)]
                if _mostly(both, partial(_is_time, times)):
                    return [title, clock], pattern
    return None


def _time_in_one(columns: dict[str, list[str]]) -> tuple[str, str]:
    for pattern in _FORMATS:
        times = Times(TimeMapping(column=1, format=pattern))
        for title, texts in columns.items():
            if not _mostly(texts, _POINT.fullmatch) and _mostly(texts, partial(_is_time, times)):
                return title, pattern
    for title, texts in columns.items():
        if re.search("time|date|zeit|datum|stamp", title.lower()):
            return title, _number_format(texts)
    for title, texts in columns.items():
        if _mostly(texts, _EXCEL.fullmatch):
            return title, "excel"
    there = ", ".join(shown(title) for title in list(columns)[:SHOWN_COLUMNS])
    raise TableError(
        f"expected a column of times, got {there}: write [time] by hand, as docs/importing.md says"
    )


def _other_order(pattern: str, texts: Sequence[str]) -> str:
    """A comment where day and month may just as well be the other way round."""
    other = pattern.replace("%m/%d", "%d/%m")
    is_time = partial(_is_time, Times(TimeMapping(column=1, format=other)))
    return f"    # or {shown(other)}" if other != pattern and _mostly(texts, is_time) else ""


def _number_format(texts: Sequence[str]) -> str:
    """What numbers of a column of times most likely count."""
    digits = max(len(text.partition(".")[0].partition(",")[0]) for text in texts)
    known = {5: "excel", 10: "epoch_s", 13: "epoch_ms", 16: "epoch_us", 19: "epoch_ns"}
    return known.get(digits, "iso")


def _mostly(texts: Sequence[str], test: Callable[[str], object]) -> bool:
    """Whether nine of ten texts are so: an export has some that are nothing."""
    return 10 * sum(1 for text in texts if test(text)) >= 9 * len(texts)


def _is_time(times: Times, text: str) -> bool:
    try:
        return times.milliseconds(text) is not None
    except (TimeError, OverflowError):
        return False


def _roles(columns: dict[str, list[str]]) -> dict[str, str]:
    """Which column is the device, the identifier, the value and the quality; empty for none."""
    found = dict.fromkeys(_NAMES, "")
    for is_word in (str.__eq__, _begins):
        for role, words in _NAMES.items():
            free = (title for title in columns if title not in found.values())
            found[role] = found[role] or _named(free, words, is_word)
    numbers = [
        title
        for title, texts in columns.items()
        if title not in found.values() and _mostly(texts, _NUMBER.fullmatch)
    ]
    if found["identifier"] and not found["value"] and len(numbers) == 1:
        found["value"] = numbers[0]
    return found


def _named(titles: Iterable[str], words: Sequence[str], is_word: Callable[[str, str], bool]) -> str:
    """The first title with one of these words, in the order of the words."""
    steps = {
        title: re.split(r"[^a-zäöüß]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", title).lower())
        for title in titles
    }
    found = (
        title
        for word in words
        for title, some in steps.items()
        if any(is_word(s, word) for s in some)
    )
    return next(found, "")


def _begins(text: str, word: str) -> bool:
    return len(word) >= _STEM and text.startswith(word)


def _long(found: dict[str, str], columns: dict[str, list[str]]) -> list[str]:
    out = ["", "[long]", f"identifier = {shown(found['identifier'])}"]
    out += [f"value = {shown(found['value'])}"]
    if found["quality"]:
        out += [f"quality = {shown(found['quality'])}"]
    out += ["", "[points]", "# their name = an identifier of the model"]
    names = dict.fromkeys(columns[found["identifier"]])
    return out + [f"{dotted([name])} = {shown(name)}" for name in names]


def _wide(columns: Iterable[str], device: str) -> list[str]:
    out = ["", "[wide]", "", "[points]", "# their column = an identifier of the model"]
    return out + [f"{dotted([title])} = {shown(title)}" for title in columns if title != device]
