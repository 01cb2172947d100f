"""What the tests of the PostgreSQL sink share: points as tuples, a sink, a look into its tables."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pyarrow as pa
from psycopg import sql

from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.postgres.sink import PostgresSink
from pointgate.store.points import SCHEMA
from tests.support.patience import PATIENCE
from tests.support.postgres_server import PASSWORD, PostgresServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMNS = ("value_double", "value_long", "value_bool", "value_text", "value_json")


class Point(NamedTuple):
    """One point, as a test writes it and as it reads it back."""

    device: str = "device1"
    identifier: str = "temp"
    second: int = 0
    value: Any = 1.0
    quality: int | None = None
    column: str = "value_double"


def table(points: Iterable[Point], *, product: str = "PK") -> pa.Table:
    rows = [
        dict.fromkeys(SCHEMA.names)
        | {"product": product, "device": point.device, "identifier": point.identifier}
        | {"time": NOON + timedelta(seconds=point.second), "received": NOON}
        | {point.column: point.value, "quality": point.quality}
        for point in points
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def grid(*, devices: int, seconds: int, start: int = 0, value: float = 1.0) -> pa.Table:
    return table(
        Point(f"device{device}", second=start + second, value=value)
        for second in range(seconds)
        for device in range(devices)
    )


@asynccontextmanager
async def sink(
    server: PostgresServer, schema: str, *, port: int | None = None, **options: Any
) -> AsyncIterator[PostgresSink]:
    options = {
        "password": PASSWORD,
        "on_conflict": "update",
        # A proxy may be frozen; a server is only slow.
        "url": server.url(port=port) if port else server.url(connect_timeout=round(PATIENCE)),
    } | options
    it = PostgresSink(name="postgres", schema=schema, **options)
    try:
        yield it
    finally:
        await it.close()


def ask(server: PostgresServer, query: str, schema: str = "") -> list[Any]:
    """Rows of a query, with {schema} in it as a name, or {text} as a text."""
    with psycopg.connect(server.url(), password=PASSWORD, autocommit=True) as connection:
        cursor = connection.execute(
            sql.SQL(query).format(schema=sql.Identifier(schema), text=sql.Literal(schema))
        )
        return cursor.fetchall() if cursor.description else []


def stored(server: PostgresServer, schema: str) -> list[Point]:
    """What the view shows, in the order of the key."""
    rows = ask(
        server,
        "SELECT device, identifier, time, quality, value_double, value_long, value_bool,"
        " value_text, value_json::text FROM {schema}.points ORDER BY 1, 2, 3",
        schema,
    )
    points = []
    for device, identifier, instant, quality, *values in rows:
        ((column, value),) = [
            (column, value)
            for column, value in zip(COLUMNS, values, strict=True)
            if value is not None
        ]
        second = round((instant - NOON).total_seconds())
        points.append(Point(device, identifier, second, value, quality, column))
    return points


def count(server: PostgresServer, schema: str) -> int:
    return int(ask(server, "SELECT count(*) FROM {schema}.points", schema)[0][0])


async def write_until_done(postgres: PostgresSink, points: pa.Table) -> None:
    """As the drain does: the same call again for as long as it takes."""
    while True:
        try:
            return await postgres.write(points, sequence=0)
        except SinkUnavailableError:
            await asyncio.sleep(0.05)
