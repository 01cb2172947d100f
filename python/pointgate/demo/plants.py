"""The requests of the demo's plants, and typical mistakes in them.

A plant was offline, and posts the measurements of that time, several entries in a request. Some
requests contain one mistake, of a kind that real gateways make.

Invariants: a request is valid for the sample catalog without a mistake, and invalid with one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from pointgate.topics import METHOD, request_topic

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    Values = dict[str, Any]
    Body = dict[str, Any]
    Mistake = Callable[[Body, Random], bytes]

_STEP_MS: Final = 10_000
"""Between two measurements of a device. Each request has a millisecond of its own in it, so that no
two of 10,000 requests have a point with the same key."""

_DAY_MS: Final = 86_400_000
_MOST_STEPS_BACK: Final = 8_000


@dataclass(frozen=True, slots=True)
class Plant:
    """A site with a gateway that posts for its devices."""

    name: str
    product: str
    devices: tuple[str, ...]
    entries: int  # in each request
    measure: Callable[[Random, int], Values]  # of a device at a time in UTC milliseconds

    @property
    def topic(self) -> str:
        """The topic of its requests."""
        return request_topic(self.product)


def body(plant: Plant, random: Random, *, number: int, now_ms: int) -> Body:
    """A valid request with measurements of some devices of a plant."""
    step = now_ms // _STEP_MS - random.randrange(_MOST_STEPS_BACK)
    newest = step * _STEP_MS + number % _STEP_MS
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


def _entry(member: str, value: object) -> Mistake:
    """Replace a member of an entry."""

    def make(request: Body, random: Random) -> bytes:
        random.choice(request["params"])[member] = value
        return orjson.dumps(request)

    return make


def _point(identifier: str, value: object) -> Mistake:
    """Replace a point of an entry."""

    def make(request: Body, random: Random) -> bytes:
        random.choice(request["params"])["measurepoints"][identifier] = value
        return orjson.dumps(request)

    return make


def _text(old: bytes, new: bytes) -> Mistake:
    """Replace the first occurrence of a text in the payload."""
    return lambda request, _: orjson.dumps(request).replace(old, new, 1)


def _truncate(request: Body, random: Random) -> bytes:
    payload = orjson.dumps(request)
    return payload[: random.randrange(len(payload) // 2, len(payload))]


MISTAKES: Final[dict[str, Mistake]] = {
    "an unknown device": _entry("deviceKey", "inverter-999"),
    "a value out of range": _point("activePower", {"value": 99999.5, "quality": 0}),
    "a typo in an identifier": _text(b'"activePower"', b'"activePowr"'),
    "truncated JSON": _truncate,
    "a trailing comma": _text(b"}}]", b"}},]"),
    "a wrong method": _text(b'"integration.', b'"thing.'),
    "a text instead of a number": _point("activePower", "n/a"),
    "a state that does not exist": _point("state", 7),
    "a quality of 12": _point("activePower", {"value": 1, "quality": 12}),
    "a time with a fraction": _entry("time", 1_700_000_000.5),
    "no version": _text(b'"version":"1.0",', b""),
    "a duplicate point": _text(b'"activePower":', b'"activePower":1,"activePower":'),
    "an empty message": lambda *_: b"",
    "a list of points": _entry("measurepoints", [1, 2]),
    "a null": _point("activePower", None),
}
"""By description: makes a faulty payload of a valid request."""
