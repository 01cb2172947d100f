"""The columns of accepted points, from the judge to the spool and to the sinks.

One row per point; exactly one of the `value_…` columns is set:

    value_double   FLOAT and DOUBLE: the f64 nearest to what was sent
    value_long     INT, ENUM of whole numbers, TIMESTAMP (UTC milliseconds)
    value_bool     BOOL
    value_text     STRING, FILE, ENUM of strings, DATE
    value_json     ARRAY and STRUCT, as the JSON text of the request

`time` is the point's own, or the instant at which its request arrived if it has none; `received` is
that instant. Both are UTC microseconds: requests give whole milliseconds, and no two requests have
the same arrival (`arrival_clock.py`). Batches and files of earlier versions have milliseconds;
`current` converts them to these columns.
`Validator.collect` returns these columns, in this order, through the Arrow PyCapsule interface.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

_NAME: Final = pa.dictionary(pa.int32(), pa.string())
"""Names repeat from row to row: the dictionary stores each once per batch."""

_INSTANT: Final = pa.timestamp("us", tz="UTC")

SCHEMA: Final = pa.schema(
    [
        pa.field("product", _NAME, nullable=False),
        pa.field("device", _NAME, nullable=False),
        pa.field("identifier", _NAME, nullable=False),
        pa.field("time", _INSTANT, nullable=False),
        pa.field("value_double", pa.float64()),
        pa.field("value_long", pa.int64()),
        pa.field("value_bool", pa.bool_()),
        pa.field("value_text", pa.string()),
        pa.field("value_json", pa.string()),
        pa.field("quality", pa.int8()),
        pa.field("received", _INSTANT, nullable=False),
    ]
)

DAY_US: Final = 86_400_000_000
"""A UTC day in the unit of `time`, microseconds."""


def current(points: pa.Table) -> pa.Table:
    """Convert points of any version to the columns of this one.

    Raises:
        pa.ArrowException: The columns are not those of points.
    """
    return points if points.schema == SCHEMA else points.cast(SCHEMA)
