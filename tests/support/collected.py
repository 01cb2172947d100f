"""What tests of collected points share: requests written short, and their table."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from pointgate import Catalog, Validator, _core
from tests.oracle.judge import METHOD
from tests.support.cases import CATALOG, DEFAULT_NOW_MS

if TYPE_CHECKING:
    from collections.abc import Iterable

ARRIVED: Final = DEFAULT_NOW_MS
"""UTC milliseconds."""

ARRIVED_US: Final = 1000 * ARRIVED
"""The instant of the first request of a call; each one behind it has one microsecond more."""


@functools.cache
def validator(payload_bytes: int = 8_388_608) -> Validator:
    return Validator(Catalog.load(CATALOG), payload_bytes=payload_bytes)


def request(entries: str) -> bytes:
    return f'{{"version":"1.0","method":"{METHOD}","params":{entries}}}'.encode()


def entry(measurepoints: str, device: str = "device1", time: str = "5") -> str:
    return f'{{"deviceKey":"{device}","measurepoints":{{{measurepoints}}},"time":{time}}}'


def topic(product: str) -> str:
    return f"sys/{product}/integration/measurepoint/post"


def collect(requests: Iterable[tuple[str, bytes]], judge: Validator | None = None) -> pa.Table:
    """The table of requests (product, payload) that are all accepted."""
    products, payloads = zip(*requests, strict=True)
    reports, points = (judge or validator()).collect(
        [topic(product) for product in products], payloads, now_ms=ARRIVED
    )
    assert [report.fault and report.fault.message for report in reports] == [None] * len(reports)
    table = pa.table(points)
    table.validate(full=True)
    assert len(points) == table.num_rows == sum(report.points for report in reports)
    return table


def one_product(model: Any, devices: Iterable[str] = ("device1",)) -> Validator:
    product = _core.Product(
        _core.Model.compile(json.dumps(model).encode()),
        _core.Devices.parse("\n".join(devices).encode(), "txt"),
    )
    return Validator(_core.Catalog({"pk": product}))
