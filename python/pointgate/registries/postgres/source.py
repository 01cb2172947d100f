"""A registry in PostgreSQL: a table of devices, and a table of changes that a trigger fills.

    snapshot   BEGIN, REPEATABLE READ; pg_current_snapshot() is the position; COPY of all keys
    changes    BEGIN, REPEATABLE READ; keys whose rows this snapshot sees and that of the position
               did not; whether each is a device is looked up in the same snapshot
    wait       LISTEN: a notification only wakes, what counts is read from the table

The position is a snapshot of transactions (`xmin:xmax:running`), not a number. A sequence is not in
the order of commits: reading `number > last` loses changes of transactions that commit later than
others with greater numbers. A window of transaction ids below `xmin` loses none, but waits for the
longest transaction of the whole server. The difference of two snapshots does neither: every change
is read once it is visible, exactly once.

What makes the position void, so that a snapshot is taken: another server, database, timeline
(after a failover) or table of changes; rows that were deleted unread; a truncated table of devices;
more than `_MOST_CHANGES` changes.

Invariants: reading changes nothing in the database; the keys of a change and their state come from
one snapshot.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from pointgate.device_changes import Changes
from pointgate.postgres.connection import OnDemand
from pointgate.postgres.parameters import connection_parameters, error_text
from pointgate.registries.base import RegistryUnavailableError, Snapshot
from pointgate.registries.postgres.schema import CHANNEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pointgate.registries.postgres.settings import PostgresRegistrySettings

_MOST_CHANGES: Final = 1_000_000
"""More changes at once are read as a snapshot."""

_ROWS: Final = 2_000
"""Rows in a block: they take about a millisecond of Python."""

_CONNECTION: Final[dict[str, Any]] = {
    "autocommit": True,
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "pointgate registry",
}
"""A server that has vanished is noticed after 25 seconds, also while we wait for it."""

_SESSION: Final = """
SELECT set_config('statement_timeout', '60s', false),
    set_config('lock_timeout', '10s', false),
    set_config('idle_in_transaction_session_timeout', '5min', false),
    current_setting('server_encoding'),
    current_setting('server_version_num')::int
"""

_LEAST_VERSION: Final = 130_000
"""The first one with xid8."""

_HEAD: Final = """
SELECT CASE WHEN pg_is_in_recovery()
        -- A standby does not know which transactions run: those above xmin are read again.
        THEN concat(pg_snapshot_xmin(pg_current_snapshot()), ':',
            pg_snapshot_xmin(pg_current_snapshot()), ':')
        ELSE pg_current_snapshot()::text END,
    concat_ws('/',
        (SELECT system_identifier FROM pg_control_system()),
        CASE WHEN NOT pg_is_in_recovery()
            THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END,
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        {changes_name}::regclass::oid, {table_name}::regclass::oid)
"""

_GONE: Final = """
SELECT pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax({position}),
    EXISTS (SELECT FROM {deleted} WHERE newest >= pg_snapshot_xmin({position})
        AND NOT pg_visible_in_snapshot(deleted_by, {position})),
    EXISTS (SELECT FROM {changes} WHERE device IS NULL AND {unread}),
    (SELECT count(*) FROM (SELECT FROM {changes} WHERE {unread} LIMIT {most}) AS unread) = {most}
"""

_UNREAD: Final = """
transaction_id >= pg_snapshot_xmin({position})
    AND NOT pg_visible_in_snapshot(transaction_id, {position})
"""

# The subquery stays one look-up for each key: EXISTS may become a scan of all devices.
_CHANGES: Final = """
COPY (
    SELECT CASE WHEN (SELECT true FROM {table} AS known WHERE {same} LIMIT 1) THEN '+' ELSE '-' END
        || {changed_key}
    FROM (SELECT DISTINCT product, device FROM {changes}
        WHERE device IS NOT NULL AND {unread}) AS changed
    WHERE {changed_key} IS NOT NULL
) TO STDOUT
"""

_SNAPSHOT: Final = "COPY (SELECT {key} FROM {table} WHERE {key} IS NOT NULL) TO STDOUT"

_PRESENT: Final = """
SELECT {changed_key} FROM unnest({products}::text[], {devices}::text[]) AS changed (product, device)
WHERE (SELECT true FROM {table} AS known WHERE {same} LIMIT 1)
"""


def build(settings: PostgresRegistrySettings) -> PostgresRegistry:
    """Make a registry; nothing is opened yet."""
    return PostgresRegistry(settings)


class PostgresRegistry:
    """See `base.Registry`.

    Args:
        settings: Its settings.

    Raises:
        ValueError: The url is invalid.
        ConfigError: The password cannot be read.
    """

    def __init__(self, settings: PostgresRegistrySettings) -> None:
        self._settings = settings
        parameters = connection_parameters(settings.url, settings.password_text())
        self._server = OnDemand(_CONNECTION | parameters, self._set_up)
        self._names: dict[str, sql.Composable] = {}

    def snapshot(self) -> Snapshot:
        """See `base.Registry`."""
        snapshot = Snapshot(iter(()))
        snapshot.blocks = self._keys(snapshot)
        return snapshot

    def _keys(self, snapshot: Snapshot) -> Iterator[bytes]:
        try:
            with self._server.ready().transaction(), self._execute(_HEAD) as head:
                snapshot.position = json.dumps(head.fetchone())
                # A large table takes longer than any other statement.
                head.execute("SET LOCAL statement_timeout = 0")
                yield from self._copy(_SNAPSHOT)
        except (psycopg.Error, OSError) as error:
            raise self._failed(error) from error

    def changes(self, position: str | None) -> Changes[str] | None:
        """See `base.Registry`."""
        if position is None:
            return None
        known, identity = json.loads(position)
        try:
            with self._server.ready().transaction(), self._execute(_HEAD) as head:
                current = head.fetchone()
                assert current is not None  # noqa: S101 - a SELECT without FROM has a row
                if current[1] != identity:
                    return None
                self._names |= {"position": sql.SQL("{}::pg_snapshot").format(sql.Literal(known))}
                self._names |= {"unread": sql.SQL(_UNREAD).format(**self._names)}
                with self._execute(_GONE) as gone:
                    if any(gone.fetchone() or ()):
                        return None
                lines = b"".join(self._copy(_CHANGES))
        except (psycopg.Error, OSError) as error:
            raise self._failed(error) from error
        return Changes(lines, 1, json.dumps(current))

    def present(self, keys: Sequence[str]) -> set[str]:
        """See `base.Answers`."""
        pairs = [key.split("/", 1) if self._settings.product is None else ("", key) for key in keys]
        try:
            connection = self._server.ready()
            arrays = {"products": sql.Literal([one[0] for one in pairs])} | {
                "devices": sql.Literal([one[-1] for one in pairs])
            }
            query = sql.SQL(_PRESENT).format(**self._names | arrays)
            return {str(row[0]) for row in connection.execute(query)}
        except (psycopg.Error, OSError) as error:
            raise self._failed(error) from error

    def wait(self, seconds: float) -> None:
        """See `base.Registry`."""
        connection = self._server.connection
        if connection is None:
            return
        try:
            # It begins with those that came while something else was read.
            for _ in connection.notifies(timeout=seconds, stop_after=1):
                pass
        except (psycopg.Error, OSError) as error:
            raise self._failed(error) from error

    def sever(self) -> None:
        """See `base.Registry`."""
        self._server.sever()

    def close(self) -> None:
        """See `base.Registry`."""
        self._server.close()

    def _failed(self, error: psycopg.Error | OSError) -> RegistryUnavailableError:
        """Close the connection, which is not used again after an error."""
        self.close()
        return RegistryUnavailableError(error_text(error))

    def _set_up(self, connection: psycopg.Connection[Any]) -> None:
        settings = self._settings
        *_, encoding, version = connection.execute(_SESSION).fetchone() or ("", 0)
        if encoding != "UTF8":
            raise RegistryUnavailableError(f"expected a database in UTF8, got {encoding}")
        if version < _LEAST_VERSION:
            raise RegistryUnavailableError(f"expected PostgreSQL 13 or newer, got {version}")
        self._names = _names(settings, self._types(connection))
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True

    def _types(self, connection: psycopg.Connection[Any]) -> dict[str, str]:
        """The types of the columns, so that keys are looked up by their index."""
        settings = self._settings
        table = _literal(*settings.table_name)
        query = sql.SQL(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
            "WHERE attrelid = {}::regclass AND attnum > 0 AND NOT attisdropped"
        ).format(table)
        types = dict(connection.execute(query).fetchall())
        for column in filter(None, (settings.device_column, settings.product_column)):
            if column not in types:
                reason = f"expected a column {column} in {settings.table}, got none"
                raise RegistryUnavailableError(reason)
        return types

    def _execute(self, text: str) -> psycopg.Cursor[Any]:
        query = sql.SQL(text).format(**self._names)
        return self._server.ready().execute(query)

    def _copy(self, text: str) -> Iterator[bytes]:
        """Blocks of the lines that a COPY gives."""
        query = sql.SQL(text).format(**self._names)
        with self._server.ready().cursor() as cursor, cursor.copy(query) as copy:
            rows: list[bytes] = []
            for row in copy:
                rows.append(bytes(row))
                if len(rows) == _ROWS:
                    yield _plain(b"".join(rows))
                    rows = []
            if rows:
                yield _plain(b"".join(rows))


def _plain(rows: bytes) -> bytes:
    """Rows of COPY's text format as lines: only a backslash can be in a key that is escaped.

    Escapes of control characters stay as they are: U+0001 takes the place of the backslash, so that
    such a key is refused, and not mistaken for another one.
    """
    if b"\\" not in rows:
        return rows
    return b"\\".join(part.replace(b"\\", b"\x01") for part in rows.split(b"\\\\"))


def _names(settings: PostgresRegistrySettings, types: dict[str, str]) -> dict[str, sql.Composable]:
    """What stands in the statements."""
    device = sql.Identifier(settings.device_column)
    key: sql.Composable = sql.SQL("{}::text").format(device)
    changed: sql.Composable = sql.SQL("changed.device")
    same: sql.Composable = sql.SQL("known.{} = changed.device::{}").format(
        device,
        sql.SQL(types[settings.device_column]),
    )
    if settings.product_column is not None:
        product = sql.Identifier(settings.product_column)
        key = sql.SQL("{}::text || '/' || {}").format(product, key)
        changed = sql.SQL("changed.product || '/' || changed.device")
        same = sql.SQL("{} AND known.{} = changed.product::{}").format(
            same,
            product,
            sql.SQL(types[settings.product_column]),
        )
    schema, changes = settings.changes_name
    return {
        "table": sql.Identifier(*settings.table_name),
        "table_name": _literal(*settings.table_name),
        "changes": sql.Identifier(schema, changes),
        "changes_name": _literal(schema, changes),
        "deleted": sql.Identifier(schema, f"{changes}_deleted"),
        "key": key,
        "changed_key": changed,
        "same": same,
        "most": sql.Literal(_MOST_CHANGES),
    }


def _literal(schema: str, name: str) -> sql.Composable:
    """The name of a table as a text, for regclass."""
    return sql.Literal(f'"{schema}"."{name}"')
