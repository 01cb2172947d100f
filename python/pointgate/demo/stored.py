"""What the demo has stored: read from the Parquet files when the service has ended.

The totals go through the files a batch at a time. Only the points of one device are held in memory:
the last accepted value of each, as the view `last` of docs/reading.md defines it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from rich.table import Column, Table
from rich.text import Text

from pointgate.demo.chart import chart
from pointgate.sinks.key_order import NAMES
from pointgate.sinks.parquet.rows import ROWS
from pointgate.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import RenderableType

DUCKDB: Final = (
    "SELECT device, identifier, count(DISTINCT time) AS points, max(time) AS newest "
    "FROM read_parquet('{points}/**/*.parquet') GROUP BY ALL ORDER BY ALL"
)
"""A query for anybody who wants to look at the files while the demo runs, or afterwards."""

_SCHEMA: Final = pa.schema(
    [pa.field(field.name, pa.string() if field.name in NAMES else field.type) for field in ROWS]
)
"""The columns of the files, for a reader."""

_KEY: Final = [*NAMES, "time"]
_VALUES: Final = ["value", "value_text", "value_json"]
_LONGEST: Final = 23
"""Characters of a value."""

_FEWEST_COLUMNS: Final = 16
_COLUMNS: Final = 60
_POINTS: Final = 4
"""For each column of the chart, so that few columns are empty."""

_LINES: Final = 6


@dataclass(frozen=True, slots=True)
class Stored:
    """The points in a dataset.

    Attributes:
        products: How many points each product has, and of how many devices.
        files: How many files there are.
        size: Their size in bytes.
        device: The rows of one device, by identifier and time.
    """

    products: dict[str, tuple[int, int]]
    files: int
    size: int
    device: pa.Table

    @property
    def points(self) -> int:
        """How many points there are."""
        return sum(points for points, _ in self.products.values())


def read(folder: Path, product: str) -> Stored:
    """Read a dataset.

    Args:
        folder: The folder of a Parquet sink.
        product: The product; all points of its first device are read.
    """
    files = sorted(folder.glob("**/*.parquet"))
    dataset = pads.dataset(files, schema=_SCHEMA, format="parquet")
    counts: dict[str, int] = defaultdict(int)
    devices: dict[str, set[str]] = defaultdict(set)
    for batch in dataset.to_batches(columns=["product", "device"]):
        found = (
            pa.Table.from_batches([batch])
            .group_by(["product", "device"])
            .aggregate([([], "count_all")])
        )
        for key, name, points in zip(*found.to_pydict().values(), strict=True):
            counts[key] += points
            devices[key].add(name)
    products = {name: (counts[name], len(devices[name])) for name in sorted(counts)}
    device = min(devices[product], default="")
    one = (pc.field("product") == product) & (pc.field("device") == device)
    rows = dataset.to_table([*_KEY, *_VALUES, "received"], filter=one)
    return Stored(products, len(files), sum(path.stat().st_size for path in files), last(rows))


def last(rows: pa.Table) -> pa.Table:
    """The last accepted value of each point, in the order of their keys."""
    ordered = rows.sort_by([(name, "ascending") for name in [*_KEY, "received"]])
    options = pc.ScalarAggregateOptions(skip_nulls=False)
    kept = ordered.group_by(_KEY, use_threads=False).aggregate(
        [(name, "last", options) for name in _VALUES]
    )
    # Groups are in no order.
    return kept.rename_columns([*_KEY, *_VALUES]).sort_by([(name, "ascending") for name in _KEY])


def report(stored: Stored, *, identifier: str) -> Iterator[RenderableType]:
    """What was stored, for people: totals, the series of the device, a chart of one of them."""
    totals = ", ".join(
        f"{product} {points:,} of {devices} devices"
        for product, (points, devices) in stored.products.items()
    )
    yield Text(
        f"stored: {stored.points:,} points in {stored.files} Parquet files of "
        f"{stored.size / 1e6:,.1f} MB: {totals}"
    )
    series = _series(stored.device)
    if not series:
        return
    device = stored.device["device"][0].as_py()
    table = Table(
        Column("identifier", no_wrap=True),
        Column("points", justify="right"),
        Column("newest (UTC)", no_wrap=True),
        Column("value", no_wrap=True),
        title=f"the series of {device}",
        title_justify="left",
    )
    for name, rows in series.items():
        newest = rows[-1]
        time = f"{newest['time']:%Y-%m-%d %H:%M:%S}"
        table.add_row(Text(name), f"{len(rows):,}", time, Text(_value(newest)))
    yield table
    points = [
        (row["time"].timestamp(), row["value"])
        for row in series.get(identifier, ())
        if row["value"] is not None
    ]
    if points:
        first, newest = (series[identifier][place]["time"] for place in (0, -1))
        yield Text(
            f"\n{identifier} of {device}, {first:%Y-%m-%d %H:%M} to {newest:%Y-%m-%d %H:%M} UTC"
        )
        width = max(_FEWEST_COLUMNS, min(_COLUMNS, len(points) // _POINTS))
        yield Text("\n".join(chart(points, width=width, height=_LINES)))


def _series(rows: pa.Table) -> dict[str, list[dict[str, Any]]]:
    series: dict[str, list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        series.setdefault(row["identifier"], []).append(row)
    return series


def _value(row: dict[str, Any]) -> str:
    """A value of any type as a short text."""
    found = next((row[name] for name in _VALUES if row[name] is not None), "")
    text = printable(f"{found:,.10g}" if isinstance(found, float) else str(found))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
