"""The judge as Python calls it: with one request a call, and with a burst."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import orjson

from pointgate import _core

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.corpus import Product, Stream

PAYLOAD_BYTES: Final = 64 << 20
"""The judge's limit: XL pretty-printed is over the default."""
BURST: Final = 64


@cache
def validator(product: Product) -> _core.Validator:
    """Compile a product for the judge."""
    model = _core.Model.compile(orjson.dumps(product.model))
    devices = _core.Devices.parse("\n".join(product.devices).encode(), "txt")
    catalog = _core.Catalog({product.key: _core.Product(model, devices)})
    return _core.Validator(catalog, payload_bytes=PAYLOAD_BYTES)


def judge_singly(stream: Stream) -> Callable[[], list[int]]:
    """Make a pass with one request a call."""
    validate, topic = validator(stream.product).validate, stream.product.topic
    payloads = stream.payloads
    return lambda: [validate([topic], [payload])[0].code for payload in payloads]


def judge_bursts(stream: Stream) -> Callable[[], list[int]]:
    """Make a pass with `BURST` requests a call."""
    validate, topic = validator(stream.product).validate, stream.product.topic
    payloads = stream.payloads
    bursts = [payloads[start : start + BURST] for start in range(0, len(payloads), BURST)]
    calls = [([topic] * len(burst), burst) for burst in bursts]
    return lambda: [report.code for call in calls for report in validate(*call)]
