"""Detects the type of a file by its first bytes (magic numbers): text, compressed, archive, other.

No JSON text begins with any of these, so the file's name does not matter. An unknown file is
treated as text, and validated.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

HEAD_BYTES: Final = 512
"""The number of bytes needed: a tar archive is detected by its first block."""

_BLOCK: Final = 512
TAR_SUM: Final = slice(148, 156)


class FileType(Enum):
    """The types of file that are read."""

    TEXT = auto()
    UTF8_MARKED = auto()
    UTF16_LE = auto()
    UTF16_BE = auto()
    UTF32_LE = auto()
    UTF32_BE = auto()
    GZIP = auto()
    BZIP2 = auto()
    XZ = auto()
    LZMA = auto()
    ZSTD = auto()
    LZ4 = auto()
    ZIP = auto()
    TAR = auto()


_MARKS: Final = (
    (b"\xef\xbb\xbf", FileType.UTF8_MARKED),
    (b"\xff\xfe\x00\x00", FileType.UTF32_LE),
    (b"\x00\x00\xfe\xff", FileType.UTF32_BE),
    (b"\xff\xfe", FileType.UTF16_LE),
    (b"\xfe\xff", FileType.UTF16_BE),
    (b"\x1f\x8b", FileType.GZIP),
    (b"\xfd7zXZ\x00", FileType.XZ),
    (b"]\x00\x00", FileType.LZMA),
    (b"\x28\xb5\x2f\xfd", FileType.ZSTD),
    (b"\x04\x22\x4d\x18", FileType.LZ4),
    (b"PK\x03\x04", FileType.ZIP),
    (b"PK\x05\x06", FileType.ZIP),
)

_BZIP2: Final = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")

_FOREIGN: Final = (
    (b"PAR1", "a Parquet file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x00\x00\x00\x01Bud1", "a .DS_Store of macOS"),
    (b"\xd0\xcf\x11\xe0", "a Thumbs.db of Windows, or an old Office document"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x1f\x9d", "a file of compress (.Z)"),
    (b"\x1f\xa0", "a file of compress (.Z)"),
    (b"\x89LZO\x00", "an LZO file"),
    (b"LZIP\x01", "an lzip file"),
    (b"\xff\x06\x00\x00sNaPpY", "a snappy file"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x7fELF", "a program"),
    (b"b0VIM ", "a swap file of vim"),
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS"),
)


_ORDINARY: Final = frozenset(b"{[ \t\r\n/s")
"""First bytes of texts: of documents, blank lines, topics."""


def is_ordinary(head: bytes) -> bool:
    """Whether a file is certainly UTF-8 text without a byte-order mark.

    A fast path: most files are, and there may be millions of them.
    """
    return not head or (head[0] in _ORDINARY and b"\x00" not in head)


def foreign(head: bytes) -> str:
    """The type of a file that cannot contain requests; empty if it can."""
    return next((name for mark, name in _FOREIGN if head.startswith(mark)), "")


def file_type_of(head: bytes) -> FileType:
    """The type of a file that may contain requests.

    Args:
        head: Its first `HEAD_BYTES`, or all of it.
    """
    if is_ordinary(head):
        return FileType.TEXT
    for mark, file_type in _MARKS:
        if head.startswith(mark):
            return file_type
    if _BZIP2.match(head):
        return FileType.BZIP2
    if _is_tar(head):
        return FileType.TAR
    # A document begins with an ASCII character, which is one zero and one other byte in UTF-16.
    zeros = [byte == 0 for byte in head[:2]]
    if zeros == [True, False]:
        return FileType.UTF16_BE
    return FileType.UTF16_LE if zeros == [False, True] else FileType.TEXT


def mark_bytes(head: bytes, file_type: FileType) -> int:
    """The length of the byte-order mark at the beginning of a text; 0 without one."""
    marks = (mark for mark, one in _MARKS if one is file_type)
    return next((len(mark) for mark in marks if head.startswith(mark)), 0)


def _is_tar(head: bytes) -> bool:
    """Whether the checksum in a tar header is correct."""
    block = head[:_BLOCK]
    return len(block) == _BLOCK and any(block) and tar_sum(block) == tar_number(block[TAR_SUM])


def tar_sum(block: bytes) -> int:
    """The checksum of a tar header: the sum of its bytes, with spaces in the checksum field."""
    return sum(block) - sum(block[TAR_SUM]) + 8 * ord(" ")


def tar_number(field: bytes) -> int:
    """A number in a tar header: octal, or base 256 if the highest bit is set; -1 if invalid."""
    if field[:1] >= b"\x80":
        return int.from_bytes(field[1:]) if field[:1] == b"\x80" else -1
    text = field.strip(b"\x00 ")
    return int(text, 8) if re.fullmatch(rb"[0-7]+", text) else 0 if not text else -1
