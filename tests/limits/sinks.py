"""A service with three sinks that can be held back, and what they have stored."""

from __future__ import annotations

import fcntl
import os
import re
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

import duckdb

from tests.support.cgroup import most_memory
from tests.support.postgres_points import ask
from tests.support.postgres_server import PASSWORD
from tests.support.processes import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cgroup import MemoryLimit
    from tests.support.postgres_server import PostgresServer
    from tests.support.processes import Broker

PATIENCE: Final = 900.0

_KEY: Final = re.compile(rb'"identifier":"(\w+)","time":(\d+)')
_KEY_BYTES: Final = 200
"""A line begins with its key; what follows may be long."""

_PIPE_BYTES: Final = 1024 * 1024


class Sinks:
    """Parquet, PostgreSQL, and NDJSON on standard output, of one service after another.

    Args:
        folder: Where everything is.
        broker: Where requests come from.
        server: The database.
        schema: Where in it.
        limit: The memory of the service.
        catalog: Of the service.
    """

    def __init__(
        self,
        folder: Path,
        *,
        broker: Broker,
        server: PostgresServer,
        schema: str,
        limit: MemoryLimit,
        catalog: Path,
    ) -> None:
        self._folder = folder
        self._broker = broker
        self._server = server
        self._schema = schema
        self._limit = limit
        self._catalog = catalog
        self._lines: set[tuple[bytes, bytes]] = set()
        self._reading = threading.Event()
        self._reading.set()
        self._threads: list[threading.Thread] = []
        self.most_memory = 0

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """No sink takes anything."""
        own = self._folder / "points/.pointgate"
        own.mkdir(parents=True, exist_ok=True)
        with (own / "writer.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._reading.clear()
            self._server.freeze()
            try:
                yield
            finally:
                self._server.thaw()
                self._reading.set()

    @contextmanager
    def service(self) -> Iterator[Service]:
        """A service; it is killed at the end."""
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        thread = threading.Thread(target=self._read, args=(reader,))
        thread.start()
        self._threads.append(thread)
        lines = (
            *("[spool]", f'path = "{self._folder}/spool"', "max_bytes = 8589934592"),
            *("[[sinks]]", 'type = "parquet"', f'path = "{self._folder}/points"'),
            *("[[sinks]]", 'type = "ndjson"', 'path = "-"'),
            *("[[sinks]]", 'type = "postgres"', f'schema = "{self._schema}"'),
            f'url = "{self._server.url()}"',
        )
        command = [*self._limit.command, sys.executable, "-m", "pointgate"]
        try:
            service = Service(
                self._folder,
                self._broker.port,
                *lines,
                catalog=self._catalog,
                ack="spool",
                environ={"POINTGATE_SINKS__POSTGRES__PASSWORD": PASSWORD},
                command=command,
                stdout=writer,
            )
        finally:
            os.close(writer)
        with service, self._watched(service):
            yield service

    @contextmanager
    def _watched(self, service: Service) -> Iterator[None]:
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.2) and service.alive:
                self.most_memory = max(self.most_memory, most_memory(service.pid))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield
        finally:
            stop.set()
            watching.join()

    def wait(self, service: Service) -> None:
        """Wait until every sink has everything."""
        lag = [f'pointgate_sink_lag_requests{{sink="{name}"}}' for name in self.names]
        end = time.monotonic() + PATIENCE
        while any(service.metric(name) for name in lag):
            assert service.alive, "\n".join(service.lines[-20:])
            assert time.monotonic() < end, "the sinks do not get everything"
            time.sleep(0.5)

    names = ("parquet", "ndjson", "postgres")

    def stored(self) -> dict[str, int]:
        """How many different points each sink has."""
        keys = "SELECT count(*) FROM (SELECT DISTINCT identifier, time FROM {}) AS keys"
        files = f"read_parquet('{self._folder}/points/**/*.parquet')"
        ((parquet,),) = duckdb.execute(keys.format(files)).fetchall()
        # Its primary key lets no point be there twice.
        ((postgres,),) = ask(self._server, "SELECT count(*) FROM {schema}.point", self._schema)
        return {"parquet": parquet, "ndjson": len(self._lines), "postgres": int(postgres)}

    def _read(self, reader: int) -> None:
        with os.fdopen(reader, "rb", buffering=_PIPE_BYTES) as lines:
            self._reading.wait()
            for line in lines:
                if found := _KEY.search(line, 0, _KEY_BYTES):
                    self._lines.add((found[1], found[2]))
                self._reading.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reading.set()
        for thread in self._threads:
            thread.join()
