"""What the PostgreSQL sink stores, and where, against a real server."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import struct
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.postgres import tables
from pointgate.sinks.postgres.sink import PostgresSink
from pointgate.store.points import SCHEMA
from tests.support.ports import unused_port
from tests.support.postgres_points import Point, ask, count, grid, sink, stored, table
from tests.support.postgres_server import PASSWORD, USER, PostgresServer

pytest_plugins = ("tests.support.postgres_fixtures",)

EXACT = [
    *(("value_double", value) for value in (0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2)),
    *(("value_double", float(struct.unpack("f", struct.pack("f", 0.1))[0])),),
    *(("value_long", value) for value in (0, -(2**63), 2**63 - 1, 253_402_300_799_999)),
    *(("value_bool", value) for value in (True, False)),
    *(("value_text", value) for value in ("", " ", "x" * 100_000, "\\N", "\x01\n\t", "ü😀\ufeff")),
    *(("value_json", value) for value in ("[]", '{"b":1.10, "a":[1e-999999,-0]}', '["\\u00fc"]')),
]


async def test_values_arrive_to_the_bit(server: PostgresServer, schema: str) -> None:
    points = [
        Point("d", f"p{place:02}", place, value, place % 10 or None, column)
        for place, (column, value) in enumerate(EXACT)
    ]
    async with sink(server, schema) as postgres:
        await postgres.open()
        await postgres.write(table(points), sequence=1)
    found = stored(server, schema)
    assert found == points
    bits = [
        [struct.pack("<d", point.value) for point in side if point.column == "value_double"]
        for side in (points, found)
    ]
    assert bits[0] == bits[1]


async def test_instants_are_those_that_came(server: PostgresServer, schema: str) -> None:
    instants = [0, 1, 1000, 946_684_799_999_999, 1_772_366_400_123_456, 253_402_300_799_999_000]
    points = grid(devices=1, seconds=len(instants)).set_column(
        3, SCHEMA.field("time"), pa.array(instants, SCHEMA.field("time").type)
    )
    points = points.set_column(10, SCHEMA.field("received"), points["time"])
    async with sink(server, schema) as postgres:
        await postgres.write(points, sequence=1)
    query = (
        "SELECT extract(epoch FROM time) * 1000000, time = received FROM {schema}.points ORDER BY 1"
    )
    assert ask(server, query, schema) == [(instant, True) for instant in instants]


async def test_a_later_value_takes_the_place_of_an_earlier_one(
    server: PostgresServer, schema: str
) -> None:
    async with sink(server, schema) as postgres:
        await postgres.write(table([Point(value=1.0), Point(value=2.0, quality=3)]), sequence=1)
        assert stored(server, schema) == [Point(value=2.0, quality=3)]
        await postgres.write(table([Point(value="now text", column="value_text")]), sequence=2)
    assert stored(server, schema) == [Point(value="now text", column="value_text")]


@pytest.mark.parametrize("digits", [-15, -1, 0, 1, 3])
@pytest.mark.parametrize(
    ("first", "later"),
    [
        (1.0, math.nextafter(1.0, 2.0)),
        (0.1 + 0.2, 0.3),
        (12345678901234.5, 12345678901234.502),
        (0.0, -0.0),
        (-0.0, 0.0),
        (5e-324, 1e-323),
        (1.0, 2.0),
    ],
)
async def test_a_correction_is_stored_however_many_digits_the_server_shows(
    server: PostgresServer, schema: str, digits: int, first: float, later: float
) -> None:
    # As a role's or a database's setting reaches a session, also through a pooler.
    url = server.url(options=f"-c extra_float_digits={digits}")
    async with sink(server, schema, url=url) as postgres:
        await postgres.write(table([Point(value=first)]), sequence=1)
        await postgres.write(table([Point(value=later)]), sequence=2)
        (point,) = stored(server, schema)
        assert point.value.hex() == later.hex()


async def test_a_correction_is_stored_where_the_role_shows_fewer_digits(
    server: PostgresServer, schema: str
) -> None:
    later = math.nextafter(1.0, 2.0)
    for digits in (0, -15):
        ask(server, f"ALTER ROLE CURRENT_USER SET extra_float_digits = {digits}")
        try:
            async with sink(server, schema) as postgres:
                await postgres.write(table([Point(second=digits, value=1.0)]), sequence=1)
                await postgres.write(table([Point(second=digits, value=later)]), sequence=2)
        finally:
            ask(server, "ALTER ROLE CURRENT_USER RESET extra_float_digits")
    assert [point.value for point in stored(server, schema)] == [later, later]


async def test_the_first_value_stays_where_later_ones_are_ignored(
    server: PostgresServer, schema: str
) -> None:
    async with sink(server, schema, on_conflict="ignore") as postgres:
        await postgres.write(table([Point(value=1.0), Point(value=2.0)]), sequence=1)
        await postgres.write(table([Point(value=3.0), Point(second=1)]), sequence=2)
    assert stored(server, schema) == [Point(value=1.0), Point(second=1)]


@pytest.mark.parametrize("on_conflict", ["update", "ignore"])
async def test_any_writes_end_as_the_same_writes_to_a_dictionary(
    server: PostgresServer, schema: str, on_conflict: str
) -> None:
    chance = random.Random(7)  # noqa: S311 - a repeatable choice
    expected: dict[tuple[str, str, int], Point] = {}
    async with sink(server, schema, on_conflict=on_conflict) as postgres:
        for sequence in range(30):
            points = [
                Point(
                    f"d{chance.randrange(4)}",
                    f"i{chance.randrange(3)}",
                    chance.randrange(6),
                    chance.random(),
                )
                for _ in range(chance.choice((1, 2, 40)))
            ]
            for point in points:
                if on_conflict == "update" or point[:3] not in expected:
                    expected[point[:3]] = point
            cut = chance.randrange(len(points))
            # Batches of one write have each their own dictionaries.
            parts = [table(points[:cut]), table(points[cut:])]
            await postgres.write(pa.concat_tables(parts), sequence=sequence)
    assert stored(server, schema) == sorted(expected.values(), key=lambda point: point[:3])


async def test_what_comes_again_cut_elsewhere_changes_nothing(
    server: PostgresServer, schema: str
) -> None:
    points = table(Point(second=n % 20, value=float(n)) for n in range(50))
    async with sink(server, schema) as postgres:
        await postgres.write(points, sequence=1)
        once = stored(server, schema)
        for start, end in ((0, 7), (7, 30), (30, 50)):
            await postgres.write(points.slice(start, end - start), sequence=end)
    assert stored(server, schema) == once
    assert once == [Point(second=n, value=float(n + 40 if n < 10 else n + 20)) for n in range(20)]


async def test_what_differs_in_one_bit_is_written_and_what_is_equal_is_not(
    server: PostgresServer, schema: str
) -> None:
    values: list[tuple[str, Any]] = [
        ("value_double", 0.0),
        ("value_double", -0.0),
        ("value_json", "[0.10]"),
        ("value_json", "[0.1]"),
        ("value_long", 1),
        ("value_bool", True),
        ("value_text", "true"),
    ]
    version = "SELECT xmin::text, ctid::text FROM {schema}.point"
    async with sink(server, schema) as postgres:
        for column, value in values:
            point = Point(value=value, column=column)
            await postgres.write(table([point]), sequence=1)
            assert repr(stored(server, schema)) == repr([point])
            before = ask(server, version, schema)
            await postgres.write(table([point]), sequence=2)
            assert ask(server, version, schema) == before
        await postgres.write(table([point._replace(quality=0)]), sequence=3)
    assert stored(server, schema) == [point._replace(quality=0)]


async def test_nothing_to_write_is_nothing(server: PostgresServer, schema: str) -> None:
    async with sink(server, schema, url=f"postgresql://127.0.0.1:{unused_port()}/") as postgres:
        await postgres.write(SCHEMA.empty_table(), sequence=1)


async def test_sinks_that_write_the_same_points_do_not_lock_each_other_out(
    server: PostgresServer, schema: str
) -> None:
    points = grid(devices=40, seconds=50)
    turned = points.take(pa.array(range(len(points) - 1, -1, -1)))

    async def run(mine: pa.Table, *, opens: bool) -> None:
        async with sink(server, schema) as postgres:
            if opens:
                await postgres.open()
            for sequence in range(8):
                await postgres.write(mine, sequence=sequence)

    await asyncio.gather(*(run(mine, opens=n < 2) for n, mine in enumerate([points, turned] * 2)))
    assert count(server, schema) == len(points)
    assert ask(server, "SELECT count(*) FROM {schema}.series", schema) == [(40,)]
    deadlocks = "SELECT sum(deadlocks)::int FROM pg_stat_database"
    assert ask(server, deadlocks) == [(0,)]


@pytest.mark.parametrize(
    "schema", ['we"ird', "100%s {schema}", "a $$ b", "it's\\", "Ünïcode", "x" * 63, "select"]
)
async def test_a_schema_may_have_any_name(server: PostgresServer, schema: str) -> None:
    for _ in range(2):
        async with sink(server, schema) as postgres:
            await postgres.open()
            await postgres.write(table([Point()]), sequence=1)
    assert stored(server, schema) == [Point()]
    ask(server, "DELETE FROM {schema}.series", schema)
    assert ask(server, "SELECT series_removals FROM {schema}.pointgate_version", schema) == [(1,)]


@pytest.mark.parametrize("schema", ["", "x" * 64, "ü" * 32, "a\0b"])
def test_a_schema_that_cannot_be_is_refused(schema: str) -> None:
    with pytest.raises(ValueError, match="expected a schema name of 1 to 63 bytes, got "):
        PostgresSink(
            name="postgres",
            url="postgresql://localhost/",
            password=None,
            schema=schema,
            on_conflict="update",
        )


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secret@h/d",
        "postgresql://u:secret%zz@h/d",
        "postgresql://h/d?passwort=secret",
        "host=h password=secret",
        "",
    ],
)
def test_a_url_that_cannot_be_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="expected a url such as postgresql://") as caught:
        PostgresSink(name="postgres", url=url, password=None, schema="points", on_conflict="update")
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None


async def test_a_wrong_password_is_not_shown(server: PostgresServer, schema: str) -> None:
    async with sink(server, schema, password="open sesame") as postgres:  # noqa: S106 - wrong
        with pytest.raises(SinkUnavailableError, match="password authentication failed") as caught:
            await postgres.open()
        assert "sesame" not in f"{caught.value!r} {caught.value.__cause__!r} {postgres!r}"
        assert USER in str(caught.value)
        assert "\n" not in str(caught.value)


async def test_a_url_asks_for_tls_as_libpq_does(server: PostgresServer, schema: str) -> None:
    async with sink(server, schema, url=server.url(sslmode="require")) as postgres:
        with pytest.raises(SinkUnavailableError, match="SSL"):
            await postgres.open()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:1,127.0.0.1:{port}/postgres?target_session_attrs=read-write",
        "127.0.0.1:{port},[::1]:1/postgres",
        "/postgres?host=127.0.0.1&port={port}",
        "/?host=127.0.0.1,127.0.0.1&port=1,{port}&dbname=postgres",
        "127.0.0.1:{port}/post%67res?hostaddr=127.0.0.1&connect_timeout=5",
    ],
)
async def test_every_form_of_a_url_connects(
    server: PostgresServer, schema: str, address: str
) -> None:
    url = f"postgresql://{USER}@{address.format(port=server.port)}"
    async with sink(server, schema, url=url) as postgres:
        await postgres.open()
        await postgres.write(table([Point()]), sequence=1)
    assert stored(server, schema) == [Point()]


async def test_tables_of_a_newer_version_are_left_alone(
    server: PostgresServer, schema: str
) -> None:
    async with sink(server, schema) as postgres:
        await postgres.open()
    ask(server, "UPDATE {schema}.pointgate_version SET version = 7", schema)
    async with sink(server, schema) as postgres:
        with pytest.raises(SinkUnavailableError, match="have version 7, expected 3 or older"):
            await postgres.open()
        with pytest.raises(SinkUnavailableError, match="created by a newer pointgate"):
            await postgres.write(table([Point()]), sequence=1)
    assert count(server, schema) == 0


async def test_tables_of_someone_else_are_left_alone(server: PostgresServer, schema: str) -> None:
    ask(server, "CREATE SCHEMA {schema}", schema)
    ask(server, "CREATE TABLE {schema}.series (theirs text)", schema)
    async with sink(server, schema) as postgres:
        with pytest.raises(SinkUnavailableError, match='relation "series" already exists'):
            await postgres.open()
    names = "SELECT relname FROM pg_class WHERE relnamespace = {text}::regnamespace"
    assert ask(server, names, schema) == [("series",)]


async def test_rights_to_the_rows_are_enough_once_the_tables_are_there(
    server: PostgresServer, schema: str
) -> None:
    async with sink(server, schema) as postgres:
        await postgres.open()
    ask(server, "CREATE ROLE writer LOGIN PASSWORD 'writes'")
    ask(server, "GRANT USAGE ON SCHEMA {schema} TO writer", schema)
    ask(server, "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO writer", schema)
    url = server.url().replace(f"{USER}@", "writer@")
    async with sink(server, schema, url=url, password="writes") as postgres:  # noqa: S106
        await postgres.open()
        await postgres.write(table([Point()]), sequence=1)
    assert stored(server, schema) == [Point()]


async def test_a_database_of_another_encoding_is_named(server: PostgresServer, schema: str) -> None:
    ask(server, "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0")
    url = server.url().replace("/postgres?", "/latin?")
    async with sink(server, schema, url=url) as postgres:
        with pytest.raises(SinkUnavailableError, match="encoding UTF8, got LATIN1"):
            await postgres.open()


async def test_a_commit_is_on_disk_whatever_the_server_is_set_to(
    server: PostgresServer, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.url(
        options="-c synchronous_commit=off -c default_transaction_isolation=serializable",
        client_encoding="latin1",
    )
    async with sink(server, schema, url=url) as postgres:
        with caplog.at_level(logging.WARNING):
            await postgres.open()
        connection = postgres._session.ready()
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
        assert connection.execute("SHOW client_encoding").fetchone() == ("UTF8",)
        assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
    assert "fsync = off" in caplog.text


async def test_a_hypertable_is_made_where_timescaledb_is(
    server: PostgresServer, schema: str
) -> None:
    # A stand-in: what is checked is when it is called and with what, not what it does.
    ask(server, "CREATE DATABASE stand_in TEMPLATE template0")
    url = server.url().replace("/postgres?", "/stand_in?")
    with psycopg.connect(url, password=PASSWORD) as connection:
        connection.execute(
            "CREATE SCHEMA ts; CREATE TABLE ts.calls (what text);"
            " CREATE FUNCTION ts.create_hypertable(relation regclass, time_column_name name,"
            " chunk_time_interval interval, create_default_indexes boolean) RETURNS void"
            " LANGUAGE sql AS 'INSERT INTO ts.calls VALUES"
            " (concat_ws('','', $1, $2, $3, $4))';"
            " INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable,"
            " extversion) SELECT 99999, 'timescaledb', 10, 'ts'::regnamespace, false, '0'"
        )
    for _ in range(2):
        async with sink(server, schema, url=url) as postgres:
            await postgres.open()
            await postgres.write(table([Point()]), sequence=1)
    with psycopg.connect(url, password=PASSWORD) as connection:
        calls = connection.execute("SELECT what FROM ts.calls").fetchall()
    assert calls == [(f"{schema}.point,time,7 days,f",)]


async def test_writes_of_stored_points_are_as_right_as_those_of_new_ones(
    server: PostgresServer, schema: str
) -> None:
    """Whether a write is copied or staged, the result is that of a dictionary."""
    chance = random.Random(11)  # noqa: S311 - a repeatable choice
    expected: dict[int, float] = {}
    async with sink(server, schema) as postgres:
        for sequence in range(40):
            fresh = sequence * 10
            seconds = [*range(fresh, fresh + 5)]
            if chance.random() < 0.4:
                seconds += chance.sample(range(fresh + 5), 3)
            points = [Point(second=second, value=chance.random()) for second in seconds]
            expected |= {point.second: point.value for point in points}
            await postgres.write(table(points), sequence=sequence)
    found = {point.second: point.value for point in stored(server, schema)}
    assert found == expected


async def test_new_points_are_copied_and_stored_ones_are_not_tried_each_time(
    server: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[bool] = []
    copy = PostgresSink._copy

    def counted(self: PostgresSink, connection: Any, statement: Any, rows: pa.Table) -> None:
        statements.append(statement is self._copy_into)
        copy(self, connection, statement, rows)

    monkeypatch.setattr(PostgresSink, "_copy", counted)
    async with sink(server, schema) as postgres:
        await postgres.write(table([Point(second=1)]), sequence=1)
        assert statements == [True]
        for sequence in range(2, 12):
            await postgres.write(table([Point(second=1, value=sequence)]), sequence=sequence)
    tried = statements[1:].count(True)
    assert statements[1:].count(False) == 10
    assert tried == 3  # with pauses of 1, 2 and 4 writes between


async def test_views_for_readers(server: PostgresServer, schema: str) -> None:
    points = [
        Point("d1", "temp", 1, 1.5),
        Point("d1", "temp", 2, 2.5),
        Point("d1", "count", 2, 7, column="value_long"),
        Point("d1", "on", 2, True, column="value_bool"),  # noqa: FBT003
        Point("d1", "name", 2, "x", column="value_text"),
        Point("d1", "list", 2, "[1,2]", column="value_json"),
        Point("d2", "temp", 1, 4.0),
        Point("d2", "far", 1, "[1e-999999]", column="value_json"),
    ]
    async with sink(server, schema) as postgres:
        await postgres.write(table(points), sequence=1)
    (average,) = ask(server, "SELECT avg(value) FROM {schema}.points", schema)
    assert average == ((1.5 + 2.5 + 7 + 1 + 4.0) / 5,)
    latest = ask(
        server,
        "SELECT device, identifier, value FROM {schema}.latest ORDER BY device, identifier",
        schema,
    )
    assert latest == [
        *(("d1", "count", 7.0), ("d1", "list", None), ("d1", "name", None)),
        *(("d1", "on", 1.0), ("d1", "temp", 2.5), ("d2", "far", None), ("d2", "temp", 4.0)),
    ]
    wide = ask(
        server,
        "SELECT device, points FROM {schema}.points_wide('PK') ORDER BY device, time",
        schema,
    )
    assert wide == [
        ("d1", {"temp": 1.5}),
        ("d1", {"temp": 2.5, "count": 7, "on": True, "name": "x", "list": [1, 2]}),
        ("d2", {"temp": 4.0, "far": "[1e-999999]"}),
    ]
    comments = ask(server, "SELECT obj_description('{schema}.latest'::regclass)", schema)
    assert "greatest time" in comments[0][0]


@pytest.mark.parametrize("version", [1, 2])
async def test_tables_of_a_former_version_get_the_views_and_keep_their_points(
    server: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    with monkeypatch.context() as first:
        first.setattr(tables, "_MIGRATIONS", tables._MIGRATIONS[:version])
        async with sink(server, schema) as postgres:
            await postgres.write(table([Point(second=1, value=1.5)]), sequence=1)
    async with sink(server, schema) as postgres:
        await postgres.write(table([Point(second=2, value=2.5)]), sequence=2)
    assert [point.value for point in stored(server, schema)] == [1.5, 2.5]
    assert ask(server, "SELECT value FROM {schema}.latest", schema) == [(2.5,)]
    wide = ask(server, "SELECT points FROM {schema}.points_wide('PK') ORDER BY time", schema)
    assert [[*row.values()] for (row,) in wide] == [[1.5], [2.5]]
