"""Archives of several files, zip and tar, read from the beginning to the end.

Not by their standard readers: those want a directory, which stands at the end of a zip and is gone
from one that is cut off, or hold what a header asks for, however much that is.

    zip   local headers one after another; of the directory only that it is whole
    tar   blocks of 512 bytes; long names as GNU and POSIX (pax) write them

Invariants: nothing is held but a header, whose size is bounded; whoever takes a member need not
read it to its end.
"""

from __future__ import annotations

import bz2
import struct
import zlib
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from pointgate.bulk.compressed import ONCE_BYTES, ZlibDecompressor, plain_reason
from pointgate.bulk.file_types import TAR_SUM, Kind, tar_number, tar_sum
from pointgate.bulk.streams import READ_BYTES, DamagedError, Limited, Readable, Source, cut_off

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Members = Iterator[tuple[str, "Readable | str"]]
    """Names, and their contents; or why they cannot be read."""

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


def members_of(kind: Kind, stream: Source) -> Members | None:
    """The files in a container, without those whose names begin with a dot.

    Args:
        kind: What it is.
        stream: The container.

    Returns:
        None when it is none. The iterator raises `DamagedError` at a damaged place.
    """
    found = {Kind.ZIP: _zip, Kind.TAR: _tar}.get(kind)
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
        raise DamagedError(cut_off(stream.place, what))
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
    """Each header and its place; whoever takes one reads what belongs to it."""
    while True:
        place = stream.place
        head = stream.peek(_TAR_BLOCK)
        stream.read(len(head))
        if not head.strip(b"\x00"):
            if not stream.peek(_TAR_BLOCK).strip(b"\x00"):
                return  # two blocks of zeros, or none at all, end an archive
            continue
        if len(head) < _TAR_BLOCK:
            raise DamagedError(cut_off(stream.place, "a tar header"))
        if tar_sum(head) != tar_number(head[TAR_SUM]) or tar_number(head[_TAR_SIZE]) < 0:
            raise DamagedError(f"damaged at byte {place}: expected a tar header, got other bytes")
        yield place, head


def _tar_name(head: bytes) -> str:
    name, prefix = (field.partition(b"\x00")[0] for field in (head[:100], head[345:500]))
    is_posix = head[257:263] == b"ustar\x00"
    return _text(prefix + b"/" + name if is_posix and prefix else name)


def _pax(data: bytes, name: str) -> tuple[str, int | None]:
    """The name and the size in a POSIX header: `LENGTH KEY=VALUE` in lines of that length."""
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
    """What stands in front of a file in a zip."""

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
    def behind(self) -> bool:
        """Whether sizes and checksum stand behind the file instead."""
        return bool(self.flags & _SIZES_BEHIND)

    @property
    def refusal(self) -> str:
        """Why the file cannot be read; empty when it can."""
        if self.name == "[Content_Types].xml":
            return "expected requests, got an Office document"
        if self.flags & _ENCRYPTED:
            return "expected a file that is not encrypted"
        if self.method not in {_STORED, _DEFLATED, _BZIP2}:
            return f"expected zip's stored, deflate or bzip2, got its method {self.method}"
        if self.method == _STORED and self.behind and not self.is_folder:
            return "expected a size in front of a stored file of zip, got none"
        return ""


def _zip(stream: Source) -> Members:
    while head := _zip_header(stream):
        ends_itself = head.behind and head.method != _STORED
        body = stream if ends_itself else Limited(stream, head.stored, "a file in zip")
        if head.refusal:
            yield head.name, head.refusal
            if head.behind:
                place = head.place
                raise DamagedError(f"byte {place}: zip does not say where this file ends")
        else:
            member = _Member(stream, body, head.method, crc=None if head.behind else head.crc)
            if not head.is_folder:
                yield head.name, member
            member.finish()
            if ends_itself or (head.behind and stream.peek(4) == _ZIP_DESCRIPTOR):
                _descriptor(stream, is_long=head.is_long)
        if isinstance(body, Limited):
            body.skip()


def _zip_header(stream: Source) -> _Header | None:
    """The next header; None at the directory, which stands behind all files."""
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
    """Read on to the record that ends the directory, and a zip."""
    before = b""
    while data := stream.read(READ_BYTES):
        before = before[-3:] + data
        if _ZIP_LAST in before:
            return
    raise DamagedError(cut_off(stream.place, "the directory of zip; every file was read"))


def _long_size(extra: bytes, size: int, stored: int) -> int:
    """The stored size of a file of 4 GiB or more, which stands behind its full size."""
    while len(extra) >= struct.calcsize("<2H"):
        tag, length = struct.unpack_from("<2H", extra)
        numbers = [number for (number,) in struct.iter_unpack("<Q", extra[4 : 4 + length // 8 * 8])]
        if tag == 1 and stored == _IN_EXTRA:
            return int(dict(enumerate(numbers)).get(size == _IN_EXTRA, stored))
        extra = extra[4 + length :]
    return stored


def _descriptor(stream: Source, *, is_long: bool) -> None:
    """Pass over the sum and the sizes behind a file. Nothing says how wide the sizes are."""
    marked = stream.peek(4) == _ZIP_DESCRIPTOR
    narrow, wide = (12 + 4 * marked, 20 + 4 * marked)
    ahead = stream.peek(wide + 4)
    fits = ahead[narrow : narrow + 4] in (_ZIP_FILE, *_ZIP_END)
    stream.read(narrow if fits and not is_long else wide)


class _Member:
    """The contents of a file in a zip.

    A deflated or bzip2 file says itself where it ends: what was read beyond is put back.
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
        """Up to so many bytes."""
        data = b""
        while not data and not self._ended:
            data = self._read(size)
        self._sum = zlib.crc32(data, self._sum)
        if not data and self._crc not in {None, self._sum}:
            self._crc = None
            place = self._stream.place
            raise DamagedError(f"damaged before byte {place}: zip has another checksum for it")
        return data

    def finish(self) -> None:
        """Pass over the rest, up to where the next file begins."""
        try:
            while self.read(READ_BYTES):
                pass
        except DamagedError:
            if not isinstance(self._body, Limited):
                raise  # nobody knows where the next one begins

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
            raise DamagedError(cut_off(place, "zip"))
        return data
