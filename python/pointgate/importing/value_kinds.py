"""What kind of JSON value each point of a model takes, asked of the judge itself.

A text of an export says nothing of its type: `1` is a number for a DOUBLE and a text for a STRING.
The judge is given one value of each kind for a device of its own; what it does not refuse by its
type is the point's kind. So no rule of the contract stands here a second time.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import orjson

from pointgate import Validator, _core
from pointgate.topics import METHOD, request_topic

if TYPE_CHECKING:
    from pointgate._core import Fault, Product

_DEVICE: Final = "probe"

_REQUEST: Final = (
    f'{{"version":"1.0","method":"{METHOD}","params":'
    '[{"deviceKey":"probe","measurepoints":{%s:%s},"time":1700000000000}]}'
)


class ValueKind(Enum):
    """A kind of JSON value."""

    NUMBER = auto()
    BOOL = auto()
    TEXT = auto()
    JSON = auto()
    UNKNOWN = auto()


_PROBES: Final = (
    (ValueKind.BOOL, "true"),
    (ValueKind.NUMBER, "1"),
    (ValueKind.TEXT, '"x"'),
    (ValueKind.JSON, "[]"),
    (ValueKind.JSON, "{}"),
)

_QUALITY: Final = '{"value":1,"quality":0}'


class ValueKinds:
    """The kinds of one product's points.

    Args:
        key: The product's key.
        product: The product; None for one that the catalog lacks.
    """

    def __init__(self, key: str, product: Product | None) -> None:
        self._found: dict[str, tuple[ValueKind, bool]] = {}
        self._topic = request_topic(key)
        self._validator: Validator | None = None
        if product is not None:
            devices = _core.Devices.parse(f"{_DEVICE}\n".encode(), "txt")
            probe = _core.Product(product.model, devices)
            self._validator = Validator(_core.Catalog({key: probe}))

    def of(self, identifier: str) -> tuple[ValueKind, bool]:
        """The kind of a point, and whether it has quality."""
        found = self._found.get(identifier)
        if found is None:
            found = self._found[identifier] = self._probe(identifier)
        return found

    def unknown(self, identifier: str) -> str | None:
        """A near miss, or nothing, of an identifier that the model lacks; else None."""
        if self._validator is None:
            return None
        fault = self._fault(identifier, "null")
        if fault is None or fault.reason != "unknown_point":
            return None
        return fault.did_you_mean or ""

    def _probe(self, identifier: str) -> tuple[ValueKind, bool]:
        reasons = [self._reason(identifier, token) for _, token in _PROBES]
        if self._validator is None or "unknown_point" in reasons:
            return ValueKind.UNKNOWN, False
        for (kind, _), reason in zip(_PROBES, reasons, strict=True):
            if reason != "type":
                has = kind is ValueKind.NUMBER and self._reason(identifier, _QUALITY) != "type"
                return kind, has
        return ValueKind.UNKNOWN, False

    def _reason(self, identifier: str, token: str) -> str:
        fault = self._fault(identifier, token)
        return fault.reason if fault else ""

    def _fault(self, identifier: str, token: str) -> Fault | None:
        if self._validator is None:
            return None
        payload = _REQUEST % (orjson.dumps(identifier).decode(), token)
        (report,) = self._validator.validate([self._topic], [payload.encode()])
        return report.fault
