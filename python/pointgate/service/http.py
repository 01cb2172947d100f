"""/metrics, /offenders, /livez and /readyz over HTTP/1.1, on the service's event loop.

    one connection = one request = one answer, then closed

Because it shares the loop with the gate, its load is bounded: a request's head is limited to 8 KiB
and 5 seconds, a page of figures is rendered at most once a second, and at most 64 connections are
open. At that limit a new connection evicts the one that has waited longest for its request, so that
half-open connections cannot lock out a scraper. If no connection is waiting, the new one is closed
unanswered, and counted.

It is not a web server: no bodies, no keep-alive, no TLS. Put a proxy in front if those are needed.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from pointgate.diagnostics import os_reason
from pointgate.errors import ConfigError, Problem, TemporaryFailure
from pointgate.service.content_negotiation import preferred
from pointgate.service.listener import listen
from pointgate.service.metrics import page_format
from pointgate.service.offenders import OFFENDER_FORMATS, render_offenders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pointgate.service.metrics import Metrics

_log = logging.getLogger(__name__)

_HEAD_BYTES: Final = 8 * 1024
_HEAD_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 5.0
_CONNECTIONS: Final = 64
_BACKLOG: Final = 128
_PAGE_SECONDS: Final = 1.0
"""A page takes 2 ms, and 0.1 ms for each product: with 100 products this limits it to 1 % of a core
(2 cores, 2026-11)."""

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

_TEXT: Final = "text/plain; charset=utf-8"

_MISTAKES: Final = {
    errno.EACCES,
    errno.EPERM,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
    errno.EINVAL,
}

_ALL_ADDRESSES: Final = ("", "::")


class Health(Protocol):
    """The service's liveness and readiness."""

    def live(self) -> bool:
        """Whether the process works; if not, it should be restarted."""

    def ready(self) -> tuple[bool, str]:
        """Whether requests are received and answered, and why not."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    content_type: str = _TEXT

    def encode(self, *, with_body: bool) -> bytes:
        lines = [
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        if self.status == 405:  # noqa: PLR2004 - method not allowed
            lines.append("Allow: GET, HEAD")
        head = "\r\n".join(lines) + "\r\n\r\n"
        return head.encode("ascii") + (self.body if with_body else b"")


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
    connections = _Connections(_Pages(metrics, health), metrics)
    sockets: list[socket.socket] = []
    async with AsyncExitStack() as stack:
        stack.push_async_callback(connections.close)  # last: its tasks outlive the listener
        try:
            sockets = await asyncio.to_thread(bound, host, port)
            await stack.enter_async_context(
                listen(sockets, connections.accept, limit=_HEAD_BYTES, backlog=_BACKLOG)
            )
        except OSError as error:
            for one in sockets:
                one.close()
            reason = f"cannot listen on {host or 'any address'} port {port}: {os_reason(error)}"
            if not is_mistake(error):
                raise TemporaryFailure(f"metrics.listen: {reason}") from error
            raise ConfigError([Problem("", "metrics.listen", reason)]) from error
        yield sockets[0].getsockname()[1]


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


class _Pages:
    """The response to each path."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._rendered: dict[str, tuple[float, _Answer]] = {}

    def answer(self, path: str, accept: str) -> _Answer:
        match path.partition("?")[0]:
            case "/metrics":
                form = page_format(accept)
                return self._page(f"metrics {form}", lambda: self._metrics.render(form))
            case "/offenders":
                form = preferred(accept, OFFENDER_FORMATS)
                counters = self._metrics.counters
                return self._page(f"offenders {form}", lambda: render_offenders(counters, form))
            case "/livez":
                live = self._health.live()
                return _Answer(200, b"live\n") if live else _Answer(503, b"not live\n")
            case "/readyz":
                ready, reason = self._health.ready()
                return _Answer(200 if ready else 503, _line(reason))
            case _:
                return _Answer(404, b"expected /metrics, /offenders, /livez or /readyz\n")

    def _page(self, name: str, render: Callable[[], tuple[bytes, str]]) -> _Answer:
        now = asyncio.get_running_loop().time()
        rendered_at, answer = self._rendered.get(name, (-_PAGE_SECONDS, None))
        if answer is None or now - rendered_at >= _PAGE_SECONDS:
            answer = _Answer(200, *render())
            self._rendered[name] = (now, answer)
        return answer


def _line(text: str) -> bytes:
    """A line of text; it may contain a file name that is not UTF-8."""
    return f"{text}\n".encode(errors="backslashreplace")


class _Connections:
    """The open connections, and those of them that may be evicted."""

    def __init__(self, pages: _Pages, metrics: Metrics) -> None:
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
        try:
            head = await self._head(reader, writer)
            answer, with_body = (head, True) if isinstance(head, _Answer) else self._answer(head)
            async with asyncio.timeout(_ANSWER_SECONDS):
                writer.write(answer.encode(with_body=with_body))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, EOFError, TimeoutError):
            pass  # the client is gone or reads too slowly: no response can be delivered
        finally:
            writer.transport.abort()

    async def _head(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | _Answer:
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                return await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return _Answer(408, f"expected a request within {_HEAD_SECONDS:g} s\n".encode())
        except asyncio.LimitOverrunError:
            return _Answer(431, f"expected at most {_HEAD_BYTES} bytes of head\n".encode())
        finally:
            self._waiting.pop(writer, None)

    def _answer(self, head: bytes) -> tuple[_Answer, bool]:
        """The response to a request's head, and whether it has a body."""
        request_line, *lines = head.decode("latin-1").split("\r\n")
        match request_line.split(" "):
            case [method, path, "HTTP/1.1" | "HTTP/1.0"] if method.isalpha() and path[:1] == "/":
                pass
            case _:
                return _Answer(
                    400, b"expected a request line such as GET /metrics HTTP/1.1\n"
                ), True
        if method not in {"GET", "HEAD"}:
            return _Answer(405, b"expected GET or HEAD\n"), True
        fields = (line.partition(":") for line in lines)
        accept = ",".join(value for name, _, value in fields if name.strip().lower() == "accept")
        try:
            return self._pages.answer(path, accept), method == "GET"
        except Exception:  # noqa: BLE001 - a bug in a metric must not stop the gate
            _log.exception("cannot answer %s", path.partition("?")[0][:64])
            return _Answer(500, b"internal error, see the log\n"), True
