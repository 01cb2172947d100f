"""Listens, and accepts connections as asyncio streams, even when file descriptors run out.

    sockets = bound("127.0.0.1", 9464)
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
import errno
import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from pointgate.diagnostics import os_reason
from pointgate.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]

_PAUSE: Final = 1.0
_TURN: Final = 16
"""How many connections are accepted in one iteration of the loop."""

_MISTAKES: Final = {
    errno.EACCES,
    errno.EPERM,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
    errno.EINVAL,
}

_ALL_ADDRESSES: Final = ("", "::")

_log = logging.getLogger(__name__)


def bound(host: str, port: int) -> list[socket.socket]:
    """Bind sockets that do not listen yet.

    Args:
        host: An address, or a name: each of its addresses gets a socket. Empty or `::` for all
            addresses, IPv6 and IPv4, with one dual-stack socket where possible.
        port: The port; 0 for any free one, the same for all.

    Raises:
        OSError: Binding failed; `socket.gaierror` if the name has no address.
    """
    if host in _ALL_ADDRESSES:
        both = socket.has_dualstack_ipv6() and _has_ipv6()
        return [_bind(socket.AF_INET6 if both else socket.AF_INET, ("", port), both=both)]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:  # from a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((one[0], one[4]) for one in found):
            where = (address[0], port, *address[2:])
            sockets.append(_bind(family, where))
            port = sockets[0].getsockname()[1]
    except OSError:
        for one in sockets:
            one.close()
        raise
    return sockets


def is_mistake(error: OSError) -> bool:
    """Whether an error in binding an address is permanent until the settings are changed."""
    if isinstance(error, socket.gaierror):
        return error.errno != socket.EAI_AGAIN
    return error.errno in _MISTAKES


def _bind(family: int, address: tuple[Any, ...], *, both: bool = False) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restart must not fail because of connections in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _has_ipv6() -> bool:
    """Whether an IPv6 address can be bound: a kernel may support IPv6 but have no address."""
    try:
        _bind(socket.AF_INET6, ("::", 0)).close()
    except OSError:
        return False
    return True


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
