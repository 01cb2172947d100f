"""Times of an export as UTC milliseconds.

    iso         2024-03-31T02:30:00+01:00, 2024-03-31 02:30, 2024-03-31
    excel       45382.104166667, days since 1899-12-30
    epoch_s …   1711848600, 1711848600.25
    %d.%m.%Y …  a pattern of strptime

A time that says no offset is one of the mapping's zone. Where its clocks are set forward an hour
does not exist, where they are set back one exists twice: `gap` and `overlap` say what becomes of
such a time. What is finer than a millisecond is cut off, since that is what the protocol has.

A zone is asked once a day: on most days its offset is the same all day.

    2024-03-30 in Europe/Berlin   one offset, 3,600,000 ms: subtract it
    2024-03-31                    two: ask for each time
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from pointgate.diagnostics import shown
from pointgate.errors import PointgateError
from pointgate.importing.mapping import EPOCHS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate.importing.mapping import TimeMapping

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - local times are compared without a zone
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_DAY_MS: Final = 86_400_000
_MS: Final = timedelta(milliseconds=1)
_US: Final = timedelta(microseconds=1)
_QUARTERS: Final = 96
_CACHED: Final = 65_536
_FIRST_EXCEL_DAY: Final = 61
"""1900-03-01: Excel counts a day before it that did not exist."""

_EXCEL_EPOCH_DAY: Final = date(1899, 12, 30).toordinal() - _EPOCH_DAY
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")
_DIGITS: Final = {"d": 2, "m": 2, "y": 2, "Y": 4, "H": 2, "M": 2, "S": 2}


class TimeError(PointgateError):
    """A time that cannot be read, or is not one; the text says why."""


class TwiceError(TimeError):
    """A local time that exists twice, where the order of the rows says which one it is.

    Attributes:
        first: Its first instant, UTC milliseconds.
        second: The second one.
        local_us: What the clock shows, microseconds.
    """

    def __init__(self, first: int, second: int, local_us: int) -> None:
        super().__init__("expected a time that exists once")
        self.first = first
        self.second = second
        self.local_us = local_us


class Times:
    """Reads the times of one export.

    Args:
        mapping: How they are written.
        decimal: What stands before the fraction of a number.
    """

    def __init__(self, mapping: TimeMapping, decimal: str = ".") -> None:
        self._mapping = mapping
        self._decimal = decimal
        self._zone = ZoneInfo(mapping.zone)
        self._offsets: dict[int, int | None] = {}
        self._starts: dict[int, int] = {}
        self._groups: list[int] = []
        self._parse = self._parser(mapping.format)
        self._cached: Callable[[str], int] = lru_cache(_CACHED)(self._parse)

    def milliseconds(self, value: object) -> int:
        """UTC milliseconds.

        Raises:
            TwiceError: It exists twice, and `overlap` is "order".
            TimeError: It is no time, or one that does not exist, or exists twice.
        """
        if isinstance(value, str):
            return self._cached(value.strip())
        if isinstance(value, datetime):
            return self._instant(value)
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            return self._parse(str(value))
        if isinstance(value, date):
            return self._local(datetime(value.year, value.month, value.day))  # noqa: DTZ001
        raise TimeError("expected a time, got nothing" if value is None else self._wrong(value))

    def _parser(self, pattern: str) -> Callable[[str], int]:
        if pattern == "iso":
            return self._iso
        if pattern == "excel":
            return self._excel
        if pattern in EPOCHS:
            return self._epoch
        numeric = _numeric_pattern(pattern)
        if numeric is None:
            return self._strptime
        names = [name if name in numeric.groupindex else "none" for name in "YmdHMS"]
        self._groups = [numeric.groupindex[name] for name in names]
        return lambda text: self._numeric(text, numeric)

    def _iso(self, text: str) -> int:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise TimeError(self._wrong(text)) from None
        return self._instant(found)

    def _strptime(self, text: str) -> int:
        try:
            found = datetime.strptime(text, self._mapping.format)  # noqa: DTZ007 - the zone follows
        except ValueError:
            raise TimeError(self._wrong(text)) from None
        return self._instant(found)

    def _numeric(self, text: str, pattern: re.Pattern[str]) -> int:
        """The same in a quarter of the time, for patterns of numbers alone."""
        match = pattern.fullmatch(text)
        if match is None:
            return self._strptime(text)
        parts = [int(part or 0) for part in match.group(*self._groups)]
        year, month, day, hour, minute, second = parts
        key = (year * 100 + month) * 100 + day
        start = self._starts.get(key)
        if start is None or hour > 23 or minute > 59 or second > 59:  # noqa: PLR2004 - of a clock
            try:
                found = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - as above
            except ValueError:
                raise TimeError(self._wrong(text)) from None
            if start is None and self._is_even(found):
                midnight = datetime(year, month, day)  # noqa: DTZ001 - as above
                self._starts[key] = self._local(midnight)
            return self._local(found)
        return start + ((hour * 60 + minute) * 60 + second) * 1000

    def _is_even(self, found: datetime) -> bool:
        """Whether a day has one offset from its beginning to its end."""
        self._local(found)
        return self._offsets[(found - _EPOCH).days] is not None

    def _excel(self, text: str) -> int:
        days = self._decimal_number(text)
        if days < _FIRST_EXCEL_DAY:
            raise TimeError(f"expected a day of Excel from 61, 1900-03-01, got {shown(text)}")
        if days >= 2_958_466:  # noqa: PLR2004 - the year 10000
            raise TimeError(f"expected a day of Excel before 2958466, got {shown(text)}")
        # Fifteen digits of a day are some 10 µs: the nearest millisecond is what was meant.
        milliseconds = int((days * _DAY_MS).to_integral_value())
        local = _EPOCH + timedelta(milliseconds=milliseconds + _EXCEL_EPOCH_DAY * _DAY_MS)
        return self._local(local)

    def _epoch(self, text: str) -> int:
        number = self._decimal_number(text)
        if self._mapping.format == "epoch_s":
            return int((number * 1000).to_integral_value("ROUND_FLOOR"))
        return int((number / EPOCHS[self._mapping.format]).to_integral_value("ROUND_FLOOR"))

    def _decimal_number(self, text: str) -> Decimal:
        plain = text.replace(self._decimal, ".") if self._decimal != "." else text
        if not _NUMBER.fullmatch(plain):
            raise TimeError(self._wrong(text))
        return Decimal(plain)

    def _instant(self, found: datetime) -> int:
        if found.tzinfo is None:
            return self._local(found)
        return (found.astimezone(UTC).replace(tzinfo=None) - _EPOCH) // _MS

    def _local(self, found: datetime) -> int:
        """The instant at which clocks of the zone show a time."""
        milliseconds = (found - _EPOCH) // _MS
        day = milliseconds // _DAY_MS
        try:
            offset = self._offsets[day]
        except KeyError:
            offset = self._offsets[day] = self._offset_of_day(day)
        return milliseconds - (self._offset(found) if offset is None else offset)

    def _offset_of_day(self, day: int) -> int | None:
        """The offset that a zone has all day long; None where it has several."""
        start = _EPOCH + timedelta(days=day)
        try:
            moments = [start + timedelta(minutes=15 * n) for n in range(_QUARTERS)]
            offsets = {
                self._of_fold(moment, fold) for moment in [*moments, moments[-1]] for fold in (0, 1)
            }
        except OverflowError:
            return None
        return offsets.pop() if len(offsets) == 1 else None

    def _of_fold(self, moment: datetime, fold: int) -> int:
        offset = moment.replace(tzinfo=self._zone, fold=fold).utcoffset()
        return (offset or timedelta()) // _MS

    def _offset(self, found: datetime) -> int:
        first, second = self._of_fold(found, 0), self._of_fold(found, 1)
        if first == second:
            return first
        text, zone = found.isoformat(" "), self._mapping.zone
        if first > second:  # clocks were set back: the first one is still summer time
            if self._mapping.overlap == "reject":
                raise TimeError(
                    f"{text} exists twice in {zone}: expected an offset behind it, "
                    'or time.overlap = "first", "second" or "order"'
                )
            if self._mapping.overlap == "order":
                local_us = (found - _EPOCH) // _US
                local = local_us // 1000
                raise TwiceError(local - first, local - second, local_us)
            return first if self._mapping.overlap == "first" else second
        if self._mapping.gap == "reject":
            raise TimeError(
                f'{text} does not exist in {zone}: expected another time, or time.gap = "shift"'
            )
        return first  # the offset before the gap: so much later

    def _wrong(self, value: object) -> str:
        pattern = self._mapping.format
        expected = {"iso": "an ISO 8601 time", "excel": "a serial date of Excel"}.get(pattern)
        if pattern in EPOCHS:
            expected = f"a number, {pattern}"
        return f"expected {expected or f'a time as {shown(pattern)}'}, got {shown(value)}"


def _numeric_pattern(pattern: str) -> re.Pattern[str] | None:
    """The regular expression of a pattern of numbers alone, each once, with a whole date."""
    steps = re.split("%(.)", pattern)
    names = steps[1::2]
    if len(set(names)) != len(names) or not {"Y", "m", "d"} <= set(names) <= set(_DIGITS) - {"y"}:
        return None
    texts = [re.escape(step) for step in steps[::2]]
    fields = [f"(?P<{name}>[0-9]{{{_DIGITS[name]}}})" for name in names] + [""]
    fields[-1] = "(?P<none>)"
    return re.compile("".join(text + field for text, field in zip(texts, fields, strict=True)))
