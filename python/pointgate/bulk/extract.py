"""Extracts the texts in a file: decompresses, unpacks archives, and detects how requests end.

    a text           the text, as UTF-8 without its byte-order mark
    compressed       the content
    zip, tar         each file in it, by name: `archive.tar.gz/2026/a.jsonl`
    anything else    the reason why it cannot be read

A text is one document, or a document on each line. Its name is a hint, its content decides:

    the first line is a document, and more lines follow      lines
    named .json, and no line is a request by itself          a document
    other name, and all of it is one JSON document           a document
    otherwise                                                lines, or by the name

Invariants: of a damaged text, every whole line before the damage is returned, and the incomplete
last line if it is a whole JSON object; memory is bounded, whatever sizes the file's headers claim.
"""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING, Final

import orjson

from pointgate.bulk.blocks import blocks_of, whole_lines
from pointgate.bulk.compressed import decompressed
from pointgate.bulk.containers import members_of
from pointgate.bulk.file_types import HEAD_BYTES, file_type_of, foreign, is_ordinary, mark_bytes
from pointgate.bulk.streams import READ_BYTES, DamagedError, Readable, Source, decoded

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST: Final = 4
"""The limit on nested archives. A quine archive contains itself, endlessly."""

_COMPRESSED: Final = re.compile(r"\.(?:gz|zst|zstd|bz2|xz|lzma|lz4)$")

_REQUEST_LINE: Final = re.compile(rb'^[ \t]*\{[^\n]*"params"[^\n]*\}[ \t\r]*$', re.MULTILINE)
"""A line of a document that spans several lines is unlikely to match."""


def is_named_document(name: str) -> bool:
    """Whether a file's name ends in `.json`, compressed or not."""
    return _COMPRESSED.sub("", name.lower()).endswith(".json")


def foreign_content(head: bytes) -> str:
    """Why a file cannot contain requests, by its first bytes; empty if it can."""
    if is_ordinary(head):
        return ""
    if not head.strip(b"\x00"):
        return "damaged at byte 0: expected requests, got NUL bytes"
    name = foreign(head)
    return f"expected requests, got {name}" if name else ""


def parts_of(
    name: str,
    stream: Readable,
    file: IO[bytes] | None = None,
    *,
    depth: int = 0,
    binary: bytes = b"",
) -> Iterator[tuple[str, Source | str]]:
    """The texts in a stream, in order; each must be read before the next one is requested.

    Args:
        name: The name of the input, for reports.
        stream: The stream.
        file: The file of the stream, if it is seekable and the stream is all of it.
        depth: The number of archives around it.
        binary: The first bytes of files that the caller reads itself, although they are no texts;
            empty for none.

    Yields:
        Names, each with a text, or with the reason why it cannot be read. A text raises
        `DamagedError` where it is damaged.
    """
    source = Source(stream)
    head = source.peek(HEAD_BYTES)
    if binary and head.startswith(binary):
        yield name, source
        return
    if reason := foreign_content(head):
        yield name, reason
        return
    file_type = file_type_of(head)
    contents = decompressed(file_type, source, file)
    members = members_of(file_type, source)
    if depth == _DEEPEST and (contents or members):
        yield name, f"expected at most {_DEEPEST} nested archives, got more"
    elif contents:
        yield from parts_of(name, contents, depth=depth + 1, binary=binary)
    elif members:
        try:
            for member, packed in members:
                path = f"{name}/{member}"
                if isinstance(packed, str):
                    yield path, packed
                else:
                    yield from parts_of(path, packed, depth=depth + 1, binary=binary)
            while source.read(READ_BYTES):
                pass  # behind the last member stands the checksum of what is compressed
        except DamagedError as error:
            yield name, str(error)
    else:
        source.read(mark_bytes(head, file_type))
        yield name, decoded(file_type, source)


def is_document(text: Source, name: str, keep: int) -> bool:
    """Whether a text is one document, instead of a request on each line."""
    if is_named_document(name):
        line = text.peek_line(keep)
        ends = line.endswith(b"\n")
        rest = text.peek(len(line) + READ_BYTES)[len(line) :] if ends else b""
        if not rest.strip():
            return True
        lines = [line, *_REQUEST_LINE.findall(text.peek(READ_BYTES))]
        return not any(map(is_json, lines))
    line = text.peek_line(READ_BYTES)
    # The first line of a pretty-printed document is not a document by itself.
    if not line.endswith(b"\n") or not line.lstrip().startswith((b"{", b"[")) or is_json(line):
        return False
    data = text.peek(keep + 1)
    return len(data) <= keep and is_json(data)


def is_json(data: bytes) -> bool:
    """Whether it is a JSON object or array."""
    bare = data.strip()
    if not bare.startswith((b"{", b"[")) or not bare.endswith((b"}", b"]")):
        return False
    try:
        orjson.loads(bare)
    except orjson.JSONDecodeError:
        return False
    return True


def lines_in(text: Source, keep: int) -> Iterator[bytes]:
    """Whole lines, in blocks.

    Args:
        text: The text.
        keep: The number of bytes to keep of a long line.

    Raises:
        DamagedError: The text is damaged, after all whole lines before the damage.
    """
    blocks = _Blocks(text)
    last = b""
    for chunk in whole_lines(blocks, keep):
        if chunk.endswith(b"\n"):
            yield chunk
        else:
            last = chunk
    last, damage = _without_zeros(last, blocks.line, blocks.damage)
    if last and (damage is None or _is_whole(last)):
        yield last
    if damage:
        raise damage


def document_in(text: Source, keep: int) -> tuple[bytes, DamagedError | None]:
    """The first `keep` bytes of a document, and its damage if there is some.

    Returns:
        No bytes of a damaged document, unless it is a whole JSON document.
    """
    blocks = _Blocks(text)
    parts, size = [], 0
    for block in blocks:
        parts.append(block[: keep - size])
        size += len(parts[-1])
        if size >= keep:
            break
    data, damage = _without_zeros(b"".join(parts), 0, blocks.damage)
    return (data if damage is None or _is_whole(data) else b""), damage


class _Blocks:
    """The blocks of a text, up to its end or to the damage.

    Attributes:
        line: The offset of the last line.
        damage: The damage after the last block; None at the end of the text.
    """

    def __init__(self, text: Source) -> None:
        self.line = 0
        self.damage: DamagedError | None = None
        self._text = text

    def __iter__(self) -> Iterator[bytes]:
        place = 0
        try:
            for block in blocks_of(self._text):
                end = block.rfind(b"\n") + 1
                self.line = place + end if end else self.line
                place += len(block)
                yield block
        except DamagedError as error:
            self.damage = error


def _without_zeros(
    data: bytes, place: int, damage: DamagedError | None
) -> tuple[bytes, DamagedError | None]:
    """The end of a text without trailing zeros, of disk blocks that were never written."""
    if damage or not data.endswith(b"\x00"):
        return data, damage
    bare = data.rstrip(b"\x00")
    reason = "expected the rest of the text, got NUL bytes up to the end"
    return bare, DamagedError(f"damaged at byte {place + len(bare)}: {reason}")


def _is_whole(line: bytes) -> bool:
    """Whether a line without a line end is a whole document, with or without its topic."""
    return is_json(line[max(line.find(b"{"), 0) :])
