"""Values of an export as tokens of JSON.

    1.234,5 with decimal "," and thousands "."    1234.5
    0,1 with factor 0.1                           0.01
    on, for a BOOL                                "on", which the judge refuses
    -9999 among the null words                    no point

The token is what a sender would have posted: a number keeps its digits, so that the judge rounds
it, and what is no number for a point of numbers goes to the judge as a string, which says so.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact
from typing import TYPE_CHECKING, Final

import orjson

from pointgate.importing.value_kinds import ValueKind

if TYPE_CHECKING:
    from pointgate.importing.mapping import PointMapping, ValueMapping

_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PLAIN_NUMBER: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eE][+-]?[0-9]+)?")

_EXACT: Final = Context(prec=400, traps=[Inexact])
"""A DOUBLE has at most 309 digits before the point: what does not fit is hardly a number."""


class Values:
    """Reads the values of one point.

    Args:
        values: How values are written.
        point: What the mapping says of the point; None when it says nothing.
    """

    def __init__(self, values: ValueMapping, point: PointMapping | None) -> None:
        self._null = frozenset([*values.null, *(point.null if point else ())])
        self._decimal = values.decimal
        self._thousands = values.thousands
        self._factor = Decimal(point.factor if point else 1)
        self._offset = Decimal(point.offset if point else 0)
        self._scaled = self._factor != 1 or self._offset != 0
        # Nobody groups digits behind a leading zero: 0.012 is 0,012 with the wrong separator.
        separator = re.escape(self._thousands)
        self._pattern = re.compile(rf"[+-]?[1-9][0-9]{{0,2}}(?:{separator}[0-9]{{3}})+")
        self._plain = not self._scaled and self._decimal == "." and not self._thousands

    def token(self, value: object, kind: ValueKind) -> str | None:
        """A value as JSON; None where there is none."""
        if not isinstance(value, str):
            return self._of_object(value, kind)
        text = value.strip()
        if text in self._null:
            return None
        if kind is ValueKind.NUMBER or kind is ValueKind.UNKNOWN:
            if self._plain and _JSON_NUMBER.fullmatch(text):
                return text
            return self._number(text) or _string(value)
        if kind is ValueKind.BOOL:
            word = text.lower()
            return word if word in {"true", "false"} else self._number(text) or _string(value)
        is_json = kind is ValueKind.JSON and text[:1] in "[{" and _is_json(text)
        return text if is_json else _string(value)

    def _of_object(self, value: object, kind: ValueKind) -> str | None:
        """The same of what is no text: of Parquet or JSON."""
        if value is None or value != value:  # noqa: PLR0124 - NaN
            return None
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            text = str(value)
            if text in self._null:
                return None
            if kind is ValueKind.TEXT:
                return text
            return self._number(text, plain=True) or _string(text)
        try:
            return orjson.dumps(value, default=str).decode()
        except (TypeError, ValueError):
            return _string(str(value))

    def _number(self, text: str, *, plain: bool = False) -> str | None:
        """A number as JSON has it; None where it is none."""
        if not plain:
            if self._thousands:
                text = self._without_thousands(text)
            if self._decimal != ".":
                if "." in text:
                    return None
                text = text.replace(self._decimal, ".")
        if not _JSON_NUMBER.fullmatch(text):
            match = _PLAIN_NUMBER.fullmatch(text)
            if match is None or not (match[2] or match[3]):
                return None
            sign, whole, rest, exponent = match.groups()
            text = f"{'-' if sign == '-' else ''}{whole.lstrip('0') or '0'}"
            text += (f".{rest}" if rest else "") + (exponent or "")
        if not self._scaled:
            return text
        try:
            scaled = _EXACT.multiply(Decimal(text), self._factor)
            if self._offset:
                scaled = _EXACT.add(scaled, self._offset)
        except ArithmeticError:
            return None
        token = str(scaled)
        return token.replace("E+", "e").lower() if "E" in token else token

    def _without_thousands(self, text: str) -> str:
        """The number without separators, if they stand between groups of three digits."""
        whole, point, rest = text.partition(self._decimal)
        if not self._pattern.fullmatch(whole):
            return text
        return whole.replace(self._thousands, "") + point + rest


def _string(text: str) -> str:
    return orjson.dumps(text).decode()


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
