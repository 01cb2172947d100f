"""The judge as called from Python: one request per call, a burst, a burst with its points."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import orjson

from pointgate import _core

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.corpus import Product, Stream

PAYLOAD_BYTES: Final = 64 << 20
"""The limit on a payload: XL pretty-printed exceeds the default."""
BURST: Final = 64


@cache
def validator(product: Product) -> _core.Validator:
    """Compile a product for the judge."""
    model = _core.Model.compile(orjson.dumps(product.model))
    devices = _core.Devices.parse("\n".join(product.devices).encode(), "txt")
    catalog = _core.Catalog({product.key: _core.Product(model, devices)})
    return _core.Validator(catalog, payload_bytes=PAYLOAD_BYTES)


def judge_singly(stream: Stream) -> Callable[[], list[int]]:
    """Make a pass with one request per call."""
    validate, topic = validator(stream.product).validate, stream.product.topic
    payloads = stream.payloads
    return lambda: [validate([topic], [payload])[0].code for payload in payloads]


def collect_bursts(stream: Stream) -> Callable[[], list[int]]:
    """Make a pass with `BURST` requests per call that also exports the points of each burst."""
    collect, topic = validator(stream.product).collect, stream.product.topic
    calls = _calls(stream, topic)

    def judge_and_collect() -> list[int]:
        codes = []
        for call in calls:
            reports, points = collect(*call)
            points.__arrow_c_stream__()
            codes += [report.code for report in reports]
        return codes

    return judge_and_collect


def judge_bursts(stream: Stream) -> Callable[[], list[int]]:
    """Make a pass with `BURST` requests per call."""
    validate, topic = validator(stream.product).validate, stream.product.topic
    calls = _calls(stream, topic)
    return lambda: [report.code for call in calls for report in validate(*call)]


def _calls(stream: Stream, topic: str) -> list[tuple[list[str], list[bytes]]]:
    payloads = stream.payloads
    bursts = [payloads[start : start + BURST] for start in range(0, len(payloads), BURST)]
    return [([topic] * len(burst), burst) for burst in bursts]
