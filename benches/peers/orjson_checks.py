"""orjson.loads, then hand-written checks in Python, optimized for speed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import orjson

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
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.corpus import Point, Product


def _check_int(point: Point) -> Callable[[Any], bool]:
    low, high = bounds(point, least=INT_MIN, most=INT_MAX)

    def check(value: Any) -> bool:
        if type(value) is int:
            return low <= value <= high
        return type(value) is float and value.is_integer() and low <= value <= high

    return check


def _check_double(point: Point) -> Callable[[Any], bool]:
    low, high = double_bounds(point)

    def check(value: Any) -> bool:
        return (type(value) is float or type(value) is int) and low <= value <= high

    return check


def _check_bool(_point: Point) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return value is True or value is False or (type(value) in (int, float) and value in (0, 1))

    return check


def _check_enum(point: Point) -> Callable[[Any], bool]:
    definition = point["dataDefinition"]
    if definition["enumType"] == "STRING":
        texts = frozenset(definition["enumDesc"])
        return lambda value: type(value) is str and value in texts
    numbers = frozenset(map(int, definition["enumDesc"]))
    return lambda value: (type(value) is int or type(value) is float) and value in numbers


def _check_string(point: Point) -> Callable[[Any], bool]:
    most = (point.get("dataDefinition") or {}).get("maxLength", MAX_LENGTH)
    surely = most // 4  # a character has at most four bytes

    def check(value: Any) -> bool:
        return type(value) is str and (len(value) <= surely or len(value.encode()) <= most)

    return check


def _check_array(point: Point) -> Callable[[Any], bool]:
    most = point["dataDefinition"].get("maxSize", MAX_SIZE)
    one_of = element(point)
    check_one = _compile_check(one_of)
    if one_of["dataType"] == "STRING":
        surely = one_of["dataDefinition"].get("maxLength", MAX_LENGTH) // 4

        def check_texts(value: Any) -> bool:
            if type(value) is not list or len(value) > most:
                return False
            for one in value:
                if not (type(one) is str and len(one) <= surely) and not check_one(one):
                    return False
            return True

        return check_texts
    low, high = _plain_bounds(one_of)

    def check_doubles(value: Any) -> bool:
        if type(value) is not list or len(value) > most:
            return False
        for one in value:
            if not (type(one) is float and low <= one <= high) and not check_one(one):
                return False
        return True

    return check_doubles


def _check_struct(point: Point) -> Callable[[Any], bool]:
    items = point["dataDefinition"]["items"]
    checks = {item["identifier"]: _compile_check(item) for item in items}
    required = frozenset(item["identifier"] for item in items if item.get("required"))

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for name, member in value.items():
            check_member = checks.get(name)
            if check_member is None or not check_member(member):
                return False
        return value.keys() >= required

    return check


CHECKS: Final = {
    "INT": _check_int,
    "DOUBLE": _check_double,
    "BOOL": _check_bool,
    "ENUM": _check_enum,
    "STRING": _check_string,
    "ARRAY": _check_array,
    "STRUCT": _check_struct,
}


def _compile_check(point: Point) -> Callable[[Any], bool]:
    check = CHECKS[point["dataType"]](point)
    if not point.get("hasQuality"):
        return check

    def check_with_quality(value: Any) -> bool:
        if type(value) is not dict:
            return check(value)
        members = len(value)
        if members == 2:
            quality = value.get("quality")
            if type(quality) is not int and not (type(quality) is float and quality.is_integer()):
                return False
            return 0 <= quality <= 9 and "value" in value and check(value["value"])
        return members == 1 and "value" in value and check(value["value"])

    return check_with_quality


def _good_time(time: Any) -> bool:
    if type(time) is int:
        return 0 <= time <= MAX_TIME
    return time is None or (type(time) is float and time.is_integer() and 0 <= time <= MAX_TIME)


def orjson_checks(product: Product) -> Callable[[bytes], int]:  # noqa: C901 -- see judge
    """Compile a product for orjson and hand-written checks."""
    devices = frozenset(product.devices)
    # A point that is not a plain DOUBLE has empty bounds, so that its closure is called.
    rules = {
        name: (*_plain_bounds(point), _compile_check(point))
        for name, point in product.model["measurepoints"].items()
    }
    loads = orjson.loads

    # One long function, because a call would cost more than the check that it makes.
    def judge(payload: bytes) -> int:  # noqa: C901, PLR0911, PLR0912
        if not payload:
            return EMPTY
        try:
            request = loads(payload)
        except orjson.JSONDecodeError:
            return FORMAT
        code, entries = envelope(request)
        if code != OK:
            return code
        for entry in entries:
            if type(entry) is not dict:
                return MODEL
            device_key = entry.get("deviceKey")
            if type(device_key) is not str:
                return DEVICE if device_key is None else MODEL
            if device_key not in devices:
                return DEVICE
            measurepoints = entry.get("measurepoints")
            if type(measurepoints) is not dict:
                return MODEL
            try:
                for name, value in measurepoints.items():
                    low, high, check = rules[name]
                    if type(value) is float and low <= value <= high:
                        continue
                    if not check(value):
                        return MODEL
            except KeyError:
                return MODEL
            time = entry.get("time")
            if not (type(time) is int and 0 <= time <= MAX_TIME) and not _good_time(time):
                return MODEL
        return OK

    return judge


def _plain_bounds(point: Point) -> tuple[float, float]:
    if point["dataType"] == "DOUBLE":
        return double_bounds(point)
    return math.inf, -math.inf
