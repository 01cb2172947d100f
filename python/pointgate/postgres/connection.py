"""A connection to PostgreSQL that is opened on demand, and that any thread can sever.

server = OnDemand(parameters, set_up)
connection = server.ready()      # in its thread: the open connection, or a new one
server.sever()                   # from any thread: a call that waits for the server fails now
server.close()                   # in its thread: the next `ready` connects again
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Connection = psycopg.Connection[Any]


class OnDemand:
    """At most one connection.

    Args:
        parameters: Those of `psycopg.connect`.
        set_up: Called with each new connection; if it fails, the connection is closed.

    Attributes:
        connection: The open one, if there is one.
    """

    def __init__(self, parameters: Mapping[str, Any], set_up: Callable[[Connection], None]) -> None:
        self.connection: Connection | None = None
        self._parameters = {"prepare_threshold": None, **parameters}
        self._set_up = set_up
        self._wire: socket.socket | None = None
        self._lock = threading.Lock()

    def ready(self) -> Connection:
        """The open connection, or a new one.

        Raises:
            psycopg.Error: The server cannot be reached.
            Exception: Whatever `set_up` raises.
        """
        if self.connection is None:
            connection = self.connection = psycopg.connect(**self._parameters)
            with self._lock:
                # A duplicate of the socket, so that `sever` never uses a reused descriptor.
                self._wire = socket.socket(fileno=os.dup(connection.fileno()))
            try:
                self._set_up(connection)
            except BaseException:
                self.close()
                raise
        return self.connection

    def sever(self) -> None:
        """Shut down the socket."""
        with self._lock, contextlib.suppress(OSError):
            if self._wire is not None:
                self._wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._wire is not None:
                self._wire.close()
                self._wire = None
        if self.connection is not None:
            self.connection.close()
            self.connection = None
