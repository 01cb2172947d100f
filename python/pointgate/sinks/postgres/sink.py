"""The PostgreSQL sink: each write is one transaction that copies the points to their place.

    check      begin; clear the cache of series ids if it is no longer valid
    resolve    names to series ids; insert new series                 (series.py)
    order      sort by series and time, and deduplicate               (rows.py)
    copy       COPY … FORMAT binary into `point`; if one of the points is stored already:
      stage    roll back to the savepoint, COPY into a temporary table
      upsert   INSERT … SELECT … ON CONFLICT (series_id, time)
    commit

Most points are new, and staging costs them as much again. After a copy that met a stored point the
next writes are staged at once, twice as many each time it happens again (`_Detour`).

It uses psycopg's blocking connection in its own thread. Most of a write is work on columns, which
must not run on the event loop in any case; and shutting down the socket ends a blocked call at
once, while a cancelled coroutine would still have to talk to a server that does not answer.

Why a write is idempotent, however its first attempt ended:

- The upsert goes by key, so a repetition changes nothing, even after a commit whose answer was
  lost.
- The drain repeats in order. Writes after the repeated points are repeated after them, so the last
  value wins in the end; a reader may see an earlier value meanwhile. With "ignore" the first value
  was written first and stays.
- A write that timed out cannot commit after a later one: COMMIT is sent only after the server has
  answered the upsert. A transaction that may still commit therefore holds its row locks, and the
  repetition waits for them.

Several sinks, also of several services, may write to the same tables. They cannot deadlock, because
rows are locked in the order of their keys, series first. The last commit wins.

The temporary table belongs to the session, so a connection pooler in between must pool sessions,
not transactions. A write is one transaction of any size; the drain limits the size.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import psycopg
import pyarrow as pa

from pointgate.sinks.base import CommitsEachWrite, SinkRefusedError, SinkUnavailableError
from pointgate.sinks.postgres import session as sessions
from pointgate.sinks.postgres.rows import copy_bytes, in_order
from pointgate.sinks.postgres.series import SeriesIds
from pointgate.sinks.postgres.tables import VALUES, copy_into, upsert

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.abc import Query

    from pointgate.sinks.postgres.settings import PostgresSettings

_STAGE: Final = "COPY pg_temp.pointgate_staging FROM STDIN (FORMAT binary)"

_SLOWEST: Final = 5_000
"""Points a second: the timeout of a write assumes at least this rate. It is a thirtieth of the rate
on two cores, so that a large write to a slow server does not time out again and again."""

_LONGEST_DETOUR: Final = 64
"""Writes."""

_GIVE_UP_SECONDS: Final = 2.0
"""The time for the thread to see that its connection was severed. It sees it at once, unless it is
connecting, which has a timeout of its own."""


def build(settings: PostgresSettings, writer: str) -> PostgresSink:  # noqa: ARG001 - see `newest`
    """Make the sink from its settings.

    Raises:
        ConfigError: Its password cannot be read.
        ValueError: Its url is invalid.
    """
    return PostgresSink(
        name=settings.name,
        url=settings.url,
        password=settings.password_text(),
        schema=settings.schema_name,
        on_conflict=settings.on_conflict,
    )


class PostgresSink(CommitsEachWrite):
    """Writes to PostgreSQL, or TimescaleDB.

    Attributes:
        name: Its name in metrics and log lines.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str,
        password: str | None,
        schema: str,
        on_conflict: Literal["update", "ignore"],
        answer_seconds: float = 60.0,
    ) -> None:
        """Check the settings; `open` connects.

        Args:
            name: Its name in metrics and log lines.
            url: `postgresql://…` with any parameters of libpq, such as those for TLS.
            password: Used instead of one in the URL, the environment or the passfile.
            schema: The schema of the tables; created if it is missing.
            on_conflict: Whether a point replaces one with the same key, or is ignored.
            answer_seconds: The timeout for the server; a write gets additional time for its size.

        Raises:
            ValueError: The URL or the name of the schema is invalid.
        """
        self.name = name
        self._session = sessions.Session(
            name=name, url=url, password=password, schema=schema, answer_seconds=answer_seconds
        )
        self._series = SeriesIds(schema=schema)
        self._copy_into = copy_into(schema)
        self._upsert = upsert(schema, on_conflict=on_conflict)
        self._detour = _Detour()
        self._keep: Literal["first", "last"] = "last" if on_conflict == "update" else "first"
        self._answer_seconds = answer_seconds
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sink-{name}")

    def __repr__(self) -> str:
        return f"PostgresSink(name={self.name!r})"

    def newest(self) -> int:
        """0: rows have no sequence; the last commit wins (see `base.Sink`)."""
        return 0

    async def open(self) -> None:
        """Connect, and migrate the tables to the newest version.

        Raises:
            SinkUnavailableError: A temporary failure, or one that an operator must repair.
        """
        await self._run(self._connect, seconds=self._answer_seconds)

    async def write(self, points: pa.Table, *, sequence: int) -> None:  # noqa: ARG002 - see above
        """Store points in one transaction.

        Args:
            points: Rows of `store.points.SCHEMA` in the order of arrival.
            sequence: Ignored: the upsert goes by key.

        Raises:
            SinkUnavailableError: A temporary failure, or an unknown outcome of the commit.
            SinkRefusedError: The server can never store a value in these points.
        """
        if len(points):
            seconds = self._answer_seconds + len(points) / _SLOWEST
            await self._run(partial(self._store, points, seconds), seconds=seconds)

    async def close(self) -> None:
        """Close the connection; a write that is under way is aborted."""
        self._session.sever()
        try:
            await asyncio.wait({self._submit(self._drop)}, timeout=_GIVE_UP_SECONDS)
        finally:
            self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], object], *, seconds: float) -> None:
        """Run a function in the thread; on timeout or cancellation its connection is severed."""
        working = self._submit(work)
        try:
            await asyncio.wait({working}, timeout=seconds)
        finally:
            given_up = not working.done()
            if given_up:
                self._session.sever()
                await asyncio.wait({working}, timeout=_GIVE_UP_SECONDS)
                working.cancel()  # if it has not begun
        if not given_up:
            await working
        elif working.cancelled() or not working.done() or working.exception():
            raise SinkUnavailableError(f"no answer within {seconds:.1f} s")

    def _submit(self, work: Callable[[], object]) -> asyncio.Future[object]:
        working = asyncio.get_running_loop().run_in_executor(self._thread, work)
        # Otherwise asyncio logs exceptions that were never retrieved.
        working.add_done_callback(lambda future: future.cancelled() or future.exception())
        return working

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            return self._session.ready()
        except BaseException as error:
            self._drop()
            if isinstance(error, psycopg.Error | OSError):
                raise sessions.unavailable(error) from error
            raise

    def _store(self, points: pa.Table, seconds: float) -> None:
        connection = self._connect()
        try:
            self._series.check(connection, seconds=seconds)
            series = self._series.resolve(connection, points)
            columns = points.select(["time", *VALUES]).append_column("series_id", series)
            rows = in_order(columns, keep=self._keep)
            if not self._copied(connection, rows):
                self._copy(connection, _STAGE, rows)
                connection.execute(self._upsert)
            connection.commit()
        except BaseException as error:
            # The transaction is rolled back, so the series ids that it inserted are invalid.
            self._drop()
            if isinstance(error, psycopg.Error):
                raise sessions.of_points(error) from error
            if isinstance(error, pa.ArrowException) and not isinstance(error, MemoryError):
                raise SinkRefusedError(f"cannot be sent to PostgreSQL: {error}") from error
            raise

    def _copied(self, connection: psycopg.Connection[Any], rows: pa.Table) -> bool:
        """Copy new points to their place; returns False, with nothing done, if one is not new."""
        if not self._detour.may_copy():
            return False
        try:
            with connection.transaction():  # a savepoint
                self._copy(connection, self._copy_into, rows)
        except psycopg.errors.UniqueViolation:
            self._detour.met_stored()
            return False
        self._detour.all_new()
        return True

    def _copy(self, connection: psycopg.Connection[Any], statement: Query, rows: pa.Table) -> None:
        with connection.cursor().copy(statement) as copy:
            for piece in copy_bytes(rows):
                copy.write(piece)

    def _drop(self) -> None:
        self._session.discard()
        self._series.forget()


class _Detour:
    """How many writes in a row go through the staging table, because points may be stored already.

    A copy that fails costs up to half of what the write costs then, and leaves dead rows.
    """

    def __init__(self) -> None:
        self._length = 1
        self._left = 0

    def may_copy(self) -> bool:
        """Whether the next write should try to copy."""
        if self._left:
            self._left -= 1
            return False
        return True

    def met_stored(self) -> None:
        """A copy failed, because a point is stored already."""
        self._left = self._length
        self._length = min(2 * self._length, _LONGEST_DETOUR)

    def all_new(self) -> None:
        """A copy succeeded."""
        self._length = 1
