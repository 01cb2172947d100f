"""Decompression, which returns all data before a corrupt or missing part.

    gzip, bzip2, xz, lzma   concatenated members, with zero padding between and after them
    zstd, lz4               Arrow's readers

When a decompressor fails, the data that it had decompressed in that call is lost. If the file is
seekable, it is read again: up to the data returned before, and from there byte by byte.

Invariants: memory is bounded by the size of a read and by `_XZ_BYTES`, whatever the content.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable
from functools import partial
from typing import IO, Final, Protocol

from pointgate.bulk.file_types import FileType
from pointgate.bulk.streams import READ_BYTES, DamagedError, Readable, truncated

_XZ_BYTES: Final = 134_217_728
"""The memory limit of xz. Its highest preset needs half of it; a file may ask for 4 GiB."""

_REREAD_BYTES: Final = 512
"""The precision of the reported offset of damage."""

ONCE_BYTES: Final = 4096
"""The most that is lost before the damage in a stream that is not seekable."""

_ERRORS: Final = (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError)


class _Decompressor(Protocol):
    """The decompressor of one member, as bz2 and lzma define it."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class ZlibDecompressor:
    """A `_Decompressor` for zlib, which returns unconsumed input to its caller.

    Args:
        wbits: The container, as zlib numbers them: 31 for gzip, -15 for raw deflate.
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

_MEMBERS: Final[dict[FileType, tuple[str, bytes, _Begin]]] = {
    FileType.GZIP: ("gzip", b"\x1f\x8b", partial(ZlibDecompressor, 31)),
    FileType.BZIP2: ("bzip2", b"BZh", bz2.BZ2Decompressor),
    FileType.XZ: (
        "xz",
        b"\xfd7zXZ\x00",
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_BYTES),
    ),
    FileType.LZMA: (
        "lzma",
        b"]\x00\x00",
        lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_XZ_BYTES),
    ),
}

_ARROW: Final = {FileType.ZSTD: "zstd", FileType.LZ4: "lz4"}


def decompressed(file_type: FileType, stream: Readable, file: IO[bytes] | None) -> Readable | None:
    """The decompressed content of a stream.

    Args:
        file_type: Its compression.
        stream: The stream.
        file: The file of the stream, if it is seekable and the stream is all of it.

    Returns:
        None if it is not compressed.
    """
    make = _maker(file_type)
    return _Reread(make, stream, file) if make else None


def _maker(file_type: FileType) -> Callable[[Readable], _Members | _Arrow] | None:
    if file_type in _MEMBERS:
        name, mark, begin = _MEMBERS[file_type]
        return lambda stream: _Members(stream, name, mark, begin)
    if file_type in _ARROW:
        name = _ARROW[file_type]
        return lambda stream: _Arrow(stream, name)
    return None


class _Reread:
    """Returns all data before the damage, by reading the file again up to it."""

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
    """A file that is read in small pieces, so that the offset of damage is precise."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, _size: int, /) -> bytes:
        return self._file.read(_REREAD_BYTES)

    def close(self) -> None:
        """Do nothing: the caller closes the file."""


class _Members:
    """Concatenated members."""

    def __init__(self, stream: Readable, name: str, mark: bytes, begin: _Begin) -> None:
        self._stream = stream
        self._name = name
        self._mark = mark
        self._begin = begin
        self._member: _Decompressor | None = None
        self._pending = b""
        self._place = 0
        """The offset of the input that was not passed to the decompressor yet."""

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes."""
        while self._member or self._begin_next():
            member = self._member or self._begin()
            wants, fed = member.needs_input, b""
            if wants:
                fed, self._pending = self._pending or self._stream.read(READ_BYTES), b""
            try:
                data = member.decompress(fed, size)
            except _ERRORS as error:
                words = plain_reason(error)
                reason = f"damaged after byte {self._place}: {self._name}: {words}"
                raise DamagedError(reason) from None
            self._place += len(fed)
            if member.eof:
                self._pending, self._member = member.unused_data, None
                self._place -= len(self._pending)
            elif wants and not fed and not data:
                raise DamagedError(truncated(self._place, self._name))
            if data:
                return data
        return b""

    def _begin_next(self) -> bool:
        """Begin the next member; false without one. Zero padding before it is skipped."""
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
        return "checksum mismatch, so something before it is damaged"
    return words[:1].lower() + words[1:] or "its contents cannot be decompressed"


class _Arrow:
    """A stream that Arrow decompresses."""

    closed = False

    def __init__(self, stream: Readable, name: str) -> None:
        import pyarrow as pa  # noqa: PLC0415 - not before processes are forked, and rarely needed

        self._stream = stream
        self._name = name
        self._place = 0
        self._contents = pa.CompressedInputStream(pa.PythonFile(_Counted(self), "r"), name)

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes."""
        try:
            return self._contents.read(size)  # type: ignore[no-any-return]
        except OSError as error:
            if "runcated" in str(error):
                raise DamagedError(truncated(self._place, self._name)) from None
            reason = f"damaged before byte {self._place}: {self._name}: {error}"
            raise DamagedError(reason) from None

    def fed(self, size: int) -> bytes:
        """Read compressed bytes for Arrow, and count them."""
        data = self._stream.read(size)
        self._place += len(data)
        return data


class _Counted:
    """The file object that Arrow reads from."""

    closed = False

    def __init__(self, reader: _Arrow) -> None:
        self._reader = reader

    def read(self, size: int, /) -> bytes:
        return self._reader.fed(size)

    def close(self) -> None:
        """Do nothing: the caller closes the stream."""
