"""The PostgreSQL sink when points, tables, the server or the way to it are not right."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.sinks.postgres import series
from tests.support.postgres_points import (
    Point,
    ask,
    count,
    grid,
    sink,
    stored,
    table,
    write_until_done,
)
from tests.support.postgres_server import PASSWORD, PostgresServer

if TYPE_CHECKING:
    from tests.support.tcp_proxy import TcpProxy

pytest_plugins = ("tests.support.postgres_fixtures",)

# What goes wrong with the points.


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("value_text", "a\0b", 'invalid byte sequence for encoding "UTF8": 0x00 (22021)'),
        ("value_json", "[1", "invalid input syntax for type json (22P02)"),
        ("value_json", "a\0b", 'invalid byte sequence for encoding "UTF8": 0x00 (22021)'),
    ],
)
async def test_what_can_never_be_stored_is_refused_with_the_whole_write(
    server: PostgresServer, schema: str, column: str, value: str, message: str
) -> None:
    bad = table([Point(device="new"), Point(second=1, value=value, column=column)])
    async with sink(server, schema) as postgres:
        await postgres.write(table([Point()]), sequence=1)
        with pytest.raises(SinkRefusedError) as caught:
            await postgres.write(bad, sequence=2)
        assert str(caught.value) == message
        # A series that was inserted with the refused points is gone: it is not remembered.
        await postgres.write(table([Point(device="new")]), sequence=3)
    assert stored(server, schema) == [Point(), Point(device="new")]


async def test_a_name_that_can_never_be_stored_is_refused(
    server: PostgresServer, schema: str
) -> None:
    async with sink(server, schema) as postgres:
        for identifier in ("a\0b", "x" * 3000):
            text = "".join(random.Random(3).choices("abcdefghij", k=len(identifier)))  # noqa: S311
            bad = identifier if "\0" in identifier else text * 3
            with pytest.raises(SinkRefusedError):
                await postgres.write(table([Point(identifier=bad)]), sequence=1)
        await postgres.write(table([Point()]), sequence=2)
    assert stored(server, schema) == [Point()]


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ("P0001", True),  # what RAISE says unless it is told otherwise
        ("22003", True),
        ("23514", True),
        ("53100", False),  # disk full
        ("53200", False),  # out of memory
        ("25006", False),  # read only
        ("40001", False),  # serialization
        ("40P01", False),  # deadlock
        ("42501", False),  # rights
        ("57P01", False),  # shut down by an administrator
        ("58030", False),  # input or output
        ("XX001", False),  # corrupted
    ],
)
async def test_errors_of_data_are_told_from_errors_that_may_pass(
    server: PostgresServer, schema: str, code: str, *, refused: bool
) -> None:
    async with sink(server, schema) as postgres:
        await postgres.open()
        ask(
            server,
            "CREATE FUNCTION {schema}.fail() RETURNS trigger LANGUAGE plpgsql AS"
            f" 'BEGIN RAISE SQLSTATE ''{code}'' USING MESSAGE = ''two\nlines''; END';"
            " CREATE TRIGGER fail BEFORE INSERT ON {schema}.point"
            " EXECUTE FUNCTION {schema}.fail()",
            schema,
        )
        expected = SinkRefusedError if refused else SinkUnavailableError
        with pytest.raises(expected, match=rf"^two lines \({code}\)$"):
            await postgres.write(table([Point()]), sequence=1)
        ask(server, "DROP TRIGGER fail ON {schema}.point", schema)
        await postgres.write(table([Point()]), sequence=1)
    assert stored(server, schema) == [Point()]


# What is remembered of series.


async def test_series_are_looked_up_in_parts_and_forgotten_when_there_are_too_many(
    server: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "_REMEMBERED", 50)
    monkeypatch.setattr(series, "_LOOKED_UP", 7)
    monkeypatch.setattr(series, "_CODE_BITS", 6)
    async with sink(server, schema) as postgres:
        for start in (0, 20, 10, 0):
            points = [Point(f"d{n}", value=float(start + n)) for n in range(start, start + 30)]
            await postgres.write(table(points), sequence=start)
        many = table(Point(f"d{n}") for n in range(70))
        with pytest.raises(
            SinkRefusedError, match="at most 64 different names in one write, got 72"
        ):
            await postgres.write(many, sequence=99)
    values = {point.device: point.value for point in stored(server, schema)}
    assert values == {f"d{n}": n + (0 if n < 30 else 10 if n < 40 else 20) for n in range(50)}
    assert ask(server, "SELECT max(series_id) FROM {schema}.series", schema) == [(50,)]


async def _delete(server: PostgresServer, schema: str) -> None:
    ask(server, "DELETE FROM {schema}.series", schema)


async def _truncate(server: PostgresServer, schema: str) -> None:
    ask(server, "TRUNCATE {schema}.series RESTART IDENTITY", schema)


async def _make_again(server: PostgresServer, schema: str) -> None:
    ask(server, "DROP SCHEMA {schema} CASCADE", schema)
    async with sink(server, schema) as other:
        await other.open()


async def _rename(server: PostgresServer, schema: str) -> None:
    ask(server, "UPDATE {schema}.series SET device = device || ' of old'", schema)


@pytest.mark.parametrize("change", [_delete, _truncate, _make_again, _rename])
async def test_points_get_their_own_names_whatever_happens_to_the_series(
    server: PostgresServer, schema: str, change: Any
) -> None:
    async with sink(server, schema) as postgres, sink(server, schema) as other:
        await postgres.write(table([Point("a"), Point("b")]), sequence=1)
        await change(server, schema)
        # Whoever takes old numbers for true would write to this series now.
        await other.write(table([Point("c", second=9)]), sequence=1)
        await postgres.write(table([Point("a", value=2.0), Point("b", value=2.0)]), sequence=2)
    found = [point for point in stored(server, schema) if "of old" not in point.device]
    # Points of a truncated series come to light again where their numbers do.
    assert [point for point in found if point.value == 2.0 or point.second == 9] == [
        Point("a", value=2.0),
        Point("b", value=2.0),
        Point("c", second=9),
    ]


async def test_dropped_tables_are_made_again(server: PostgresServer, schema: str) -> None:
    async with sink(server, schema) as postgres:
        await postgres.write(table([Point()]), sequence=1)
        ask(server, "DROP SCHEMA {schema} CASCADE", schema)
        with pytest.raises(SinkUnavailableError, match="does not exist"):
            await postgres.write(table([Point(second=1)]), sequence=2)
        await postgres.write(table([Point(second=1)]), sequence=2)
    assert stored(server, schema) == [Point(second=1)]


# What goes wrong on the way.


async def test_a_restarted_server_is_found_again(schema: str) -> None:
    with PostgresServer() as server:
        async with sink(server, schema) as postgres:
            await postgres.write(table([Point()]), sequence=1)
            server.stop()
            for _ in range(3):
                with pytest.raises(SinkUnavailableError):
                    await postgres.write(table([Point(second=1)]), sequence=2)
            server.start()
            await postgres.write(table([Point(second=1)]), sequence=2)
        assert stored(server, schema) == [Point(), Point(second=1)]


async def test_a_killed_server_keeps_what_was_written_and_nothing_by_halves(schema: str) -> None:
    with PostgresServer() as server:
        async with sink(server, schema) as postgres:
            await postgres.open()
            for attempt in range(3):
                points = grid(devices=50, seconds=400, start=attempt * 400)
                writing = asyncio.create_task(postgres.write(points, sequence=attempt))
                await asyncio.sleep(0.05 * attempt)  # another place each time
                await asyncio.to_thread(server.kill)
                outcome = (await asyncio.gather(writing, return_exceptions=True))[0]
                await asyncio.to_thread(server.start)
                assert outcome is None or isinstance(outcome, SinkUnavailableError)
                total = count(server, schema)
                assert total in {attempt * 20_000, (attempt + 1) * 20_000}
                assert outcome is not None or total == (attempt + 1) * 20_000
                await write_until_done(postgres, points)
                assert count(server, schema) == (attempt + 1) * 20_000


async def test_a_frozen_server_is_noticed(schema: str) -> None:
    with PostgresServer() as server:
        async with sink(server, schema, answer_seconds=0.5) as postgres:
            await write_until_done(postgres, table([Point()]))
            server.freeze()
            with pytest.raises(SinkUnavailableError, match=r"no answer within 0\.5 s"):
                await postgres.write(table([Point(second=1)]), sequence=2)
            server.thaw()
            await write_until_done(postgres, table([Point(second=1)]))
        assert stored(server, schema) == [Point(), Point(second=1)]


@pytest.mark.parametrize("bytes_passed", [0, 1, 200, 20_000, 500_000])
async def test_a_connection_cut_at_any_byte_leaves_all_or_nothing(
    server: PostgresServer, proxy: TcpProxy, schema: str, bytes_passed: int
) -> None:
    points = grid(devices=10, seconds=2000)
    async with sink(server, schema, port=proxy.port) as postgres:
        await postgres.open()
        proxy.cut_after(bytes_passed)
        with pytest.raises(SinkUnavailableError):
            await postgres.write(points, sequence=1)
        assert proxy.cuts == 1
        assert count(server, schema) == 0
        await postgres.write(points, sequence=1)
        assert count(server, schema) == 20_000


async def test_a_lost_answer_to_a_commit_does_no_harm(
    server: PostgresServer, proxy: TcpProxy, schema: str
) -> None:
    async with sink(server, schema, port=proxy.port) as postgres:
        await postgres.open()
        proxy.cut_answer(b"COMMIT\0")  # not "READ COMMITTED"
        with pytest.raises(SinkUnavailableError):
            await postgres.write(table([Point(), Point(second=1)]), sequence=1)
        assert count(server, schema) == 2  # it was stored, which nobody could know
        await postgres.write(table([Point(), Point(second=1)]), sequence=1)
    assert stored(server, schema) == [Point(), Point(second=1)]


async def test_a_frozen_way_is_noticed_and_its_transaction_ends(
    server: PostgresServer, proxy: TcpProxy, schema: str
) -> None:
    async with sink(server, schema, port=proxy.port, answer_seconds=1) as postgres:
        await write_until_done(postgres, table([Point()]))
        proxy.freeze()
        with pytest.raises(SinkUnavailableError, match="no answer within 1"):
            await postgres.write(grid(devices=10, seconds=100), sequence=2)
        with pytest.raises(SinkUnavailableError):  # nor is there a new connection
            await postgres.write(grid(devices=10, seconds=100), sequence=2)
        proxy.thaw()
        await write_until_done(postgres, grid(devices=10, seconds=100))
    assert count(server, schema) == 1000


async def test_a_lock_that_someone_holds_is_not_waited_for_for_ever(
    server: PostgresServer, schema: str
) -> None:
    async with sink(server, schema, answer_seconds=0.5) as postgres:
        await write_until_done(postgres, table([Point()]))
        with psycopg.connect(server.url(), password=PASSWORD) as other:
            lock = sql.SQL("LOCK TABLE {} IN SHARE MODE")
            other.execute(lock.format(sql.Identifier(schema, "point")))
            with pytest.raises(SinkUnavailableError, match=r"statement timeout|no answer"):
                await postgres.write(table([Point(second=1)]), sequence=2)
        await write_until_done(postgres, table([Point(second=1)]))
    assert stored(server, schema) == [Point(), Point(second=1)]


async def test_a_slow_way_is_only_slow(
    server: PostgresServer, proxy: TcpProxy, schema: str
) -> None:
    async with sink(server, schema, port=proxy.port) as postgres:
        await postgres.open()
        proxy.delay(0.05)
        await postgres.write(grid(devices=10, seconds=100), sequence=1)
    assert count(server, schema) == 1000


async def test_a_way_that_opens_later_is_found(
    server: PostgresServer, proxy: TcpProxy, schema: str
) -> None:
    proxy.refuse()
    async with sink(server, schema, port=proxy.port) as postgres:
        for _ in range(2):
            with pytest.raises(SinkUnavailableError):
                await postgres.open()
        proxy.accept()
        await postgres.open()
        await postgres.write(table([Point()]), sequence=1)
    assert stored(server, schema) == [Point()]


async def test_a_cancelled_write_leaves_nothing_behind(
    server: PostgresServer, proxy: TcpProxy, schema: str
) -> None:
    async with sink(server, schema, port=proxy.port) as postgres:
        await postgres.write(table([Point()]), sequence=1)
        proxy.freeze()
        writing = asyncio.create_task(postgres.write(table([Point(second=1)]), sequence=2))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        proxy.thaw()
        assert stored(server, schema) == [Point()]
        await postgres.write(table([Point(second=1)]), sequence=2)
    assert stored(server, schema) == [Point(), Point(second=1)]


async def test_closing_does_not_wait_for_a_server_that_does_not_answer(
    server: PostgresServer, proxy: TcpProxy, schema: str
) -> None:
    async with sink(server, schema, port=proxy.port) as postgres:
        await postgres.open()
        proxy.freeze()
        writing = asyncio.create_task(postgres.write(table([Point()]), sequence=1))
        await asyncio.sleep(0)
    with pytest.raises(SinkUnavailableError):
        await writing
    assert count(server, schema) == 0
