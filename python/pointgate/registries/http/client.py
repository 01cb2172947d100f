"""GET over HTTP/1.1 for a registry: bounded, severable, with a connection that stays open.

    with client.get(url, {"If-None-Match": etag}) as answer:
        answer.status, answer.headers
        for piece in answer.pieces(most_bytes): …

The body is bounded before and after gzip, which is decoded while it is read, so that a small answer
cannot become a large one in memory. Every read has the timeout of the settings. A redirect is
followed at most `_REDIRECTS` times, never from https to http; the token is sent to the server of
the settings alone. `urllib.request` would send it to any server that a redirect names.

It knows nothing of devices. Proxies of the environment are not used.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import SplitResult, urljoin, urlsplit

from pointgate.diagnostics import os_reason
from pointgate.registries.base import RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_REDIRECTS: Final = 5
_PIECE_BYTES: Final = 65_536
_MOVED: Final = (301, 302, 303, 307, 308)
_SPARE_BYTES: Final = 65_536
"""A body that nobody reads is read up to so many bytes, to use the connection again."""


@dataclass(frozen=True, slots=True)
class _Origin:
    scheme: str
    host: str
    port: int | None

    @classmethod
    def of(cls, parts: SplitResult) -> Self:
        return cls(parts.scheme, parts.hostname or "", parts.port)


class HttpClient:
    """At most one connection to one server.

    Args:
        timeout: Seconds for each read, and for connecting.
        ca_file: A PEM file with the certificates to trust; None for those of the system.

    Raises:
        ValueError: There is no certificate in the file.
    """

    def __init__(self, *, timeout: float, ca_file: Path | None) -> None:
        self._timeout = timeout
        try:
            self._tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        except (ssl.SSLError, OSError) as error:
            raise ValueError(f"ca_file: expected PEM certificates: {os_reason(error)}") from error
        self._connection: http.client.HTTPConnection | None = None
        self._wire: socket.socket | None = None  # that of the connection, which forgets it early
        self._origin: _Origin | None = None
        self._lock = threading.Lock()
        self._is_severed = False

    def get(self, url: str, headers: Mapping[str, str], *, token: str | None) -> Answer:
        """Ask for a url.

        Args:
            url: The url.
            headers: Headers of the request.
            token: A bearer token.

        Raises:
            RegistryUnavailableError: There is no answer.
        """
        home = _Origin.of(urlsplit(url))
        for _ in range(_REDIRECTS + 1):
            parts = urlsplit(url)
            origin = _Origin.of(parts)
            all_headers = {"Accept-Encoding": "gzip", "User-Agent": "pointgate", **headers}
            if token is not None and origin == home:
                all_headers["Authorization"] = f"Bearer {token}"
            response = self._ask(origin, parts, all_headers)
            if response.status not in _MOVED:
                return Answer(self, response)
            place = response.getheader("Location")
            self.close()
            if not place:
                raise RegistryUnavailableError(f"HTTP {response.status} without a Location")
            try:
                url = urljoin(url, place)
                moved = urlsplit(url)
                _Origin.of(moved).host.encode("idna")
                moved.path.encode("ascii")
            except ValueError as error:
                raise RegistryUnavailableError(f"redirected to no url: {error}") from error
            scheme = moved.scheme
            if scheme not in {"http", "https"} or (home.scheme == "https" and scheme == "http"):
                raise RegistryUnavailableError(f"redirected from {home.scheme} to {scheme}")
        raise RegistryUnavailableError(f"redirected more than {_REDIRECTS} times")

    def _ask(
        self, origin: _Origin, parts: SplitResult, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        is_new = self._connection is None or self._origin != origin
        try:
            return self._send(origin, target, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if is_new or self._is_severed or isinstance(error, TimeoutError):
                raise unavailable(error) from error
        try:  # the server has closed a connection that was idle
            return self._send(origin, target, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise unavailable(error) from error

    def _send(
        self, origin: _Origin, target: str, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        if self._origin != origin:
            self.close()
        if self._connection is None:
            self._is_severed = False
            connection = self._connect(origin)
            connection.connect()
            with self._lock:
                self._connection, self._origin = connection, origin
                self._wire = connection.sock
        assert self._connection is not None  # noqa: S101 - made above
        self._connection.request("GET", target, headers=dict(headers))
        return self._connection.getresponse()

    def _connect(self, origin: _Origin) -> http.client.HTTPConnection:
        if origin.scheme == "https":
            return http.client.HTTPSConnection(
                origin.host, origin.port, timeout=self._timeout, context=self._tls
            )
        return http.client.HTTPConnection(origin.host, origin.port, timeout=self._timeout)

    def sever(self) -> None:
        """From any thread: end what waits for the server."""
        with self._lock:
            self._is_severed = True
            if self._wire is not None:
                with contextlib.suppress(OSError):
                    self._wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            connection, self._connection, self._origin = self._connection, None, None
            self._wire = None
        if connection is not None:
            connection.close()


class Answer:
    """An answer, whose body is read from the connection.

    Attributes:
        status: Its status.
        headers: Its headers.
    """

    def __init__(self, client: HttpClient, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self._client = client
        self._response = response

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Read a short rest of the body, else close the connection."""
        try:
            self._response.read(_SPARE_BYTES)
        except (OSError, http.client.HTTPException):
            self._client.close()
        if not self._response.isclosed():
            self._client.close()

    def pieces(self, most_bytes: int) -> Iterator[bytes]:
        """The decoded body, in pieces.

        Args:
            most_bytes: The most bytes that it may have.

        Raises:
            RegistryUnavailableError: It has more, is incomplete, or cannot be decoded.
        """
        encoding = (self.headers.get("Content-Encoding") or "identity").strip().lower()
        if encoding not in {"identity", "gzip", "x-gzip"}:
            raise RegistryUnavailableError(f"expected gzip or no encoding, got {encoding[:32]}")
        raw = _at_most(most_bytes, self._raw(has_end=encoding != "identity"))
        yield from raw if encoding == "identity" else _at_most(most_bytes, _gunzipped(raw))

    def body(self, most_bytes: int) -> bytes:
        """The whole decoded body; see `pieces`."""
        return b"".join(self.pieces(most_bytes))

    def _raw(self, *, has_end: bool) -> Iterator[bytes]:
        """The body as it comes.

        Args:
            has_end: Whether what it holds has an end of its own.
        """
        if self._response.length is None and not self._response.chunked and not has_end:
            reason = "expected Content-Length or chunks, without which an end is not known"
            raise RegistryUnavailableError(reason)
        try:
            while piece := self._response.read(_PIECE_BYTES):
                yield piece
            if self._response.length:
                raise RegistryUnavailableError("the answer ended early")
        except (OSError, http.client.HTTPException) as error:
            self._client.close()
            raise unavailable(error) from error


def _at_most(most_bytes: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, which are an error from where they have more bytes than that."""
    read = 0
    for piece in pieces:
        read += len(piece)
        if read > most_bytes:
            raise RegistryUnavailableError(f"expected at most {most_bytes} bytes, got more")
        yield piece


def _gunzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        for piece in pieces:
            rest = piece
            while rest and not decoder.eof:
                yield decoder.decompress(rest, _PIECE_BYTES)
                rest = decoder.unconsumed_tail
            if decoder.eof and (decoder.unused_data or rest):
                raise RegistryUnavailableError("expected the end behind gzip data, got more")
        if not decoder.eof:
            raise RegistryUnavailableError("the gzip data of the answer ended early")
    except zlib.error as error:
        raise RegistryUnavailableError(f"expected gzip data: {error}") from error


def unavailable(error: OSError | http.client.HTTPException) -> RegistryUnavailableError:
    """The error of a connection in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return RegistryUnavailableError(f"certificate not accepted: {error.verify_message}")
    if isinstance(error, OSError):
        return RegistryUnavailableError(os_reason(error))
    return RegistryUnavailableError(f"not HTTP: {type(error).__name__} {error}".strip())
