"""Compressed streams: everything that stands before a damaged or missing part is given.

    gzip, bzip2, xz, lzma   members one after another, zeros between and behind them
    zstd, lz4               Arrow's readers

A decompressor that fails drops what it had already decompressed in that call. Where the file can be
read again, it is: up to what was given before, and from there on byte by byte.

Invariants: memory is bounded by what is asked for and by `_XZ_BYTES`, whatever is decompressed.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable
from functools import partial
from typing import IO, Final, Protocol

from pointgate.bulk.file_types import Kind
from pointgate.bulk.streams import READ_BYTES, DamagedError, Readable, cut_off

_XZ_BYTES: Final = 134_217_728
"""The dictionaries of xz's highest preset take half of it; a file may ask for 4 GiB."""

_REREAD_BYTES: Final = 512
"""How exactly the damaged place is told."""

ONCE_BYTES: Final = 4096
"""Of what cannot be read again, no more than this is lost before a damaged place."""

_ERRORS: Final = (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError)


class _Decompressor(Protocol):
    """One member of a file, as bz2 and lzma have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class ZlibDecompressor:
    """The same for zlib, which leaves input to its caller.

    Args:
        wbits: Which wrapping to expect, as zlib numbers them: 31 for gzip, -15 for none.
    """

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:  # noqa: D102 - see above
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:  # noqa: D102 - see above
        return self._zlib.unused_data

    @property
    def needs_input(self) -> bool:  # noqa: D102 - see above
        return not self._zlib.unconsumed_tail

    def decompress(  # noqa: D102 - see above
        self, data: bytes, max_length: int = -1
    ) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


_Begin = Callable[[], _Decompressor]

_MEMBERS: Final[dict[Kind, tuple[str, bytes, _Begin]]] = {
    Kind.GZIP: ("gzip", b"\x1f\x8b", partial(ZlibDecompressor, 31)),
    Kind.BZIP2: ("bzip2", b"BZh", bz2.BZ2Decompressor),
    Kind.XZ: (
        "xz",
        b"\xfd7zXZ\x00",
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_BYTES),
    ),
    Kind.LZMA: (
        "lzma",
        b"]\x00\x00",
        lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_XZ_BYTES),
    ),
}

_ARROW: Final = {Kind.ZSTD: "zstd", Kind.LZ4: "lz4"}


def decompressed(kind: Kind, stream: Readable, file: IO[bytes] | None) -> Readable | None:
    """The contents of a compressed stream.

    Args:
        kind: What it is.
        stream: The stream.
        file: The same as a file, if it can be read again from its beginning.

    Returns:
        None when it is not compressed.
    """
    make = _maker(kind)
    return _Reread(make, stream, file) if make else None


def _maker(kind: Kind) -> Callable[[Readable], _Members | _Arrow] | None:
    if kind in _MEMBERS:
        name, mark, begin = _MEMBERS[kind]
        return lambda stream: _Members(stream, name, mark, begin)
    if kind in _ARROW:
        name = _ARROW[kind]
        return lambda stream: _Arrow(stream, name)
    return None


class _Reread:
    """Gives what stands before a damaged place by reading up to it once more."""

    def __init__(
        self,
        make: Callable[[Readable], _Members | _Arrow],
        stream: Readable,
        file: IO[bytes] | None,
    ) -> None:
        self._make = make
        self._file = file
        self._inner = make(stream)
        self._given = 0
        self._again = False

    def read(self, size: int, /) -> bytes:
        if self._again:
            return self._inner.read(1)
        try:
            data = self._inner.read(size if self._file else min(size, ONCE_BYTES))
        except DamagedError:
            if self._file is None:
                raise
            self._again = True
            self._file.seek(0)
            self._inner = self._make(_Small(self._file))
            left = self._given
            while left:
                left -= len(self._inner.read(min(left, READ_BYTES)))
            return self._inner.read(1)
        self._given += len(data)
        return data


class _Small:
    """A file that is read in small pieces, so that the last one tells where it is damaged."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, _size: int, /) -> bytes:
        return self._file.read(_REREAD_BYTES)

    def close(self) -> None:
        """Leave the file to whom it belongs."""


class _Members:
    """Members one after another."""

    def __init__(self, stream: Readable, name: str, mark: bytes, begin: _Begin) -> None:
        self._stream = stream
        self._name = name
        self._mark = mark
        self._begin = begin
        self._member: _Decompressor | None = None
        self._pending = b""
        self._place = 0
        """Where the input begins that is not fed yet."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes."""
        while self._member or self._begin_next():
            member = self._member or self._begin()
            wants, fed = member.needs_input, b""
            if wants:
                fed, self._pending = self._pending or self._stream.read(READ_BYTES), b""
            try:
                data = member.decompress(fed, size)
            except _ERRORS as error:
                words = plain_reason(error)
                reason = f"damaged behind byte {self._place}: {self._name}: {words}"
                raise DamagedError(reason) from None
            self._place += len(fed)
            if member.eof:
                self._pending, self._member = member.unused_data, None
                self._place -= len(self._pending)
            elif wants and not fed and not data:
                raise DamagedError(cut_off(self._place, self._name))
            if data:
                return data
        return b""

    def _begin_next(self) -> bool:
        """Begin the next member; false where there is none. Zeros before it are passed over."""
        rest = self._pending
        while not (bare := rest.lstrip(b"\x00")):
            self._place += len(rest)
            rest = self._stream.read(READ_BYTES)
            if not rest:
                return False
        self._place += len(rest) - len(bare)
        while len(bare) < len(self._mark) and (more := self._stream.read(READ_BYTES)):
            bare += more
        if not self._mark.startswith(bare[: len(self._mark)]):
            reason = f"expected more of {self._name} or the end, got other bytes"
            raise DamagedError(f"byte {self._place}: {reason}")
        self._pending, self._member = bare, self._begin()
        return True


_ZLIB_NUMBER: Final = re.compile("^Error -?[0-9]+ while decompressing data: ")


def plain_reason(error: Exception) -> str:
    """What a decompressor says, without the numbers of its library."""
    words = _ZLIB_NUMBER.sub("", str(error))
    if words in {"incorrect data check", "incorrect length check"}:
        return "its checksum is that of other contents, so something before is damaged"
    return words[:1].lower() + words[1:] or "its contents cannot be decompressed"


class _Arrow:
    """What Arrow decompresses."""

    closed = False

    def __init__(self, stream: Readable, name: str) -> None:
        import pyarrow as pa  # noqa: PLC0415 - not before processes are forked, and seldom needed

        self._stream = stream
        self._name = name
        self._place = 0
        self._contents = pa.CompressedInputStream(pa.PythonFile(_Counted(self), "r"), name)

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes."""
        try:
            return self._contents.read(size)  # type: ignore[no-any-return]
        except OSError as error:
            if "runcated" in str(error):
                raise DamagedError(cut_off(self._place, self._name)) from None
            reason = f"damaged before byte {self._place}: {self._name}: {error}"
            raise DamagedError(reason) from None

    def fed(self, size: int) -> bytes:
        """What Arrow gets."""
        data = self._stream.read(size)
        self._place += len(data)
        return data


class _Counted:
    """What Arrow takes for a file."""

    closed = False

    def __init__(self, reader: _Arrow) -> None:
        self._reader = reader

    def read(self, size: int, /) -> bytes:
        return self._reader.fed(size)

    def close(self) -> None:
        """Leave the stream to whom it belongs."""
