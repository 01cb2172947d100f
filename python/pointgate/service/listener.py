"""Listens on TCP and accepts connections as asyncio streams, even when file descriptors run out.

    async with listen(sockets, accept, limit=8192, backlog=128):
        ...                                # accept(reader, writer) for each connection

`asyncio.start_server` logs a traceback for each failed `accept`, repeats it once per backlog entry,
and schedules a retry for each of those: without a free descriptor it logs 14 MB a second. Here a
failed `accept` pauses the listener for a second, and is logged once a minute. Connections in the
backlog are accepted afterwards.

It closes the listening sockets; the connections belong to the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason
from pointgate.rate_limiter import RateLimiter

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Sequence

    Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]

_PAUSE: Final = 1.0
_TURN: Final = 16
"""How many connections are accepted in one iteration of the loop."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def listen(
    sockets: Sequence[socket.socket], accept: Accept, *, limit: int, backlog: int
) -> AsyncIterator[None]:
    """Accept connections until the context is left, then close the sockets.

    Args:
        sockets: Bound sockets.
        accept: Called for each connection; must not wait.
        limit: How many bytes a reader buffers.
        backlog: How many connections may wait to be accepted.

    Raises:
        OSError: A socket cannot listen.
    """
    listener = _Listener(accept, limit)
    try:
        for one in sockets:
            listener.add(one, backlog)
        yield
    finally:
        await listener.close()


class _Listener:
    def __init__(self, accept: Accept, limit: int) -> None:
        self._accept_stream = accept
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._failures = RateLimiter(60.0)

    def add(self, sock: socket.socket, backlog: int) -> None:
        """Listen on a socket."""
        self._sockets.append(sock)
        sock.setblocking(False)  # noqa: FBT003 - the name of its parameter is `flag`
        sock.listen(backlog)
        self._resume(sock)

    async def close(self) -> None:
        """Stop accepting, and close the sockets."""
        for sock in self._sockets:
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock)
            sock.close()
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _resume(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            self._loop.add_reader(sock, self._readable, sock)

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(_TURN):
            try:
                connection, _ = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(sock, error)
                return
            connection.setblocking(False)  # noqa: FBT003 - the name of its parameter is `flag`
            task = self._loop.create_task(self._open(connection), name="accept")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        reader = asyncio.StreamReader(limit=self._limit)
        with contextlib.suppress(OSError):  # the client has disconnected
            await self._loop.connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(reader, self._accept_stream), connection
            )

    def _pause(self, sock: socket.socket, error: OSError) -> None:
        self._loop.remove_reader(sock)
        self._loop.call_later(_PAUSE, self._resume, sock)
        if events := self._failures.count():
            _log.warning(
                "cannot accept connections: %s (%d attempts failed); retrying every %.0f s",
                os_reason(error),
                events,
                _PAUSE,
            )
