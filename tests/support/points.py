"""Points for tests of what keeps them."""

from __future__ import annotations

from array import array

import pyarrow as pa

from pointgate.store.points import SCHEMA
from pointgate.store.spool.batch import COUNTS


def points(*values: float, device: str = "device1") -> pa.Table:
    """A point for each value, a second apart."""
    names = {
        name: pa.array([text] * len(values), pa.string()).dictionary_encode()
        for name, text in (("product", "pk"), ("device", device), ("identifier", "temp"))
    }
    instant = SCHEMA.field("time").type
    start = 1_700_000_000_000_000
    columns = names | {
        "time": pa.array([start + 1_000_000 * n for n in range(len(values))], instant),
        "value_double": pa.array(values, pa.float64()),
        "received": pa.array([start] * len(values), instant),
    }
    empty = {f.name: pa.nulls(len(values), f.type) for f in SCHEMA if f.name not in columns}
    return pa.table(columns | empty, schema=SCHEMA)


def values(table: pa.Table) -> list[float]:
    """What `points` was given."""
    found: list[float] = table.column("value_double").to_pylist()
    return found


def counts(*numbers: int) -> array[int]:
    """How many points each request has."""
    return array(COUNTS, numbers)
