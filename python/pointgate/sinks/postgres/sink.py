"""A write to PostgreSQL: one transaction that stages the points and moves them to their place.

    check      begin; is what we remember of `series` still so?
    resolve    names to series numbers; insert the new ones           (series.py)
    order      by series and time, one point each                     (rows.py)
    stage      COPY … FORMAT binary into a temporary table
    upsert     INSERT … SELECT … ON CONFLICT (series_id, time)
    commit

It takes psycopg's blocking connection in a thread of its own: most of a write is work on columns
and must not run on the event loop in any case, and a socket that is shut under a blocked call ends
it at once, where a cancelled coroutine would still have to talk to a server that does not answer.

Why the same write may come again, whatever happened to it:

- The key decides, so a repetition changes nothing. That holds for a commit whose answer was lost.
- The drain repeats in order. What was written after the repeated points is repeated after them, so
  the last value stands in the end; a reader may meanwhile see the one before. With "ignore" the
  first value was there first and stays.
- A write given up on cannot come later than one that follows it: COMMIT is sent only when the
  upsert was answered, so a transaction that may still commit holds the locks of its rows, and the
  repetition waits for them.

Several sinks, also of several services, may write to the same tables: both series and points are
locked in the order of their keys, series first. The last commit wins.

The connection must be the sink's own for its life (the temporary table is), so a pooler between has
to pool sessions, not transactions. A write is one transaction, however large: its size is for the
drain to choose.
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
from pointgate.sinks.postgres.tables import VALUES, upsert

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate.sinks.postgres.settings import PostgresSettings

_STAGE: Final = "COPY pg_temp.pointgate_staging FROM STDIN (FORMAT binary)"

_SLOWEST: Final = 5_000
"""Points a second: a server below this rate is taken for one that hangs. A thirtieth of what two
cores do, so that a large write to a slow server is not given up on time and again."""

_GIVE_UP_SECONDS: Final = 2.0
"""How long we wait for the thread to notice that its connection was severed. It does so at once,
unless it is just connecting, which ends by itself."""


def build(settings: PostgresSettings) -> PostgresSink:
    """The sink that a table of the configuration asks for.

    Raises:
        ConfigError: Its password cannot be read.
        ValueError: Its url cannot be used.
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
        name: What its metrics and log lines call it.
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
        """Describe where to; nothing is connected yet.

        Args:
            name: What its metrics and log lines call it.
            url: `postgresql://…` with whatever libpq understands, TLS included.
            password: Used instead of one in the URL, the environment or the passfile.
            schema: Where the tables are; created if it is missing.
            on_conflict: Whether a point takes the place of one with the same key, or gives way.
            answer_seconds: How long the server may take for anything, apart from what a large
                write is granted for its size.

        Raises:
            ValueError: The URL or the name of the schema cannot be right.
        """
        self.name = name
        self._session = sessions.Session(
            name=name, url=url, password=password, schema=schema, answer_seconds=answer_seconds
        )
        self._series = SeriesIds(schema=schema)
        self._upsert = upsert(schema, on_conflict=on_conflict)
        self._keep: Literal["first", "last"] = "last" if on_conflict == "update" else "first"
        self._answer_seconds = answer_seconds
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sink-{name}")

    def __repr__(self) -> str:
        return f"PostgresSink(name={self.name!r})"

    def newest(self) -> int:
        """0: rows have no sequence, the last commit wins (see `base.Sink`)."""
        return 0

    async def open(self) -> None:
        """Connect, and bring the tables to their newest version.

        Raises:
            SinkUnavailableError: Not now; also where a person has to do something first.
        """
        await self._run(self._connect, seconds=self._answer_seconds)

    async def write(self, points: pa.Table, *, sequence: int) -> None:  # noqa: ARG002 - see above
        """Store points, all in one transaction.

        Args:
            points: Rows of `store.points.SCHEMA` in the order of arrival.
            sequence: Not needed: the key of a point decides.

        Raises:
            SinkUnavailableError: Nothing is wrong with the points, or the outcome is not known.
            SinkRefusedError: The server can never store something of this.
        """
        if len(points):
            seconds = self._answer_seconds + len(points) / _SLOWEST
            await self._run(partial(self._store, points, seconds), seconds=seconds)

    async def close(self) -> None:
        """Let go of the connection; a write that is under way is broken off."""
        self._session.sever()
        try:
            await asyncio.wait({self._submit(self._drop)}, timeout=_GIVE_UP_SECONDS)
        finally:
            self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], object], *, seconds: float) -> None:
        """Do something in the thread; who stops waiting for it cuts its connection."""
        working = self._submit(work)
        try:
            await asyncio.wait({working}, timeout=seconds)
        finally:
            given_up = not working.done()
            if given_up:
                self._session.sever()
                await asyncio.wait({working}, timeout=_GIVE_UP_SECONDS)
                working.cancel()  # if it has not even begun
        if not given_up:
            await working
        elif working.cancelled() or not working.done() or working.exception():
            raise SinkUnavailableError(f"no answer within {seconds:.1f} s")

    def _submit(self, work: Callable[[], object]) -> asyncio.Future[object]:
        working = asyncio.get_running_loop().run_in_executor(self._thread, work)
        # Else asyncio complains of errors that nobody waits for any more.
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
            with connection.cursor().copy(_STAGE) as copy:
                for piece in copy_bytes(rows):
                    copy.write(piece)
            connection.execute(self._upsert)
            connection.commit()
        except BaseException as error:
            # Whatever it was: what this transaction did is undone, and so is what we know of it.
            self._drop()
            if isinstance(error, psycopg.Error):
                raise sessions.of_points(error) from error
            if isinstance(error, pa.ArrowException) and not isinstance(error, MemoryError):
                raise SinkRefusedError(f"cannot be sent to PostgreSQL: {error}") from error
            raise

    def _drop(self) -> None:
        self._session.discard()
        self._series.forget()
