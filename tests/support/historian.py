"""Exports of an invented historian, from a seed, and what a naive reader makes of them.

The oracle shares no code with the importer: Python's csv reads a line, the zone of a local time is
found by trying every offset of these days, a value is a float within bounds.
"""

from __future__ import annotations

import csv
import io
import random
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

DEVICES: Final = ("inverter-001", "inverter-002", "inverter-003")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EXCEL: Final = datetime(1899, 12, 30, tzinfo=UTC).replace(tzinfo=None)
NULLS: Final = ("", "NaN", "null", "-9999")

BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "activePower": (0, 250),
    "dayEnergy": (0, 1e308),
    "cabinetTemperature": (-40, 90),
}
"""Of points of the demo's product `solar`."""

FORMATS: Final = ("%d.%m.%Y %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "epoch_ms", "epoch_s", "excel", "iso")


@dataclass(frozen=True, slots=True)
class Shape:
    """How an export is written."""

    seed: int = 0
    rows: int = 300
    wide: bool = False
    delimiter: str = ";"
    decimal: str = "."
    thousands: str = ""
    time: str = "iso"
    zone: str = "UTC"
    overlap: str = "reject"
    gap: str = "reject"
    mark: bool = False
    encoding: str = "utf-8"
    by_device: bool = False
    bad: float = 0.02
    start: datetime = datetime(2024, 3, 30, 20)  # noqa: DTZ001 - the clock of the zone
    step_minutes: int = 7
    quality: bool = False
    factor: str = "1"
    offset: str = "0"


@dataclass(slots=True)
class Expected:
    """What a naive reader makes of an export.

    Attributes:
        points: The last value of each device, identifier and UTC millisecond.
        bad_lines: Lines of which something is rejected.
    """

    points: dict[tuple[str, str, int], float] = field(default_factory=dict)
    bad_lines: set[int] = field(default_factory=set)


def mapping(shape: Shape) -> str:
    """The mapping of an export, as a person writes it."""
    lines = ['product = "solar"', "[csv]", f'delimiter = "{_escaped(shape.delimiter)}"']
    if shape.encoding != "utf-8":
        lines += [f'encoding = "{shape.encoding}"']
    lines += ["[time]", 'column = "Zeit"', f'format = "{shape.time}"', f'zone = "{shape.zone}"']
    lines += [f'overlap = "{shape.overlap}"', f'gap = "{shape.gap}"']
    lines += ["[values]", f'decimal = "{shape.decimal}"', f'thousands = "{shape.thousands}"']
    lines += [f"null = {list(NULLS)}".replace("'", '"'), "[device]", 'column = "Gerät"']
    if shape.wide:
        lines += ["[wide]"]
    else:
        lines += ["[long]", 'identifier = "Tag"', 'value = "Wert"']
        lines += ['quality = "Status"', "[quality.names]", "Good = 0"] if shape.quality else []
    for name in BOUNDS:
        lines += [f'[points."T.{name}"]', f'identifier = "{name}"']
        lines += [f"factor = {shape.factor}", f"offset = {shape.offset}"]
    return "\n".join(lines) + "\n"


def export(shape: Shape) -> bytes:
    """The file: gaps, duplicates, values that are none, out of bounds, no numbers; bad lines."""
    dice = random.Random(shape.seed)  # noqa: S311 - the same seed gives the same file
    names = [f"T.{name}" for name in BOUNDS]
    header = ["Zeit", "Gerät", *(names if shape.wide else ["Tag", "Wert", "Status"])]
    rows: list[list[str]] = []
    for number in range(shape.rows):
        if dice.random() < 0.1:
            continue  # a gap
        moment = shape.start + timedelta(minutes=shape.step_minutes * number)
        if dice.random() < 0.05:
            moment -= timedelta(minutes=shape.step_minutes)  # a duplicate
        device = (
            dice.choice((*DEVICES, "unknown"))
            if dice.random() < 0.05
            else (DEVICES[number % len(DEVICES)])
        )
        values = [_value(shape, dice, name) for name in BOUNDS]
        if shape.wide:
            rows.append([_time(shape, moment, dice), device, *values])
        else:
            for name, value in zip(names, values, strict=True):
                rows.append([_time(shape, moment, dice), device, name, value, "Good"])
    if shape.by_device:
        rows.sort(key=lambda row: row[1])
    texts = [_line(shape, header)]
    for row in rows:
        if dice.random() < shape.bad:
            texts.append(dice.choice(['a "b', shape.delimiter.join(row[:-2]), '"open']))
        texts.append(_line(shape, row))
    text = "\r\n".join(texts) + "\r\n"
    return (b"\xef\xbb\xbf" if shape.mark else b"") + text.encode(shape.encoding)


def expected(shape: Shape, data: bytes) -> Expected:
    """What is in a file, read as naively as possible."""
    found = Expected()
    text = data.removeprefix(b"\xef\xbb\xbf").decode(shape.encoding)
    lines = text.split("\r\n")
    header = next(csv.reader([lines[0]], delimiter=shape.delimiter))
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        try:
            (row,) = csv.reader([line], delimiter=shape.delimiter, strict=True)
        except (csv.Error, ValueError):
            found.bad_lines.add(number)
            continue
        if len(row) != len(header):
            found.bad_lines.add(number)
            continue
        _read(shape, dict(zip(header, row, strict=True)), number, found)
    return found


def _read(shape: Shape, row: dict[str, str], number: int, found: Expected) -> None:
    if shape.wide:
        texts = {name: row[f"T.{name}"] for name in BOUNDS}
    else:
        texts = {row["Tag"].removeprefix("T."): row["Wert"]}
    texts = {name: text for name, text in texts.items() if text not in NULLS}
    instant = instant_of(shape, row["Zeit"])
    for name, text in texts.items():
        value = number_of(shape, text)
        low, high = BOUNDS[name]
        if (
            instant is None
            or row["Gerät"] not in DEVICES
            or value is None
            or not low <= value <= high
        ):
            found.bad_lines.add(number)
        else:
            found.points[row["Gerät"], name, instant] = value


def instant_of(shape: Shape, text: str) -> int | None:
    """UTC milliseconds of a time; None where it is none."""
    if shape.time in {"epoch_ms", "epoch_s"}:
        return int(Decimal(text) * (1000 if shape.time == "epoch_s" else 1))
    if shape.time == "excel":
        days = Decimal(text.replace(shape.decimal, "."))
        local = EXCEL + timedelta(milliseconds=round(days * 86_400_000))
    else:
        try:
            pattern = "%Y-%m-%d %H:%M:%S" if shape.time == "iso" else shape.time
            local = datetime.strptime(text, pattern)  # noqa: DTZ007 - the zone is found below
        except ValueError:
            return None
    found = instants_of(local, shape.zone)
    if len(found) == 1:
        return found[0]
    if found:
        return {"first": found[0], "second": found[1]}.get(shape.overlap)
    if shape.gap == "reject":
        return None
    before = instants_of(local - timedelta(hours=3), shape.zone)[0]
    return before + 3 * 3_600_000


def instants_of(local: datetime, zone: str) -> list[int]:
    """Every instant at which the clocks of a zone show a time."""
    found = []
    for offset in offsets_around(local.date(), zone):
        utc = (local - offset).replace(tzinfo=UTC)
        if utc.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local:
            found.append((utc - EPOCH) // timedelta(milliseconds=1))
    return sorted(found)


@cache
def offsets_around(day: date, zone: str) -> frozenset[timedelta]:
    """Every offset that a zone has within 15 hours of a day: no zone is further from UTC."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=15)
    instants = (start + timedelta(minutes=15 * quarter) for quarter in range(54 * 4 + 1))
    offsets = (instant.astimezone(ZoneInfo(zone)).utcoffset() for instant in instants)
    return frozenset(offset for offset in offsets if offset is not None)


def number_of(shape: Shape, text: str) -> float | None:
    """The number that a text is, as a naive reader has it; None where it is none."""
    plain = text.replace(shape.thousands, "") if shape.thousands else text
    if shape.decimal != ".":
        if "." in plain:
            return None
        plain = plain.replace(shape.decimal, ".")
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", plain):
        return None
    return float(Decimal(plain) * Decimal(shape.factor) + Decimal(shape.offset))


def _value(shape: Shape, dice: random.Random, name: str) -> str:
    chance = dice.random()
    if chance < 0.05:
        return dice.choice(NULLS)
    if chance < 0.08:
        return dice.choice(["abc", "1e", "--1", "1x2", "0x10"])
    low, high = BOUNDS[name]
    number = (
        dice.uniform(low - 5, min(high, 9999) + 5)
        if chance < 0.2
        else dice.uniform(max(low, 0), min(high, 9999))
    )
    text = f"{number:,.{dice.randrange(1, 4)}f}"
    return text.replace(",", "_").replace(".", shape.decimal).replace("_", shape.thousands)


def _time(shape: Shape, moment: datetime, dice: random.Random) -> str:
    if shape.time in {"epoch_ms", "epoch_s"}:
        milliseconds = (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
        return str(milliseconds if shape.time == "epoch_ms" else milliseconds // 1000)
    if shape.time == "excel":
        days = (moment - EXCEL) / timedelta(days=1)
        return f"{days:.9f}".replace(".", shape.decimal)
    if dice.random() < 0.01:
        return "yesterday"
    return moment.strftime("%Y-%m-%d %H:%M:%S" if shape.time == "iso" else shape.time)


def _line(shape: Shape, row: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=shape.delimiter, lineterminator="").writerow(row)
    return out.getvalue()


def _escaped(text: str) -> str:
    return text.replace("\t", "\\t")
