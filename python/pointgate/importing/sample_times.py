"""Which columns of a sample are the time of its rows, and how that is written.

    2024-05-01 09:30                     date and clock in one column
    05/01/2024 | 09:30 | PM | -0500      in two; AM or PM, or an offset, may be in others
    1714573800                           a number: seconds since 1970, days of a spreadsheet
    2024-05-01                           a date alone, if no other column may have the clock

Of all formats the one that reads the most rows is proposed; of several that read as many, the one
by which the rows are closest together, because rows that follow each other are seldom a month
apart. The others are named beside it.
"""

from __future__ import annotations

import re
import time
from itertools import pairwise, product
from typing import TYPE_CHECKING, Final, NamedTuple

from pointgate.diagnostics import shown
from pointgate.importing.mapping import TimeMapping
from pointgate.importing.records import SHOWN_COLUMNS, TableError
from pointgate.importing.times import TimeError, Times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_ORDERS: Final = ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%Y{0}%m{0}%d")
_SHORT_ORDERS: Final = ("%d{0}%m{0}%y", "%m{0}%d{0}%y", "%y{0}%m{0}%d")
_DATES: Final = (
    *(
        order.format(mark)
        for order in (*_ORDERS, *_SHORT_ORDERS)
        for mark in "-/."
        if mark != "." or not order.startswith("%m")  # dots are of those who write the day first
    ),
    "%Y%m%d",
)
_DIGITS_OF: Final = {"%d": "[0-9]{1,2}", "%m": "[0-9]{1,2}", "%Y": "[0-9]{4}", "%y": "[0-9]{2}"}
_BEGINNINGS: Final = {
    date: re.compile(
        "[0-9]{8}(?![0-9])"
        if date == "%Y%m%d"
        else re.sub("%[dmYy]", lambda one: _DIGITS_OF[one[0]], date.replace(".", "[.]"))
        + "(?![0-9])"
    )
    for date in _DATES
}
_CLOCKS: Final = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%H:%M:%S,%f")
_HALVES: Final = tuple(
    f"{clock}{space}%p".replace("%H", "%I") for clock in _CLOCKS[:2] for space in (" ", "")
)
_DIGITS: Final = {6: "%H%M%S", 4: "%H%M"}
"""Formats of digits alone, which `strptime` would read at other lengths, too."""

_LONG_DIGITS: Final = {
    14: ["%Y%m%d%H%M%S"],
    12: ["%Y%m%d%H%M", "%y%m%d%H%M%S", "%d%m%y%H%M%S"],
    10: ["%Y%m%d%H", "%y%m%d%H%M"],
}

_HOURS: Final = re.compile("[A-Za-z]{0,2}[0-9]{1,2}([-:][0-9]{1,2})?")
_FRACTION: Final = re.compile("[.,]")
_NUMBER: Final = re.compile(r"[0-9]+([.,][0-9]+)?")
_CLOCK: Final = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?( ?[AaPp][Mm])?")
_LIKE_A_CLOCK: Final = re.compile(r"[0-9]{1,2}[:h][0-9]{2}\b.*|[0-9]{1,2}[.][0-9]{2} ?[Uu]hr")
_HALF: Final = re.compile(r"[AaPp][Mm]")
_LIKE_A_HALF: Final = re.compile(r"[AaPp][.]? ?([Mm][.]?)?")
_OFFSET: Final = re.compile(r"[+-](0[0-9]|1[0-4]):(00|30|45)|Z")
_SHORT_OFFSET: Final = re.compile(r"[+-](0[0-9]|1[0-4])(00|30|45)")
_OFFSET_WORDS: Final = {"tz", "utc", "offset", "zone", "timezone", "zeitzone", "z"}

_TIME_WORDS: Final = (
    {"timestamp", "datetime", "zeitstempel", "time", "zeit", "ts", "t", "zeitpunkt"},
    {"date", "datum", "stamp", "fecha"},
)
"""Words of titles, the likeliest first."""

_SHORT_WORDS: Final = {"t", "ts"}
"""Those that are the time only by themselves."""

_UNNAMED: Final = len(_TIME_WORDS)
"""The rank of all other titles."""

_CLOCK_WORDS: Final = {
    *("time", "clock", "hour", "hours", "hr", "period", "interval"),
    *("zeit", "uhrzeit", "uhr", "stunde", "periode", "heure", "heures"),
    *("hora", "intervalo", "ora", "tijd"),
}

_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_HALF_A_DAY: Final = 12
_FIRST: Final = 3
"""Texts that are looked at before all are."""

_LEAST_DIGITS: Final = 5
"""Of a time with a date: `1.5.24 9:30` has seven."""

_FIRST_S: Final = 946_684_800
"""2000-01-01, in seconds since 1970: numbers before it count something else."""

_YEAR_S: Final = 366 * 86_400
_EXCEL_EPOCH_DAYS: Final = 25_569


class SampleTime(NamedTuple):
    """The time of a sample's rows.

    Attributes:
        columns: Which columns it is in.
        format: How it is written, for `time.format`.
        others: Other formats that read as many rows, as other times.
    """

    columns: list[str | int]
    format: str
    others: list[str]


class _Read(NamedTuple):
    """A time with what it reads.

    Attributes:
        time: The time.
        times: Each text that it reads, UTC milliseconds.
    """

    time: SampleTime
    times: tuple[int, ...]


Columns = dict[str | int, list[str]]
"""The texts of each column."""


def words(title: str | int) -> list[str]:
    """The words of a title, in small letters: `DeviceName` has two."""
    split = re.sub(r"(?<=[a-zäöüß])(?=[A-ZÄÖÜ])", " ", str(title)).lower()
    return [word for word in re.split(r"[^a-zäöüß]+", split) if word]


def mostly(texts: Sequence[str], test: Callable[[str], object]) -> bool:
    """Whether nine of ten texts are so: an export has some that are nothing."""
    return 10 * sum(1 for text in texts if test(text)) >= 9 * len(texts)


def time_of(columns: Columns) -> SampleTime:
    """The columns that are the time, and its format.

    Raises:
        TableError: No column is certain enough.
    """
    found = _time_of(columns)
    if found is None:
        there = ", ".join(map(shown, list(columns)[:SHOWN_COLUMNS]))
        raise TableError(
            f"expected a column of times, got {there}: write [time] by hand, "
            "as docs/importing.md says"
        )
    return found


def _time_of(columns: Columns) -> SampleTime | None:
    likeliest = min(map(_rank, columns))
    is_named = likeliest < _UNNAMED
    clock = _clock(columns)
    halves = [title for title, texts in columns.items() if mostly(texts, _HALF.fullmatch)]
    offsets = [title for title, texts in columns.items() if _is_offset(title, texts)]
    has_clock = bool(clock or halves) or any(_may_be_clock(*one) for one in columns.items())
    has_date = any(_dates(texts) for texts in columns.values())
    if not halves and any(_is_half(texts) for texts in columns.values()):
        return None  # AM and PM in a form that no format has
    candidates = [*columns.items()]
    candidates.sort(key=lambda one: (_rank(one[0]), -len(set(one[1]))))
    for title, texts in candidates:
        bases = [[title], *([title, one] for one in clock if one != title)]
        # What has the likeliest title is part of the time, or the sample cannot be read.
        bases = [base for base in bases if likeliest in map(_rank, base)]
        if bases and is_named and mostly(texts, _NUMBER.fullmatch):
            found = _number(title, texts)
            # Of a spreadsheet's days without a fraction another column may have the time of day.
            is_part = has_date or (has_clock and not any(map(_FRACTION.search, texts)))
            if found and not (found.format == "excel" and is_part):
                return found
        if not any(sum(map(str.isdigit, text)) >= _LEAST_DIGITS for text in texts[:_FIRST]):
            continue
        for base in bases:
            read = _read(columns, base, halves[:1], offsets[:1])
            if read is None or (
                has_clock and base == [title] and not halves and _is_midnight(read)
            ):
                continue
            if "%p" in read.time.format or not _is_half_a_day(read):
                return read.time
        is_day = bases and is_named and not has_clock and not _has_several(columns, title)
        if is_day and (read := _best([title], texts, _dates(texts))):
            iso = read.time.format in {"%Y-%m-%d", "%Y%m%d"}
            return read.time._replace(format="iso") if iso else read.time
    return None


def _rank(title: str | int) -> int:
    """How likely a title is that of the time, 0 the likeliest."""
    said = {*words(title)}
    if str(title).lower() not in _SHORT_WORDS:
        said -= _SHORT_WORDS  # `T_Modul` is a temperature
    return next((n for n, some in enumerate(_TIME_WORDS) if said & some), _UNNAMED)


def _clock(columns: Columns) -> list[str | int]:
    """The column that is the time of a day and says so in its title, if it is but one."""
    found = [
        title
        for title, texts in columns.items()
        if {*words(title)} & _CLOCK_WORDS
        and (mostly(texts, _CLOCK.fullmatch) or _lengths(texts) in ({4}, {6}))
    ]
    found.sort(key=lambda title: len(words(title)))  # `Time` before `Sunrise time`
    if len(found) > 1 and len(words(found[0])) == len(words(found[1])):
        return []
    return found[:1]


def _is_offset(title: str | int, texts: Sequence[str]) -> bool:
    """Whether a column is the offset from UTC, and not a power of -1200."""
    is_named = bool({*words(title)} & _OFFSET_WORDS)
    return mostly(texts, _OFFSET.fullmatch) or (is_named and mostly(texts, _SHORT_OFFSET.fullmatch))


def _is_half(texts: Sequence[str]) -> bool:
    """Whether a column has AM and PM in some form, in most of its rows that have anything."""
    said = [text for text in texts if text]
    # A device may be called A.
    is_word = {text[0].upper() for text in said} == {"A", "P"} or any(len(one) > 1 for one in said)
    return bool(said) and is_word and mostly(said, _LIKE_A_HALF.fullmatch)


def _is_midnight(found: _Read) -> bool:
    return not any(one % _DAY_MS for one in found.times)


def _has_several(columns: Columns, date: str | int) -> bool:
    """Whether a day has several rows of the same names, or a column of hours."""
    names = [
        texts
        for title, texts in columns.items()
        if title != date and not mostly(texts, _NUMBER.fullmatch)
    ]
    rows = [*zip(columns[date], *names, strict=True)]
    has_hours = any(len({*some}) > _HALF_A_DAY and mostly(some, _HOURS.fullmatch) for some in names)
    return has_hours or len({*rows}) < len(rows)


def _is_half_a_day(found: _Read) -> bool:
    """Whether a clock shows 1 to 12 and begins anew: what says AM or PM was not found."""
    hours = {one // _HOUR_MS % 24 for one in found.times}
    return hours <= {*range(1, 13)} and any(
        -12 * _HOUR_MS <= after - before <= -10 * _HOUR_MS
        for before, after in pairwise(found.times)
    )


def _lengths(texts: Iterable[str]) -> set[int]:
    return {len(text) if text.isdigit() else 0 for text in texts}


def _may_be_clock(title: str | int, texts: Sequence[str]) -> bool:
    """Whether a column may be a time of a day, however it is written."""
    is_named = bool({*words(title)} & (_CLOCK_WORDS - {"time", "zeit"}))
    return is_named or mostly(texts, _LIKE_A_CLOCK.fullmatch)


def _read(
    columns: Columns, base: list[str | int], half: list[str | int], offset: list[str | int]
) -> _Read | None:
    """What columns say together, if it is a time with a clock.

    Args:
        columns: The texts of all columns.
        base: The column with the date, and that with the clock if it is another one.
        half: The column with AM and PM, if there is one.
        offset: The column with the offset from UTC, if there is one.
    """
    titles = [*base, *half, *offset]
    if len({*titles}) < len(titles):
        return None
    texts = [" ".join(parts) for parts in zip(*(columns[one] for one in titles), strict=True)]
    if half:
        clocks = [f"{clock.replace('%H', '%I')} %p" for clock in _CLOCKS]
    else:
        ends = [text.rpartition(" ")[2] for text in columns[base[-1]]]
        clocks = [*_CLOCKS, *_HALVES, *(_DIGITS[n] for n in _lengths(ends) & {4, 6})]
    mark = "T" if any("T" in text for text in columns[base[0]][:_FIRST]) else " "
    formats = [
        f"{date}{mark}{clock}{' %z' if offset else ''}"
        for date, clock in product(_dates(columns[base[0]]), clocks)
    ]
    if not (half or offset) and mostly(texts, lambda text: ":" in text or "T" in text):
        formats.insert(0, "iso")
    return _best(titles, texts, formats)


def _dates(texts: Sequence[str]) -> list[str]:
    """The formats of dates that one of the first texts may begin with."""
    return [
        date for date in _DATES if any(_BEGINNINGS[date].match(text) for text in texts[:_FIRST])
    ]


def _best(titles: list[str | int], texts: Sequence[str], formats: Iterable[str]) -> _Read | None:
    """The format that reads the most texts, and others that read as many otherwise."""
    found: list[tuple[int, int, str, tuple[int, ...]]] = []
    for one in formats:
        times = _times(one, texts)
        if 10 * len(times) >= 9 * len(texts) and times:
            found.append((-len(times), max(times) - min(times), one, times))
    if not found:
        return None
    # Where nothing else decides, AM and PM are of those who write the month first.
    found.sort(key=lambda one: (*one[:2], one[2].startswith("%m") != ("%p" in one[2])))
    most, _, best, times = found[0]
    others = [one for count, _, one, read in found if count == most and read != times]
    return _Read(SampleTime(titles, best, [*dict.fromkeys(others)]), times)


def _times(pattern: str, texts: Sequence[str]) -> tuple[int, ...]:
    """The times that a format reads; none if it reads none of the first."""
    times = Times(TimeMapping(column=1, format=pattern))
    if not any(True for _ in _each(times, texts[:_FIRST])):
        return ()
    return tuple(_each(times, texts))


def _each(times: Times, texts: Iterable[str]) -> Iterator[int]:
    for text in texts:
        try:
            yield times.milliseconds(text)
        except (TimeError, OverflowError):
            continue


def _number(title: str | int, texts: Sequence[str]) -> SampleTime | None:
    """A number that is a time by its size."""
    numbers = [float(one.replace(",", ".")) for one in texts if _NUMBER.fullmatch(one)]
    kind = _number_format(numbers)
    lengths = _lengths(texts)
    if len(lengths) == 1 and (formats := _LONG_DIGITS.get(max(lengths))):
        found = _best([title], texts, formats)
        if found and all(_FIRST_S <= one // 1000 < _end_s() for one in found.times):
            return SampleTime([title], kind, [found.time.format]) if kind else found.time
    return SampleTime([title], kind, []) if kind else None


def _end_s() -> float:
    """The end of a year from now, in seconds since 1970: no export has times behind it."""
    return time.time() + _YEAR_S


def _number_format(numbers: Sequence[float]) -> str:
    """What numbers count, if they are times from 2000 until now."""
    last = _end_s()
    units = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}
    ranges = {name: (_FIRST_S * unit, last * unit) for name, unit in units.items()}
    days = tuple(edge / 86_400 + _EXCEL_EPOCH_DAYS for edge in (_FIRST_S, last))
    for name, (first, end) in {**ranges, "excel": days}.items():
        if sum(first <= number < end for number in numbers) * 10 >= 9 * len(numbers):
            return name
    return ""
