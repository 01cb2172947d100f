"""The registry in a real PostgreSQL: no change is lost, whatever order transactions commit in."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from pointgate.registries.base import RegistryUnavailableError
from pointgate.registries.postgres.schema import schema_sql
from pointgate.registries.postgres.settings import PostgresRegistrySettings
from pointgate.registries.postgres.source import PostgresRegistry
from tests.support.following import following, until
from tests.support.patience import PATIENCE
from tests.support.postgres_server import PASSWORD, USER, PostgresServer
from tests.support.registries import keys_of, write_catalog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.tcp_proxy import TcpProxy

pytest_plugins = ("tests.support.postgres_fixtures",)

WRITERS: Final = 8
CHANGES: Final = 5_000
READER: Final = "x"


def connect(server: PostgresServer, **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(server.url(), password=PASSWORD, **options)


@pytest.fixture
def admin(server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    with connect(server, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS fleet CASCADE; CREATE SCHEMA fleet")
        connection.execute("CREATE TABLE fleet.devices (product_key text, device_key text)")
        connection.execute("CREATE INDEX ON fleet.devices (device_key)")
        yield connection


def settings_of(server: PostgresServer, **changes: Any) -> PostgresRegistrySettings:
    document = {
        "type": "postgres",
        "product": "pk",
        "url": server.url(),
        "password": PASSWORD,
        "table": "fleet.devices",
        "changes": "fleet.changes",
    }
    return PostgresRegistrySettings.model_validate(document | changes)


@pytest.fixture
def settings(server: PostgresServer, admin: psycopg.Connection[Any]) -> PostgresRegistrySettings:
    found = settings_of(server)
    admin.execute(schema_sql(found))
    return found


@pytest.fixture
def registry(settings: PostgresRegistrySettings) -> Iterator[PostgresRegistry]:
    with closing(PostgresRegistry(settings)) as made:
        yield made


def start(registry: PostgresRegistry) -> tuple[set[str], str]:
    snapshot = registry.snapshot()
    keys = b"".join(snapshot.blocks).decode().splitlines()
    return set(keys), snapshot.position


def step(registry: PostgresRegistry, keys: set[str], position: str) -> str | None:
    """Apply what has changed; None if the position is gone."""
    changes = registry.changes(position)
    if changes is None:
        return None
    apply(keys, changes.lines.decode().splitlines())
    return changes.position


def apply(keys: set[str], lines: list[str]) -> None:
    for line in lines:
        (keys.add if line[0] == "+" else keys.discard)(line[1:])


def add(connection: psycopg.Connection[Any], *keys: str, product: str = "pk") -> None:
    for key in keys:
        connection.execute("INSERT INTO fleet.devices VALUES (%s, %s)", (product, key))


def remove(connection: psycopg.Connection[Any], *keys: str) -> None:
    connection.execute("DELETE FROM fleet.devices WHERE device_key = ANY(%s)", (list(keys),))


def test_changes_follow_a_snapshot(
    admin: psycopg.Connection[Any], registry: PostgresRegistry
) -> None:
    add(admin, "a", "b\\c", "ä")
    keys, position = start(registry)
    assert keys == {"a", "b\\c", "ä"}
    assert step(registry, keys, position)
    assert keys == {"a", "b\\c", "ä"}
    add(admin, "d\\")
    remove(admin, "a")
    admin.execute("UPDATE fleet.devices SET device_key = 'e' WHERE device_key = 'ä'")
    admin.execute("UPDATE fleet.devices SET device_key = device_key")
    changes = registry.changes(position)
    assert changes is not None
    assert sorted(changes.lines.decode().splitlines()) == ["+d\\", "+e", "-a", "-ä"]


def test_a_registry_of_several_products(
    server: PostgresServer, admin: psycopg.Connection[Any]
) -> None:
    settings = settings_of(server, product=None, product_column="product_key")
    admin.execute(schema_sql(settings))
    with closing(PostgresRegistry(settings)) as registry:
        add(admin, "a")
        add(admin, "a", product="other")
        keys, position = start(registry)
        assert keys == {"pk/a", "other/a"}
        remove(admin, "a")
        add(admin, "a", product="third")
        assert step(registry, keys, position)
        assert keys == {"third/a"}
        assert registry.present(["third/a", "pk/a", "none"]) == {"third/a"}


def test_writers_that_overlap_lose_no_change_and_a_sequence_does(
    server: PostgresServer, admin: psycopg.Connection[Any], registry: PostgresRegistry
) -> None:
    """The control reads the same transactions by a sequence, as one would naively."""
    admin.execute("""
        CREATE TABLE fleet.naive (number bigint GENERATED ALWAYS AS IDENTITY, line text);
        CREATE FUNCTION fleet.naive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF TG_OP <> 'INSERT' THEN
                INSERT INTO fleet.naive (line) VALUES ('-' || OLD.device_key);
            END IF;
            IF TG_OP <> 'DELETE' THEN
                INSERT INTO fleet.naive (line) VALUES ('+' || NEW.device_key);
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER naive AFTER INSERT OR UPDATE OR DELETE ON fleet.devices
            FOR EACH ROW EXECUTE FUNCTION fleet.naive();
    """)
    keys, position = start(registry)
    naive: set[str] = set()
    last = 0
    done = threading.Event()
    writers = [threading.Thread(target=write, args=(server, one)) for one in range(WRITERS)]

    def finish() -> None:
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        done.set()

    finishing = threading.Thread(target=finish)
    finishing.start()
    reads = 0
    query = "SELECT number, line FROM fleet.naive WHERE number > %s ORDER BY number"
    with connect(server, autocommit=True) as reader:
        is_last = False
        while not is_last:
            is_last = done.is_set()
            newer = step(registry, keys, position)
            assert newer is not None, "no snapshot is needed"
            position = newer
            rows = reader.execute(query, (last,)).fetchall()
            apply(naive, [line for _, line in rows])
            last = rows[-1][0] if rows else last
            reads += 1
    finishing.join()
    expected = {key for (key,) in admin.execute("SELECT device_key FROM fleet.devices")}
    (count,) = admin.execute("SELECT count(*) FROM fleet.changes").fetchone() or (0,)
    assert count >= CHANGES
    assert len(keys ^ expected) == 0
    assert len(naive ^ expected) > 0, f"the control lost nothing in {reads} reads"


def write(server: PostgresServer, number: int) -> None:
    """Some transactions of one to four changes, each of which stays open for a moment."""
    chance = random.Random(number)  # noqa: S311 - no secret
    mine: list[str] = []
    made = 0
    with connect(server) as connection:
        while made < CHANGES // WRITERS + 1:
            for _ in range(chance.randint(1, 4)):
                made += 1
                if mine and chance.random() < 0.2:
                    remove(connection, mine.pop(chance.randrange(len(mine))))
                else:
                    mine.append(f"w{number}-{made}")
                    add(connection, mine[-1])
            time.sleep(chance.uniform(0, 0.004))
            connection.commit()


def test_the_order_of_commits_decides_and_not_that_of_transaction_ids(
    server: PostgresServer, admin: psycopg.Connection[Any], registry: PostgresRegistry
) -> None:
    keys, position = start(registry)
    with connect(server) as older, connect(server) as oldest:
        oldest.execute("SELECT pg_current_xact_id()")  # it runs to the end of the test
        older.execute("SELECT pg_current_xact_id()")
        add(admin, "x")  # a greater id, committed first
        remove(older, "x")
        older.commit()
        for _ in range(2):
            newer = step(registry, keys, position)
            assert newer
            position = newer
            assert keys == set()
        add(admin, "y")
        newer = step(registry, keys, position)
        # The transaction that still runs holds nothing back.
        assert keys == {"y"}
        add(oldest, "z")
        oldest.commit()
        assert newer
        assert step(registry, keys, newer)
        assert keys == {"y", "z"}


def test_a_transaction_that_is_rolled_back_changes_nothing(
    server: PostgresServer, registry: PostgresRegistry
) -> None:
    keys, position = start(registry)
    with connect(server) as connection:
        add(connection, "x")
        with connection.transaction():
            add(connection, "y")
        connection.rollback()
        add(connection, "z")
    assert step(registry, keys, position)
    assert keys == {"z"}


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE fleet.devices",
        "DELETE FROM fleet.changes",
        "TRUNCATE fleet.changes",
        "DROP TABLE fleet.devices; CREATE TABLE fleet.devices (product_key text, device_key text)",
    ],
)
def test_a_position_is_gone(
    admin: psycopg.Connection[Any], registry: PostgresRegistry, statement: str
) -> None:
    keys, position = start(registry)
    add(admin, "a")
    admin.execute(statement)
    assert step(registry, keys, position) is None
    keys, position = start(registry)
    expected = {key for (key,) in admin.execute("SELECT device_key FROM fleet.devices")}
    assert keys == expected
    assert step(registry, keys, position)


def test_changes_that_were_read_can_be_deleted(
    admin: psycopg.Connection[Any], registry: PostgresRegistry
) -> None:
    keys, position = start(registry)
    add(admin, "a")
    newer = step(registry, keys, position)
    assert newer
    admin.execute("DELETE FROM fleet.changes WHERE changed < now()")
    add(admin, "b")
    assert step(registry, keys, newer)
    assert keys == {"a", "b"}


def test_a_role_needs_to_read_three_tables(
    server: PostgresServer, admin: psycopg.Connection[Any], settings: PostgresRegistrySettings
) -> None:
    admin.execute("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'x'")  # READER
    admin.execute("GRANT USAGE ON SCHEMA fleet TO reader")
    for table in ("devices", "changes", "changes_deleted"):
        admin.execute(f"GRANT SELECT ON fleet.{table} TO reader")
    url = server.url().replace(f"{USER}@", "reader@")
    add(admin, "a")
    with closing(PostgresRegistry(settings_of(server, url=url, password=READER))) as registry:
        keys, position = start(registry)
        add(admin, "b")
        assert step(registry, keys, position)
        assert keys == {"a", "b"}
    admin.execute("DROP OWNED BY reader; DROP ROLE reader")
    assert settings.changes_name == ("fleet", "changes")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"table": "fleet.none"}, 'relation "fleet.none" does not exist'),
        ({"changes": "fleet.none"}, 'relation "fleet.none" does not exist'),
        ({"device_column": "key"}, "expected a column key in fleet.devices, got none"),
        ({"password": "wrong"}, "password authentication failed"),
    ],
)
def test_what_is_wrong_is_named(
    server: PostgresServer, settings: PostgresRegistrySettings, changes: dict[str, str], reason: str
) -> None:
    del settings
    with (
        closing(PostgresRegistry(settings_of(server, **changes))) as registry,
        pytest.raises(RegistryUnavailableError, match=reason) as raised,
    ):
        start(registry)
    assert PASSWORD not in str(raised.value)


def test_a_notification_ends_the_wait(
    admin: psycopg.Connection[Any], registry: PostgresRegistry
) -> None:
    keys, position = start(registry)
    waking = threading.Timer(0.1, lambda: add(admin, "a"))
    waking.start()
    started = time.monotonic()
    registry.wait(PATIENCE)
    assert time.monotonic() - started < PATIENCE / 2
    waking.join()
    assert step(registry, keys, position)
    assert keys == {"a"}


async def test_a_server_that_restarts_is_followed_on(
    server: PostgresServer, settings: PostgresRegistrySettings, tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path / "catalog", tmp_path / "registry/fleet", "pk")
    settings = settings.model_copy(update={"path": tmp_path / "registry", "name": "fleet"})
    with connect(server) as connection:
        add(connection, "a")
    async with following(settings, PostgresRegistry(settings)) as (follower, statistics):
        await until(follower.matched.is_set)
        await asyncio.to_thread(server.kill)
        await until(lambda: bool(follower.trouble))
        assert keys_of(catalog) == {"a"}
        await asyncio.to_thread(server.start)
        with connect(server) as connection:
            add(connection, "b")
        await until(lambda: keys_of(catalog) == {"a", "b"})
        await until(lambda: not follower.trouble)
        assert statistics.snapshots == 1


async def test_a_connection_that_hangs_is_ended(
    server: PostgresServer, settings: PostgresRegistrySettings, proxy: TcpProxy, tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path / "catalog", tmp_path / "registry/fleet", "pk")
    update = {"path": tmp_path / "registry", "name": "fleet", "url": server.url(port=proxy.port)}
    settings = settings.model_copy(update=update)
    registry = PostgresRegistry(settings)
    async with following(settings, registry, answer_seconds=2) as (follower, statistics):
        await until(follower.matched.is_set)
        proxy.freeze()
        with connect(server) as connection:
            add(connection, "a")
            remove(connection, "a")
            add(connection, "b")
        await until(lambda: statistics.failures >= 2)
        age = time.time() - statistics.matched_at
        assert age > 1
        proxy.thaw()
        await until(lambda: keys_of(catalog) == {"b"})
        await until(lambda: not follower.trouble)
        assert statistics.snapshots == 1


def test_a_position_survives_as_text(registry: PostgresRegistry) -> None:
    _, position = start(registry)
    known, identity = json.loads(position)
    assert known.count(":") == 2
    assert len(identity.split("/")) == 5


def test_the_settings_name_what_is_missing() -> None:
    document = {"type": "postgres", "url": "postgresql://h/d", "table": "t"}
    with pytest.raises(ValueError, match="expected either this or product, got neither"):
        PostgresRegistrySettings.model_validate(document)
    both = document | {"product": "pk", "product_column": "p"}
    with pytest.raises(ValueError, match="expected either this or product, got both"):
        PostgresRegistrySettings.model_validate(both)
