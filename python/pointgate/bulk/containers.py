"""Archives, zip and tar, read as streams.

The standard library's readers do not fit: zipfile needs the central directory, which is at the end
and missing from a truncated zip, and tarfile reads headers of any size into memory.

    zip   the local file headers in order; the central directory is only checked to be complete
    tar   blocks of 512 bytes; long names in the GNU and the POSIX (pax) format

Invariants: only a header of limited size is buffered; a member need not be read to its end before
the next one.
"""

from __future__ import annotations

import bz2
import struct
import zlib
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from pointgate.bulk.compressed import ONCE_BYTES, ZlibDecompressor, plain_reason
from pointgate.bulk.file_types import TAR_SUM, FileType, tar_number, tar_sum
from pointgate.bulk.streams import READ_BYTES, DamagedError, Limited, Readable, Source, truncated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Members = Iterator[tuple[str, "Readable | str"]]
    """Names, each with a stream of its content, or with the reason why it cannot be read."""

_TAR_BLOCK: Final = 512
_TAR_SIZE: Final = slice(124, 136)
_LONGEST_HEADER: Final = 1_048_576

_ZIP_HEADER: Final = struct.Struct("<4s5H3I2H")
_ZIP_FILE: Final = b"PK\x03\x04"
_ZIP_END: Final = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06")
_ZIP_LAST: Final = b"PK\x05\x06"
_ZIP_DESCRIPTOR: Final = b"PK\x07\x08"
_ENCRYPTED: Final = 0x1
_SIZES_BEHIND: Final = 0x8
_UTF8_NAME: Final = 0x800
_STORED, _DEFLATED, _BZIP2 = 0, 8, 12
_IN_EXTRA: Final = 0xFFFFFFFF


def members_of(file_type: FileType, stream: Source) -> Members | None:
    """The files in an archive, without hidden ones, whose names begin with a dot.

    Args:
        file_type: The archive's format.
        stream: The archive.

    Returns:
        None if it is not an archive. The iterator raises `DamagedError` where it is damaged.
    """
    found = {FileType.ZIP: _zip, FileType.TAR: _tar}.get(file_type)
    return _visible(found(stream)) if found else None


def _visible(members: Members) -> Members:
    for name, contents in members:
        steps = name.split("/")
        hidden = any(step.startswith(".") and step not in {".", ".."} for step in steps)
        if not hidden and steps[0] != "__MACOSX":
            yield name, contents


def _exactly(stream: Source, size: int, what: str) -> bytes:
    data = stream.peek(size)
    stream.read(len(data))
    if len(data) < size:
        raise DamagedError(truncated(stream.place, what))
    return data


# tar


def _tar(stream: Source) -> Members:
    name, size = "", None
    for place, head in _tar_headers(stream):
        stored = tar_number(head[_TAR_SIZE]) if size is None else size
        body = Limited(stream, stored, "a file in tar")
        kind = head[156:157]
        if kind in b"LKxg":
            if stored > _LONGEST_HEADER:
                raise DamagedError(f"byte {place}: expected a tar header of at most 1 MiB")
            data = _exactly(stream, stored, "a tar header")
            body = Limited(stream, 0)
            if kind == b"L":
                name = _text(data.rstrip(b"\x00"))
            elif kind == b"x":
                name, size = _pax(data, name)
        else:
            if kind in {b"0", b"\x00", b"7"}:
                yield name or _tar_name(head), body
            elif kind == b"S":
                yield name or _tar_name(head), "expected a whole file, got a sparse one of tar"
            name, size = "", None
        body.skip()
        Limited(stream, -stored % _TAR_BLOCK).skip()


def _tar_headers(stream: Source) -> Iterator[tuple[int, bytes]]:
    """Each header and its offset; the caller reads the content before the next one."""
    while True:
        place = stream.place
        head = stream.peek(_TAR_BLOCK)
        stream.read(len(head))
        if not head.strip(b"\x00"):
            if not stream.peek(_TAR_BLOCK).strip(b"\x00"):
                return  # two blocks of zeros, or the end of the file, end an archive
            continue
        if len(head) < _TAR_BLOCK:
            raise DamagedError(truncated(stream.place, "a tar header"))
        if tar_sum(head) != tar_number(head[TAR_SUM]) or tar_number(head[_TAR_SIZE]) < 0:
            raise DamagedError(f"damaged at byte {place}: expected a tar header, got other bytes")
        yield place, head


def _tar_name(head: bytes) -> str:
    name, prefix = (field.partition(b"\x00")[0] for field in (head[:100], head[345:500]))
    is_posix = head[257:263] == b"ustar\x00"
    return _text(prefix + b"/" + name if is_posix and prefix else name)


def _pax(data: bytes, name: str) -> tuple[str, int | None]:
    """The name and the size in a pax header: `LENGTH KEY=VALUE` in lines of that length."""
    size = None
    while data:
        length, _, _ = data.partition(b" ")
        end = int(length) if length.isdigit() and len(length) < len(str(_LONGEST_HEADER)) else 0
        key, _, value = data[len(length) + 1 : end - 1].partition(b"=")
        if end <= len(length):
            break
        if key == b"path":
            name = _text(value)
        elif key == b"size" and value.isdigit() and len(value) <= len(str(2**63)):
            size = int(value)
        data = data[end:]
    return name, size


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


# zip


class _Header(NamedTuple):
    """A local file header of a zip."""

    place: int
    name: str
    flags: int
    method: int
    crc: int
    stored: int
    is_long: bool

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")

    @property
    def has_descriptor(self) -> bool:
        """Whether sizes and checksum are in a data descriptor after the file instead."""
        return bool(self.flags & _SIZES_BEHIND)

    @property
    def problem(self) -> str:
        """Why the file cannot be read; empty if it can."""
        if self.name == "[Content_Types].xml":
            return "expected requests, got an Office document"
        if self.flags & _ENCRYPTED:
            return "expected a file that is not encrypted"
        if self.method not in {_STORED, _DEFLATED, _BZIP2}:
            return f"expected zip's stored, deflate or bzip2, got its method {self.method}"
        if self.method == _STORED and self.has_descriptor and not self.is_folder:
            return "expected a size before a stored file of zip, got none"
        return ""


def _zip(stream: Source) -> Members:
    while head := _zip_header(stream):
        ends_itself = head.has_descriptor and head.method != _STORED
        body = stream if ends_itself else Limited(stream, head.stored, "a file in zip")
        if head.problem:
            yield head.name, head.problem
            if head.has_descriptor:
                place = head.place
                raise DamagedError(f"byte {place}: zip does not say where this file ends")
        else:
            member = _Member(
                stream, body, head.method, crc=None if head.has_descriptor else head.crc
            )
            if not head.is_folder:
                yield head.name, member
            member.finish()
            if ends_itself or (head.has_descriptor and stream.peek(4) == _ZIP_DESCRIPTOR):
                _descriptor(stream, is_long=head.is_long)
        if isinstance(body, Limited):
            body.skip()


def _zip_header(stream: Source) -> _Header | None:
    """The next header; None at the central directory, which follows all files."""
    place = stream.place
    mark = stream.peek(4)
    if mark in _ZIP_END:
        _directory(stream)
        return None
    if mark != _ZIP_FILE:
        got = "other bytes" if len(mark) == len(_ZIP_FILE) else "the end"
        raise DamagedError(f"byte {place}: expected a header or the directory of zip, got {got}")
    head = _exactly(stream, _ZIP_HEADER.size, "a zip header")
    _, _, flags, method, _, _, crc, stored, size, name_size, more = _ZIP_HEADER.unpack(head)
    raw = _exactly(stream, name_size, "a zip header")
    name = raw.decode("utf-8" if flags & _UTF8_NAME else "cp437", "surrogateescape")
    extra = _exactly(stream, more, "a zip header")
    is_long = _IN_EXTRA in (stored, size)
    if is_long:
        stored = _long_size(extra, size, stored)
    return _Header(place, name, flags, method, crc, stored, is_long)


def _directory(stream: Source) -> None:
    """Read to the record that ends the central directory, and the zip."""
    before = b""
    while data := stream.read(READ_BYTES):
        before = before[-3:] + data
        if _ZIP_LAST in before:
            return
    raise DamagedError(truncated(stream.place, "the directory of zip; every file was read"))


def _long_size(extra: bytes, size: int, stored: int) -> int:
    """The compressed size in the zip64 extra field of a file, which follows its full size there."""
    while len(extra) >= struct.calcsize("<2H"):
        tag, length = struct.unpack_from("<2H", extra)
        numbers = [number for (number,) in struct.iter_unpack("<Q", extra[4 : 4 + length // 8 * 8])]
        if tag == 1 and stored == _IN_EXTRA:
            return int(dict(enumerate(numbers)).get(size == _IN_EXTRA, stored))
        extra = extra[4 + length :]
    return stored


def _descriptor(stream: Source, *, is_long: bool) -> None:
    """Skip the data descriptor after a file. Its sizes have 4 or 8 bytes, which is not stored."""
    marked = stream.peek(4) == _ZIP_DESCRIPTOR
    narrow, wide = (12 + 4 * marked, 20 + 4 * marked)
    ahead = stream.peek(wide + 4)
    fits = ahead[narrow : narrow + 4] in (_ZIP_FILE, *_ZIP_END)
    stream.read(narrow if fits and not is_long else wide)


class _Member:
    """The content of a file in a zip.

    A deflate or bzip2 stream marks its own end: bytes read beyond it are put back.
    """

    def __init__(
        self, stream: Source, body: Source | Limited, method: int, *, crc: int | None
    ) -> None:
        self._stream = stream
        self._body = body
        self._crc = crc
        self._sum = 0
        self._tail = b""
        self._ended = False
        makers: dict[int, Callable[[], ZlibDecompressor | bz2.BZ2Decompressor]] = {
            _DEFLATED: partial(ZlibDecompressor, -15),
            _BZIP2: bz2.BZ2Decompressor,
        }
        self._reader = makers[method]() if method in makers else None

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes."""
        data = b""
        while not data and not self._ended:
            data = self._read(size)
        self._sum = zlib.crc32(data, self._sum)
        if not data and self._crc not in {None, self._sum}:
            self._crc = None
            place = self._stream.place
            raise DamagedError(f"damaged before byte {place}: checksum mismatch in zip")
        return data

    def finish(self) -> None:
        """Skip the rest, up to the next file."""
        try:
            while self.read(READ_BYTES):
                pass
        except DamagedError:
            if not isinstance(self._body, Limited):
                raise  # the offset of the next file is unknown

    def _read(self, size: int) -> bytes:
        if self._reader is None:
            data = self._body.read(size)
            self._ended = not data
            return data
        wants = self._reader.needs_input
        fed = self._body.read(READ_BYTES) if wants else b""
        place = self._stream.place
        try:
            # A decompressor that fails drops what it had decompressed in that call.
            data = self._reader.decompress(fed, min(size, ONCE_BYTES))
        except (zlib.error, OSError) as error:
            raise DamagedError(f"damaged before byte {place}: {plain_reason(error)}") from None
        if self._reader.eof:
            self._ended = True
            if isinstance(self._body, Source):
                self._body.put_back(self._reader.unused_data)
        elif wants and not fed and not data:
            raise DamagedError(truncated(place, "zip"))
        return data
