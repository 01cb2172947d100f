"""The texts in a file: what is compressed is decompressed, what is packed is unpacked.

    a text           itself, as UTF-8 without its byte-order mark
    a compressed one what is in it
    zip, tar         each file in it, by name: `archive.tar.gz/2026/a.jsonl`
    anything else    why it cannot be read

A text is a document, or lines. Its name is a hint; its first line decides:

    the first line is a document, and something follows     lines
    named .json, and no line is a request by itself          a document
    named otherwise, and all of it is one JSON document      a document
    else                                                     by its name

Invariants: of a damaged text every whole line before the damaged place is given, and the last one
where it is a whole JSON object; memory is bounded, whatever the file says about itself.
"""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING, Final

import orjson

from pointgate.bulk.blocks import blocks_of, whole_lines
from pointgate.bulk.compressed import decompressed
from pointgate.bulk.containers import members_of
from pointgate.bulk.file_types import HEAD_BYTES, foreign, is_ordinary, kind_of, mark_bytes
from pointgate.bulk.streams import READ_BYTES, DamagedError, Readable, Source, decoded

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST: Final = 4
"""Archives inside each other. Some files hold themselves, without end."""

_COMPRESSED: Final = re.compile(r"\.(?:gz|zst|zstd|bz2|xz|lzma|lz4)$")

_REQUEST_LINE: Final = re.compile(rb'^[ \t]*\{[^\n]*"params"[^\n]*\}[ \t\r]*$', re.MULTILINE)
"""Part of a document that is written in several lines hardly looks like this."""


def is_named_document(name: str) -> bool:
    """Whether a file is called `.json`, compressed or not."""
    return _COMPRESSED.sub("", name.lower()).endswith(".json")


def instead_of_requests(head: bytes) -> str:
    """Why a file holds no requests, by its first bytes; empty when it may hold some."""
    if is_ordinary(head):
        return ""
    if not head.strip(b"\x00"):
        return "damaged at byte 0: expected requests, got NUL bytes"
    name = foreign(head)
    return f"expected requests, got {name}" if name else ""


def parts_of(
    name: str, stream: Readable, file: IO[bytes] | None = None, *, depth: int = 0
) -> Iterator[tuple[str, Source | str]]:
    """The texts in a stream, in order; each has to be read before the next one is asked for.

    Args:
        name: What the user calls it.
        stream: The stream.
        file: The same as a file, if it can be read again from its beginning.
        depth: In how many archives it is.

    Yields:
        Names, and texts or why there is none. A text raises `DamagedError` where it is damaged.
    """
    source = Source(stream)
    head = source.peek(HEAD_BYTES)
    if reason := instead_of_requests(head):
        yield name, reason
        return
    kind = kind_of(head)
    contents = decompressed(kind, source, file)
    members = members_of(kind, source)
    if depth == _DEEPEST and (contents or members):
        yield name, f"expected at most {_DEEPEST} archives inside each other, got more"
    elif contents:
        yield from parts_of(name, contents, depth=depth + 1)
    elif members:
        try:
            for member, packed in members:
                path = f"{name}/{member}"
                if isinstance(packed, str):
                    yield path, packed
                else:
                    yield from parts_of(path, packed, depth=depth + 1)
            while source.read(READ_BYTES):
                pass  # behind the last member stands the checksum of what is compressed
        except DamagedError as error:
            yield name, str(error)
    else:
        source.read(mark_bytes(head, kind))
        yield name, decoded(kind, source)


def is_document(text: Source, name: str, keep: int) -> bool:
    """Whether a text is one document, and not a request a line."""
    if is_named_document(name):
        line = text.peek_line(keep)
        ends = line.endswith(b"\n")
        behind = text.peek(len(line) + READ_BYTES)[len(line) :] if ends else b""
        if not behind.strip():
            return True
        lines = [line, *_REQUEST_LINE.findall(text.peek(READ_BYTES))]
        return not any(map(is_json, lines))
    line = text.peek_line(READ_BYTES)
    # A document made readable begins with a line that is none by itself.
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
    """Whole lines, many at once.

    Args:
        text: The text.
        keep: How much of a line is needed.

    Raises:
        DamagedError: Everything that is whole was given.
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
    """The beginning of a document, and what is wrong with it.

    Returns:
        Nothing of a damaged one, unless it is whole.
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
    """Everything in a text, up to its end or a damaged place.

    Attributes:
        line: Where the last line begins.
        damage: What is wrong behind the last block.
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
    """The end of a text without the zeros of blocks that were never written."""
    if damage or not data.endswith(b"\x00"):
        return data, damage
    bare = data.rstrip(b"\x00")
    reason = "expected the rest of the text, got NUL bytes up to the end"
    return bare, DamagedError(f"damaged at byte {place + len(bare)}: {reason}")


def _is_whole(line: bytes) -> bool:
    """Whether a line whose end is missing is a whole document, with or without its topic."""
    return is_json(line[max(line.find(b"{"), 0) :])
