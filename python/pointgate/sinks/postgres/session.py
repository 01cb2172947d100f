"""The connection to PostgreSQL: opening it, closing it, and classifying its errors.

    session = Session(name=…, url=…, password=…, schema=…, answer_seconds=60)
    connection = session.ready()     # in the sink's thread: the open connection, or a new one
    session.sever()                  # from any thread: a call that waits for the server fails now
    session.discard()                # in the sink's thread: the next `ready` connects again

A connection is not reused after an error: it is closed, and the server rolls back the transaction.

The URL and libpq decide about hosts, TLS, certificates and the passfile. This module sets what the
sink's guarantees need: the encoding is UTF-8, the isolation level is READ COMMITTED, commits are
synchronous, and both sides have timeouts.

The password is in no error, log line or `repr`.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import psycopg

from pointgate.postgres.connection import OnDemand
from pointgate.postgres.parameters import connection_parameters, error_text
from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.sinks.postgres.tables import prepare

_log = logging.getLogger(__name__)

_SCHEMA_BYTES: Final = 63
"""The server truncates longer names without an error."""

_CONNECT_SECONDS: Final = 5
"""The timeout of connecting, which cannot be cancelled, not even to shut down."""

_SESSION: Final = """
SELECT set_config('statement_timeout', %s, false),
    set_config('idle_in_transaction_session_timeout', %s, false),
    set_config('temp_buffers', '64MB', false),
    CASE current_setting('synchronous_commit')
        WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END,
    current_setting('server_encoding'),
    current_setting('fsync')
"""

_DATA: Final = ("22", "23", "54", "P0001")
"""SQLSTATEs of permanent errors, which the points cause: data, constraints, sizes, and exceptions
of the operator's triggers. All others are temporary."""


class Session:
    """At most one connection, opened on demand."""

    def __init__(
        self, *, name: str, url: str, password: str | None, schema: str, answer_seconds: float
    ) -> None:
        """See `PostgresSink`.

        Raises:
            ValueError: The URL or the name of the schema is invalid.
        """
        self._name = name
        self._schema = _schema_name(schema)
        connecting = min(_CONNECT_SECONDS, max(1, round(answer_seconds)))
        parameters = {"connect_timeout": connecting} | connection_parameters(url, password)
        self._server = OnDemand(parameters, self._set_up)
        self._answer_seconds = answer_seconds
        self._warned = False

    def ready(self) -> psycopg.Connection[Any]:
        """An open connection; its session and the tables are set up.

        Raises:
            SinkUnavailableError: The database or its tables cannot be used.
            psycopg.Error: The server cannot be reached, or returned an error.
        """
        return self._server.ready()

    def sever(self) -> None:
        """Shut down the socket: a call that waits for the server fails at once."""
        self._server.sever()

    def discard(self) -> None:
        """Close the connection, if there is one."""
        self._server.close()

    def _set_up(self, connection: psycopg.Connection[Any]) -> None:
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        milliseconds = str(round(self._answer_seconds * 1000))
        row = connection.execute(_SESSION, (milliseconds, milliseconds)).fetchone()
        *_, encoding, fsync = row or ("", "")
        if encoding != "UTF8":
            raise SinkUnavailableError(f"expected a database with encoding UTF8, got {encoding}")
        if fsync == "off" and not self._warned:
            self._warned = True
            _log.warning(
                "sink %s: the server runs with fsync = off and may lose committed transactions",
                self._name,
            )
        prepare(connection, schema=self._schema)
        connection.commit()


def unavailable(error: psycopg.Error | OSError) -> SinkUnavailableError:
    """The exception for a temporary error."""
    return SinkUnavailableError(error_text(error))


def of_points(error: psycopg.Error) -> SinkUnavailableError | SinkRefusedError:
    """Classify an error of a write as temporary or permanent."""
    # A DataError without a SQLSTATE is psycopg's own, for a text that it cannot encode.
    code = error.sqlstate or ("22" if isinstance(error, psycopg.DataError) else "")
    return SinkRefusedError(error_text(error)) if code.startswith(_DATA) else unavailable(error)


def _schema_name(schema: str) -> str:
    if not schema or "\0" in schema or len(schema.encode()) > _SCHEMA_BYTES:
        raise ValueError(f"expected a schema name of 1 to {_SCHEMA_BYTES} bytes, got {schema!r}")
    return schema
