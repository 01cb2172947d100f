"""The requests that the judge is timed on: seeded, the same on every machine, with stated verdicts.

A stream is a list of *different* payloads of one shape, since a branch predictor learns a single
message by heart. Numbers are printed as gateways print them (`PRINTED`). Two products:

    example   the protocol page's: Power (INT, quality), temp (DOUBLE), branchCurr (ARRAY of STRING)
    plant     41 points: 24 doubles with bounds, 6 whole numbers, 3 bools, 2 enums, 2 strings, an
              array of 16 doubles, branchCurr, 2 structs; four of the doubles carry a quality

    shape   entries x points   messages   product
    S             3 x 3            2000   example (its first message is the page's example)
    M            10 x 20            256   plant
    L           500 x 20              8   plant
    XL       10,000 x 20              1   plant

A message of the plant follows one of eight templates (a gateway reports the same points every
time); a tenth of its entries miss one point and have another. Every message is first built as
values whose numbers are already text, then printed, so that all variants of a shape are the same
data.

Invariants: the same shape and variant are the same bytes, always; every message of a stream has the
code that `CODES` states for its variant, which whoever times it asserts first (`Stream.check`).

What it does not do: cover the contract. There are no repeated members, dates or numbers as strings
here; the case tables and the differential tests are for that.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Value = str | list["Value"] | dict[str, "Value"]
"""A JSON value whose scalars are tokens, as they will be printed."""
Point = dict[str, Any]
"""A point of a model document."""

SEED: Final = 41
DEVICES: Final = 10_000
TEMPLATES: Final = 8
SUBSTITUTED: Final = 0.1
"""The share of entries that miss a point of their template and have another."""
START_MS: Final = 1_760_000_000_000

PRINTED: Final = {
    "%.2f": 0.62,
    "%.1f": 0.14,
    "%.5f": 0.12,
    "%.{digits}g": 0.05,
    "%d": 0.05,
    "%.4e": 0.02,
}
"""How gateways print a DOUBLE, with the share of each; `digits` is 15 to 17."""

DOUBLES: Final = (
    ("INV.GenActivePW", -500, 4000),
    ("INV.GenReactivePW", -2000, 2000),
    ("INV.ApparentPW", 0, 4500),
    ("INV.PowerFactor", -1, 1),
    ("INV.Frequency", 45, 65),
    ("INV.VoltageA", 0, 1000),
    ("INV.VoltageB", 0, 1000),
    ("INV.VoltageC", 0, 1000),
    ("INV.CurrentA", 0, 3000),
    ("INV.CurrentB", 0, 3000),
    ("INV.CurrentC", 0, 3000),
    ("INV.DCVoltage", 0, 1500),
    ("INV.DCCurrent", -50, 4000),
    ("INV.DCPW", -500, 5000),
    ("INV.Efficiency", 0, 100),
    ("INV.TempCabinet", -40, 120),
    ("INV.TempIGBT1", -40, 180),
    ("INV.TempIGBT2", -40, 180),
    ("INV.TempIGBT3", -40, 180),
    ("INV.InsulationResistance", 0, 20000),
    ("INV.APProduction", 0, 1000000000),
    ("INV.DayProduction", 0, 100000),
    ("MET.Irradiance", 0, 1500),
    ("MET.TempAmbient", -50, 70),
)
WITH_QUALITY: Final = ("INV.GenActivePW", "INV.Frequency", "INV.DCPW", "MET.Irradiance")
INTS: Final = (
    ("INV.StateWord", 0, 65535),
    ("INV.AlarmCode", 0, 9999),
    ("INV.RunHours", 0, 1000000),
    ("INV.StartCount", 0, 1000000),
    ("INV.Setpoint", -100, 100),
    ("COM.SignalStrength", -127, 0),
)
BOOLS: Final = ("INV.GridConnected", "INV.Derated", "COM.Online")
ENUMS: Final = (
    ("INV.State", "INT", ("0", "1", "2", "3", "4", "5", "6", "7")),
    ("INV.Mode", "STRING", ("MPPT", "CV", "STANDBY", "OFF")),
)
STRINGS: Final = (("INV.Message", 128), ("INV.Firmware", 32))
TEXTS: Final = (
    "V3.02.17",
    "grid ok",
    "waiting for irradiance",
    "Temperatur über Grenzwert",
    "并网运行",
    'limited by "EVU" 60 %',
)
ARRAY_SIZE: Final = 16
STRUCTS: Final[tuple[tuple[str, list[Point]], ...]] = (
    (
        "INV.LastEvent",
        [
            {"identifier": "code", "dataType": "INT", "required": True},
            {
                "identifier": "text",
                "dataType": "STRING",
                "dataDefinition": {"maxLength": 64},
                "required": True,
            },
        ],
    ),
    (
        "MET.Wind",
        [
            {
                "identifier": "speed",
                "dataType": "DOUBLE",
                "minimum": 0,
                "maximum": 75,
                "required": True,
            },
            {"identifier": "direction", "dataType": "DOUBLE", "minimum": 0, "maximum": 360},
        ],
    ),
)


def _model(identifier: str, points: list[Point]) -> dict[str, Any]:
    named = {
        point["identifier"]: {"hasQuality": False, "signalType": "Generic", **point}
        for point in points
    }
    return {
        "modelId": identifier,
        "attributes": {},
        "measurepoints": named,
        "services": {},
        "events": {},
    }


def _branch_currents() -> Point:
    return {
        "identifier": "branchCurr",
        "dataType": "ARRAY",
        "dataDefinition": {"itemType": "STRING"},
    }


def _plant_points() -> list[Point]:
    points: list[Point] = [
        {"identifier": name, "dataType": data_type, "minimum": low, "maximum": high}
        for data_type, group in (("DOUBLE", DOUBLES), ("INT", INTS))
        for name, low, high in group
    ]
    for point in points:
        point["hasQuality"] = point["identifier"] in WITH_QUALITY
        point["exclusiveMinimum"] = point["identifier"] == "INV.InsulationResistance"
    points += [{"identifier": name, "dataType": "BOOL"} for name in BOOLS]
    for name, enum_type, keys in ENUMS:
        definition = {
            "enumType": enum_type,
            "enumDesc": {key: {"defaultValue": key} for key in keys},
        }
        points.append({"identifier": name, "dataType": "ENUM", "dataDefinition": definition})
    for name, length in STRINGS:
        points.append(
            {"identifier": name, "dataType": "STRING", "dataDefinition": {"maxLength": length}}
        )
    array = {"itemType": "DOUBLE", "maxSize": ARRAY_SIZE}
    points.append(
        {
            "identifier": "INV.StringCurrents",
            "dataType": "ARRAY",
            "dataDefinition": array,
            "minimum": -5,
            "maximum": 30,
        }
    )
    points.append(_branch_currents())
    for name, items in STRUCTS:
        points.append(
            {"identifier": name, "dataType": "STRUCT", "dataDefinition": {"items": items}}
        )
    return sorted(points, key=lambda point: str(point["identifier"]))


@dataclass(frozen=True, eq=False)
class Product:
    """A product as its files describe it; every judge compiles it for itself."""

    key: str
    model: dict[str, Any]
    devices: tuple[str, ...]

    @property
    def topic(self) -> str:
        """The topic of its requests."""
        return f"sys/{self.key}/integration/measurepoint/post"


_DEVICE_KEYS = tuple(f"site{n % 40:02d}-inv{n:05d}" for n in range(DEVICES))
PLANT: Final = Product("plant", _model("plant", _plant_points()), _DEVICE_KEYS)
EXAMPLE: Final = Product(
    "example",
    _model(
        "example",
        [
            {"identifier": "Power", "dataType": "INT", "hasQuality": True},
            {"identifier": "temp", "dataType": "DOUBLE"},
            _branch_currents(),
        ],
    ),
    ("device1", "device2", *_DEVICE_KEYS[2:]),
)


@dataclass(frozen=True)
class Shape:
    """How large the messages of a stream are, and how many there are."""

    product: Product
    entries: int
    points: int
    messages: int


SHAPES: Final = {
    "S": Shape(EXAMPLE, 3, 3, 2000),
    "M": Shape(PLANT, 10, 20, 256),
    "L": Shape(PLANT, 500, 20, 8),
    "XL": Shape(PLANT, 10_000, 20, 1),
}

CODES: Final = {
    "valid": 200,
    "shuffled": 200,
    "pretty": 200,
    "error-first": 1204,
    "error-last": 1204,
    "device-first": 1257,
    "device-last": 1257,
    "error-then-device": 1204,
    "device-then-error": 1257,
    "broken": 1220,
    "error-broken": 1220,
    "bad-utf8": 1220,
}
"""The variants, and the code that every message of one has."""


@dataclass
class Entry:
    """One entry before it is printed."""

    device_key: str
    measurepoints: dict[str, Value]
    time: str


@dataclass(frozen=True)
class Stream:
    """The payloads of a shape and a variant."""

    shape: str
    variant: str
    payloads: list[bytes]
    points: int
    """How many points stand in the payloads, also in those that are refused."""

    @property
    def product(self) -> Product:
        """The product that the requests are for."""
        return SHAPES[self.shape].product

    @property
    def size(self) -> int:
        """The bytes of all payloads."""
        return sum(map(len, self.payloads))

    def check(self, name: str, codes: Sequence[int]) -> None:
        """Assert that a judge gave the stated codes; `name` is the judge's."""
        expected = {CODES[self.variant]: SHAPES[self.shape].messages}
        counts = dict(Counter(codes))
        assert counts == expected, (
            f"{name} on {self.shape} {self.variant}: {counts}, not {expected}"
        )


def _double(rng: random.Random, low: float, high: float) -> str:
    """Print a number inside the middle of the bounds, which rounding cannot leave."""
    value = low + (high - low) * (0.03 + 0.94 * rng.random())
    (form,) = rng.choices(list(PRINTED), list(PRINTED.values()))
    return form.replace("{digits}", str(rng.randint(15, 17))) % value


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _value(point: Point, rng: random.Random) -> Value:  # noqa: PLR0911 -- a type, a value
    definition = point.get("dataDefinition") or {}
    low, high = point.get("minimum", -40), point.get("maximum", 4000)
    match point["dataType"]:
        case "DOUBLE":
            number: Value = _double(rng, low, high)
        case "INT":
            number = str(rng.randint(low, high))
        case "BOOL":
            return rng.choice(("true", "false", "true", "false", "true", "false", "0", "1"))
        case "ENUM":
            key = rng.choice(list(definition["enumDesc"]))
            return key if definition["enumType"] == "INT" else _text(key)
        case "ARRAY" if definition["itemType"] == "STRING":
            return [_text(f"{rng.random() * 12:.2f}") for _ in range(3)]
        case "ARRAY":
            return [_double(rng, low, high) for _ in range(definition["maxSize"])]
        case "STRUCT":
            return {item["identifier"]: _value(item, rng) for item in definition["items"]}
        case _:
            return _text(rng.choice(TEXTS))
    if point.get("hasQuality"):
        return {"value": number, "quality": str(rng.choice((0, 0, 0, 9)))}
    return number


def _templates(rng: random.Random) -> list[list[str]]:
    """Which points a gateway reports: 20 of the plant's 41, in the model's order."""
    others = ["branchCurr", *(name for name, _ in STRUCTS)]
    templates = []
    for _ in range(TEMPLATES):
        chosen = {name for name, _, _ in rng.sample(DOUBLES, 12) + rng.sample(INTS, 3)}
        chosen |= {rng.choice(BOOLS), rng.choice(ENUMS)[0], rng.choice(STRINGS)[0]}
        chosen |= {"INV.StringCurrents", rng.choice(others)}
        templates.append([name for name in PLANT.model["measurepoints"] if name in chosen])
    return templates


def _entry(product: Product, template: list[str], device_key: str, rng: random.Random) -> Entry:
    model = product.model["measurepoints"]
    names = template
    if len(model) > len(template) and rng.random() < SUBSTITUTED:
        names = template.copy()
        names[rng.randrange(len(names))] = rng.choice(
            [name for name in model if name not in template]
        )
    measurepoints = {name: _value(model[name], rng) for name in names}
    return Entry(device_key, measurepoints, str(START_MS + rng.randrange(86_400_000)))


def _spoil(product: Product, entry: Entry, number: int, *, first: bool) -> None:
    """Put a faulty number at one end of the entry's points.

    It is out of bounds, of another type, or misspelt, in turn.
    """
    model = product.model["measurepoints"]
    points = list(entry.measurepoints)
    name = next(name for name in points if model[name]["dataType"] == "INT")
    good = entry.measurepoints.pop(name)
    bad_name, bad = ((name, "2147483648"), (name, '"n/a"'), (name[:-1], good))[number % 3]
    if isinstance(good, dict) and bad is not good:
        bad = {**good, "value": bad}
    rest = entry.measurepoints
    entry.measurepoints = {bad_name: bad, **rest} if first else {**rest, bad_name: bad}


def _vary(product: Product, entries: list[Entry], variant: str, number: int) -> None:
    """Make the faults of a variant that stand in the entries."""
    stranger = "site99-inv99999"
    match variant:
        case "error-first" | "error-broken":
            _spoil(product, entries[0], number, first=True)
        case "error-last":
            _spoil(product, entries[-1], number, first=False)
        case "device-first":
            entries[0].device_key = stranger
        case "device-last":
            entries[-1].device_key = stranger
        case "error-then-device":
            _spoil(product, entries[0], number, first=True)
            entries[-1].device_key = stranger
        case "device-then-error":
            entries[0].device_key = stranger
            _spoil(product, entries[-1], number, first=False)
        case "bad-utf8":
            entries[-1].device_key = f"å{entries[-1].device_key}"
        case _:
            pass


def _print(value: Value, newline: str = "") -> str:
    """JSON text; with a newline, indented by four blanks as the protocol page prints it."""
    if isinstance(value, str):
        return value
    inner = newline and newline + "    "
    if isinstance(value, list):
        items, brackets = [_print(item, inner) for item in value], "[]"
    else:
        items, brackets = [f'"{key}":{_print(item, inner)}' for key, item in value.items()], "{}"
    return brackets[0] + inner + f",{inner}".join(items) + newline + brackets[1]


def _shuffled(value: Value, rng: random.Random) -> Value:
    if isinstance(value, dict):
        members = [(key, _shuffled(item, rng)) for key, item in value.items()]
        rng.shuffle(members)
        return dict(members)
    return [_shuffled(item, rng) for item in value] if isinstance(value, list) else value


def _payload(entries: list[Entry], variant: str, number: int, rng: random.Random) -> bytes:
    message: Value = {
        "id": _text(str(123 + number)),
        "version": '"1.0"',
        "params": [
            {
                "deviceKey": _text(entry.device_key),
                "measurepoints": entry.measurepoints,
                "time": entry.time,
            }
            for entry in entries
        ],
        "method": '"integration.measurepoint.post"',
    }
    if variant == "shuffled":
        message = _shuffled(message, rng)
    payload = _print(message, "\n" if variant == "pretty" else "").encode()
    if variant.endswith("broken"):
        payload = payload[: -rng.randint(1, 60)]
    elif variant == "bad-utf8":
        # As a gateway does that writes Latin-1.
        payload = payload.replace("å".encode(), "å".encode("latin-1"))
    return payload


EXAMPLE_ENTRIES: Final = (
    ("device1", "1", "1.02", ("1.02", "2.02", "7.93"), "123456"),
    ("device1", "2", "2.02", ("2.02", "3.02", "9.93"), "123567"),
    ("device2", "1", "1.02", ("1.02", "2.02", "7.93"), "123456"),
)
"""The protocol page's example."""


def _example() -> list[Entry]:
    return [
        Entry(
            device_key,
            {
                "Power": {"value": power, "quality": "9"},
                "temp": temp,
                "branchCurr": [_text(current) for current in currents],
            },
            time,
        )
        for device_key, power, temp, currents, time in EXAMPLE_ENTRIES
    ]


def _messages(name: str) -> Callable[[int, random.Random], list[Entry]]:
    """How the entries of one message of a shape are made."""
    shape = SHAPES[name]
    if shape.product is EXAMPLE:
        template = list(EXAMPLE.model["measurepoints"])

        def example(number: int, rng: random.Random) -> list[Entry]:
            if number == 0:
                return _example()
            one, other = rng.sample(EXAMPLE.devices, 2)
            return [_entry(EXAMPLE, template, device_key, rng) for device_key in (one, one, other)]

        return example

    templates = _templates(random.Random(SEED))

    def plant(_number: int, rng: random.Random) -> list[Entry]:
        chosen = rng.choice(templates)
        device_keys = rng.sample(PLANT.devices, shape.entries)
        return [_entry(PLANT, chosen, device_key, rng) for device_key in device_keys]

    return plant


@cache
def stream(shape: str, variant: str = "valid") -> Stream:
    """Make the stream of a shape ("S", "M", "L", "XL") and a variant of `CODES`."""
    # One generator for the data and one for the variant, so that all variants are the same data.
    data, dice = random.Random(f"{SEED} {shape}"), random.Random(f"{SEED} {shape} {variant}")
    size, make = SHAPES[shape], _messages(shape)
    payloads = []
    for number in range(size.messages):
        entries = make(number, data)
        _vary(size.product, entries, variant, number)
        payloads.append(_payload(entries, variant, number, dice))
    return Stream(shape, variant, payloads, size.messages * size.entries * size.points)
