"""Hostile payloads, which maximize the judge's time: shapes of any size, and small rejections.

A shape is a beginning, repeated units, and an end. If it has several units, a seeded generator
draws one for each place, so that no branch predictor learns them. The model has no limits on arrays
and strings, because a rejected shape costs less: the rest after a fault is only parsed as JSON.

Three products share the model: `plain`; `ignore`, where unknown points are skipped; `strings`,
where numbers may be strings.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any, Final

from pointgate import Validator, _core

SEED: Final = 41
ENDLESS: Final = 10**9
HEAD: Final = '{"version":"1.0","method":"integration.measurepoint.post","params":['


@dataclass(frozen=True)
class Shape:
    """A kind of payload; `code` is the code of its reply."""

    name: str
    units: tuple[str, ...]
    begin: str = HEAD
    end: str = "]}"
    separator: str = ","
    product: str = "plain"
    code: int = 200

    def make(self, size: int) -> bytes:
        """A payload of about `size` bytes."""
        rng = random.Random(SEED)
        mean = sum(len((unit + self.separator).encode()) for unit in self.units) / len(self.units)
        count = max(round((size - len(self.begin) - len(self.end)) / mean), 1)
        units = rng.choices(self.units, k=count)
        return (self.begin + self.separator.join(units) + self.end).encode()


def topic(product: str) -> str:
    """The topic of a product's requests."""
    return f"sys/{product}/integration/measurepoint/post"


def similar(number: int) -> str:
    """Identifiers as plants number them, which are all similar."""
    site, rest = divmod(number, 1000)
    block, inverter, string = rest // 100, rest // 10 % 10, rest % 10
    return f"Site{site:02}.Block{block:02}.Inverter{inverter:02}.String{string:02}.Current"


def model() -> dict[str, Any]:
    """A model with a point of each kind, and the largest number of points."""

    def point(kind: str, **definition: object) -> dict[str, Any]:
        return {"dataType": kind, "dataDefinition": definition}

    members = [{"identifier": f"m{number}", "dataType": "INT"} for number in range(1000)]
    points = {
        **{
            name: point("ARRAY", itemType=kind, maxSize=ENDLESS)
            for name, kind in (("d", "DOUBLE"), ("f", "FLOAT"), ("i", "INT"))
        },
        "s": point("ARRAY", itemType="STRING", maxSize=ENDLESS, maxLength=ENDLESS),
        "text": point("STRING", maxLength=ENDLESS),
        "time": {"dataType": "TIMESTAMP"},
        "bool": {"dataType": "BOOL"},
        "enum": point(
            "ENUM", enumType="STRING", enumDesc={f"{'x' * 60}{n}": {} for n in range(5000)}
        ),
        "quality": {"dataType": "INT", "hasQuality": True},
        "struct": point("STRUCT", items=members),
        "required": point("STRUCT", items=[{**member, "required": True} for member in members]),
    }
    return {"measurepoints": points | {similar(n): {"dataType": "INT"} for n in range(4900)}}


@cache
def validator() -> Validator:
    """The validator of the three products."""
    compiled = _core.Model.compile(json.dumps(model()).encode())
    devices = _core.Devices.parse(("d\n" + "é" * 60).encode(), "txt")
    products = {
        "plain": _core.Product(compiled, devices, default_device="d"),
        "ignore": _core.Product(compiled, devices, default_device="d", unknown_points="ignore"),
        "strings": _core.Product(compiled, devices, default_device="d", numbers_as_strings=True),
    }
    return Validator(_core.Catalog(products), payload_bytes=1 << 26)


def written(value: Fraction) -> str:
    """All digits of a fraction of a power of two, in scientific notation."""
    places = value.denominator.bit_length() - 1
    digits = str(value.numerator * 5**places)
    return f"{digits[0]}.{digits[1:] or '0'}e{len(digits) - 1 - places}"


def long(token: str) -> str:
    """The number padded with digits to 1,000 characters, which makes it minimally greater."""
    mantissa, exponent = token.split("e")
    zeros = "0" * (1000 - len(token) - 1)
    return f"{mantissa}{zeros}1e{exponent}"


def array(name: str, what: str, *units: str, product: str = "plain") -> Shape:
    begin = f'{HEAD}{{"measurepoints":{{"{name}":['
    return Shape(what, units, begin, "]}}]}", product=product)


def numbers(name: str, what: str, tokens: str) -> Shape:
    return array(name, what, *tokens.split())


def points(what: str, *units: str, product: str = "plain") -> Shape:
    return Shape(what, units, f'{HEAD}{{"measurepoints":{{', "}}]}", product=product)


def members(what: str, *units: str) -> Shape:
    return Shape(what, units, f'{HEAD}{{"measurepoints":{{}},', "}]}")


def unread(what: str, *units: str) -> Shape:
    return Shape(what, units, f'{HEAD}{{"measurepoints":{{}},"x":[', "]}]}")


def text(what: str, unit: str) -> Shape:
    return Shape(what, (unit,), f'{HEAD}{{"measurepoints":{{"text":"', '"}}]}', "")


def envelope(what: str, *units: str) -> Shape:
    return Shape(what, units, f"{HEAD}],", "}")


def _struct(name: str, order: list[int]) -> str:
    inside = ",".join(f'"m{number}":1' for number in order)
    return f'{{"measurepoints":{{"{name}":{{{inside}}}}}}}'


SMALLEST_64: Final = written(Fraction(1, 2**1075))
SMALLEST_32: Final = written(Fraction(1, 2**150))
"""Half of the smallest positive number, halfway to 0: the ties with the most digits."""
ABOVE_ONE_64: Final = written(1 + Fraction(1, 2**53))
ABOVE_ONE_32: Final = written(1 + Fraction(1, 2**24))
_NO_ORDER: Final = [number * 7 % 1000 for number in range(1000)]
_POINTS: Final = [f'"{similar(n)}":1' for n in range(4900)]

SHAPES: Final = (
    array("d", "DOUBLE, one digit", "1"),
    numbers("d", "DOUBLE, short ones of all kinds", "1 1.5 1e23 -0 0.1 3e9 1e-310 7e99"),
    numbers("d", "DOUBLE, powers that are not exact", "1e23 1e24 3e-30 1e-310 7e99"),
    array("d", "DOUBLE, 17 digits", "0.30000000000000004"),
    array("d", "DOUBLE, 20 digits, just above a tie", "9007199254740993.0001"),
    array("d", "DOUBLE, a tie above 1", ABOVE_ONE_64),
    array("d", "DOUBLE, 1,000 digits above 1", long(ABOVE_ONE_64)),
    array("d", "DOUBLE, half the smallest, 751 digits", SMALLEST_64),
    array("d", "DOUBLE, half the smallest, 1,000 digits", long(SMALLEST_64)),
    array("d", "DOUBLE, 1,000 nines", f"9.{'9' * 990}e-310"),
    array("d", "DOUBLE, 1,000 zeros, then digits", f"0.{'0' * 300}{'1' * 690}"),
    numbers("f", "FLOAT, short ones of all kinds", "1 1.5 1e13 1e-5 -0 0.1 1e-40 16777217"),
    array("f", "FLOAT, just above a tie", "16777217.000000000001"),
    array("f", "FLOAT, a tie above 1", ABOVE_ONE_32),
    array("f", "FLOAT, half the smallest", SMALLEST_32),
    array("f", "FLOAT, half the smallest, 1,000 digits", long(SMALLEST_32)),
    numbers("i", "INT, exponents", "1e1 0e9 1e2 2e9 9e8 3e4"),
    numbers("i", "INT, negative exponents", "10e-1 500e-2 7.0 0e-9"),
    array("i", "INT, 1,000 digits", f"1{'0' * 990}e-990"),
    array("i", "INT, 1,000 decimals", f"1.{'0' * 998}"),
    array("i", "INT in strings", '"1e1"', r'"\u0031e1"', '"7"', "0e1", product="strings"),
    array("d", "DOUBLE in strings, 1,000 digits", f'"{long(SMALLEST_64)}"', product="strings"),
    array("s", "STRING, empty", '""'),
    array("s", "STRING, short ones of all kinds", '""', '"a"', r'"\n"', '"é"', r'"\u0041"'),
    text("STRING, a long one of short escapes", r"\n"),
    text("STRING, a long one of surrogate pairs", r"\ud83d\ude00"),
    text("STRING, a long one of two bytes each", "é"),
    text("STRING, a long one, alternating", r"é\n"),
    Shape("ENUM of 5,000 long keys", (f'{{"measurepoints":{{"enum":"{"x" * 60}4999"}}}}',)),
    Shape("STRUCT, members in reverse order", (_struct("struct", list(range(999, -1, -1))),)),
    Shape("STRUCT, members in random order", (_struct("required", _NO_ORDER),)),
    Shape("STRUCT, empty", ('{"measurepoints":{"struct":{}}}',)),
    points("unknown points", '"x":1', '"":[]', r'"\n":1', '"é":""', product="ignore"),
    points("unknown points, empty names", '"":1', product="ignore"),
    Shape("5,000 points in reverse order", (f'{{"measurepoints":{{{",".join(_POINTS[::-1])}}}}}',)),
    Shape("entries, the smallest", ('{"measurepoints":{}}',)),
    Shape("entries with one point", ('{"measurepoints":{"bool":1}}',)),
    Shape("entries, names escaped", (r'{"\u006deasurepoints":{"\u0062ool":1},"\u0074ime":1e1}',)),
    Shape("entries, device key not ASCII", (f'{{"deviceKey":"{"é" * 60}","measurepoints":{{}}}}',)),
    Shape("entries, device key escaped", (r'{"deviceKey":"\u0064","measurepoints":{}}',)),
    members("unknown members of an entry", '"":0', '"x":[]'),
    members("unknown members of an entry, escaped", r'"\n":0'),
    envelope("members of the envelope", '"":0', '"x":[]'),
    envelope("members of the envelope, escaped", r'"\n":0'),
    unread("ignored values", "[]", "{}", "1", '""', "true", "-1e5", r'"\n"', '{"":0}'),
    unread("depth, closed again", f"{'[' * 28}{']' * 28}"),
    unread("depth of objects", '{"":' * 28 + "1" + "}" * 28),
    unread("blanks", "1\n \t\r"),
    Shape("endless depth", ("[",), "", "", "", code=1220),
    Shape("endless members", ('"k":0',), "{", "", code=1220),
    Shape("an endless string", (r"\n",), '"', "", "", code=1220),
    Shape("a control character after UTF-8", ("é",), '{"x":"', '\x01"}', "", code=1220),
    replace(
        array("d", "a fault at the end of a valid request", "1"), end='],"bool":2}}]}', code=1204
    ),
    Shape("a fault, and entries after it", ('{"measurepoints":{"bool":2}}',), code=1204),
)

REFUSALS: Final = {
    "an unknown point, none similar": '"x":1',
    "an unknown point, one typo": f'"{similar(1234)}0":1',
    "an unknown point, many similar": '"Site07.Block12.Inverter23.String34.Current":1',
    "an unknown point, another ending": '"Site01.Block02.Inverter03.String04.Voltage":1',
    "a key that an ENUM lacks": '"enum":"x"',
    "a required member missing": '"required":{}',
    "a value of another type": '"bool":2',
    "a long text in the message": '"bool":"' + r"\n" * 500 + '"',
}
"""The points of small requests that are rejected."""


def refusal(points: str) -> bytes:
    """A small request with these points."""
    return f'{HEAD}{{"measurepoints":{{{points}}}}}]}}'.encode()
