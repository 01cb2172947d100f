"""The picture of what was imported."""

from __future__ import annotations

import re

import pytest

from pointgate.importing.coverage import Coverage, Days
from pointgate.importing.picture import bars, svg


def days_of(first: int, count: int, points: int) -> Days:
    days = Days()
    for day in range(first, first + count):
        days.add(day, points)
    return days


@pytest.mark.parametrize("count", [1, 2, 730, 731, 1461, 1826, 4000])
def test_each_column_has_the_points_of_the_days_that_it_names(count: int) -> None:
    coverage = Coverage()
    coverage.devices["p", "d"] = days_of(18_262, count, 24)  # from 2020-01-01 on
    titles = re.findall(r"<title>p/d (\S+)(?: to (\S+))?: ([\d,]+) points</title>", svg(coverage))
    assert titles[0][0] == "2020-01-01"
    assert sum(int(points.replace(",", "")) for *_, points in titles) == 24 * count
    *columns, _ = titles
    assert len({points for *_, points in columns}) <= 1  # what is the same looks the same
    assert len(titles) <= 730
    line = bars(coverage.devices["p", "d"], 18_262, 18_262 + count - 1, 60)
    assert len(line) <= 60
    assert len(set(line[:-1])) <= 1
