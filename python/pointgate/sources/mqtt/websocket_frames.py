"""The frames of a WebSocket (RFC 6455), without I/O: a stream of bytes in, a stream of bytes out.

    reader.feed(data) ─► payload of data frames, joined; `ping` and `closed`: control frames
    frame(BINARY, payload) ─► one masked frame

MQTT packets are independent of frames: one frame may hold many packets, or a part of one (MQTT 5,
6.0). So payload is returned as it arrives, and frames are never buffered, whatever their length.

A client masks its payload by XOR with four random bytes. Byte by byte that takes 110 ns a byte in
Python; as one long integer 4 ns (CPython 3.11, a loaded machine, 2026-11):

    payload  68 65 6c 6c 6f    mask 37 fa 21 3d, repeated 37 fa 21 3d 37    sent  5f 9f 4d 51 58

Invariants: memory is bounded by one read and one control frame of 125 bytes; every violation of the
protocol raises `WebSocketError`.
"""

from __future__ import annotations

import os
from typing import Final

from pointgate.errors import PointgateError

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_CONTINUATION: Final = 0x0
_DATA: Final = {_CONTINUATION, BINARY}
_CONTROL: Final = {CLOSE, PING, PONG}

_FIN: Final = 0x80
_OPCODE: Final = 0x0F
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
_MOST_OF_CONTROL: Final = 125
_MOST_16: Final = 65_535

_ORDINARY_ENDS: Final = {1000, 1001, 1005}
"""Close codes without an error: normal, going away, none."""


class WebSocketError(PointgateError, ConnectionError):
    """The peer violates the WebSocket protocol, or closes with an error code."""


class FrameReader:
    """Parses the frames of a broker.

    Attributes:
        ping: The payload of the last unanswered PING; None if there is none.
        closed: Whether a CLOSE frame has arrived; later bytes are ignored.
    """

    def __init__(self) -> None:
        self.ping: bytes | None = None
        self.closed = False
        self._head = b""  # an incomplete frame header
        self._opcode = BINARY
        self._left = 0  # bytes of the frame's payload that have not arrived
        self._control = b""
        self._within = False  # inside a fragmented message

    def feed(self, data: bytes) -> bytes:
        """Parse bytes of the stream; returns the payload of data frames.

        Raises:
            WebSocketError: A frame violates the protocol, or a CLOSE frame has an error code.
        """
        if self._head:
            data, self._head = self._head + data, b""
        payload: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not self.closed:
            if self._left == 0:
                begin = self._begin(data, at)
                if begin is None:
                    self._head = data[at:]
                    break
                at = begin
            part = data[at : at + self._left]
            at += len(part)
            self._left -= len(part)
            if self._opcode in _DATA:
                payload.append(part)
                continue
            self._control += part
            if self._left == 0:
                self._take_control()
        return b"".join(payload)

    def _begin(self, data: bytes, at: int) -> int | None:
        """Parse a frame's header; returns where the payload begins, None if it is incomplete."""
        if len(data) - at < 2:  # noqa: PLR2004 - the shortest header
            return None
        first, length = data[at], data[at + 1]
        size = {_LENGTH_16: 4, _LENGTH_64: 10}.get(length & _LENGTH, 2)
        self._check(first, length)
        if len(data) - at < size:
            return None
        at += size
        self._left = length
        if length >= _LENGTH_16:
            self._left = int.from_bytes(data[at - (2 if length == _LENGTH_16 else 8) : at])
        self._opcode, self._control = first & _OPCODE, b""
        if self._opcode in _DATA:
            self._within = not first & _FIN
        return at

    def _check(self, first: int, length: int) -> None:
        """Raise `WebSocketError` for a frame that a broker must not send."""
        opcode = first & _OPCODE
        if opcode == TEXT:
            found = "a text frame"
        elif opcode not in _DATA | _CONTROL or first & ~(_FIN | _OPCODE):
            found = f"a frame that begins with 0x{first:02x}"
        elif length & _MASKED:
            found = "a masked frame"
        elif opcode in _CONTROL and (length > _MOST_OF_CONTROL or not first & _FIN):
            found = "a control frame that is too long or in parts"
        elif opcode in _DATA and self._within != (opcode == _CONTINUATION):
            found = "a frame of another message inside of one, or the end of none"
        else:
            return
        raise WebSocketError(f"expected binary WebSocket frames, got {found}")

    def _take_control(self) -> None:
        if self._opcode == PING:
            self.ping = self._control
        elif self._opcode == CLOSE:
            self.closed = True
            code = int.from_bytes(self._control[:2]) or 1005
            if code not in _ORDINARY_ENDS:
                said = self._control[2:].decode("utf-8", "replace")
                words = f" ({said!a})" if said else ""
                raise WebSocketError(f"the broker closed the WebSocket with code {code}{words}")


def frame(opcode: int, payload: bytes | bytearray | memoryview) -> bytes:
    """Write one masked frame."""
    size = len(payload)
    if size < _LENGTH_16:
        head = bytes((_FIN | opcode, _MASKED | size))
    elif size <= _MOST_16:
        head = bytes((_FIN | opcode, _MASKED | _LENGTH_16)) + size.to_bytes(2)
    else:
        head = bytes((_FIN | opcode, _MASKED | _LENGTH_64)) + size.to_bytes(8)
    mask = os.urandom(4)
    key = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")
    return head + mask + masked.to_bytes(size, "little")
