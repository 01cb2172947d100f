"""Points for tests of sinks, as rows that are easy to write down and to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa

from pointgate.store.points import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable

DAY = 86_400_000

_MILLISECONDS = pa.timestamp("ms", tz="UTC")


class Point(NamedTuple):
    """A point; without a value of another type its value is `double`; times in milliseconds."""

    product: str = "solar"
    device: str = "inv1"
    identifier: str = "temp"
    time: int = 0
    double: float | None = None
    long: int | None = None
    boolean: bool | None = None
    text: str | None = None
    json: str | None = None
    quality: int | None = None
    received: int = 0


EVERY_TYPE: Final = (
    Point(time=1, double=21.5, quality=3, received=5),
    Point(time=2, long=-(2**62), received=5),
    Point(time=DAY, boolean=False, received=5),
    Point(time=DAY - 1, text='"é\n', received=5),
    Point(device="ünit", identifier="a b", time=7, json='{"a": [1,\n2]}', received=6),
    Point(product="007", time=253402300799999, double=1e300, received=6),
)
"""A point of each type, with names and times that readers may misunderstand."""


def table(points: Iterable[Point]) -> pa.Table:
    """The points as they come from the spool."""
    columns = list(zip(*points, strict=True)) or [()] * len(SCHEMA)
    arrays = [
        pa.array(column, _MILLISECONDS).cast(field.type)
        if pa.types.is_timestamp(field.type)
        else pa.array(column, field.type.value_type).dictionary_encode()
        if pa.types.is_dictionary(field.type)
        else pa.array(column, field.type)
        for column, field in zip(columns, SCHEMA, strict=True)
    ]
    return pa.table(arrays, schema=SCHEMA)


def milliseconds(instants: Any) -> Any:
    """Instants as numbers; they must be whole milliseconds."""
    return instants.cast(_MILLISECONDS).cast(pa.int64())


def columns_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows that a reader gives, in the order of their keys, with times as numbers."""
    for name in ("time", "received"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, milliseconds(table[name]))
    rows: list[dict[str, Any]] = table.select(SCHEMA.names).to_pylist()
    return sorted(
        rows, key=lambda row: (row["product"], row["device"], row["identifier"], row["time"])
    )
