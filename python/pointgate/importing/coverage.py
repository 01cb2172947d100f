"""What a history holds: points by product, device, identifier and day, and where none are.

Memory: some 200 bytes a series and 8 for each range of its days, and 12 bytes for each day on which
a device has a point.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from pointgate.sinks.key_order import series_of
from pointgate.store.points import DAY_US

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPOCH: Final = date(1970, 1, 1)
_SAVED_ROWS: Final = 10_000
"""Rows that are Python objects at a time when a coverage is loaded."""


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
        ranges: The first and the last day of each range of days that all have some, in order.
    """

    points: int = 0
    first: int = 0
    last: int = 0
    ranges: array[int] = field(default_factory=lambda: array("i"))

    @property
    def days(self) -> int:
        """On how many days it has some."""
        return sum(self.ranges[1::2]) - sum(self.ranges[::2]) + len(self.ranges) // 2

    def add_days(self, first: int, last: int) -> None:
        """Add a range; ranges come in the order of their first days."""
        if self.ranges and first <= self.ranges[-1] + 1:
            self.ranges[-1] = max(self.ranges[-1], last)
        else:
            self.ranges.extend((first, last))

    def merged(self, other: Series) -> Series:
        """Both together."""
        found = Series(
            self.points + other.points, min(self.first, other.first), max(self.last, other.last)
        )
        for first, last in sorted([*_pairs(self.ranges), *_pairs(other.ranges)]):
            found.add_days(first, last)
        return found


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

    def merged(self, other: Days) -> Days:
        """Both together."""
        found = Days()
        pairs = [*zip(self.days, self.counts, strict=True)]
        pairs += zip(other.days, other.counts, strict=True)
        for day, count in sorted(pairs):
            found.add(day, count)
        return found

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Ranges of days without a point between the first and the last one."""
        for before, after in pairwise(self.days):
            if after - before > 1:
                yield before + 1, after - 1


def _pairs(ranges: array[int]) -> Iterator[tuple[int, int]]:
    return zip(ranges[::2], ranges[1::2], strict=True)


_SAVED: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("product", "device", "identifier")),
        *((name, pa.int64()) for name in ("points", "first", "last")),
        ("days", pa.list_(pa.int32())),
        ("counts", pa.list_(pa.int64())),
    ]
)
"""A row for each series, whose days are ranges, and for each device, which has no identifier."""


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
            self._count((product, device, identifier), count, begin, end)
            key = product, device, day
            by_day[key] = by_day.get(key, 0) + count
        for (product, device, day), count in sorted(by_day.items(), key=lambda item: item[0][2]):
            self.devices.setdefault((product, device), Days()).add(day, count)

    def _count(self, key: tuple[str, str, str], count: int, begin: int, end: int) -> None:
        """Count points of a series on one day; days come in their order."""
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series(first=begin)
        series.points += count
        series.last = end
        day = begin // DAY_US
        series.add_days(day, day)

    def add_all(self, other: Coverage) -> None:
        """Add what another one has counted."""
        self.points += other.points
        for key, series in other.series.items():
            mine = self.series.get(key)
            self.series[key] = series if mine is None else mine.merged(series)
        for name, days in other.devices.items():
            known = self.devices.get(name)
            self.devices[name] = days if known is None else known.merged(days)

    def saved(self) -> bytes:
        """All of it, for `of_saved`: an Arrow IPC file."""
        rows: list[tuple[object, ...]] = [
            (*key, one.points, one.first, one.last, one.ranges, None)
            for key, one in self.series.items()
        ]
        rows += (
            (*key, None, sum(one.counts), None, None, one.days, one.counts)
            for key, one in self.devices.items()
        )
        columns = list(zip(*rows, strict=True)) or [()] * len(_SAVED)
        arrays = [pa.array(one, kind) for one, kind in zip(columns, _SAVED.types, strict=True)]
        sink = pa.BufferOutputStream()
        options = ipc.IpcWriteOptions(compression="lz4")
        with ipc.new_file(sink, _SAVED, options=options) as writer:
            writer.write_table(pa.table(arrays, schema=_SAVED), max_chunksize=_SAVED_ROWS)
        return bytes(sink.getvalue())

    @classmethod
    def of_saved(cls, data: bytes) -> Coverage:
        """What `saved` has returned."""
        found = cls()
        reader = ipc.open_file(data)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            columns = [column.to_pylist() for column in batch.columns]
            for row in zip(*columns, strict=True):
                product, device, identifier, points, first, last, days, counts = row
                if identifier is None:
                    of_device = Days(array("i", days), array("q", counts))
                    found.devices[product, device] = of_device
                else:
                    series = Series(points, first, last, array("i", days))
                    found.series[product, device, identifier] = series
                    found.points += points
        return found

    def by_product(self) -> dict[str, int]:
        """Points of each product."""
        found: dict[str, int] = {}
        for (product, _, _), series in self.series.items():
            found[product] = found.get(product, 0) + series.points
        return found
