"""Values of points, as JSON texts: for each point a maker whose values the judge accepts.

A model document has many forms, and the judge alone knows its rules. So makers are proposed by what
the document says of a point, and then tried: the first one of which the judge accepts several
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

_WRAPPERS: Final = ("data", "items", "list", "models", "records", "result")
"""Members of a saved reply that may have the model in them (contract 6.1)."""

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
    keys = list(_object(definition.get("enumDesc") or definition.get("specsMap")))
    if keys:
        yield lambda random: random.choice(keys)
        yield lambda random: _quoted(random.choice(keys))
    low, high = _bound(definition, "minimum", _LOW), _bound(definition, "maximum", _HIGH)
    low, high = (low, high) if low <= high else (low, low)
    numbers: tuple[Maker, ...] = (
        lambda random: f"{random.uniform(low, high):.2f}",
        lambda random: str(random.randint(round(low), max(round(low), round(high)))),
    )
    texts: tuple[Maker, ...] = (
        lambda random: f'"{random.uniform(0, 12):.2f}"',
        lambda random: f'"2026-{random.randint(1, 12):02}-{random.randint(1, 28):02}"',
    )
    yield from numbers
    yield lambda random: random.choice(("true", "false"))
    yield lambda random: random.choice(("0", "1"))
    yield from texts
    yield lambda random: str(1_700_000_000_000 + random.randrange(86_400_000))
    items = definition.get("items")
    if isinstance(items, list) and items:
        yield from _structs([_object(item) for item in items])
    for length in _LENGTHS:
        for item in (*numbers, *texts):
            yield _array(item, length)


def _structs(items: list[dict[str, Any]]) -> Iterator[Maker]:
    """Objects; each member has the same place in the list of its own makers."""
    members = {str(item.get("identifier")): list(_plain_makers(item)) for item in items}
    by_type = {"DOUBLE": 0, "FLOAT": 0, "INT": 1, "LONG": 1, "BOOL": 2, "BOOLEAN": 2, "STRING": 4}
    guessed = {
        name: made[min(by_type.get(str(item.get("dataType")).upper(), 0), len(made) - 1)]
        for (name, made), item in zip(members.items(), items, strict=False)
    }
    yield lambda random: _struct({name: maker(random) for name, maker in guessed.items()})
    for place in range(max(map(len, members.values()))):
        chosen = {name: made[min(place, len(made) - 1)] for name, made in members.items()}
        yield lambda random, chosen=chosen: _struct(  # type: ignore[misc]
            {name: maker(random) for name, maker in chosen.items()}
        )


def _struct(members: dict[str, str]) -> str:
    return "{" + ",".join(f"{_quoted(name)}:{value}" for name, value in members.items()) + "}"


def _array(item: Maker, length: int) -> Maker:
    return lambda random: f"[{','.join(item(random) for _ in range(length))}]"


def _with_quality(maker: Maker) -> Maker:
    return (
        lambda random: f'{{"value":{maker(random)},"quality":{random.choice(_QUALITIES)}}}'
    )


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


def _bound(definition: dict[str, Any], name: str, default: float) -> float:
    """A bound, moved inwards, so that a rounded value is within it."""
    other = definition.get("maximum" if name == "minimum" else "minimum")
    try:
        bound = float(definition[name])
    except (KeyError, TypeError, ValueError):
        return default
    try:
        width = abs(float(cast("Any", other)) - bound)
    except (TypeError, ValueError):
        width = 1.0
    inwards = width * 0.03
    return bound + inwards if name == "minimum" else bound - inwards


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
