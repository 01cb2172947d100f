"""Requests of a product of the catalog, in four shapes, valid and invalid.

    shape   entries x points   distinct requests
    S             3 x 3             256
    M            10 x 20             64
    L           500 x 20              8
    XL       10,000 x 20              1

A product with fewer points has all of them in each entry. Every request is judged here first, with
the same catalog: so its code is known before it is sent.

A request has digits that are replaced each time it is sent: its id, and the time of each entry. So
no two stored points have the same key. If the product's time window rejects these times, entries
have none, and get the time of arrival.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from pointgate import Validator
from pointgate._core import Burst
from pointgate.errors import PointgateError
from pointgate.load.values import makers, point_documents, quoted
from pointgate.topics import METHOD, request_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pointgate._core import Catalog, Product

SPAN_MS: Final = 86_400_000
"""Times are within the last day."""

_ID: Final = "0" * 16
_TIME: Final = "{time}"
_VALUES: Final = 64
"""How many values of a point are tried."""

_MOST_DEVICES: Final = 20_000


class Shape(NamedTuple):
    """The size of requests."""

    entries: int
    points: int
    distinct: int


SHAPES: Final = {
    "S": Shape(3, 3, 256),
    "M": Shape(10, 20, 64),
    "L": Shape(500, 20, 8),
    "XL": Shape(10_000, 20, 1),
}


class Template(NamedTuple):
    """A request to be repeated."""

    topic: str
    payload: bytes
    id_at: int  # where the digits of its id begin
    times_at: list[int]  # where those of its times begin
    code: int  # of its reply


class RequestsError(PointgateError):
    """No valid requests can be made for a product."""


@dataclass(frozen=True)
class Requests:
    """What is sent.

    Attributes:
        good: Those that are accepted.
        bad: Those that are rejected, or answered 200 by the product's mode.
        first_ms: The first time of an entry.
        span_ms: After so many milliseconds, times begin anew.
    """

    good: list[Template]
    bad: list[Template]
    first_ms: int
    span_ms: int = SPAN_MS


def make_requests(
    catalog: Catalog, product: str, shape: Shape, *, payload_bytes: int, seed: int = 1
) -> Requests:
    """Make the requests of a product.

    Args:
        catalog: The catalog of the service.
        product: The product's key.
        shape: Their size.
        payload_bytes: The service's limit.
        seed: Of the random values.

    Raises:
        RequestsError: The product has no devices, or no values are accepted.
    """
    validator = Validator(catalog, payload_bytes=payload_bytes)
    return _Maker(validator, catalog.products[product], request_topic(product), seed).make(shape)


class _Maker:
    def __init__(self, validator: Validator, product: Product, topic: str, seed: int) -> None:
        self._validator = validator
        self._topic = topic
        self._random = Random(seed)  # noqa: S311 - simulated values, not secrets
        self._devices = _device_keys(product)
        self._documents = point_documents(product.model)
        self._now_ms = time.time_ns() // 1_000_000
        self._first_ms = self._now_ms - SPAN_MS
        self._time = f',"time":{_TIME}'

    def make(self, shape: Shape) -> Requests:
        points = self._points()
        names = list(points)
        if not names:
            raise RequestsError(f"no values found that a point of {self._topic} accepts")
        good: list[Template] = []
        bad: list[Template] = []
        faults = _faults(names[0])
        for number in range(max(shape.distinct, len(faults))):
            chosen = self._chosen(names, shape.points)
            entries = [self._entry(points, chosen) for _ in range(shape.entries)]
            if number < shape.distinct:
                template, is_valid = self._judged(entries)
                if not is_valid:
                    raise RequestsError(
                        f"no valid request found for {self._topic}: {template.code}"
                    )
                good.append(template)
            place = self._random.randrange(shape.entries)
            entries[place] = faults[number % len(faults)](entries[place])
            template, is_valid = self._judged(entries)
            if not is_valid:
                bad.append(template)
        return Requests(good, bad, self._first_ms)

    def _chosen(self, names: Sequence[str], count: int) -> list[str]:
        """Some of the points, in the order of the model."""
        chosen = set(self._random.sample(names, min(count, len(names))))
        return [name for name in names if name in chosen]

    def _points(self) -> dict[str, list[str]]:
        """For each point values that the judge accepts, of the first maker that is mostly right."""
        found: dict[str, list[str]] = {}
        for name, document in self._documents.items():
            best: list[str] = []
            for maker in makers(document):
                values = [maker(self._random) for _ in range(_VALUES)]
                accepted = [value for value in values if self._accepts(name, value)]
                best = max(best, accepted, key=len)
                if len(best) > _VALUES // 2:
                    break
            if best:
                found[name] = best
        if not found and self._time:
            self._time = ""  # the product's time window rejects a day
            return self._points()
        return found

    def _accepts(self, name: str, value: str) -> bool:
        entry = self._print(self._devices[0], [(name, value)])
        return self._judged([entry])[1]

    def _entry(self, points: dict[str, list[str]], names: Sequence[str]) -> str:
        device = self._random.choice(self._devices)
        return self._print(device, [(name, self._random.choice(points[name])) for name in names])

    def _print(self, device: str, values: Sequence[tuple[str, str]]) -> str:
        members = ",".join(f"{quoted(name)}:{value}" for name, value in values)
        return f'{{"deviceKey":{quoted(device)},"measurepoints":{{{members}}}{self._time}}}'

    def _judged(self, entries: Sequence[str]) -> tuple[Template, bool]:
        """A request, and whether it is valid: otherwise the product's mode may answer 200."""
        payload, id_at, times_at = self._encode(entries)
        burst = Burst.of([self._topic], [payload])
        now_ms = self._now_ms + SPAN_MS  # as at the end of the longest run
        burst.stamp(1000 * now_ms, now_ms)
        self._validator.judge_burst(burst, 0)  # with the answer of the product's mode
        (report,) = burst.reports
        assert report is not None  # noqa: S101 - the request is not retained
        template = Template(self._topic, payload, id_at, times_at, report.code)
        return template, report.fault is None

    def _encode(self, entries: Sequence[str]) -> tuple[bytes, int, list[int]]:
        """The payload, and the places of its id and its times."""
        head = '{"id":"'
        text = f'{head}{_ID}","version":"1.0","params":[{",".join(entries)}],"method":"{METHOD}"}}'
        parts = text.encode().split(_TIME.encode())
        digits = str(self._first_ms).encode()
        times_at, place = [], 0
        for part in parts[:-1]:
            place += len(part)
            times_at.append(place)
            place += len(digits)
        return digits.join(parts), len(head), times_at


def _faults(name: str) -> list[Callable[[str], str]]:
    """Mistakes in one entry, which leave the id of the request readable.

    A product can accept some of them: its settings can say that unknown points are ignored.
    """
    points = '"measurepoints":{'
    return [
        lambda entry: entry.replace('"deviceKey":"', '"deviceKey":"unknown ', 1),
        lambda entry: entry.replace(points, f'{points}{quoted(name)}:{{"none":[]}},', 1),
        lambda entry: entry.replace(points, f"{points}{quoted(name + '?')}:0,", 1),
        lambda entry: entry.replace('"measurepoints"', '"points"', 1),
    ]


def _device_keys(product: Product) -> list[str]:
    """Keys of the product's devices, a bounded number."""
    keys: str = cast("Any", product.devices).__reduce__()[1][0]  # a pickle has the keys
    found = keys.split("\n", _MOST_DEVICES)[:_MOST_DEVICES]
    found = [key for key in found if key and _TIME not in key]
    if not found:
        raise RequestsError("the product has no devices: all its requests are rejected")
    return found
