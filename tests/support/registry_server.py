"""A registry behind HTTP of the tests' own: a real server on loopback, in threads.

with RegistryServer() as server:
    server.keys, server.log     # what it answers with
    server.answers[path] = …    # instead of that: status, headers, body
    server.asked                # the requests that came: path and headers
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

Answer = tuple[int, dict[str, str], bytes]


class RegistryServer:
    """A server of `/devices`, `/changes` and `/known`.

    Args:
        tls: For https.

    Attributes:
        keys: The devices.
        log: All changes; a position is a number of them.
        first: The oldest position that is not gone.
        token: The bearer token that it asks for; empty for none.
        compressed: Whether it answers with gzip.
        answers: Answers by path, in place of its own.
        asked: The requests: path with query, and headers.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.keys: list[str] = []
        self.log: list[str] = []
        self.first = 0
        self.token = ""
        self.compressed = False
        self.answers: dict[str, Answer | Callable[[Any], None]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._changing = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self._server.server_address[1]}{path}"

    def change(self, *lines: str) -> None:
        """Change it: `+KEY` or `-KEY`; any thread may call it."""
        with self._changing:
            for line in lines:
                if line[0] == "+":
                    self.keys.append(line[1:])
                else:
                    self.keys.remove(line[1:])
                self.log.append(line)

    def answer(self, path: str, headers: dict[str, str]) -> Answer:
        with self._changing:
            return self._answer(path, headers)

    def _answer(self, path: str, headers: dict[str, str]) -> Answer:
        parts = urlsplit(path)
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            return 401, {}, b"who are you"
        if parts.path == "/devices":
            return self._devices(headers)
        if parts.path == "/changes":
            since = int(parse_qs(parts.query)["since"][0])
            if since < self.first:
                return 410, {}, b""
            lines = "".join(f"{line}\n" for line in self.log[since:])
            return 200, {"X-Position": str(len(self.log))}, lines.encode()
        if parts.path == "/known":
            asked = parse_qs(parts.query)["key"]
            return 200, {}, "".join(f"{key}\n" for key in asked if key in self.keys).encode()
        return 404, {}, b"no"

    def _devices(self, headers: dict[str, str]) -> Answer:
        body = "".join(f"{key}\n" for key in self.keys).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if headers.get("if-none-match") == etag:
            return 304, {"ETag": etag}, b""
        found = {"ETag": etag, "Content-Type": "text/plain", "X-Position": str(len(self.log))}
        if self.compressed:
            return 200, found | {"Content-Encoding": "gzip"}, gzip.compress(body)
        return 200, found, body

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that goes away is what some tests are about."""


def _handler(server: RegistryServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.asked.append((self.path, headers))
            given = server.answers.get(urlsplit(self.path).path)
            if callable(given):
                given(self)
                return
            status, own, body = given or server.answer(self.path, headers)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | own).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
