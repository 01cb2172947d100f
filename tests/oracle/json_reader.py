"""A strict RFC 8259 reader that keeps everything a verdict could depend on (contract section 4).

The tree keeps the order of members, repeated members, number tokens as they were written and the
byte offset of every token, none of which the standard library's `json` can tell. Recursive descent,
one byte at a time.

The fault offset is the first byte that makes the payload unreadable; the payload's length when it
ends too early; the first byte of a lone surrogate escape and of a number that is too long, for
those two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

MAX_DEPTH: Final = 32
MAX_NUMBER_CHARACTERS: Final = 1024
MAX_ID_BYTES: Final = 256

_WHITESPACE: Final = b" \t\n\r"
_DIGITS: Final = b"0123456789"
_HEX_DIGITS: Final = b"0123456789abcdefABCDEF"
_SHORT_ESCAPES: Final = {
    ord('"'): '"',
    ord("\\"): "\\",
    ord("/"): "/",
    ord("b"): "\b",
    ord("f"): "\f",
    ord("n"): "\n",
    ord("r"): "\r",
    ord("t"): "\t",
}
_LITERALS: Final = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}


@dataclass(frozen=True)
class Token:
    """A value's place in the payload: `payload[start:end]` is its text."""

    start: int
    end: int


@dataclass(frozen=True)
class Null(Token):
    """The literal `null`."""


@dataclass(frozen=True)
class Boolean(Token):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True)
class Number(Token):
    """A number, still as it was written."""

    text: str


@dataclass(frozen=True)
class String(Token):
    """A string, its escapes decoded."""

    text: str


@dataclass(frozen=True)
class Array(Token):
    """An array's elements, in the order of the text."""

    items: tuple[Value, ...]


@dataclass(frozen=True)
class Member:
    """One member of an object; `start` is the offset of its name."""

    name: str
    start: int
    value: Value


@dataclass(frozen=True)
class Object(Token):
    """An object's members, in the order of the text, repeats included."""

    members: tuple[Member, ...]

    def first(self, name: str) -> Value | None:
        """Return the value of the first member with this name."""
        return next((member.value for member in self.members if member.name == name), None)


Value: TypeAlias = Null | Boolean | Number | String | Array | Object


@dataclass(frozen=True)
class Document:
    """A whole payload: its one value, and the `id` token that a reply echoes."""

    root: Value
    id_token: bytes | None


class JsonSyntaxError(Exception):
    """The payload is not one JSON document; what stood before the break is kept."""

    def __init__(self, what: str, offset: int) -> None:
        """Say what is wrong at which byte."""
        super().__init__(f"{what} at byte {offset}")
        self.what = what
        self.offset = offset
        self.id_token: bytes | None = None


def read(payload: bytes) -> Document:
    """Read a payload that must be exactly one JSON document.

    Raises:
        JsonSyntaxError: with the offset, and the `id` token that stood complete before the break.
    """
    reader = _Reader(payload)
    try:
        root = reader.document()
    except JsonSyntaxError as error:
        error.id_token = reader.id_token
        raise
    return Document(root, reader.id_token)


def is_number(text: str) -> bool:
    """Tell whether the text is exactly one JSON number, nothing before or after it."""
    try:
        root = read(text.encode("utf-8")).root
    except JsonSyntaxError:
        return False
    return isinstance(root, Number) and root.text == text


class _Reader:
    """The position in one payload, and the top-level `id` once it is complete."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.position = 0
        self.id_token: bytes | None = None
        self._id_seen = False
        self._first_invalid = _first_invalid_utf8(payload)

    def document(self) -> Value:
        if self.payload.startswith(b"\xef\xbb\xbf"):
            raise JsonSyntaxError("byte-order mark", 0)
        root = self._value(depth=0)
        self._skip_whitespace()
        if self._peek() is not None:
            raise JsonSyntaxError("bytes after the document", self.position)
        return root

    def _peek(self) -> int | None:
        """Return the byte at the position, or None at the end of the payload."""
        if self.position == self._first_invalid:
            raise JsonSyntaxError("invalid UTF-8", self.position)
        return self.payload[self.position] if self.position < len(self.payload) else None

    def _skip_whitespace(self) -> None:
        while (byte := self._peek()) is not None and byte in _WHITESPACE:
            self.position += 1

    def _unexpected(self, wanted: str) -> JsonSyntaxError:
        found = "unexpected end" if self._peek() is None else "unexpected byte"
        return JsonSyntaxError(f"{found}, wanted {wanted}", self.position)

    def _expect(self, byte: bytes) -> None:
        if self._peek() != byte[0]:
            raise self._unexpected(byte.decode("ascii"))
        self.position += 1

    def _value(self, depth: int) -> Value:
        self._skip_whitespace()
        byte = self._peek()
        if byte == ord("{"):
            return self._object(depth + 1)
        if byte == ord("["):
            return self._array(depth + 1)
        if byte == ord('"'):
            start = self.position
            text = self._string()
            return String(start, self.position, text)
        if byte is not None and (byte == ord("-") or byte in _DIGITS):
            return self._number()
        if byte in _LITERALS:
            return self._literal(_LITERALS[byte])
        raise self._unexpected("a value")

    def _literal(self, literal: bytes) -> Null | Boolean:
        start = self.position
        for index in range(len(literal)):
            self._expect(literal[index : index + 1])
        if literal == b"null":
            return Null(start, self.position)
        return Boolean(start, self.position, literal == b"true")

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise JsonSyntaxError(f"nested deeper than {MAX_DEPTH}", self.position)

    def _array(self, depth: int) -> Array:
        self._check_depth(depth)
        start = self.position
        self._expect(b"[")
        items: list[Value] = []
        self._skip_whitespace()
        if self._peek() == ord("]"):
            self.position += 1
            return Array(start, self.position, ())
        while True:
            items.append(self._value(depth))
            self._skip_whitespace()
            if self._peek() == ord(","):
                self.position += 1
                continue
            self._expect(b"]")
            return Array(start, self.position, tuple(items))

    def _object(self, depth: int) -> Object:
        self._check_depth(depth)
        start = self.position
        self._expect(b"{")
        members: list[Member] = []
        self._skip_whitespace()
        if self._peek() == ord("}"):
            self.position += 1
            return Object(start, self.position, ())
        while True:
            members.append(self._member(depth))
            self._skip_whitespace()
            if self._peek() == ord(","):
                self.position += 1
                continue
            self._expect(b"}")
            return Object(start, self.position, tuple(members))

    def _member(self, depth: int) -> Member:
        self._skip_whitespace()
        start = self.position
        if self._peek() != ord('"'):
            raise self._unexpected("a member name")
        name = self._string()
        self._skip_whitespace()
        self._expect(b":")
        # The only object at depth 1 is the document's own, so this `id` is the top-level one.
        is_first_id = depth == 1 and name == "id" and not self._id_seen
        if is_first_id:
            self._id_seen = True
        value = self._value(depth)
        if is_first_id:
            self._keep_id(value)
        return Member(name, start, value)

    def _keep_id(self, value: Value) -> None:
        """Keep an id that can be echoed: a string, or a number whose delimiter follows it."""
        if value.end - value.start > MAX_ID_BYTES:
            return
        delimiter = self.payload[value.end : value.end + 1]
        number_is_complete = (
            isinstance(value, Number) and delimiter != b"" and delimiter in _WHITESPACE + b",}"
        )
        if isinstance(value, String) or number_is_complete:
            self.id_token = self.payload[value.start : value.end]

    def _number(self) -> Number:
        start = self.position
        if self._peek() == ord("-"):
            self.position += 1
        if self._peek() == ord("0"):
            self.position += 1
        else:
            self._digits()
        if self._peek() == ord("."):
            self.position += 1
            self._digits()
        if self._peek() in {ord("e"), ord("E")}:
            self.position += 1
            if self._peek() in {ord("+"), ord("-")}:
                self.position += 1
            self._digits()
        if self.position - start > MAX_NUMBER_CHARACTERS:
            raise JsonSyntaxError(f"number of more than {MAX_NUMBER_CHARACTERS} characters", start)
        return Number(start, self.position, self.payload[start : self.position].decode("ascii"))

    def _digits(self) -> None:
        """Pass over one digit or more."""
        byte = self._peek()
        if byte is None or byte not in _DIGITS:
            raise self._unexpected("a digit")
        while (byte := self._peek()) is not None and byte in _DIGITS:
            self.position += 1

    def _string(self) -> str:
        self._expect(b'"')
        text = bytearray()
        while True:
            byte = self._peek()
            if byte is None:
                raise self._unexpected("the end of the string")
            if byte < ord(" "):
                raise JsonSyntaxError("control character in a string", self.position)
            self.position += 1
            if byte == ord('"'):
                return text.decode("utf-8")
            if byte == ord("\\"):
                text += self._escape().encode("utf-8")
            else:
                text.append(byte)

    def _escape(self) -> str:
        """Decode one escape, or two that form a surrogate pair; the backslash is already passed."""
        backslash = self.position - 1
        byte = self._peek()
        if byte in _SHORT_ESCAPES:
            self.position += 1
            return _SHORT_ESCAPES[byte]
        unit = self._code_unit()
        if 0xD800 <= unit <= 0xDBFF:
            if self._peek() != ord("\\") or self.payload[
                self.position + 1 : self.position + 2
            ] not in {b"u", b""}:
                raise JsonSyntaxError(
                    "lone surrogate", self.position if self._peek() is None else backslash
                )
            self.position += 1
            low = self._code_unit()
            if not 0xDC00 <= low <= 0xDFFF:
                raise JsonSyntaxError("lone surrogate", backslash)
            return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        if 0xDC00 <= unit <= 0xDFFF:
            raise JsonSyntaxError("lone surrogate", backslash)
        return chr(unit)

    def _code_unit(self) -> int:
        """Read `uXXXX`."""
        self._expect(b"u")
        start = self.position
        for _ in range(4):
            byte = self._peek()
            if byte is None or byte not in _HEX_DIGITS:
                raise self._unexpected("a hexadecimal digit")
            self.position += 1
        return int(self.payload[start : self.position], 16)


def _first_invalid_utf8(payload: bytes) -> int | None:
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return None
