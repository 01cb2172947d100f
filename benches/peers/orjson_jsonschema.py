"""orjson.loads, then jsonschema-rs with a schema made from the model; then a loop over the devices.

One call validates all entries of a request. Only if it fails, they are validated one by one, to
find the first faulty entry, and whether an unknown device comes before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from jsonschema_rs import Draft202012Validator

from benches.peers.contract import (
    DEVICE,
    EMPTY,
    FORMAT,
    INT_MAX,
    INT_MIN,
    MAX_LENGTH,
    MAX_SIZE,
    MAX_TIME,
    MODEL,
    OK,
    bounds,
    double_bounds,
    element,
    envelope,
    judge_device,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.corpus import Point, Product

Schema = dict[str, Any]


def _schema(point: Point) -> Schema:  # noqa: PLR0911 -- one line a type
    """The schema of a point's value."""
    definition = point.get("dataDefinition") or {}
    match point["dataType"]:
        case "DOUBLE":
            low, high = double_bounds(point)
            number: Schema = {"type": "number", "minimum": low, "maximum": high}
        case "INT":
            low, high = map(int, bounds(point, least=INT_MIN, most=INT_MAX))
            number = {"type": "integer", "minimum": low, "maximum": high}
        case "BOOL":
            return {"enum": [True, False, 0, 1]}
        case "ENUM":
            keys = definition["enumDesc"]
            return {"enum": list(map(int, keys) if definition["enumType"] == "INT" else keys)}
        case "ARRAY":
            most = definition.get("maxSize", MAX_SIZE)
            return {"type": "array", "maxItems": most, "items": _schema(element(point))}
        case "STRUCT":
            return _members(definition["items"])
        case _:
            return {"type": "string", "maxLength": definition.get("maxLength", MAX_LENGTH)}
    if not point.get("hasQuality"):
        return number
    quality = {"type": "integer", "minimum": 0, "maximum": 9}
    with_quality = {
        "type": "object",
        "properties": {"value": number, "quality": quality},
        "required": ["value"],
        "additionalProperties": False,
    }
    return {"anyOf": [number, with_quality]}


def _members(points: list[Point]) -> Schema:
    return {
        "type": "object",
        "properties": {point["identifier"]: _schema(point) for point in points},
        "required": [point["identifier"] for point in points if point.get("required")],
        "additionalProperties": False,
    }


def orjson_jsonschema(product: Product) -> Callable[[bytes], int]:
    """Compile a product for orjson and jsonschema-rs."""
    devices = frozenset(product.devices)
    entry = {
        "type": "object",
        "properties": {
            "deviceKey": {"type": "string"},
            "measurepoints": _members(list(product.model["measurepoints"].values())),
            "time": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_TIME},
        },
        "required": ["deviceKey", "measurepoints"],
    }
    good_entry = Draft202012Validator(entry).is_valid
    good_entries = Draft202012Validator({"type": "array", "items": entry}).is_valid
    loads = orjson.loads

    def judge(payload: bytes) -> int:
        if not payload:
            return EMPTY
        try:
            request = loads(payload)
        except orjson.JSONDecodeError:
            return FORMAT
        code, entries = envelope(request)
        if code != OK:
            return code
        if not good_entries(entries):
            return _first_fault(devices, good_entry, entries)
        for one in entries:
            if one["deviceKey"] not in devices:
                return DEVICE
        return OK

    return judge


def _first_fault(
    devices: frozenset[str], good_entry: Callable[[Any], bool], entries: list[Any]
) -> int:
    for entry in entries:
        code = judge_device(devices, entry)
        if code != OK:
            return code
        if not good_entry(entry):
            return MODEL
    return OK
