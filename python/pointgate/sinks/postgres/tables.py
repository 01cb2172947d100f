"""The tables in the database, which are created and migrated when the sink opens.

All are in one schema. `series` gives each (product, device, identifier) an id, `point` has one row
for each series and time, and the view `points` joins the two. `pointgate_version` has one row: the
version of the tables, and how often series were deleted (for the cache in `series.py`).

Migrations run in order, in one transaction under a lock, so that any number of sinks may open at
once, and a database is never between two versions. A schema with a newer version is not changed. If
the version is current, no DDL runs, so the privileges to read and write the tables are enough.

Decisions:

- `point` has no foreign key on `series`. The check costs each new point another 2.5 µs, as much as
  the insert itself (PostgreSQL 15, 100,000 points, 2 cores). If a series is deleted, its points
  are no longer in the view; their rows stay until someone deletes them.
- `value_json` is `json`, not `jsonb`: it keeps the text exactly as it was posted, with all digits
  of its numbers, and accepts valid numbers that `jsonb` rejects (`1e-999999`).
- Names sort by bytes (`COLLATE "C"`): their index stays valid when the system's locales change.

If the extension TimescaleDB is in the database when the tables are created, `point` becomes a
hypertable. That call is tested against a stand-in only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from pointgate.sinks.base import SinkUnavailableError

if TYPE_CHECKING:
    from psycopg import Connection

VALUES: Final = (
    "received",
    "value_double",
    "value_long",
    "value_bool",
    "value_text",
    "value_json",
    "quality",
)
"""The columns of `point` besides its key, in the order in which `rows.py` encodes them."""

_VERSION_1: Final = """
CREATE TABLE {schema}.pointgate_version (
    version integer NOT NULL,
    series_removals bigint NOT NULL DEFAULT 0
);
INSERT INTO {schema}.pointgate_version (version) VALUES (0);

CREATE TABLE {schema}.series (
    series_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product text COLLATE "C" NOT NULL,
    device text COLLATE "C" NOT NULL,
    identifier text COLLATE "C" NOT NULL,
    UNIQUE (product, device, identifier)
);
CREATE FUNCTION {schema}.count_series_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'UPDATE %I.pointgate_version SET series_removals = series_removals + 1', TG_TABLE_SCHEMA
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER count_series_removal AFTER UPDATE OR DELETE OR TRUNCATE ON {schema}.series
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.count_series_removal();

CREATE TABLE {schema}.point (
    series_id bigint NOT NULL,
    time timestamptz NOT NULL,
    received timestamptz NOT NULL,
    value_double double precision,
    value_long bigint,
    value_bool boolean,
    value_text text,
    value_json json,
    quality smallint,
    PRIMARY KEY (series_id, time)
);
CREATE VIEW {schema}.points AS
    SELECT product, device, identifier, time,
        value_double, value_long, value_bool, value_text, value_json, quality, received
    FROM {schema}.point JOIN {schema}.series USING (series_id);
"""

_VERSION_2: Final = """
CREATE OR REPLACE VIEW {schema}.points AS
    SELECT product, device, identifier, time,
        value_double, value_long, value_bool, value_text, value_json, quality, received,
        coalesce(value_double, value_long::double precision, value_bool::int::double precision)
            AS value
    FROM {schema}.point JOIN {schema}.series USING (series_id);

CREATE VIEW {schema}.latest AS
    SELECT product, device, identifier, p.time,
        value_double, value_long, value_bool, value_text, value_json, quality, received,
        coalesce(value_double, value_long::double precision, value_bool::int::double precision)
            AS value
    FROM {schema}.series s
    CROSS JOIN LATERAL (
        SELECT * FROM {schema}.point WHERE point.series_id = s.series_id
        ORDER BY time DESC LIMIT 1
    ) p;

CREATE FUNCTION {schema}.points_wide(
    product text, since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity'
) RETURNS TABLE (device text, "time" timestamptz, points jsonb) LANGUAGE sql STABLE AS $pointgate$
    SELECT s.device, p.time, jsonb_object_agg(s.identifier, coalesce(
        to_jsonb(p.value_double), to_jsonb(p.value_long), to_jsonb(p.value_bool),
        to_jsonb(p.value_text), to_jsonb(p.value_json::text)
    ))
    FROM {schema}.series s JOIN {schema}.point p USING (series_id)
    WHERE s.product = points_wide.product AND p.time >= since AND p.time < until
    GROUP BY s.device, p.time
$pointgate$;

COMMENT ON VIEW {schema}.points IS
    'Every accepted point, one row for each product, device, identifier and time.';
COMMENT ON COLUMN {schema}.points.time IS 'The time of the point, or that of its arrival.';
COMMENT ON COLUMN {schema}.points.received IS
    'When the request arrived. Of two values of a point the one received last is stored.';
COMMENT ON COLUMN {schema}.points.value_double IS 'The value of a FLOAT or DOUBLE point.';
COMMENT ON COLUMN {schema}.points.value_long IS
    'The value of an INT or TIMESTAMP (UTC milliseconds) point, or of an ENUM of whole numbers.';
COMMENT ON COLUMN {schema}.points.value_bool IS 'The value of a BOOL point.';
COMMENT ON COLUMN {schema}.points.value_text IS
    'The value of a STRING, FILE or DATE point, or of an ENUM of strings.';
COMMENT ON COLUMN {schema}.points.value_json IS
    'The value of an ARRAY or STRUCT point, as its JSON text was sent.';
COMMENT ON COLUMN {schema}.points.quality IS 'The quality that was sent; NULL without one.';
COMMENT ON COLUMN {schema}.points.value IS
    'The value as a number, whatever its type: BOOL as 0 or 1; NULL for texts and JSON.';
COMMENT ON VIEW {schema}.latest IS 'The point with the greatest time of each series.';
COMMENT ON FUNCTION {schema}.points_wide(text, timestamptz, timestamptz) IS
    'The points of a product: one row for each device and time, points as identifier: value.';
COMMENT ON TABLE {schema}.series IS 'A number for each product, device and identifier.';
COMMENT ON TABLE {schema}.point IS 'The points; read the view points, which has their names.';
COMMENT ON TABLE {schema}.pointgate_version IS 'The version of these tables.';
"""

_VERSION_3: Final = """
CREATE FUNCTION {schema}.json_or_text(value json) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN value::jsonb;
EXCEPTION WHEN data_exception THEN
    RETURN to_jsonb(value::text);
END
$$;
COMMENT ON FUNCTION {schema}.json_or_text(json) IS
    'The value as jsonb; as a string where jsonb has no place for it, such as 1e-999999.';

CREATE OR REPLACE FUNCTION {schema}.points_wide(
    product text, since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity'
) RETURNS TABLE (device text, "time" timestamptz, points jsonb) LANGUAGE sql STABLE AS $pointgate$
    SELECT s.device, p.time, jsonb_object_agg(s.identifier, coalesce(
        to_jsonb(p.value_double), to_jsonb(p.value_long), to_jsonb(p.value_bool),
        to_jsonb(p.value_text), {schema}.json_or_text(p.value_json)
    ))
    FROM {schema}.series s JOIN {schema}.point p USING (series_id)
    WHERE s.product = points_wide.product AND p.time >= since AND p.time < until
    GROUP BY s.device, p.time
$pointgate$;
"""

_MIGRATIONS: Final = (_VERSION_1, _VERSION_2, _VERSION_3)

_HYPERTABLE: Final = """
SELECT {extension}.create_hypertable(
    {point}, 'time', chunk_time_interval => interval '7 days', create_default_indexes => false
)
"""

_THERE: Final = """
SELECT FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = %s AND relname = 'pointgate_version'
"""

_LOCK: Final = 0x706F696E74676174
"""The advisory lock of migrations: a number that no other program is likely to use."""

_STAGING: Final = """
CREATE TEMPORARY TABLE pointgate_staging (
    series_id bigint NOT NULL,
    time timestamptz NOT NULL,
    received timestamptz NOT NULL,
    value_double double precision,
    value_long bigint,
    value_bool boolean,
    value_text text,
    value_json json,
    quality smallint
) ON COMMIT DELETE ROWS
"""

_UPSERT: Final = """
INSERT INTO {schema}.point (series_id, time, {values})
SELECT series_id, time, {values} FROM pg_temp.pointgate_staging
ON CONFLICT (series_id, time) DO {action}
"""

_UPDATE: Final = "UPDATE SET {updates} WHERE ({there}) IS DISTINCT FROM ({new})"


def prepare(connection: Connection[Any], *, schema: str) -> None:
    """Create or migrate the tables, and create the session's staging table.

    Args:
        connection: A connection in a transaction, which the caller commits.
        schema: The schema of the tables; created if it is missing.

    Raises:
        SinkUnavailableError: The tables have a newer version.
        psycopg.Error: The server returned an error.
    """
    if _version(connection, schema) < len(_MIGRATIONS):
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        _migrate(connection, schema, _version(connection, schema))
    connection.execute(_STAGING)


def copy_into(schema: str) -> sql.Composed:
    """The COPY that takes points to their place directly; it fails if one is there already."""
    return sql.SQL("COPY {} (series_id, time, {}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(schema, "point"), sql.SQL(", ").join(map(sql.Identifier, VALUES))
    )


def upsert(schema: str, *, on_conflict: str) -> sql.Composed:
    """The statement that upserts the points in the staging table.

    Rows are locked in the order in which they were staged, that of the key, so two sinks that write
    the same points cannot deadlock.

    A point that is identical to the stored one is not updated: a write that is repeated after a
    crash costs half, and leaves no dead tuples.
    """
    updates = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in VALUES]
    update = sql.SQL(_UPDATE).format(
        updates=sql.SQL(", ").join(updates), there=_compared("point"), new=_compared("excluded")
    )
    return sql.SQL(_UPSERT).format(
        schema=sql.Identifier(schema),
        values=sql.SQL(", ").join(map(sql.Identifier, VALUES)),
        action=update if on_conflict == "update" else sql.SQL("NOTHING"),
    )


def _compared(table: str) -> sql.Composed:
    # Doubles are compared by their bits, because 0.0 equals -0.0; not as text, which has 15 digits
    # or fewer, depending on extra_float_digits. JSON can only be compared as text.
    forms = {"value_double": "pg_catalog.float8send({})", "value_json": "{}::text"}
    columns = [
        sql.SQL(forms.get(name, "{}")).format(sql.Identifier(table, name)) for name in VALUES
    ]
    return sql.SQL(", ").join(columns)


def _version(connection: Connection[Any], schema: str) -> int:
    # From the catalog: to_regclass would return a cached result after waiting for the lock.
    if not connection.execute(_THERE, (schema,)).rowcount:
        return 0
    table = sql.Identifier(schema, "pointgate_version")
    (version,) = _row(connection.execute(sql.SQL("SELECT version FROM {}").format(table)))
    if version > len(_MIGRATIONS):
        raise SinkUnavailableError(
            f"the tables in schema {schema!r} have version {version}, "
            f"expected {len(_MIGRATIONS)} or older: they were created by a newer pointgate"
        )
    return int(version)


def _migrate(connection: Connection[Any], schema: str, version: int) -> None:
    name = sql.Identifier(schema)
    # Not IF NOT EXISTS: it needs the privilege to create schemas even if the schema exists.
    known = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,))
    if not known.rowcount:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
    for migration in _MIGRATIONS[version:]:
        connection.execute(sql.SQL(migration).format(schema=name))
    if version == 0:
        _make_hypertable(connection, schema)
    connection.execute(
        sql.SQL("UPDATE {}.pointgate_version SET version = {}").format(name, len(_MIGRATIONS))
    )


def _make_hypertable(connection: Connection[Any], schema: str) -> None:
    found = connection.execute(
        "SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace"
        " WHERE extname = 'timescaledb'"
    ).fetchone()
    if found:
        point = sql.Identifier(schema, "point").as_string(connection)
        call = sql.SQL(_HYPERTABLE).format(extension=sql.Identifier(found[0]), point=point)
        connection.execute(call)


def _row(cursor: Any) -> tuple[Any, ...]:
    """The single row of a query that always returns one."""
    row: tuple[Any, ...] = cursor.fetchone()
    return row
