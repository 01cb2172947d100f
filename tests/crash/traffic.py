"""What the sender sends: requests whose every point is one of a kind.

A point's time and its value are made of the request's number, so that wherever one turns up it says
where it came from, and what does not stand there as it was sent was altered on the way. A request
has several points, of more than one device and day as a rule, so that a sink has many ways to store
only a part of it. About one in thirty has arrays as long as its model allows. About one in ten is
wrong in its last point: whoever stores while judging stores the others. A correction is a request
with the points of another one and values of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from random import Random

PRODUCTS: Final = ("protocol", "branches")
TOPICS: Final = tuple(
    f"{slash}sys/{product}/integration/measurepoint/post"
    for product in PRODUCTS
    for slash in ("", "/")
)

_DAY: Final = 86_400_000
_PLACES: Final = tuple(
    (device, 1_704_067_200_000 + day * _DAY)  # 2024-01-01 and on
    for day in range(3)
    for device in ("device1", "device2")
)
"""Where the points of a request may be: a device and the beginning of a day."""

_WRONG: Final = 0.1

_LARGE: Final = 1 / 30
_TEXTS: Final = 128
_TEXT_CHARACTERS: Final = 1024
"""The defaults of `maxSize` and `maxLength`."""


class Point(NamedTuple):
    """A point as a sink shows it; one of the values is not None."""

    product: str
    device: str
    identifier: str
    time: int
    value_double: float | None
    value_long: int | None
    value_json: str | None
    quality: int | None


@dataclass(frozen=True, slots=True)
class Request:
    """A request.

    Attributes:
        number: Its id.
        topic: Where it goes.
        parts: What it is made of: places, and the kinds of points at each.
        at: The number that its points' time is made of: its own, or that of the one it corrects.
        points: Its points; those before the fault if it is wrong.
        payload: Its bytes.
        wrong: Whether it must be refused.
    """

    number: int
    topic: str
    parts: tuple[tuple[int, tuple[int, ...]], ...]
    at: int
    points: tuple[Point, ...]
    payload: bytes
    wrong: bool


def make(number: int, draw: Random) -> Request:
    """Make a request.

    Args:
        number: Its number, less than the milliseconds of a day.
        draw: Decides all that its number does not.
    """
    places = draw.sample(range(len(_PLACES)), draw.randint(1, 4))
    parts = tuple(
        (place, tuple(sorted(draw.sample(range(3), draw.randint(1, 3))))) for place in places
    )
    fault = draw.randrange(4) if draw.random() < _WRONG else None
    large = draw.random() < _LARGE
    return _build(number, draw.choice(TOPICS), parts, at=number, fault=fault, large=large)


def correct(request: Request, number: int) -> Request:
    """Make a request that takes the place of another one: the same points, with other values."""
    return _build(number, request.topic, request.parts, at=request.at, fault=None)


def _build(
    number: int,
    topic: str,
    parts: tuple[tuple[int, tuple[int, ...]], ...],
    *,
    at: int,
    fault: int | None,
    large: bool = False,
) -> Request:
    product = topic.strip("/").split("/")[1]
    groups = [
        [_point(number, product, place, kind, at, large=large) for kind in kinds]
        for place, kinds in parts
    ]
    entries = [_entry(group) for group in groups]
    payload = _payload(number, entries) if fault is None else _spoil(number, entries, fault)
    points = tuple(point for group in groups for point in group)
    return Request(number, topic, parts, at, points, payload, fault is not None)


def _point(number: int, product: str, place: int, kind: int, at: int, *, large: bool) -> Point:
    device, day = _PLACES[place]
    time = day + at
    if kind == 0:
        return Point(product, device, "Power", time, None, number * 10 + place, None, number % 10)
    if kind == 1:  # exact as FLOAT, too, which it is in one of the products
        return Point(product, device, "temp", time, number + place / 8, None, None, None)
    if product == "branches":  # an array of numbers, which are sent as strings
        text = f"[{number},{place}]"
    elif large:
        texts = (f"{number}-{place}-{count}-" for count in range(_TEXTS))
        text = json.dumps([f"{one:x<{_TEXT_CHARACTERS}}" for one in texts], separators=(",", ":"))
    else:
        text = f'["{number}","{place}"]'
    return Point(product, device, "branchCurr", time, None, None, text, None)


def _entry(points: list[Point]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for point in points:
        if point.value_json is not None:
            values[point.identifier] = [str(value) for value in json.loads(point.value_json)]
        elif point.quality is not None:
            values[point.identifier] = {"value": point.value_long, "quality": point.quality}
        else:
            values[point.identifier] = point.value_double
    return {"deviceKey": points[0].device, "time": points[0].time, "measurepoints": values}


def _payload(number: int, entries: list[dict[str, Any]]) -> bytes:
    request = {
        "id": str(number),
        "version": "1.0",
        "method": "integration.measurepoint.post",
        "params": entries,
    }
    return json.dumps(request, separators=(",", ":")).encode()


def _spoil(number: int, entries: list[dict[str, Any]], way: int) -> bytes:
    """The same request with a fault at its end."""
    if way == 0:
        return _payload(number, entries)[:-3]
    good = entries[0]
    last = (
        good | {"deviceKey": "stranger"},
        good | {"measurepoints": {"temp": 1.5, "Power": "many"}},
        good | {"measurepoints": {"temp": 1.5, "temperature": 1.5}},
    )[way - 1]
    return _payload(number, [*entries, last])
