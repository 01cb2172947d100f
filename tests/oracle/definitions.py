"""One point's type and its constraints, of either shape (contract 6.1)."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from tests.oracle.json_reader import (
    Array,
    Boolean,
    JsonSyntaxError,
    Null,
    Number,
    Object,
    String,
    Value,
    is_number,
    read,
)
from tests.oracle.numbers import decimal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import TypeGuard

MAX_IDENTIFIER_BYTES: Final = 128
DEFAULT_MAX_LENGTH: Final = 1024
DEFAULT_MAX_SIZE: Final = 128

_TYPES: Final = frozenset(
    [
        "INT",
        "FLOAT",
        "DOUBLE",
        "BOOL",
        "STRING",
        "ENUM",
        "DATE",
        "TIMESTAMP",
        "ARRAY",
        "STRUCT",
        "FILE",
    ]
)
NUMBER_TYPES: Final = frozenset(["INT", "FLOAT", "DOUBLE"])
_ITEM_TYPES: Final = frozenset(["INT", "FLOAT", "DOUBLE", "STRING"])
_CLASS: Final = re.compile(r"(?:.*[.$])?TSL([A-Za-z]+?)(?:Measurepoint)?", re.DOTALL)
_INTEGER_KEY: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}:[0-9]{2})?")
_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 -- everything is UTC here

_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_CONSTRAINTS: Final = {
    **dict.fromkeys([*NUMBER_TYPES, "DATE", "TIMESTAMP"], _BOUNDS),
    **dict.fromkeys(["STRING", "FILE"], ("maxLength",)),
    "ARRAY": ("maxSize",),
    "STRUCT": ("allowAdditionalItem",),
    "BOOL": (),
    "ENUM": (),
}
"""What means something beside each type (6.1)."""


class ModelError(Exception):
    """A model that cannot be understood."""

    def __init__(self, pointer: str, reason: str) -> None:
        """Name the place in the model and what is wrong there."""
        super().__init__(f"{pointer}: {reason}")
        self.pointer = pointer
        self.reason = reason


@dataclass(frozen=True)
class Bounds:
    """A type's bounds, as the model writes them; None where the model has none."""

    minimum: str | None = None
    maximum: str | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False


@dataclass(frozen=True)
class ValueType:
    """What a value must be; only the fields of its `name` mean something."""

    name: str
    bounds: Bounds = Bounds()
    max_length: int = DEFAULT_MAX_LENGTH
    integer_keys: frozenset[int] | None = None
    string_keys: frozenset[str] | None = None
    max_size: int = DEFAULT_MAX_SIZE
    item: ValueType | None = None
    members: dict[str, StructMember] = field(default_factory=dict)
    additional_members: bool = False


@dataclass(frozen=True)
class StructMember:
    """One member of a STRUCT."""

    type: ValueType
    required: bool


def escape(name: str) -> str:
    """Escape one reference token of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def data_type(entry: Object, at: str) -> str:
    return _type_name(entry.first("dataType"), f"{at}/dataType", _TYPES)


def class_of(entry: Object, at: str) -> str:
    name = entry.first("$class")
    found = _CLASS.fullmatch(name.text) if isinstance(name, String) else None
    if found is None:
        raise ModelError(f"{at}/$class", "not a known class")
    return _type_name(String(0, 0, found[1]), f"{at}/$class", _TYPES)


class Place:
    """What stands beside a type, or in its `dataDefinition`."""

    def __init__(self, own: Object, at: str) -> None:
        self._own = own
        self._at = at
        self._definition = _definition(own.first("dataDefinition"), f"{at}/dataDefinition")

    def find(self, name: str) -> tuple[Value | None, str]:
        """Return a member and its pointer, wherever it stands; null is the same as absent."""
        beside = (self._own.first(name), f"{self._at}/{name}")
        within = (self._definition.first(name), f"{self._at}/dataDefinition/{name}")
        found = [one for one in (beside, within) if not isinstance(one[0], Null | None)]
        if len(found) > 1:
            raise ModelError(beside[1], "twice")
        return found[0] if found else (None, within[1])

    def value_type(self, name: str, *, also_allowed: tuple[str, ...] = ()) -> ValueType:
        """Read the type of that name and its constraints."""
        allowed = (*_CONSTRAINTS[name], *also_allowed)
        if name == "ARRAY":
            return self._array()
        self._refuse_all_but(allowed)
        match name:
            case "ENUM":
                return self._enum()
            case "STRUCT":
                return self._struct()
            case "BOOL":
                return ValueType(name)
            case "STRING" | "FILE":
                return ValueType(name, max_length=self._size("maxLength", DEFAULT_MAX_LENGTH))
        return ValueType(name, bounds=self._bounds(name))

    def _refuse_all_but(self, allowed: tuple[str, ...]) -> None:
        for name in (*_BOUNDS, "maxLength", "maxSize", "allowAdditionalItem"):
            value, at = self.find(name)
            says_nothing = value is None or (isinstance(value, Boolean) and not value.value)
            if name not in allowed and not says_nothing:
                raise ModelError(at, "means nothing here")

    def _enum(self) -> ValueType:
        keys, at = self.find("specsMap")
        if keys is not None:
            integer = self.find("valueType")[0]
            if not isinstance(integer, Boolean):
                raise ModelError(f"{self._at}/valueType", "expected true or false")
            return _enum(object_of(keys, at), at, integer=integer.value)
        kind = _type_name(*self.find("enumType"), frozenset(["INT", "STRING"]))
        keys, at = self.find("enumDesc")
        return _enum(object_of(keys, at), at, integer=kind == "INT")

    def _array(self) -> ValueType:
        inner, at = self.find("innerType")
        item_type, item_at = self.find("itemType")
        if inner is None:
            item_name = _type_name(item_type, item_at, _ITEM_TYPES)
            self._refuse_all_but(("maxSize", *_CONSTRAINTS[item_name]))
            item = self.value_type(item_name, also_allowed=("maxSize",))
            return ValueType("ARRAY", item=item, max_size=self._size("maxSize", DEFAULT_MAX_SIZE))
        if item_type is not None:
            raise ModelError(item_at, "innerType or itemType")
        self._refuse_all_but(("maxSize",))
        element = object_of(inner, at)
        name = class_of(element, at)
        if name not in _ITEM_TYPES:
            raise ModelError(f"{at}/$class", "no type of elements")
        if not isinstance(element.first("dataDefinition"), Null | None):
            raise ModelError(f"{at}/dataDefinition", "stands beside $class")
        place = Place(element, at)
        if place.find("maxSize")[0] is not None and self.find("maxSize")[0] is not None:
            raise ModelError(f"{self._at}/maxSize", "twice")
        size = place if self.find("maxSize")[0] is None else self
        return ValueType(
            "ARRAY",
            item=place.value_type(name, also_allowed=("maxSize",)),
            max_size=size._size("maxSize", DEFAULT_MAX_SIZE),
        )

    def _struct(self) -> ValueType:
        members: dict[str, StructMember] = {}
        listed, listed_at = self.find("items")
        mapped, mapped_at = self.find("struct")
        if (listed is None) == (mapped is None):
            raise ModelError(listed_at, "expected either struct or items")
        for identifier, item, at in _struct_items(
            listed or mapped, listed_at if listed else mapped_at
        ):
            check_identifier(identifier, at, known=members.keys())
            name = data_type(item, at) if listed else class_of(item, at)
            if name == "STRUCT":
                raise ModelError(
                    f"{at}/{'dataType' if listed else '$class'}", "a struct in a struct"
                )
            if listed and flag(item, "hasQuality", at):
                raise ModelError(f"{at}/hasQuality", "a struct member has no quality")
            members[identifier] = StructMember(
                Place(item, at).value_type(name), required=flag(item, "required", at)
            )
        additional, at = self.find("allowAdditionalItem")
        return ValueType(
            "STRUCT",
            members=members,
            additional_members=additional is not None and _truth(additional, at),
        )

    def _size(self, name: str, default: int) -> int:
        value, at = self.find(name)
        if value is None:
            return default
        number = decimal(value.text) if _is_number(value) else None
        if number is None or not number.integral or number.value < 0:
            raise ModelError(at, "expected a whole number")
        return int(number.value)

    def _bounds(self, type_name: str) -> Bounds:
        is_instant = type_name in {"DATE", "TIMESTAMP"}
        texts: dict[str, str | None] = {}
        for name in ("minimum", "maximum"):
            value, at = self.find(name)
            is_date = isinstance(value, String) and is_instant and date_of(value.text)
            if value is not None and not _is_number(value) and not is_date:
                raise ModelError(at, "expected a bound")
            texts[name] = value.text if isinstance(value, Number | String) else None
        flags = [
            value is not None and _truth(value, at)
            for value, at in map(self.find, ("exclusiveMinimum", "exclusiveMaximum"))
        ]
        bounds = Bounds(texts["minimum"], texts["maximum"], *flags)
        low, high = (
            None if text is None else (instants(text)[0] if is_instant else decimal(text).value)
            for text in (bounds.minimum, bounds.maximum)
        )
        if low is not None and high is not None and low > high:
            raise ModelError(self.find("minimum")[1], "above maximum")
        return bounds


def _struct_items(value: Value | None, at: str) -> Iterator[tuple[str, Object, str]]:
    """Each member's identifier, what is said of it, and where."""
    if isinstance(value, Object):
        for member in value.members:
            at_member = f"{at}/{escape(member.name)}"
            yield member.name, object_of(member.value, at_member), at_member
    elif isinstance(value, Array):
        for index, one in enumerate(value.items):
            item = object_of(one, f"{at}/{index}")
            identifier = item.first("identifier")
            if not isinstance(identifier, String):
                raise ModelError(f"{at}/{index}/identifier", "expected a string")
            yield identifier.text, item, f"{at}/{index}"
    else:
        raise ModelError(at, "expected an array or an object")


def date_of(text: str) -> dt.datetime | None:
    """Return the instant of a real date in a form of DATE; without time of day its beginning."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return None


def milliseconds_of(date: dt.datetime) -> int:
    """Return a date's milliseconds since 1970, as UTC."""
    return (date - _EPOCH) // dt.timedelta(milliseconds=1)


def instants(bound: str) -> tuple[Fraction, Fraction]:
    """Return the first and the last millisecond that a bound of DATE or TIMESTAMP stands for."""
    date = date_of(bound)
    if date is None:
        return decimal(bound).value, decimal(bound).value
    first = milliseconds_of(date)
    length = 1000 if " " in bound else 86_400_000
    return Fraction(first), Fraction(first + length - 1)


def _enum(keys: Object, at: str, *, integer: bool) -> ValueType:
    names = [member.name for member in keys.members]
    if not names:
        raise ModelError(at, "an enum without keys")
    if len(set(names)) < len(names):
        raise ModelError(at, "a repeated key")
    if not integer:
        return ValueType("ENUM", string_keys=frozenset(names))
    if not all(_INTEGER_KEY.fullmatch(name) for name in names):
        raise ModelError(at, "a key that is not an integer")
    return ValueType("ENUM", integer_keys=frozenset(int(name) for name in names))


def _definition(value: Value | None, at: str) -> Object:
    """Return a dataDefinition: an object, JSON text in a string, or nothing at all."""
    if isinstance(value, String) and value.text.strip():
        try:
            value = read(value.text.encode("utf-8")).root
        except JsonSyntaxError as error:
            raise ModelError(at, f"not JSON: {error}") from error
    if value is None or isinstance(value, Null | String):
        return Object(0, 0, ())
    return object_of(value, at)


def check_identifier(identifier: str, at: str, *, known: Collection[str]) -> None:
    if not 1 <= len(identifier.encode("utf-8")) <= MAX_IDENTIFIER_BYTES:
        raise ModelError(at, f"an identifier has 1 to {MAX_IDENTIFIER_BYTES} bytes")
    if identifier in known:
        raise ModelError(at, "a repeated identifier")


def _type_name(value: Value | None, at: str, allowed: frozenset[str]) -> str:
    name = value.text.upper() if isinstance(value, String) else ""
    name = "STRING" if name == "TEXT" else name
    if name not in allowed:
        raise ModelError(at, f"expected one of {', '.join(sorted(allowed))}")
    return name


def _is_number(value: Value) -> TypeGuard[Number | String]:
    return isinstance(value, Number) or (isinstance(value, String) and is_number(value.text))


def flag(entry: Object, name: str, at: str) -> bool:
    value = entry.first(name)
    return value is not None and not isinstance(value, Null) and _truth(value, f"{at}/{name}")


def _truth(value: Value, at: str) -> bool:
    if not isinstance(value, Boolean):
        raise ModelError(at, "expected true or false")
    return value.value


def object_of(value: Value | None, at: str) -> Object:
    if not isinstance(value, Object):
        raise ModelError(at, "expected an object")
    return value
