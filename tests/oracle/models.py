"""Thing models in both shapes that EnOS writes, as plain objects (contract 6.1 and 6.2).

A model that is not understood whole is refused: `ModelError` names the place and the reason. What
the contract only warns about is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.oracle.definitions import (
    NUMBER_TYPES,
    ModelError,
    Place,
    ValueType,
    check_identifier,
    class_of,
    data_type,
    escape,
    flag,
    object_of,
)
from tests.oracle.json_reader import (
    Array,
    JsonSyntaxError,
    Object,
    Value,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
MAX_POINTS: Final = 5000

_WRAPPERS: Final = ("data", "items", "list", "models", "records", "result")
_MAX_WRAPPERS: Final = 4


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
    model, pointer = _the_model(root)
    api, export = model.first("measurepoints"), model.first("thingMeasurepointMap")
    if (api is None) == (export is None):
        raise ModelError(pointer, "expected either measurepoints or thingMeasurepointMap")
    name = "measurepoints" if export is None else "thingMeasurepointMap"
    pointer = f"{pointer}/{name}"
    points: dict[str, Point] = {}
    entries = object_of(model.first(name), pointer)
    for member in entries.members:
        at = f"{pointer}/{escape(member.name)}"
        check_identifier(member.name, at, known=points.keys())
        entry = object_of(member.value, at)
        points[member.name] = _point(entry, at, is_export=export is not None)
    if not 1 <= len(points) <= MAX_POINTS:
        raise ModelError(pointer, f"not 1 to {MAX_POINTS} points")
    allow_additional = export is not None and flag(model, "allowAdditionalMeasurepoint", "")
    return Model(points, allow_additional)


def _the_model(root: Value) -> tuple[Object, str]:
    """Return the document's only model and its pointer: itself, or what a saved reply holds."""
    found = list(_models(root, "", 0))
    if len(found) > 1:
        raise ModelError("", f"{len(found)} models")
    return found[0] if found else (object_of(root, ""), "")


def _models(value: Value, pointer: str, depth: int) -> Iterator[tuple[Object, str]]:
    if isinstance(value, Object) and any(
        map(value.first, ("measurepoints", "thingMeasurepointMap"))
    ):
        yield value, pointer
    elif depth < _MAX_WRAPPERS and isinstance(value, Array):
        for index, item in enumerate(value.items):
            yield from _models(item, f"{pointer}/{index}", depth + 1)
    elif depth < _MAX_WRAPPERS and isinstance(value, Object):
        for name in _WRAPPERS:
            inside = value.first(name)
            if inside is not None:
                yield from _models(inside, f"{pointer}/{name}", depth + 1)


def _point(entry: Object, at: str, *, is_export: bool) -> Point:
    name = class_of(entry, at) if is_export else data_type(entry, at)
    has_quality = flag(entry, "hasQuality", at)
    if has_quality and name not in NUMBER_TYPES:
        if not is_export:
            raise ModelError(f"{at}/hasQuality", f"{name} has no quality")
        has_quality = False
    return Point(Place(entry, at).value_type(name), has_quality)
