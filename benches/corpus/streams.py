"""The streams: the points and devices of messages, their faults, and how they are printed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from benches.corpus.model import (
    BOOLS,
    DOUBLES,
    ENUMS,
    EXAMPLE,
    INTS,
    PLANT,
    STRINGS,
    STRUCTS,
    Product,
)
from benches.corpus.numbers import Value, text_token, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEED: Final = 41
TEMPLATES: Final = 8
SUBSTITUTED: Final = 0.1
"""The share of entries in which one point of the template is replaced by another."""
START_MS: Final = 1_760_000_000_000


@dataclass(frozen=True)
class Shape:
    """The size and the number of the messages of a stream."""

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
    """The number of points in the payloads, including rejected ones."""

    @property
    def product(self) -> Product:
        """The product of the requests."""
        return SHAPES[self.shape].product

    @property
    def size(self) -> int:
        """The bytes of all payloads."""
        return sum(map(len, self.payloads))

    def check(self, name: str, codes: Sequence[int]) -> None:
        """Assert that the codes are the stated ones; `name` is that of the peer."""
        expected = {CODES[self.variant]: SHAPES[self.shape].messages}
        counts = dict(Counter(codes))
        assert counts == expected, (
            f"{name} on {self.shape} {self.variant}: {counts}, not {expected}"
        )


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
    measurepoints = {name: value_of(model[name], rng) for name in names}
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
    """Make those faults of a variant that are in the entries."""
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
    """JSON text; with a newline, indented by four spaces as on the protocol page."""
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
        "id": text_token(str(123 + number)),
        "version": '"1.0"',
        "params": [
            {
                "deviceKey": text_token(entry.device_key),
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
        # Like a gateway that writes Latin-1.
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
                "branchCurr": [text_token(current) for current in currents],
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
    # One generator for the data and one for the variant, so that all variants have the same data.
    data, dice = random.Random(f"{SEED} {shape}"), random.Random(f"{SEED} {shape} {variant}")
    size, make = SHAPES[shape], _messages(shape)
    payloads = []
    for number in range(size.messages):
        entries = make(number, data)
        _vary(size.product, entries, variant, number)
        payloads.append(_payload(entries, variant, number, dice))
    return Stream(shape, variant, payloads, size.messages * size.entries * size.points)
