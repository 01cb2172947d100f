"""Streams with lookahead, and the error of a damaged stream.

Invariants: a stream returns all data before the damage, then raises `DamagedError`; only the data
that was peeked at is buffered.
"""

from __future__ import annotations

import codecs
from typing import Final, Protocol

from pointgate.bulk.file_types import FileType
from pointgate.errors import PointgateError

READ_BYTES: Final = 65_536

MARGIN_BYTES: Final = 1_048_576
"""The bytes over the limit that are read of a payload, so that the fault can report its size up to
that."""


class DamagedError(PointgateError):
    """A stream is truncated or corrupt; the text has the offset and the reason."""


def truncated(place: int, what: str) -> str:
    """The error text for a stream that ends too early."""
    return f"truncated at byte {place}: expected more of {what}"


class Readable(Protocol):
    """A sequential stream; an empty result is its end."""

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes."""


class Source:
    """A stream with lookahead.

    Args:
        stream: The stream.

    Attributes:
        place: The number of bytes read.
    """

    closed = False

    def __init__(self, stream: Readable) -> None:
        self.place = 0
        self._stream = stream
        self._ahead = bytearray()
        self._damage: DamagedError | None = None

    def peek(self, size: int) -> bytes:
        """The next bytes, without reading them; fewer only if the stream ends or is damaged."""
        while len(self._ahead) < size and self._fill(size - len(self._ahead)):
            pass
        return bytes(self._ahead[:size])

    def peek_line(self, limit: int) -> bytes:
        """The bytes up to the end of the first line that is not blank, or up to a limit."""
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
        """Read up to `size` bytes.

        Raises:
            DamagedError: All data before the damage was read.
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
        """Push back data, which is read again."""
        self._ahead[:0] = data
        self.place -= len(data)

    def close(self) -> None:
        """Do nothing: the caller closes the stream."""

    def _fill(self, size: int) -> bool:
        """Read more into the lookahead buffer; false at the end."""
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
        size: Their number.
        what: Their name in the error if the stream ends before; empty if that is no error.
    """

    def __init__(self, stream: Source, size: int, what: str = "") -> None:
        self._stream = stream
        self._left = size
        self._what = what

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes, none after the limit."""
        data = self._stream.read(min(size, self._left)) if self._left else b""
        self._left -= len(data)
        if self._what and self._left and not data:
            raise DamagedError(truncated(self._stream.place, self._what))
        return data

    def skip(self) -> None:
        """Skip the rest."""
        while self.read(READ_BYTES):
            pass


_ENCODINGS: Final = {
    FileType.UTF16_LE: "utf-16-le",
    FileType.UTF16_BE: "utf-16-be",
    FileType.UTF32_LE: "utf-32-le",
    FileType.UTF32_BE: "utf-32-be",
}


def decoded(file_type: FileType, stream: Source) -> Source:
    """A text as UTF-8, after its byte-order mark was read."""
    encoding = _ENCODINGS.get(file_type)
    return Source(_Decoded(stream, encoding)) if encoding else stream


class _Decoded:
    """A text in another encoding, transcoded to UTF-8.

    An unpaired surrogate becomes an invalid UTF-8 sequence, so that only the request that contains
    it is rejected.
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
                    raise DamagedError(truncated(place, self._name)) from None
                raise DamagedError(
                    f"damaged before byte {place}: {self._name}: {error.reason}"
                ) from None
            self._left = text.encode("utf-8", "surrogatepass")
            if not data:
                break
        data, self._left = self._left[:size], self._left[size:]
        return data
