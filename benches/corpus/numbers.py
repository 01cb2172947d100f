"""Random values of points, printed as gateways print them.

The scalars of a value are JSON tokens from the start, so that all variants print the same text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random

    from benches.corpus.model import Point

Value = str | list["Value"] | dict[str, "Value"]
"""A JSON value whose scalars are tokens, as they will be printed."""

PRINTED: Final = {
    "%.2f": 0.62,
    "%.1f": 0.14,
    "%.5f": 0.12,
    "%.{digits}g": 0.05,
    "%d": 0.05,
    "%.4e": 0.02,
}
"""How gateways print a DOUBLE, with the share of each; `digits` is 15 to 17."""

TEXTS: Final = (
    "V3.02.17",
    "grid ok",
    "waiting for irradiance",
    "Temperatur über Grenzwert",
    "并网运行",
    'limited by "EVU" 60 %',
)


def printed(rng: random.Random, low: float, high: float) -> str:
    """Print a number between the bounds, far enough from them that rounding stays inside."""
    value = low + (high - low) * (0.03 + 0.94 * rng.random())
    (form,) = rng.choices(list(PRINTED), list(PRINTED.values()))
    return form.replace("{digits}", str(rng.randint(15, 17))) % value


def text_token(text: str) -> str:
    """Print a string as a JSON token."""
    return json.dumps(text, ensure_ascii=False)


def value_of(point: Point, rng: random.Random) -> Value:  # noqa: PLR0911 -- a type, a value
    """Draw a value that the point accepts."""
    definition = point.get("dataDefinition") or {}
    low, high = point.get("minimum", -40), point.get("maximum", 4000)
    match point["dataType"]:
        case "DOUBLE":
            number: Value = printed(rng, low, high)
        case "INT":
            number = str(rng.randint(low, high))
        case "BOOL":
            return rng.choice(("true", "false", "true", "false", "true", "false", "0", "1"))
        case "ENUM":
            key = rng.choice(list(definition["enumDesc"]))
            return key if definition["enumType"] == "INT" else text_token(key)
        case "ARRAY" if definition["itemType"] == "STRING":
            return [text_token(f"{rng.random() * 12:.2f}") for _ in range(3)]
        case "ARRAY":
            return [printed(rng, low, high) for _ in range(definition["maxSize"])]
        case "STRUCT":
            return {item["identifier"]: value_of(item, rng) for item in definition["items"]}
        case _:
            return text_token(rng.choice(TEXTS))
    if point.get("hasQuality"):
        return {"value": number, "quality": str(rng.choice((0, 0, 0, 9)))}
    return number
