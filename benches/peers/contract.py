"""The part of the contract that the peers implement: codes, limits, envelope."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from benches.corpus import Point

METHOD: Final = "integration.measurepoint.post"
INT_MIN, INT_MAX = -(2**31), 2**31 - 1
MAX_TIME: Final = 253402300799999
MAX_LENGTH, MAX_SIZE = 1024, 128
MAX_ID: Final = 256
OK, MODEL, FORMAT, EMPTY, DEVICE, METHODS = 200, 1204, 1220, 1251, 1257, 1260


def bounds(point: Point, *, least: float, most: float) -> tuple[float, float]:
    """The bounds of a number, both inclusive: an exclusive one is the next number inside."""
    low, high = max(point.get("minimum", least), least), min(point.get("maximum", most), most)
    whole = point["dataType"] == "INT"
    if point.get("exclusiveMinimum"):
        low = low + 1 if whole else math.nextafter(low, math.inf)
    if point.get("exclusiveMaximum"):
        high = high - 1 if whole else math.nextafter(high, -math.inf)
    return low, high


def double_bounds(point: Point) -> tuple[float, float]:
    """The bounds of a DOUBLE, by default those of finite numbers."""
    greatest = math.nextafter(math.inf, 0)
    low, high = bounds(point, least=-greatest, most=greatest)
    return float(low), float(high)


def element(point: Point) -> Point:
    """The type of an array's elements, with the array's bounds and `maxLength`."""
    definition = point["dataDefinition"]
    return {**point, "dataType": definition["itemType"], "hasQuality": False}


def envelope(request: Any) -> tuple[int, list[Any]]:
    """The code of the envelope, and the entries."""
    if type(request) is not dict:
        return FORMAT, []
    message_id, method, params = request.get("id"), request.get("method"), request.get("params")
    if type(params) is dict:
        params = [params]
    if type(message_id) is str:
        # Only escapes, which the corpus does not have, would make its token longer.
        message_id = None if len(message_id.encode()) + 2 <= MAX_ID else ()
    good_id = message_id is None or type(message_id) in (int, float)
    if not good_id or type(request.get("version")) is not str:
        return FORMAT, []
    if type(method) is not str or type(params) is not list:
        return FORMAT, []
    return (OK if method == METHOD else METHODS), params


def judge_device(devices: frozenset[str], entry: Any) -> int:
    """The code of an entry if only its device is checked."""
    if type(entry) is not dict:
        return MODEL
    device_key = entry.get("deviceKey")
    if type(device_key) is not str:
        return DEVICE if device_key is None else MODEL
    return OK if device_key in devices else DEVICE
