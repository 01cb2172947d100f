"""The SQL of a table of changes: what an administrator runs once in the database of the devices.

    changes            a row for each key that was inserted, updated or deleted
    changes_deleted    one row: which rows of it have been deleted, and by which transaction

A row says that something about a key has changed, not what: pointgate looks the key up in the table
of devices, in the same snapshot. So the order of transactions, which is neither that of their ids
nor that of a sequence, does not matter.

Rows can be deleted at any time. If pointgate has not read one of them yet, it takes a snapshot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pointgate.registries.postgres.settings import PostgresRegistrySettings

CHANNEL: Final = "pointgate_devices"

_SQL: Final = """\
-- Registry {name}: the table of changes of {table}. Run it once, as the owner of that table.
BEGIN;

CREATE TABLE {changes} (
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    changed timestamptz NOT NULL DEFAULT clock_timestamp(),
    product text,
    device text  -- null: the whole table was truncated
);
CREATE INDEX ON {changes} (transaction_id);

-- What has been deleted from it.
CREATE TABLE {deleted} (newest xid8 NOT NULL, deleted_by xid8 NOT NULL);
INSERT INTO {deleted} VALUES ('0', '0');

CREATE FUNCTION {record}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO {changes} (product, device) SELECT {columns} FROM newer;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO {changes} (product, device) SELECT {columns} FROM older;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO {changes} (product, device)
            (SELECT {columns} FROM older EXCEPT SELECT {columns} FROM newer)
            UNION (SELECT {columns} FROM newer EXCEPT SELECT {columns} FROM older);
    ELSE
        INSERT INTO {changes} (product, device) VALUES (NULL, NULL);
    END IF;
    PERFORM pg_notify('{channel}', '');  -- only wakes pointgate; it also looks twice a second
    RETURN NULL;
END $$;

CREATE TRIGGER pointgate_inserted AFTER INSERT ON {table}
    REFERENCING NEW TABLE AS newer FOR EACH STATEMENT EXECUTE FUNCTION {record}();
CREATE TRIGGER pointgate_deleted AFTER DELETE ON {table}
    REFERENCING OLD TABLE AS older FOR EACH STATEMENT EXECUTE FUNCTION {record}();
CREATE TRIGGER pointgate_updated AFTER UPDATE ON {table}
    REFERENCING OLD TABLE AS older NEW TABLE AS newer
    FOR EACH STATEMENT EXECUTE FUNCTION {record}();
CREATE TRIGGER pointgate_truncated AFTER TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION {record}();

CREATE FUNCTION {note}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        UPDATE {deleted} SET newest = pg_current_xact_id(), deleted_by = pg_current_xact_id();
    ELSIF EXISTS (SELECT FROM older) THEN
        UPDATE {deleted} SET deleted_by = pg_current_xact_id(), newest = greatest(
            newest, (SELECT transaction_id FROM older ORDER BY transaction_id DESC LIMIT 1));
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER pointgate_deleted AFTER DELETE ON {changes}
    REFERENCING OLD TABLE AS older FOR EACH STATEMENT EXECUTE FUNCTION {note}();
CREATE TRIGGER pointgate_truncated AFTER TRUNCATE ON {changes}
    FOR EACH STATEMENT EXECUTE FUNCTION {note}();

COMMIT;

-- The rights that pointgate needs, of a role of its own:
-- GRANT SELECT ON {table}, {changes}, {deleted} TO pointgate;

-- From time to time, for example once a day:
-- DELETE FROM {changes} WHERE changed < now() - interval '7 days';
"""


def schema_sql(settings: PostgresRegistrySettings) -> str:
    """The SQL for a registry. The settings allow plain identifiers only; they are quoted."""
    schema, name = settings.changes_name
    product = f'"{settings.product_column}"::text' if settings.product_column else "NULL"
    names = {
        "name": settings.name,
        "table": _quoted(*settings.table_name),
        "changes": _quoted(schema, name),
        "deleted": _quoted(schema, f"{name}_deleted"),
        "record": _quoted(schema, f"{name}_record"),
        "note": _quoted(schema, f"{name}_note"),
        "columns": f'{product}, "{settings.device_column}"::text',
        "channel": CHANNEL,
    }
    return _SQL.format(**names)


def _quoted(schema: str, name: str) -> str:
    return f'"{schema}"."{name}"'
