"""Section 5 of the contract: is this value what the model says.

`judge_point` checks one point, `judge_value` one value of one type. Both return nothing when the
value is accepted and raise the first `ValueFault` otherwise. Numbers are compared as exact
fractions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.oracle.definitions import (
    Bounds,
    ValueType,
    date_of,
    escape,
    instants,
    milliseconds_of,
)
from tests.oracle.json_reader import (
    Array,
    Boolean,
    Member,
    Null,
    Number,
    Object,
    String,
    Value,
    is_number,
)
from tests.oracle.numbers import F32, F64, INT32_MAX, INT32_MIN, Decimal, decimal, rounded

if TYPE_CHECKING:
    from fractions import Fraction

    from tests.oracle.catalog import Product
    from tests.oracle.models import Point

MAX_TIME_MS: Final = 253402300799999  # 9999-12-31T23:59:59.999Z
FIRST_OF_SECONDS: Final = 100_000_000
FIRST_OF_1971: Final = 31_536_000_000
MAX_QUALITY: Final = 9

_DIGITS: Final = re.compile(r"[0-9]+")
_STRING_TYPES: Final = frozenset(["STRING", "DATE", "TIMESTAMP", "FILE"])


class ValueFault(Exception):  # noqa: N818 -- the contract's word
    """The first thing in a point that does not match the model."""

    def __init__(self, reason: str, pointer: str, offset: int) -> None:
        """Name the reason, the place in the document and the byte offset in the payload."""
        super().__init__(f"{pointer}: {reason}")
        self.reason = reason
        self.pointer = pointer
        self.offset = offset


@dataclass(frozen=True)
class Rules:
    """The product's settings that values depend on."""

    numbers_as_strings: bool
    ignore_null_points: bool = False
    min_ms: int | None = None


def rules_of(product: Product) -> Rules:
    """Return what a product's settings say of values."""
    return Rules(product.numbers_as_strings, product.ignore_null_points, product.min_ms)


def judge_point(point: Point, value: Value, pointer: str, rules: Rules) -> bool:
    """Judge one point of a `measurepoints` object; tell whether it has a value.

    5.3: without one it is only accepted where the product ignores that.
    """
    # 5.2: a point with quality is an object of value and quality, or the bare value.
    if point.has_quality and isinstance(value, Object):
        return _judge_value_with_quality(point.type, value, pointer, rules)
    if rules.ignore_null_points and isinstance(value, Null):
        return False
    judge_value(point.type, value, pointer, rules)
    return True


def judge_value(value_type: ValueType, value: Value, pointer: str, rules: Rules) -> None:
    """Judge one value of one type."""
    # 5.6: U+0000 is judged first, wherever the type reads strings.
    if isinstance(value, String) and "\0" in value.text and _reads_strings(value_type):
        raise ValueFault("type", pointer, value.start)
    # 5.3 needs no line of its own: no type below takes a Null.
    if value_type.name == "ARRAY":
        _judge_array(value_type, value, pointer, rules)
    elif value_type.name == "STRUCT":
        _judge_struct(value_type, value, pointer, rules)
    else:
        reason = _scalar_fault(value_type, value, rules)
        if reason is not None:
            raise ValueFault(reason, pointer, value.start)


def number_of(value: Value, rules: Rules) -> Decimal | None:
    """Return the number that a value is or counts as (5.4), else None."""
    if isinstance(value, Number):
        return decimal(value.text)
    if rules.numbers_as_strings and isinstance(value, String) and is_number(value.text):
        return decimal(value.text)
    return None


def _reads_strings(value_type: ValueType) -> bool:
    return value_type.name in _STRING_TYPES or value_type.string_keys is not None


def _scalar_fault(  # noqa: PLR0911 -- one line for each type
    value_type: ValueType, value: Value, rules: Rules
) -> str | None:
    match value_type.name:
        case "INT":
            return _int_fault(value_type.bounds, number_of(value, rules))
        case "FLOAT" | "DOUBLE":
            return _binary_fault(value_type, number_of(value, rules))
        case "BOOL":
            return _bool_fault(value, rules)
        case "STRING" | "FILE":
            return _string_fault(value, value_type.max_length)
        case "ENUM":
            return _enum_fault(value_type, value, rules)
        case "DATE":
            return _date_fault(value, value_type.bounds)
        case "TIMESTAMP":
            return _timestamp_fault(value, value_type.bounds, rules)
    raise AssertionError(value_type.name)


def _int_fault(bounds: Bounds, number: Decimal | None) -> str | None:
    if number is None or not number.integral:
        return "type"
    if not INT32_MIN <= number.value <= INT32_MAX:
        return "range"
    # 5.1: INT compares exactly, also with bounds that are not integral.
    minimum = None if bounds.minimum is None else decimal(bounds.minimum).value
    maximum = None if bounds.maximum is None else decimal(bounds.maximum).value
    return _bounds_fault(bounds, number.value, minimum, maximum)


def _binary_fault(value_type: ValueType, number: Decimal | None) -> str | None:
    if number is None:
        return "type"
    target = F32 if value_type.name == "FLOAT" else F64
    value = rounded(number.value, target)
    if isinstance(value, float):
        return "range"
    # 5.1: the bound is rounded to the point's type first, like the value.
    bounds = value_type.bounds
    minimum = None if bounds.minimum is None else rounded(decimal(bounds.minimum).value, target)
    maximum = None if bounds.maximum is None else rounded(decimal(bounds.maximum).value, target)
    return _bounds_fault(bounds, value, minimum, maximum)


def _bounds_fault(
    bounds: Bounds,
    value: Fraction,
    minimum: Fraction | float | None,
    maximum: Fraction | float | None,
) -> str | None:
    if minimum is not None and (value < minimum or (bounds.exclusive_minimum and value == minimum)):
        return "range"
    if maximum is not None and (value > maximum or (bounds.exclusive_maximum and value == maximum)):
        return "range"
    return None


def truth_of(value: Value, rules: Rules) -> bool | None:
    """Return the truth that a value is or counts as (5, 5.4), else None."""
    if isinstance(value, Boolean):
        return value.value
    if rules.numbers_as_strings and isinstance(value, String) and value.text in {"true", "false"}:
        return value.text == "true"
    number = number_of(value, rules)
    return None if number is None or number.value not in {0, 1} else number.value == 1


def _bool_fault(value: Value, rules: Rules) -> str | None:
    return "type" if truth_of(value, rules) is None else None


def _string_fault(value: Value, max_length: int) -> str | None:
    if not isinstance(value, String):
        return "type"
    return "length" if len(value.text.encode("utf-8")) > max_length else None


def _enum_fault(value_type: ValueType, value: Value, rules: Rules) -> str | None:
    if value_type.string_keys is not None:
        if not isinstance(value, String):
            return "type"
        return None if value.text in value_type.string_keys else "enum"
    number = number_of(value, rules)
    if number is None or not number.integral:
        return "type"
    return None if number.value in (value_type.integer_keys or ()) else "enum"


def _date_fault(value: Value, bounds: Bounds) -> str | None:
    if not isinstance(value, String):
        return "type"
    date = date_of(value.text)
    if date is None:
        return "date"
    return _instant_fault(bounds, milliseconds_of(date))


def _timestamp_fault(value: Value, bounds: Bounds, rules: Rules) -> str | None:
    number = number_of(value, rules)
    if isinstance(value, String) and _DIGITS.fullmatch(value.text):
        # Too many digits for the range never need to become an int.
        significant = value.text.lstrip("0")
        if len(significant) > len(str(MAX_TIME_MS)):
            return "range"
        number = decimal(significant or "0")
    if number is None or not number.integral:
        return "type"
    if not 0 <= number.value <= MAX_TIME_MS:
        return "range"
    # 3.5: what looks like seconds is not meant where the product says when its times begin.
    looks_like_seconds = FIRST_OF_SECONDS <= number.value < FIRST_OF_1971
    if looks_like_seconds and rules.min_ms is not None and number.value < rules.min_ms:
        return "range"
    return _instant_fault(bounds, int(number.value))


def _instant_fault(bounds: Bounds, milliseconds: int) -> str | None:
    """6.1: a bound may stand for many milliseconds; inclusive it lets all of them in."""
    if bounds.minimum is not None:
        first, last = instants(bounds.minimum)
        if milliseconds <= last if bounds.exclusive_minimum else milliseconds < first:
            return "range"
    if bounds.maximum is not None:
        first, last = instants(bounds.maximum)
        if milliseconds >= first if bounds.exclusive_maximum else milliseconds > last:
            return "range"
    return None


def _judge_array(value_type: ValueType, value: Value, pointer: str, rules: Rules) -> None:
    if not isinstance(value, Array):
        raise ValueFault("type", pointer, value.start)
    assert value_type.item is not None  # narrows the type: an ARRAY always has one
    for index, item in enumerate(value.items):
        # 3.2: `length` stands at the first element too many, after the faults of those before it.
        if index == value_type.max_size:
            raise ValueFault("length", pointer, item.start)
        judge_value(value_type.item, item, f"{pointer}/{index}", rules)


def _judge_struct(value_type: ValueType, value: Value, pointer: str, rules: Rules) -> None:
    if not isinstance(value, Object):
        raise ValueFault("type", pointer, value.start)
    seen: set[str] = set()
    for member in value.members:
        at = f"{pointer}/{escape(member.name)}"
        if member.name not in value_type.members:
            if value_type.additional_members:
                continue
            raise ValueFault("unknown_member", at, member.start)
        _check_repeat(member, at, seen)
        judge_value(value_type.members[member.name].type, member.value, at, rules)
    # 3.2: missing members are found at the closing brace, in the model's order.
    for name, struct_member in value_type.members.items():
        if struct_member.required and name not in seen:
            raise ValueFault("missing_member", f"{pointer}/{escape(name)}", value.end - 1)


def _judge_value_with_quality(
    value_type: ValueType, value: Object, pointer: str, rules: Rules
) -> bool:
    seen: set[str] = set()
    has_value = True
    for member in value.members:
        at = f"{pointer}/{escape(member.name)}"
        if member.name not in {"value", "quality"}:
            raise ValueFault("unknown_member", at, member.start)
        _check_repeat(member, at, seen)
        if member.name == "value" and rules.ignore_null_points and isinstance(member.value, Null):
            has_value = False
        elif member.name == "value":
            judge_value(value_type, member.value, at, rules)
        else:
            quality = number_of(member.value, rules)
            if quality is None or not quality.integral or not 0 <= quality.value <= MAX_QUALITY:
                raise ValueFault("quality", at, member.value.start)
    if "value" not in seen:
        raise ValueFault("missing_member", f"{pointer}/value", value.end - 1)
    return has_value


def _check_repeat(member: Member, at: str, seen: set[str]) -> None:
    if member.name in seen:
        raise ValueFault("duplicate", at, member.start)
    seen.add(member.name)
