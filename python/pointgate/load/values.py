"""Values of points, as JSON texts: for each point a maker whose values the judge accepts.

A model document has many forms, and the judge alone knows its rules. So makers are proposed by what
the document says of a point, and then tried: the first one of which the judge accepts most
values is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from pointgate._core import Model

    Maker = Callable[[Random], str]

_LOW, _HIGH = -40.0, 4000.0
"""The range of numbers without bounds."""

_LARGEST: Final = 1e15
"""Bounds beyond it are none: a model editor writes the limits of the type."""

_WRAPPERS: Final = ("data", "items", "list", "models", "records", "result")
"""Members of a saved reply that may have the model in them (contract 6.1)."""

_KINDS: Final = ("DOUBLE", "INT", "BOOL", "STRING", "DATE", "TIMESTAMP")

_INSTANT: Final = 1_700_000_000_000

_LENGTHS: Final = (3, 1, 2, 4, 8, 16)
"""The lengths of arrays that are tried."""

_QUALITIES: Final = (0, 0, 0, 9)


def point_documents(model: Model) -> dict[str, Any]:
    """What the model's document says of each point; an empty object where it is not found."""
    content: bytes = cast("Any", model).__reduce__()[1][0]  # a pickle has the document
    points = _points(_parsed(content.removeprefix(b"\xef\xbb\xbf")))
    return {identifier: _object(points.get(identifier)) for identifier in model.identifiers}


def makers(point: dict[str, Any]) -> Iterator[Maker]:
    """Makers of values that the point may accept, the likeliest first."""
    definition = {**_object(point.get("dataDefinition")), **point}
    for maker in _plain_makers(definition):
        if point.get("hasQuality") in (True, "true"):
            yield _with_quality(maker)
        yield maker


def _plain_makers(definition: dict[str, Any]) -> Iterator[Maker]:
    members = _members(definition)
    if members:
        required = [one for one in members if one.get("required") in (True, "true")]
        yield _struct(required or members)
        yield _struct(members)
    by_kind = _by_kind(definition)
    yield from by_kind.values()
    for length in _LENGTHS:
        for kind in ("DOUBLE", "INT", "STRING", "DATE"):
            yield _array(by_kind[kind], length)


def _by_kind(definition: dict[str, Any]) -> dict[str, Maker]:
    """A maker for each kind of value that is not composed."""
    low, high = _bounds(definition)
    keys = list(_object(definition.get("enumDesc") or definition.get("specsMap"))) or ["0"]
    return {
        "ENUM": lambda random: random.choice(keys),
        "NAMED": lambda random: quoted(random.choice(keys)),
        "DOUBLE": lambda random: f"{random.uniform(low, high):.2f}",
        "INT": lambda random: str(random.randint(round(low), round(high))),
        "BOOL": lambda random: random.choice(("true", "false")),
        "STRING": lambda random: f'"{random.uniform(0, 12):.2f}"',
        "DATE": lambda random: f'"2026-{random.randint(1, 12):02}-{random.randint(1, 28):02}"',
        "TIMESTAMP": lambda random: str(_INSTANT + random.randrange(86_400_000)),
    }


def _members(definition: dict[str, Any]) -> list[dict[str, Any]]:
    """The members of a STRUCT."""
    found = definition.get("items") or list(_object(definition.get("struct")).values())
    return [_object(one) for one in found] if isinstance(found, list) else []


def _struct(members: list[dict[str, Any]]) -> Maker:
    named = {str(one.get("identifier")): _by_kind(one)[_kind(one)] for one in members}
    return lambda random: (
        "{" + ",".join(f"{quoted(name)}:{make(random)}" for name, make in named.items()) + "}"
    )


def _kind(member: dict[str, Any]) -> str:
    """The kind of a struct's member; that of an ENUM is by what it is made of."""
    name = str(member.get("dataType") or str(member.get("$class")).rpartition("TSL")[2]).upper()
    if name == "ENUM":
        integral = member.get("valueType") in (True, "true")
        return "ENUM" if integral or str(member.get("enumType")).upper() == "INT" else "NAMED"
    alias = {"FLOAT": "DOUBLE", "LONG": "INT", "TEXT": "STRING", "BOOLEAN": "BOOL"}
    return alias.get(name, name) if name in alias or name in _KINDS else "DOUBLE"


def _array(item: Maker, length: int) -> Maker:
    return lambda random: f"[{','.join(item(random) for _ in range(length))}]"


def _with_quality(maker: Maker) -> Maker:
    return lambda random: f'{{"value":{maker(random)},"quality":{random.choice(_QUALITIES)}}}'


def quoted(text: str) -> str:
    """A JSON string."""
    return orjson.dumps(text).decode()


def _bounds(definition: dict[str, Any]) -> tuple[float, float]:
    """The range of a number, a little within its bounds: printed values are rounded."""
    low, high = _number(definition.get("minimum")), _number(definition.get("maximum"))
    if low is None:
        low = _LOW if high is None or high > _LOW else high - 1.0
    if high is None:
        high = max(_HIGH, low + 1.0)
    margin = 0.03 * (high - low)
    return low + margin, high - margin


def _number(found: Any) -> float | None:
    """A finite number that is not absurdly large."""
    try:
        number = float(found)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < _LARGEST else None


def _points(found: Any) -> dict[str, Any]:
    """The points in a document."""
    if isinstance(found, dict):
        points = found.get("measurepoints") or found.get("thingMeasurepointMap")
        if isinstance(points, dict):
            return points
    inner = found if isinstance(found, list) else [_object(found).get(name) for name in _WRAPPERS]
    return next((points for one in inner if one and (points := _points(one))), {})


def _object(found: Any) -> dict[str, Any]:
    """An object, or JSON text of one; else an empty one."""
    if isinstance(found, str) and found.startswith("{"):
        found = _parsed(found.encode())
    return found if isinstance(found, dict) else {}


def _parsed(document: bytes) -> Any:
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        return None
