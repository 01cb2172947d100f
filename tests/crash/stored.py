"""What stands in a sink, as the comparison wants it: rows of `ledger.EXPECTED` without the number.

Read as users are told to: Parquet by DuckDB, of several rows of a point the one that was received
last; PostgreSQL through the view `points`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import duckdb
import psycopg
import pyarrow as pa

from tests.crash.ledger import EXPECTED
from tests.support.postgres_server import PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

_ROWS: Final = EXPECTED.remove(0)

_PARQUET: Final = """
SELECT product, device, identifier, epoch_ms(time) AS time, value_double, value_long,
    coalesce(value_json, value_text, value_bool::text) AS value_json, quality
FROM read_parquet(?)
"""

_NEWEST: Final = """
QUALIFY row_number() OVER (
    PARTITION BY product, device, identifier, time ORDER BY received DESC
) = 1
"""

_POSTGRES: Final = """
SELECT product, device, identifier, (extract(epoch FROM time) * 1000)::bigint, value_double,
    value_long, coalesce(value_json::text, value_text, value_bool::text), quality
FROM pointgate.points
"""

_AT_ONCE: Final = 50_000


def of_parquet(folder: Path, *, newest: bool = True) -> pa.Table:
    """The rows of a Parquet dataset.

    Args:
        folder: Its folder.
        newest: Whether to leave out what was posted again.
    """
    if not next(folder.glob("*/*.parquet"), None):
        return _ROWS.empty_table()
    with duckdb.connect() as database:
        statement = _PARQUET + _NEWEST if newest else _PARQUET
        found = database.sql(statement, params=[f"{folder}/*/*.parquet"])
        return found.to_arrow_table().cast(_ROWS)


def of_postgres(url: str) -> pa.Table:
    """All rows of the view `points`; none if it is not there."""
    parts = []
    with psycopg.connect(url, password=PASSWORD) as connection:
        (there,) = _one(connection.execute("SELECT to_regclass('pointgate.points') IS NOT NULL"))
        if there:
            with connection.cursor("points", binary=True) as cursor:
                cursor.execute(_POSTGRES)
                while rows := cursor.fetchmany(_AT_ONCE):
                    columns = zip(*rows, strict=True)
                    arrays = [
                        pa.array(column, kind.type)
                        for column, kind in zip(columns, _ROWS, strict=True)
                    ]
                    parts.append(pa.table(arrays, schema=_ROWS))
    return pa.concat_tables(parts) if parts else _ROWS.empty_table()


def _one(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] = cursor.fetchone() or ()
    return row
