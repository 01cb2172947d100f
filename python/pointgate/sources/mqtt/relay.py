"""The socket that the client library believes in, and the real one behind it.

    library ──send──► written ──flush──► socket     (our own packets go the same way: `write`)
    library ◄──recv── control ◄── splitter ◄──read── socket

The library reads six times and writes once for each packet. Behind a relay the connection reads 64
KiB at a time, keeps the packets it handles itself, and hands only the others on; whatever anybody
writes during a burst leaves in one send.

Invariants: bytes leave in the order in which they were written; after `close` nothing is read or
written.

It does not know packets, and it does not wait: who wants to be told when the socket can take more
watches `fileno`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pointgate.sources.mqtt.websocket import WebSocket

_READ_BYTES: Final = 65_536
"""Below the size from which malloc fetches and returns whole pages each time (128 KiB)."""

_PINGREQ: Final = b"\xc0\x00"
_PINGRESP: Final = b"\xd0\x00"


class Relay:
    """Stands in for a connected, non-blocking socket.

    Args:
        sock: The socket: TCP, Unix, TLS, or a WebSocket over one of them.

    Attributes:
        control: What `recv` gives to the library.
        ended: Whether the stream has ended, which the library sees after `control`.
    """

    def __init__(self, sock: socket.socket | WebSocket) -> None:
        self.control = bytearray()
        self._socket = sock
        self._written = bytearray()
        self.ended = False
        self._pinged = False
        self._holds_back = hasattr(sock, "pending")  # TLS and WebSockets do

    # What the library calls.

    def recv(self, size: int) -> bytes:
        """Give the library bytes of its own packets."""
        if self.control:
            data = bytes(self.control[:size])
            del self.control[:size]
            return data
        if self.ended:
            return b""
        raise BlockingIOError

    def send(self, data: bytes | bytearray) -> int:
        """Take bytes that the library sends; they leave with the next flush."""
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
        """Send what still waits, if the socket takes it at once; then close."""
        self.ended = True
        with contextlib.suppress(OSError):
            self.flush()
        self._socket.close()

    # What the connection calls.

    @property
    def waiting_bytes(self) -> int:
        """How much the socket has not taken yet."""
        return len(self._written)

    def write(self, data: bytes | bytearray) -> None:
        """Put bytes behind those already written; they leave with the next flush."""
        self._written += data

    def read(self) -> bytes | None:
        """Read what has come.

        Returns:
            Up to 64 KiB; None if nothing has come; b"" at the end of the stream, which the library
            then sees too.

        Raises:
            OSError: The connection broke.
        """
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        if not data:
            self.ended = True
        return data

    def last_words(self) -> ssl.SSLError | None:
        """After a failed `flush`: the peer's TLS alert, which says why it closed, if it came."""
        try:
            while self.read():
                pass
        except ssl.SSLError as error:
            return error
        except OSError:
            pass
        return None

    def has_more(self, data: bytes | None) -> bool:
        """Whether to read again after `data`, without being told that there is something.

        A short read has emptied a plain socket. TLS hands out one record of at most 16 KiB at a
        time, a WebSocket the payload of what it has read, and what they hold back the event loop
        cannot see.
        """
        return bool(data) and (self._holds_back or len(data or b"") == _READ_BYTES)

    def answer_ping(self) -> None:
        """Tell the library that its ping was answered, if it awaits an answer.

        It takes a ping without an answer for a dead connection, but sees neither the other bytes
        that prove the broker alive nor that we have stopped reading.
        """
        if self._pinged:
            self._pinged = False
            self.control += _PINGRESP

    def end_writing(self) -> None:
        """Tell the peer that nothing follows; reading goes on."""
        self._socket.shutdown(socket.SHUT_WR)

    def flush(self) -> bool:
        """Send what waits, as much as the socket takes now.

        Returns:
            Whether nothing waits any longer.

        Raises:
            OSError: The connection broke.
        """
        written = self._written
        while written:
            try:
                sent = self._socket.send(written)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            del written[:sent]
        return True
