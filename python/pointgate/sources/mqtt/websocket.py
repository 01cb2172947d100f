"""A connected socket as a WebSocket that carries MQTT (MQTT 5, 6): the handshake, then the frames.

    socket = open_websocket(connected, settings, timeout)       on the connecting thread, blocking
    socket.recv, send, fileno, pending, shutdown, close         as of a non-blocking socket

It replaces paho's socket, or is wrapped in our `Relay`. paho's own WebSocket is not usable here: it
masks byte by byte in Python (0.1 s a MB, 2026-11, on the event loop), copies a long frame from its
beginning for each read, answers a PING inside of a partially sent frame and without a mask, and
does not report a response other than 101.

Invariants: a frame that has begun is sent completely before anything else; `pending` counts the
bytes that were read from the socket but not yet returned by `recv`; frames are never buffered.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import ssl
import time
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import shown
from pointgate.sources.mqtt.websocket_frames import (
    BINARY,
    CLOSE,
    PONG,
    FrameReader,
    WebSocketError,
    frame,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from pointgate.config import MqttSettings

_READ_BYTES: Final = 65_536
_FRAME_BYTES: Final = 32_768
"""The longest payload of a frame that we send: some servers limit it to 64 KiB."""

_HEAD_BYTES: Final = 16_384
_ACCEPT_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3: proves that the server supports WebSockets."""

_CLOSED: Final = (
    "the broker closed the connection without an answer to the WebSocket's request; "
    "is it mqtt:// or mqtts://, another port?"
)

_SWITCHING: Final = 101
_CLIENT_ERRORS: Final = range(300, 500)

_WOULD_BLOCK: Final = (
    BlockingIOError,
    InterruptedError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
)


class HandshakeRefusedError(WebSocketError):
    """The server refuses a WebSocket for MQTT: a setting is wrong."""


def open_websocket(
    connected: socket.socket, settings: MqttSettings, *, timeout: float
) -> WebSocket:
    """Do the handshake on a connected socket; it is non-blocking afterwards, or closed.

    Args:
        connected: The socket, plain or TLS.
        settings: The host and the path.
        timeout: Seconds for all of it.

    Raises:
        HandshakeRefusedError: The server refuses a WebSocket for MQTT.
        OSError: The connection failed, or no response arrived in time.
    """
    try:
        rest = _shake_hands(connected, settings, time.monotonic() + timeout)
        connected.settimeout(0.0)
    except BaseException:
        connected.close()
        raise
    return WebSocket(connected, rest)


class WebSocket:
    """The socket after its handshake.

    Args:
        connected: The non-blocking socket.
        received: Bytes that arrived after the response to the handshake.
    """

    def __init__(self, connected: socket.socket, received: bytes = b"") -> None:
        self._socket = connected
        self._reader = FrameReader()
        self._payload = bytearray()
        self._raw = received
        self._out = b""  # frames that are not sent completely
        self._framed = 0  # bytes of the caller's payload in them
        self._ended = False

    def recv(self, size: int) -> bytes:
        """Received payload; b"" at the end.

        Raises:
            BlockingIOError: No payload is available; with TLS one of its own exceptions.
            OSError: The connection failed, or the broker closed it with an error code.
        """
        while not self._payload:
            if self._ended:
                return b""
            data, self._raw = self._raw or self._socket.recv(_READ_BYTES), b""
            if not data:
                self._ended = True
                return b""
            self._payload += self._reader.feed(data)
            self._ended = self._reader.closed
            self._answer_ping()
        part = bytes(self._payload[:size])
        del self._payload[:size]
        return part

    def send(self, data: bytes | bytearray) -> int:
        """Send the beginning of `data` as one frame.

        After BlockingIOError the next call must be with the same beginning, as with TLS: a frame
        that was partially sent cannot be changed.

        Returns:
            How many bytes of `data` were sent; the frame was sent completely.

        Raises:
            BlockingIOError: The frame was not sent completely; with TLS one of its own exceptions.
            OSError: The connection failed.
        """
        if not self._framed:
            self._framed = min(len(data), _FRAME_BYTES)
            self._out += frame(BINARY, data[: self._framed])
        self._push()
        sent, self._framed = self._framed, 0
        return sent

    def _push(self) -> None:
        while self._out:
            sent = self._socket.send(self._out)
            self._out = self._out[sent:]

    def _answer_ping(self) -> None:
        """Answer the last PING, after the frame that is being sent."""
        ping = self._reader.ping
        if ping is None or len(self._out) > 2 * _FRAME_BYTES:
            return
        self._reader.ping = None
        self._out += frame(PONG, ping)
        if not self._framed:
            with contextlib.suppress(*_WOULD_BLOCK):  # then it is sent with the next frame
                self._push()

    def pending(self) -> int:
        """How many buffered bytes can be read that the event loop cannot detect."""
        below = self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0
        return len(self._payload) + len(self._raw) + below

    def shutdown(self, _how: int) -> None:
        """Send CLOSE; the broker answers it and closes the connection."""
        self._out += frame(CLOSE, (1000).to_bytes(2))
        with contextlib.suppress(*_WOULD_BLOCK):
            self._push()

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as a socket's method is
        """Pass on to the socket."""
        self._socket.setblocking(flag)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Pass on to the socket."""
        self._socket.setsockopt(level, option, value)

    def close(self) -> None:
        """Close the socket."""
        self._ended = True
        self._socket.close()


def _shake_hands(connected: socket.socket, settings: MqttSettings, end: float) -> bytes:
    """Do the handshake; returns the bytes that arrived after the response."""
    host, port, path = settings.host, settings.port, settings.websocket_path or "/"
    key = base64.b64encode(os.urandom(16))
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {f'[{host}]' if ':' in host else host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key.decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
    )
    request = "\r\n".join(lines) + "\r\n\r\n"
    try:
        answer = _ask(connected, request.encode("ascii"), end)
    except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError) as error:
        raise WebSocketError(_CLOSED) from error
    except TimeoutError as error:
        raise WebSocketError("the broker does not answer the WebSocket's request") from error
    head, _, rest = answer.partition(b"\r\n\r\n")
    _check_answer(head.decode("latin-1"), key, path)
    return rest


def _ask(connected: socket.socket, request: bytes, end: float) -> bytes:
    """Send the request and read at least the head of the response."""
    connected.settimeout(_left(end))
    connected.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        connected.settimeout(_left(end))
        data = connected.recv(_READ_BYTES)
        answer += data
        if not answer.startswith(b"HTTP/"[: len(answer)]) or len(answer) > _HEAD_BYTES:
            raise HandshakeRefusedError(
                "the broker's port does not speak HTTP: is it mqtt:// or mqtts://, another port?"
            )
        if not data:
            raise WebSocketError(_CLOSED)
    return answer


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _check_answer(head: str, key: bytes, path: str) -> None:
    """Check that a response opens a WebSocket for MQTT."""
    status_line, *lines = head.split("\r\n")
    _, _, status = status_line.partition(" ")
    code = int(status[:3]) if status[:3].isascii() and status[:3].isdigit() else 0
    if code != _SWITCHING:
        reason = f"the broker answers {shown(status)} at {path}, expected a WebSocket (101)"
        if code in _CLIENT_ERRORS:
            raise HandshakeRefusedError(f"{reason}: is the path in mqtt.url another one?")
        raise WebSocketError(reason)
    fields = _fields(lines)
    digest = hashlib.sha1(key + _ACCEPT_SUFFIX, usedforsecurity=False).digest()
    if fields.get("sec-websocket-accept") != base64.b64encode(digest).decode():
        raise HandshakeRefusedError(f"the answer at {path} does not open a WebSocket")
    protocol = fields.get("sec-websocket-protocol", "mqtt")
    if protocol != "mqtt":
        raise HandshakeRefusedError(
            f"expected the subprotocol mqtt at {path}, got {shown(protocol)}"
        )


def _fields(lines: list[str]) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
