"""What the demo's plants measure, and how it goes wrong.

A plant was offline for a while and posts what its devices measured meanwhile, some entries in one
request. A few requests carry one mistake of the kind that real gateways make.

Invariants: without a mistake, a request is right by the sample catalog; with one, it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from pointgate.topics import request_topic

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    Values = dict[str, Any]
    Body = dict[str, Any]

METHOD: Final = "integration.measurepoint.post"

_STEP_MS: Final = 10_000
_DAY_MS: Final = 86_400_000
_MOST_STEPS_BACK: Final = 8_000


@dataclass(frozen=True, slots=True)
class Plant:
    """A site with a gateway that posts for its devices.

    Attributes:
        name: What it is called.
        product: The product key of its devices.
        devices: Their device keys.
        entries: How many entries one request has.
        measure: The values of one device at a time (UTC milliseconds).
    """

    name: str
    product: str
    devices: tuple[str, ...]
    entries: int
    measure: Callable[[Random, int], Values]

    @property
    def topic(self) -> str:
        """Where it posts."""
        return request_topic(self.product)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One way in which a request goes wrong.

    Attributes:
        name: What went wrong, in words.
        make: The payload of a right request, spoiled.
    """

    name: str
    make: Callable[[Random, Body], bytes]


def body(plant: Plant, random: Random, *, number: int, now_ms: int) -> Body:
    """A right request: what some devices of a plant measured, one after another."""
    newest = now_ms - random.randrange(_MOST_STEPS_BACK) * _STEP_MS
    entries = []
    for index in range(plant.entries):
        time = newest - (plant.entries - index) * _STEP_MS
        device = plant.devices[(number + index) % len(plant.devices)]
        entries.append(
            {"deviceKey": device, "time": time, "measurepoints": plant.measure(random, time)}
        )
    request_id = f"{plant.name}-{number}"
    return {"id": request_id, "version": "1.0", "params": entries, "method": METHOD}


def _inverter(random: Random, time: int) -> Values:
    sun = max(0.0, math.sin(math.pi * (time % _DAY_MS) / _DAY_MS)) * random.uniform(0.8, 1.0)
    return {
        "activePower": {"value": round(240 * sun, 2), "quality": 0},
        "dayEnergy": round(1500 * sun, 1),
        "gridFrequency": round(random.gauss(50, 0.02), 3),
        "cabinetTemperature": round(20 + 30 * sun + random.gauss(0, 1), 1),
        "stringCurrents": [round(9 * sun * random.uniform(0.95, 1.05), 2) for _ in range(8)],
        "state": 2 if sun else 0,
        "gridConnected": True,
        "firmware": "4.7.1",
        "lastAlarm": {"number": 301, "text": "insulation low"},
        "lastService": "2024-05-17",
    }


def _turbine(random: Random, time: int) -> Values:
    wind = abs(8 + 4 * math.sin(time / 3_600_000) + random.gauss(0, 1))
    return {
        "activePower": {"value": round(min(4000.0, 5 * wind**3), 1), "quality": 0},
        "windSpeed": {"value": round(wind, 2), "quality": 0},
        "rotorSpeed": round(min(18.0, 1.5 * wind), 2),
        "nacelleDirection": round(random.uniform(200, 280), 1),
        "pitchAngle": round(random.uniform(0, 15), 1),
        "totalEnergy": 81_234_567.5,
        "state": 2,
        "brakeOn": False,
        "lastStart": time - _DAY_MS,
    }


def _rack(random: Random, time: int) -> Values:
    charge = 50 + 45 * math.sin(time / 7_200_000)
    return {
        "activePower": f"{random.uniform(-400, 400):.1f}",
        "stateOfCharge": round(charge, 1),
        "cycles": 1_211,
        "cellVoltages": [round(3.2 + charge / 200 + random.gauss(0, 0.01), 3) for _ in range(16)],
        "state": random.randrange(3),
    }


def _devices(prefix: str, numbers: range, width: int) -> tuple[str, ...]:
    return tuple(f"{prefix}-{number:0{width}}" for number in numbers)


PLANTS: Final = (
    Plant("solar-north", "solar", _devices("inverter", range(1, 31), 3), 12, _inverter),
    Plant("solar-south", "solar", _devices("inverter", range(31, 61), 3), 12, _inverter),
    Plant("wind-coast", "wind", _devices("turbine", range(1, 13), 2), 12, _turbine),
    Plant("battery-hall", "battery", _devices("rack", range(1, 9), 2), 8, _rack),
)


def _some_entry(random: Random, request: Body) -> dict[str, Any]:
    entry: dict[str, Any] = random.choice(request["params"])
    return entry


def _with(member: str, value: object) -> Callable[[Random, Body], bytes]:
    """Give a member of some entry another value."""

    def make(random: Random, request: Body) -> bytes:
        _some_entry(random, request)[member] = value
        return orjson.dumps(request)

    return make


def _with_point(identifier: str, value: object) -> Callable[[Random, Body], bytes]:
    """Give a point of some entry another value."""

    def make(random: Random, request: Body) -> bytes:
        _some_entry(random, request)["measurepoints"][identifier] = value
        return orjson.dumps(request)

    return make


def _misspell(random: Random, request: Body) -> bytes:
    values = _some_entry(random, request)["measurepoints"]
    values["activePowr"] = values.pop("activePower")
    return orjson.dumps(request)


def _repeat(_: Random, request: Body) -> bytes:
    return orjson.dumps(request).replace(b'"activePower":', b'"activePower":1,"activePower":', 1)


def _cut(random: Random, request: Body) -> bytes:
    payload = orjson.dumps(request)
    return payload[: random.randrange(len(payload) // 2, len(payload))]


def _comma(_: Random, request: Body) -> bytes:
    return orjson.dumps(request).replace(b"}}]", b"}},]", 1).replace(b"}],", b"},],", 1)


def _method(_: Random, request: Body) -> bytes:
    return orjson.dumps(request | {"method": "thing.measurepoint.post"})


def _no_version(_: Random, request: Body) -> bytes:
    del request["version"]
    return orjson.dumps(request)


MISTAKES: Final = (
    Mistake("a device nobody knows", _with("deviceKey", "inverter-999")),
    Mistake("a value out of range", _with_point("activePower", {"value": 99999.5, "quality": 0})),
    Mistake("a typo in an identifier", _misspell),
    Mistake("JSON cut short", _cut),
    Mistake("a comma too many", _comma),
    Mistake("another method", _method),
    Mistake("a word for a number", _with_point("activePower", "n/a")),
    Mistake("a state that does not exist", _with_point("state", 7)),
    Mistake("a quality of 12", _with_point("activePower", {"value": 1, "quality": 12})),
    Mistake("a time with a fraction", _with("time", 1_700_000_000.5)),
    Mistake("no version", _no_version),
    Mistake("a point twice", _repeat),
    Mistake("an empty message", lambda *_: b""),
    Mistake("a list of points", _with("measurepoints", [1, 2])),
    Mistake("a null", _with_point("activePower", None)),
)
