"""Numbers as an export writes them."""

from __future__ import annotations

import orjson
import pytest

from pointgate.importing.mapping import ValueMapping
from pointgate.importing.value_kinds import ValueKind
from pointgate.importing.values import Values


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.234,5", "1234.5"),
        ("12.345", "12345"),
        ("-1.234.567", "-1234567"),
        ("0,012", "0.012"),
        ("100,500", "100.500"),
        # A point that cannot group is the wrong separator: such a value is no number.
        ("0.012", None),
        ("-0.025", None),
        ("00.500", None),
        ("1.5", None),
        ("1234.567", None),
        ("0.123.456", None),
    ],
)
def test_digits_are_grouped_or_it_is_no_number(text: str, number: str | None) -> None:
    values = Values(ValueMapping(decimal=",", thousands="."), None)
    expected = orjson.dumps(text).decode() if number is None else number
    assert values.token(text, ValueKind.NUMBER) == expected
