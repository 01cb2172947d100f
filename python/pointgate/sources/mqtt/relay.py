"""Stands between the client library and the real socket.

    library ──send──► written ──flush──► socket     (our own packets: `write`)
    library ◄──recv── control ◄── splitter ◄──read── socket

The library reads six times and writes once for each packet. With a relay the connection reads 64
KiB at a time, handles its own packets, and passes only the others to the library; all packets
written during a burst leave in one send.

Invariants: bytes are sent in the order in which they were written; after `close` nothing is read or
written.

It does not know packets, and it does not wait: watch `fileno` to learn when the socket is writable.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pointgate.sources.mqtt.websocket import WebSocket

_READ_BYTES: Final = 65_536
"""Below malloc's mmap threshold (128 KiB), above which each allocation maps and unmaps pages."""

_PINGREQ: Final = b"\xc0\x00"
_PINGRESP: Final = b"\xd0\x00"


class Relay:
    """Replaces a connected, non-blocking socket.

    Args:
        sock: The socket: TCP, Unix, TLS, or a WebSocket over one of them.

    Attributes:
        control: The bytes that `recv` returns to the library.
        ended: Whether the stream has ended; the library detects it after `control`.
    """

    def __init__(self, sock: socket.socket | WebSocket) -> None:
        self.control = bytearray()
        self._socket = sock
        self._written = bytearray()
        self.ended = False
        self._pinged = False
        self._buffers = hasattr(sock, "pending")  # TLS and WebSockets do

    # Called by the library.

    def recv(self, size: int) -> bytes:
        """Return bytes of the library's packets."""
        if self.control:
            data = bytes(self.control[:size])
            del self.control[:size]
            return data
        if self.ended:
            return b""
        raise BlockingIOError

    def send(self, data: bytes | bytearray) -> int:
        """Buffer bytes of the library; the next flush sends them."""
        self._pinged |= data == _PINGREQ
        self._written += data
        return len(data)

    def fileno(self) -> int:
        """The real socket's descriptor, -1 once closed."""
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as a socket's method is
        """Pass on to the real socket."""
        self._socket.setblocking(flag)

    def close(self) -> None:
        """Send the buffered bytes, as far as the socket accepts them at once; then close."""
        self.ended = True
        with contextlib.suppress(OSError):
            self.flush()
        self._socket.close()

    # Called by the connection.

    @property
    def waiting_bytes(self) -> int:
        """How many bytes are buffered."""
        return len(self._written)

    def write(self, data: bytes | bytearray) -> None:
        """Buffer bytes; the next flush sends them."""
        self._written += data

    def read(self) -> bytes | None:
        """Read the available bytes.

        Returns:
            Up to 64 KiB; None if no bytes are available; b"" at the end of the stream, which the
            library then detects, too.

        Raises:
            OSError: The connection failed.
        """
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        if not data:
            self.ended = True
        return data

    def pending_alert(self) -> ssl.SSLError | None:
        """After a failed `flush`: the peer's TLS alert with the reason, if it has arrived."""
        try:
            while self.read():
                pass
        except ssl.SSLError as error:
            return error
        except OSError:
            pass
        return None

    def expect(self, size: int) -> None:
        """Let the kernel report the socket as readable from so many bytes on, where it can."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def has_more(self, data: bytes | None) -> bool:
        """Whether to read again after `data` without waiting for the event loop.

        A short read means that a plain socket is empty. TLS returns one record of at most 16 KiB at
        a time, a WebSocket the payload of the bytes it has read; the event loop cannot detect what
        they have buffered.
        """
        return bool(data) and (self._buffers or len(data or b"") == _READ_BYTES)

    def answer_ping(self) -> None:
        """Answer the library's ping, if it awaits an answer.

        Without an answer it would close the connection; but it sees neither the other bytes, which
        prove that the broker is alive, nor that we have stopped reading.
        """
        if self._pinged:
            self._pinged = False
            self.control += _PINGRESP

    def end_writing(self) -> None:
        """Shut down the sending direction; reading continues."""
        self._socket.shutdown(socket.SHUT_WR)

    def flush(self) -> bool:
        """Send the buffered bytes, as many as the socket accepts now.

        Returns:
            Whether all of them were sent.

        Raises:
            OSError: The connection failed.
        """
        written = self._written
        while written:
            try:
                sent = self._socket.send(written)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            del written[:sent]
        return True
