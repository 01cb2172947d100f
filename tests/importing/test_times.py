"""Times in every format, and the two nights of a year in which clocks are set."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from pointgate.importing.mapping import TimeMapping
from pointgate.importing.times import TimeError, Times


def read(value: object, **settings: str) -> int:
    return Times(TimeMapping(column=1, **settings)).milliseconds(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "value", "milliseconds"),
    [
        ("iso", "2024-05-01", 1714521600000),
        ("iso", "2024-05-01T00:00:00.1239Z", 1714521600123),
        ("iso", "2024-05-01 02:00+02:00", 1714521600000),
        ("iso", "20240501T000000Z", 1714521600000),
        ("iso", datetime(2024, 5, 1, tzinfo=UTC), 1714521600000),
        ("iso", date(2024, 5, 1), 1714521600000),
        ("epoch_s", "1714521600", 1714521600000),
        ("epoch_s", "1714521600.1239", 1714521600123),
        ("epoch_s", 1714521600.5, 1714521600500),
        ("epoch_ms", "1714521600123", 1714521600123),
        ("epoch_us", "1714521600123999", 1714521600123),
        ("epoch_ns", "1714521600123999999", 1714521600123),
        ("excel", "45413", 1714521600000),
        ("excel", "45413.5", 1714564800000),
        ("excel", "45413.3333333333", 1714550400000),
        ("%d.%m.%Y", "01.05.2024", 1714521600000),
        ("%d.%m.%Y %H:%M", "01.05.2024 06:30", 1714545000000),
        ("%d/%m/%y %I:%M %p", "01/05/24 06:30 PM", 1714588200000),
        ("%Y-%m-%d %H:%M:%S %z", "2024-05-01 02:00:00 +0200", 1714521600000),
        ("%d %b %Y %H:%M:%S.%f", "01 May 2024 00:00:00.123999", 1714521600123),
    ],
)
def test_formats(pattern: str, value: object, milliseconds: int) -> None:
    assert read(value, format=pattern) == milliseconds


@pytest.mark.parametrize(
    ("pattern", "value", "reason"),
    [
        ("iso", "yesterday", 'expected an ISO 8601 time, got "yesterday"'),
        ("iso", "", 'expected an ISO 8601 time, got ""'),
        ("iso", None, "expected a time, got nothing"),
        ("epoch_s", "12:00", 'expected a number, epoch_s, got "12:00"'),
        ("excel", "1", 'expected a day of Excel from 61, 1900-03-01, got "1"'),
        ("excel", "3000000", 'expected a day of Excel before 2958466, got "3000000"'),
        ("%d.%m.%Y", "31.02.2024", 'expected a time as "%d.%m.%Y", got "31.02.2024"'),
        ("%d.%m.%Y %H:%M:%S", "01.05.2024 24:00:00", "expected a time as"),
    ],
)
def test_what_is_no_time(pattern: str, value: object, reason: str) -> None:
    with pytest.raises(TimeError) as caught:
        read(value, format=pattern)
    assert str(caught.value).startswith(reason)


def test_the_hour_that_exists_twice() -> None:
    zone = {"zone": "Europe/Berlin"}
    twice = "2024-10-27 02:30:00"
    assert read(twice, **zone, overlap="first") == 1729989000000
    assert read(twice, **zone, overlap="second") == 1729992600000
    with pytest.raises(TimeError, match=r"02:30:00 exists twice in Europe/Berlin"):
        read(twice, **zone)
    assert read("2024-10-27 02:30:00+01:00", **zone) == 1729992600000
    assert read("2024-10-27 01:59:59", **zone) == 1729987199000
    assert read("2024-10-27 03:00:00", **zone) == 1729994400000


def test_the_hour_that_does_not_exist() -> None:
    zone = {"zone": "Europe/Berlin"}
    with pytest.raises(TimeError, match="2024-03-31 02:30:00 does not exist in Europe/Berlin"):
        read("2024-03-31 02:30:00", **zone)
    shifted = read("2024-03-31 02:30:00", **zone, gap="shift")
    assert shifted == read("2024-03-31 03:30:00", **zone)


def test_a_day_that_was_read_whole_is_not_taken_for_one_of_two_offsets() -> None:
    times = Times(
        TimeMapping(column=1, format="%Y-%m-%d %H:%M:%S", zone="Europe/Berlin", overlap="first")
    )
    offsets = {
        times.milliseconds(f"2024-10-27 {hour:02}:00:00") - 1729980000000 for hour in range(24)
    }
    assert len(offsets) == 24
    assert times.milliseconds("2024-10-27 03:00:00") == 1729994400000
