"""Thing models in both shapes that EnOS writes, as plain objects (contract 6.1 and 6.2).

A model that is not understood whole is refused: `ModelError` names the place and the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
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
    read,
)
from tests.oracle.numbers import decimal

if TYPE_CHECKING:
    from collections.abc import Collection

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
MAX_POINTS: Final = 5000
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
_NUMBER_TYPES: Final = frozenset(["INT", "FLOAT", "DOUBLE"])
_ITEM_TYPES: Final = frozenset(["INT", "FLOAT", "DOUBLE", "STRING"])
_CLASS: Final = re.compile(r"(?:.*[.$])?TSL([A-Za-z]+)Measurepoint", re.DOTALL)
_INTEGER_KEY: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")


class ModelError(Exception):
    """A model that cannot be understood."""

    def __init__(self, pointer: str, reason: str) -> None:
        """Name the place in the model and what is wrong there."""
        super().__init__(f"{pointer}: {reason}")
        self.pointer = pointer
        self.reason = reason


@dataclass(frozen=True)
class Bounds:
    """A number type's bounds, as the number tokens of the model; None where the model has none."""

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


@dataclass(frozen=True)
class StructMember:
    """One member of a STRUCT."""

    type: ValueType
    required: bool


@dataclass(frozen=True)
class Point:
    """One measurepoint of a model."""

    type: ValueType
    has_quality: bool


@dataclass(frozen=True)
class Model:
    """A thing model's points; `allow_additional` is its switch for points that it lacks."""

    points: dict[str, Point]
    allow_additional: bool


def parse_model(text: bytes) -> Model:
    """Read a model file in either shape.

    Raises:
        ModelError: when any part of it is not understood.
    """
    try:
        root = read(text.removeprefix(BYTE_ORDER_MARK)).root
    except JsonSyntaxError as error:
        raise ModelError("", f"not JSON: {error}") from error
    if not isinstance(root, Object):
        raise ModelError("", "expected an object")
    api, export = root.first("measurepoints"), root.first("thingMeasurepointMap")
    if (api is None) == (export is None):
        raise ModelError("", "expected either measurepoints or thingMeasurepointMap")
    name = "measurepoints" if export is None else "thingMeasurepointMap"
    pointer = f"/{name}"
    points: dict[str, Point] = {}
    entries = _object(root.first(name), pointer)
    for member in entries.members:
        at = f"{pointer}/{escape(member.name)}"
        _check_identifier(member.name, at, known=points.keys())
        entry = _object(member.value, at)
        points[member.name] = _point(entry, at, is_export=export is not None)
    if len(points) > MAX_POINTS:
        raise ModelError(pointer, f"more than {MAX_POINTS} points")
    return Model(points, allow_additional=_flag(root, "allowAdditionalMeasurepoint", ""))


def escape(name: str) -> str:
    """Escape one reference token of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _point(entry: Object, at: str, *, is_export: bool) -> Point:
    value_type = _export_type(entry, at) if is_export else _api_type(entry, at, in_struct=False)
    has_quality = _flag(entry, "hasQuality", at)
    if has_quality and value_type.name not in _NUMBER_TYPES:
        raise ModelError(f"{at}/hasQuality", f"{value_type.name} has no quality")
    return Point(value_type, has_quality)


def _api_type(entry: Object, at: str, *, in_struct: bool) -> ValueType:
    name = _type_name(entry.first("dataType"), f"{at}/dataType", _TYPES)
    definition = _definition(entry.first("dataDefinition"), f"{at}/dataDefinition")
    at_definition = f"{at}/dataDefinition"
    if name == "ENUM":
        return _enum(
            _object(definition.first("enumDesc"), f"{at_definition}/enumDesc"),
            f"{at_definition}/enumDesc",
            integer=_type_name(
                definition.first("enumType"),
                f"{at_definition}/enumType",
                frozenset(["INT", "STRING"]),
            )
            == "INT",
        )
    if name == "STRUCT" and in_struct:
        raise ModelError(f"{at}/dataType", "a struct inside a struct")
    if name == "STRUCT":
        return ValueType(name, members=_members(definition, at_definition))
    max_length = _size(definition, "maxLength", at_definition, DEFAULT_MAX_LENGTH)
    if name == "ARRAY":
        item = _type_name(definition.first("itemType"), f"{at_definition}/itemType", _ITEM_TYPES)
        bounds = _bounds(entry, at) if item in _NUMBER_TYPES else Bounds()
        return ValueType(
            name,
            item=ValueType(item, bounds=bounds, max_length=max_length),
            max_size=_size(definition, "maxSize", at_definition, DEFAULT_MAX_SIZE),
        )
    if name in _NUMBER_TYPES:
        return ValueType(name, bounds=_bounds(entry, at))
    return ValueType(name, max_length=max_length)


def _export_type(entry: Object, at: str) -> ValueType:
    class_name = entry.first("$class")
    found = _CLASS.fullmatch(class_name.text) if isinstance(class_name, String) else None
    if found is None or found[1].upper() not in _TYPES:
        raise ModelError(f"{at}/$class", "not a known class")
    name = found[1].upper()
    if name == "ENUM":
        keys = _object(entry.first("specsMap"), f"{at}/specsMap")
        return _enum(keys, f"{at}/specsMap", integer=_flag(entry, "valueType", at))
    if name in _NUMBER_TYPES:
        return ValueType(name, bounds=_bounds(entry, at))
    if name in {"ARRAY", "STRUCT"}:
        # How the console writes what is inside these is not known; the test catalog has none.
        raise ModelError(f"{at}/$class", f"{name} in a console export is not understood")
    return ValueType(name)


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


def _members(definition: Object, at: str) -> dict[str, StructMember]:
    items = definition.first("items")
    if not isinstance(items, Array):
        raise ModelError(f"{at}/items", "expected an array")
    members: dict[str, StructMember] = {}
    for index, value in enumerate(items.items):
        at_item = f"{at}/items/{index}"
        item = _object(value, at_item)
        identifier = item.first("identifier")
        if not isinstance(identifier, String):
            raise ModelError(f"{at_item}/identifier", "expected a string")
        _check_identifier(identifier.text, f"{at_item}/identifier", known=members.keys())
        if _flag(item, "hasQuality", at_item):
            raise ModelError(f"{at_item}/hasQuality", "a struct member has no quality")
        members[identifier.text] = StructMember(
            _api_type(item, at_item, in_struct=True), required=_flag(item, "required", at_item)
        )
    return members


def _bounds(entry: Object, at: str) -> Bounds:
    limits: dict[str, str | None] = {}
    for name in ("minimum", "maximum"):
        value = entry.first(name)
        if value is not None and not isinstance(value, Number | Null):
            raise ModelError(f"{at}/{name}", "expected a number")
        limits[name] = value.text if isinstance(value, Number) else None
    minimum, maximum = limits["minimum"], limits["maximum"]
    if (
        minimum is not None
        and maximum is not None
        and decimal(minimum).value > decimal(maximum).value
    ):
        raise ModelError(f"{at}/minimum", "above maximum")
    return Bounds(
        minimum, maximum, _flag(entry, "exclusiveMinimum", at), _flag(entry, "exclusiveMaximum", at)
    )


def _definition(value: Value | None, at: str) -> Object:
    """Return a dataDefinition: an object, JSON text in a string, or nothing at all."""
    if isinstance(value, String) and value.text.strip():
        try:
            value = read(value.text.encode("utf-8")).root
        except JsonSyntaxError as error:
            raise ModelError(at, f"not JSON: {error}") from error
    if value is None or isinstance(value, Null | String):
        return Object(0, 0, ())
    return _object(value, at)


def _check_identifier(identifier: str, at: str, *, known: Collection[str]) -> None:
    if not 1 <= len(identifier.encode("utf-8")) <= MAX_IDENTIFIER_BYTES:
        raise ModelError(at, f"an identifier has 1 to {MAX_IDENTIFIER_BYTES} bytes")
    if identifier in known:
        raise ModelError(at, "a repeated identifier")


def _type_name(value: Value | None, at: str, allowed: frozenset[str]) -> str:
    if not isinstance(value, String) or value.text.upper() not in allowed:
        raise ModelError(at, f"expected one of {', '.join(sorted(allowed))}")
    return value.text.upper()


def _size(definition: Object, name: str, at: str, default: int) -> int:
    value = definition.first(name)
    if value is None or isinstance(value, Null):
        return default
    number = decimal(value.text) if isinstance(value, Number) else None
    if number is None or not number.integral or number.value < 0:
        raise ModelError(f"{at}/{name}", "expected a whole number")
    return int(number.value)


def _flag(entry: Object, name: str, at: str) -> bool:
    value = entry.first(name)
    if value is not None and not isinstance(value, Boolean | Null):
        raise ModelError(f"{at}/{name}", "expected true or false")
    return isinstance(value, Boolean) and value.value


def _object(value: Value | None, at: str) -> Object:
    if not isinstance(value, Object):
        raise ModelError(at, "expected an object")
    return value
