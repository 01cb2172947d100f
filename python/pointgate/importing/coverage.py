"""What a history holds: points by product, device, identifier and day, and where none are.

Memory: some 100 bytes a series, and 8 bytes for each day on which a device has a point.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from pointgate.sinks.key_order import series_of
from pointgate.store.points import DAY_US

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPOCH: Final = date(1970, 1, 1)


def day_text(day: int) -> str:
    """A day, counted from 1970, as a date."""
    return (_EPOCH + timedelta(days=day)).isoformat()


@dataclass(slots=True)
class Series:
    """One identifier of a device.

    Attributes:
        points: How many points it has.
        first: The instant of the first one, UTC microseconds.
        last: That of the last one.
        days: On how many days it has some.
    """

    points: int = 0
    first: int = 0
    last: int = 0
    days: int = 0


@dataclass(slots=True)
class Days:
    """The points of a device by day, in order."""

    days: array[int] = field(default_factory=lambda: array("i"))
    counts: array[int] = field(default_factory=lambda: array("q"))

    def add(self, day: int, count: int) -> None:
        """Count points of a day; days come in their order."""
        if self.days and self.days[-1] == day:
            self.counts[-1] += count
        else:
            self.days.append(day)
            self.counts.append(count)

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Ranges of days without a point between the first and the last one."""
        for before, after in pairwise(self.days):
            if after - before > 1:
                yield before + 1, after - 1


class Coverage:
    """Counts points, chunk by chunk in the order of days.

    Attributes:
        points: How many there are.
        series: By product, device and identifier.
        devices: By product and device.
    """

    def __init__(self) -> None:
        self.points = 0
        self.series: dict[tuple[str, str, str], Series] = {}
        self.devices: dict[tuple[str, str], Days] = {}

    def add(self, rows: pa.RecordBatch) -> None:
        """Count the points of a chunk, which are in the order of their keys."""
        self.points += len(rows)
        time = rows["time"].view(pa.int64())
        days = pc.divide(time, DAY_US)
        first, last = (day.as_py() for day in pc.min_max(days).values())
        span = last - first + 1
        groups = pc.add(pc.multiply(series_of(rows), span), pc.subtract(days, first))
        ends = pc.run_end_encode(groups).run_ends
        starts = pa.concat_arrays([pa.array([0], ends.type), ends[:-1]])
        names = [
            rows[name].take(starts).to_pylist() for name in ("product", "device", "identifier")
        ]
        found = zip(
            *names,
            days.take(starts).to_pylist(),
            pc.subtract(ends, starts).to_pylist(),
            time.take(starts).to_pylist(),
            time.take(pc.subtract(ends, 1)).to_pylist(),
            strict=True,
        )
        by_day: dict[tuple[str, str, int], int] = {}
        for product, device, identifier, day, count, begin, end in found:
            self._series((product, device, identifier), count, begin, end)
            key = product, device, day
            by_day[key] = by_day.get(key, 0) + count
        for (product, device, day), count in sorted(by_day.items(), key=lambda item: item[0][2]):
            self.devices.setdefault((product, device), Days()).add(day, count)

    def _series(self, key: tuple[str, str, str], count: int, begin: int, end: int) -> None:
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series(first=begin, last=begin - DAY_US)
        series.points += count
        series.days += series.last // DAY_US != begin // DAY_US
        series.last = end

    def by_product(self) -> dict[str, int]:
        """Points of each product."""
        found: dict[str, int] = {}
        for (product, _, _), series in self.series.items():
            found[product] = found.get(product, 0) + series.points
        return found
