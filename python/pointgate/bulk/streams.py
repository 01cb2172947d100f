"""Streams of which the beginning was looked at, and what happens at a place that is damaged.

Invariants: a stream gives everything that stands before a damaged place, then raises
`DamagedError`; no more is held than was asked to be looked at.
"""

from __future__ import annotations

import codecs
from typing import Final, Protocol

from pointgate.bulk.file_types import Kind
from pointgate.errors import PointgateError

READ_BYTES: Final = 65_536


class DamagedError(PointgateError):
    """A stream ends before its time, or is not what it should be; the text says where and how."""


def cut_off(place: int, what: str) -> str:
    """What is wrong with a stream that ends too early."""
    return f"cut off at byte {place}: expected more of {what}"


class Readable(Protocol):
    """What can be read in order; an empty result is the end."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes."""


class Source:
    """A stream that can be looked at before it is read.

    Args:
        stream: The stream.

    Attributes:
        place: How many bytes were read.
    """

    closed = False

    def __init__(self, stream: Readable) -> None:
        self.place = 0
        self._stream = stream
        self._ahead = bytearray()
        self._damage: DamagedError | None = None

    def peek(self, size: int) -> bytes:
        """The next bytes; fewer only where the stream ends or is damaged."""
        while len(self._ahead) < size and self._fill(size - len(self._ahead)):
            pass
        return bytes(self._ahead[:size])

    def peek_line(self, limit: int) -> bytes:
        """The beginning up to the end of the first line that is not blank, or up to a limit."""
        looked = 0
        while True:
            end = self._ahead.find(b"\n", looked)
            if end >= 0 and self._ahead[looked:end].strip():
                return bytes(self._ahead[: end + 1])
            if end >= 0:
                looked = end + 1
            elif len(self._ahead) >= limit or not self._fill(READ_BYTES):
                return bytes(self._ahead[:limit])

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes.

        Raises:
            DamagedError: Everything before the damaged place was read.
        """
        if self._ahead or not size:
            data = bytes(self._ahead[:size])
            del self._ahead[:size]
        elif self._damage:
            raise self._damage
        else:
            try:
                data = self._stream.read(size)
            except DamagedError as error:
                self._damage = error
                raise
        self.place += len(data)
        return data

    def put_back(self, data: bytes) -> None:
        """Let what was read be read again."""
        self._ahead[:0] = data
        self.place -= len(data)

    def close(self) -> None:
        """Leave the stream to whom it belongs."""

    def _fill(self, size: int) -> bool:
        """Look further ahead; false at the end."""
        if self._damage:
            return False
        try:
            data = self._stream.read(max(size, READ_BYTES))
        except DamagedError as error:
            self._damage = error
            return False
        self._ahead += data
        return bool(data)


class Limited:
    """The next bytes of a stream.

    Args:
        stream: The stream.
        size: How many.
        what: What they are, if the stream must not end before them.
    """

    def __init__(self, stream: Source, size: int, what: str = "") -> None:
        self._stream = stream
        self._left = size
        self._what = what

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes, none behind the limit."""
        data = self._stream.read(min(size, self._left)) if self._left else b""
        self._left -= len(data)
        if self._what and self._left and not data:
            raise DamagedError(cut_off(self._stream.place, self._what))
        return data

    def skip(self) -> None:
        """Pass over what was not read."""
        while self.read(READ_BYTES):
            pass


_ENCODINGS: Final = {
    Kind.UTF16_LE: "utf-16-le",
    Kind.UTF16_BE: "utf-16-be",
    Kind.UTF32_LE: "utf-32-le",
    Kind.UTF32_BE: "utf-32-be",
}


def decoded(kind: Kind, stream: Source) -> Source:
    """A text as UTF-8, of which its byte-order mark was read."""
    encoding = _ENCODINGS.get(kind)
    return Source(_Decoded(stream, encoding)) if encoding else stream


class _Decoded:
    """A text in another encoding, as UTF-8.

    Half of a surrogate pair comes out as no UTF-8 has it: the request that has it is refused, and
    the others are not.
    """

    def __init__(self, stream: Source, encoding: str) -> None:
        self._stream = stream
        self._name = encoding.upper()
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._left = b""

    def read(self, size: int, /) -> bytes:
        while not self._left:
            data = self._stream.read(READ_BYTES)
            place = self._stream.place
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                if not data:
                    raise DamagedError(cut_off(place, self._name)) from None
                raise DamagedError(
                    f"damaged before byte {place}: {self._name}: {error.reason}"
                ) from None
            self._left = text.encode("utf-8", "surrogatepass")
            if not data:
                break
        data, self._left = self._left[:size], self._left[size:]
        return data
