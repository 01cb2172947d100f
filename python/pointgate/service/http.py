"""HTTP/1.1 on the service's event loop: the metrics port, and the connections of the admin socket.

    one connection = one request = one answer, then closed

h11 reads requests and writes responses; it does no I/O. Because this shares the loop with the gate,
its load is bounded: a request's head is limited to 8 KiB and 5 seconds, and at most 64 connections
are open on each listener. At that limit a new connection evicts the one that has waited longest for
its request, so that half-open connections cannot lock out a scraper. If no connection is waiting,
the new one is closed unanswered, and counted.

It is not a web server: no bodies, no keep-alive, no TLS. Put a proxy in front if those are needed.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final

import h11

from pointgate.diagnostics import os_reason
from pointgate.errors import ConfigError, Problem, TemporaryFailure
from pointgate.service.listener import bound, is_mistake, listen
from pointgate.service.pages import Answer, Pages, Stream

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Sequence

    from pointgate.service.metrics import Metrics
    from pointgate.service.pages import Health

_log = logging.getLogger(__name__)

_HEAD_BYTES: Final = 8 * 1024
_HEAD_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 5.0
_CONNECTIONS: Final = 64
_BACKLOG: Final = 128

_STREAM_BYTES: Final = 64 * 1024
"""What the transport of a stream buffers before the client has read it."""

_VERSIONS: Final = (b"1.0", b"1.1")
_METHODS: Final = (b"GET", b"HEAD")


@asynccontextmanager
async def serve_http(
    host: str, port: int, *, metrics: Metrics, health: Health
) -> AsyncIterator[int]:
    """Serve /metrics, /offenders, /livez and /readyz until the context is left.

    Args:
        host: The address to listen on; empty for all addresses.
        port: The port; 0 for any free one.
        metrics: The metrics of /metrics, and the counters of /offenders.
        health: The source of /livez and /readyz.

    Yields:
        The port it listens on.

    Raises:
        ConfigError: The address cannot be listened on.
        TemporaryFailure: Another program listens on it, or the system is out of resources.
    """
    sockets: list[socket.socket] = []
    async with AsyncExitStack() as stack:
        try:
            sockets = await asyncio.to_thread(bound, host, port)
            answering = answer_connections(sockets, Pages(metrics, health), metrics)
            await stack.enter_async_context(answering)
        except OSError as error:
            for one in sockets:
                one.close()
            reason = f"cannot listen on {host or 'any address'} port {port}: {os_reason(error)}"
            if not is_mistake(error):
                raise TemporaryFailure(f"metrics.listen: {reason}") from error
            raise ConfigError([Problem("", "metrics.listen", reason)]) from error
        yield sockets[0].getsockname()[1]


@asynccontextmanager
async def answer_connections(
    sockets: Sequence[socket.socket], pages: Pages, metrics: Metrics
) -> AsyncIterator[None]:
    """Answer the connections to bound sockets until the context is left, then close them.

    Args:
        sockets: The sockets.
        pages: The responses.
        metrics: Where connections are counted that were closed unanswered.

    Raises:
        OSError: A socket cannot listen.
    """
    connections = _Connections(pages, metrics)
    try:
        async with listen(sockets, connections.accept, limit=_HEAD_BYTES, backlog=_BACKLOG):
            yield
    finally:
        await connections.close()  # last: its tasks outlive the listener


class _Connections:
    """The open connections, and those of them that may be evicted."""

    def __init__(self, pages: Pages, metrics: Metrics) -> None:
        self._pages = pages
        self._metrics = metrics
        self._open: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.StreamWriter, None] = {}  # for their heads, oldest first

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a new connection. Called by the listener; must not wait."""
        if len(self._open) >= _CONNECTIONS:
            evicted = next(iter(self._waiting), writer)
            self._waiting.pop(evicted, None)
            self._metrics.http_connections_refused += 1
            evicted.transport.abort()
            if evicted is writer:
                return
        self._waiting[writer] = None
        task = asyncio.create_task(self._serve(reader, writer), name="http")
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        """Close every connection.

        The tasks are in a set and not in a task group: a group would wrap every exception of the
        service that runs inside `serve_http` in an exception group.
        """
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        try:
            request = await self._request(connection, reader, writer)
            answer = self._answer(request) if isinstance(request, h11.Request) else request
            with_body = not (isinstance(request, h11.Request) and request.method == b"HEAD")
            if isinstance(answer, Stream):
                await _send_stream(connection, answer, reader, writer, with_body=with_body)
            async with asyncio.timeout(_ANSWER_SECONDS):
                if isinstance(answer, Answer):
                    writer.write(_encoded(connection, answer, with_body=with_body))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, EOFError, TimeoutError):
            pass  # the client is gone or reads too slowly: no response can be delivered
        finally:
            writer.transport.abort()

    async def _request(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> h11.Request | Answer:
        """The request of a connection, or the response to what is none."""
        read = 0
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                while not isinstance(event := connection.next_event(), h11.Request):
                    if read >= _HEAD_BYTES:
                        return Answer(
                            431, f"expected at most {_HEAD_BYTES} bytes of head\n".encode()
                        )
                    data = await reader.read(_HEAD_BYTES - read)
                    if not data:
                        raise EOFError
                    read += len(data)
                    connection.receive_data(data)
        except TimeoutError:
            return Answer(408, f"expected a request within {_HEAD_SECONDS:g} s\n".encode())
        except h11.RemoteProtocolError as error:
            return Answer(error.error_status_hint, f"not HTTP/1.1: {error}\n".encode())
        finally:
            self._waiting.pop(writer, None)
        return event

    def _answer(self, request: h11.Request) -> Answer | Stream:
        """The response to a request."""
        if request.http_version not in _VERSIONS or request.target[:1] != b"/":
            return Answer(400, b"expected a request line such as GET /metrics HTTP/1.1\n")
        if request.method not in _METHODS:
            return Answer(405, b"expected GET or HEAD\n")
        target = request.target.decode("latin-1")
        fields = (value.decode("latin-1") for name, value in request.headers if name == b"accept")
        try:
            return self._pages.answer(target, ",".join(fields))
        except Exception:  # noqa: BLE001 - a bug in a metric must not stop the gate
            _log.exception("cannot answer %s", target.partition("?")[0][:64])
            return Answer(500, b"internal error, see the log\n")


def _encoded(connection: h11.Connection, answer: Answer, *, with_body: bool) -> bytes:
    """A response in bytes; one to HEAD has no body."""
    fields = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
    ]
    if answer.status == 405:  # noqa: PLR2004 - method not allowed
        fields.append(("Allow", "GET, HEAD"))
    data = _sent(connection, h11.Response(status_code=answer.status, headers=fields))
    if with_body:
        data += _sent(connection, h11.Data(data=answer.body))
    return data + _sent(connection, h11.EndOfMessage())


async def _send_stream(
    connection: h11.Connection,
    stream: Stream,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    with_body: bool,
) -> None:
    """Send the parts of a stream until it ends or the client closes the connection."""
    writer.transport.set_write_buffer_limits(high=_STREAM_BYTES)
    fields = [
        ("Content-Type", stream.content_type),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
    ]
    writer.write(_sent(connection, h11.Response(status_code=200, headers=fields)))

    async def send() -> None:
        async with aclosing(stream.parts) as parts:
            async for part in parts:
                writer.write(_sent(connection, h11.Data(data=part)))
                await writer.drain()

    sending = asyncio.create_task(send(), name="http stream")
    leaving = asyncio.create_task(reader.read(1), name="http client")
    try:
        if with_body:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
        stream.close()
    writer.write(_sent(connection, h11.EndOfMessage()))


def _sent(connection: h11.Connection, event: h11.Event) -> bytes:
    return connection.send(event) or b""
