"""One request, one verdict: sections 1 to 3 of the contract, in the contract's order.

Two phases. First the whole payload is read into a tree, so that syntax faults come before
everything else. Then the tree is judged from the envelope inwards, and the first fault ends it. A
code below is written beside the row of the table in section 3 that gives it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tests.oracle.definitions import escape
from tests.oracle.json_reader import (
    MAX_ID_BYTES,
    Array,
    JsonSyntaxError,
    Null,
    Number,
    Object,
    String,
    Value,
    read,
)
from tests.oracle.values import MAX_TIME_MS, ValueFault, judge_point, number_of, rules_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.oracle.catalog import Catalog, Product

METHOD: Final = "integration.measurepoint.post"
PEEKED_BYTES: Final = 4096

# 1.1, 1.3
_TOPIC: Final = re.compile(r"/?sys/([A-Za-z0-9_-]{1,64})/integration/measurepoint/post")
# In the order in which missing ones are reported (3.1).
_REQUIRED: Final = ("version", "method", "params")
_ENTRY_MEMBERS: Final = frozenset(["deviceKey", "measurepoints", "time"])


@dataclass(frozen=True)
class Verdict:
    """What the contract answers; everything but the code is None where it does not apply."""

    code: int
    reason: str | None = None
    index: int | None = None
    device_key: str | None = None
    identifier: str | None = None
    pointer: str | None = None
    did_you_mean: str | None = None
    points: int = 0
    reply_id: bytes | None = None
    offset: int | None = None


class Fault(Exception):  # noqa: N818 -- the contract's word
    """The first fault of a request, as the verdict it makes."""

    def __init__(self, verdict: Verdict) -> None:
        """Keep the verdict."""
        super().__init__(verdict)
        self.verdict = verdict


def judge(
    catalog: Catalog, topic: str, payload: bytes, *, now_ms: int, payload_bytes: int = 8388608
) -> Verdict:
    """Judge one request.

    Args:
        catalog: the products.
        topic: the topic it came on.
        payload: its bytes.
        now_ms: the time of its arrival, in milliseconds since the epoch.
        payload_bytes: the largest payload allowed.
    """
    found = _TOPIC.fullmatch(topic)
    if found is None:
        return Verdict(0, "bad_topic")
    # Row 1. 2.3: the id may stand in the first 4 KiB; what follows them is not looked at.
    if len(payload) > payload_bytes:
        return Verdict(1008, "too_large", reply_id=_id_before_break(payload[:PEEKED_BYTES]))
    # Row 2.
    if not payload:
        return Verdict(1251, "empty")
    # Row 3, its first half: a syntax fault anywhere comes before everything below.
    try:
        document = read(payload)
    except JsonSyntaxError as error:
        return Verdict(1220, "syntax", reply_id=error.id_token, offset=error.offset)
    try:
        params = judge_envelope(document.root)
        points = judge_params(catalog.products.get(found[1]), params, now_ms)
    except Fault as fault:
        return replace(fault.verdict, reply_id=document.id_token)
    # Row 6.
    return Verdict(200, points=points, reply_id=document.id_token)


def _id_before_break(payload: bytes) -> bytes | None:
    try:
        return read(payload).id_token
    except JsonSyntaxError as error:
        return error.id_token


def judge_envelope(root: Value) -> Array | Object:
    """Judge the envelope (3.1) and return `params`."""
    if not isinstance(root, Object):
        raise Fault(Verdict(1220, "envelope", pointer="", offset=root.start))
    allowed: dict[str, type | tuple[type, ...]] = {
        "version": String,
        "method": String,
        "params": (Array, Object),
        "id": (String, Number, Null),
    }
    seen: set[str] = set()
    for member in root.members:
        if member.name not in allowed:
            continue
        pointer = f"/{member.name}"
        if member.name in seen:
            raise Fault(Verdict(1220, "envelope", pointer=pointer, offset=member.start))
        seen.add(member.name)
        # 2.6: an id token of more than 256 bytes is an envelope fault too.
        too_long = member.name == "id" and member.value.end - member.value.start > MAX_ID_BYTES
        if not isinstance(member.value, allowed[member.name]) or too_long:
            raise Fault(Verdict(1220, "envelope", pointer=pointer, offset=member.value.start))
    for name in _REQUIRED:
        if name not in seen:
            raise Fault(Verdict(1220, "envelope", pointer=f"/{name}", offset=root.end - 1))
    # Row 4.
    method = root.first("method")
    if isinstance(method, String) and method.text != METHOD:
        raise Fault(Verdict(1260, "method", pointer="/method", offset=method.start))
    params = root.first("params")
    assert isinstance(params, Array | Object)  # narrows the type: checked above
    return params


def judge_params(product: Product | None, params: Array | Object, now_ms: int) -> int:
    """Judge the entries in array order (row 5) and return the number of points."""
    # 1.4: whatever params holds, and without a pointer.
    if product is None:
        raise Fault(Verdict(1257, "device"))
    # 3.1: one object is one entry; 2.7: its index is 0 and no index stands in its pointers.
    if isinstance(params, Object):
        return Entry(product, params, 0, "/params", now_ms).judge()
    return sum(
        Entry(product, value, index, f"/params/{index}", now_ms).judge()
        for index, value in enumerate(params.items)
    )


class Entry:
    """One entry of params and where it stands."""

    def __init__(
        self, product: Product, value: Value, index: int, pointer: str, now_ms: int
    ) -> None:
        self.product = product
        self.value = value
        self.index = index
        self.pointer = pointer
        self.now_ms = now_ms
        self.rules = rules_of(product)
        self.device_key: str | None = None

    def judge(self) -> int:
        """Judge shape, deviceKey, measurepoints, time: in this order whatever the text's."""
        if not isinstance(self.value, Object):
            raise self.fault("format", self.pointer, self.value.start)
        self.device_key = self._named_device(self.value)
        self._judge_repeats(self.value)
        self._judge_device_key(self.value)
        points = self._judge_measurepoints(self.value)
        self._judge_time(self.value)
        return points

    def fault(
        self,
        reason: str,
        pointer: str,
        offset: int,
        *,
        code: int = 1204,
        identifier: str | None = None,
    ) -> Fault:
        return Fault(
            Verdict(
                code,
                reason,
                index=self.index,
                device_key=self.device_key,
                identifier=identifier,
                pointer=pointer,
                offset=offset,
            )
        )

    def _named_device(self, entry: Object) -> str | None:
        """Return the device that this entry's faults name: as sent, or the default."""
        keys = [member.value for member in entry.members if member.name == "deviceKey"]
        if len(keys) > 1:
            return None
        if not keys or isinstance(keys[0], Null):
            return self.product.default_device
        return keys[0].text if isinstance(keys[0], String) else None

    def _judge_repeats(self, entry: Object) -> None:
        """3.4: a known member twice is a fault of the entry's shape, before deviceKey."""
        seen: set[str] = set()
        for member in entry.members:
            if member.name in seen:
                raise self.fault("duplicate", f"{self.pointer}/{member.name}", member.start)
            if member.name in _ENTRY_MEMBERS:
                seen.add(member.name)

    def _judge_device_key(self, entry: Object) -> None:
        pointer = f"{self.pointer}/deviceKey"
        value = entry.first("deviceKey")
        offset = entry.end - 1 if value is None else value.start
        if value is not None and not isinstance(value, String | Null):
            raise self.fault("format", pointer, offset)
        # 5.6, judged first.
        if isinstance(value, String) and "\0" in value.text:
            raise self.fault("format", pointer, offset)
        # 3.4: missing or null without a default, or not in the device table.
        if self.device_key not in self.product.devices:
            raise self.fault("device", pointer, offset, code=1257)

    def _judge_measurepoints(self, entry: Object) -> int:
        pointer = f"{self.pointer}/measurepoints"
        measurepoints = entry.first("measurepoints")
        if not isinstance(measurepoints, Object):
            raise self.fault(
                "format", pointer, entry.end - 1 if measurepoints is None else measurepoints.start
            )
        model = self.product.model
        seen: set[str] = set()
        points = 0
        for member in measurepoints.members:
            at = f"{pointer}/{escape(member.name)}"
            if member.name not in model.points:
                # 5.5; 3.6: ignored names may repeat.
                if self.product.ignore_unknown_points:
                    continue
                fault = self.fault("unknown_point", at, member.start, identifier=member.name)
                meant = nearest(member.name, model.points)
                raise Fault(replace(fault.verdict, did_you_mean=meant))
            if member.name in seen:
                raise self.fault("duplicate", at, member.start, identifier=member.name)
            seen.add(member.name)
            try:
                points += judge_point(model.points[member.name], member.value, at, self.rules)
            except ValueFault as fault:
                raise self.fault(
                    fault.reason, fault.pointer, fault.offset, identifier=member.name
                ) from fault
        return points

    def _judge_time(self, entry: Object) -> None:
        """3.5."""
        value = entry.first("time")
        if value is None or isinstance(value, Null):
            return
        time = number_of(value, self.rules)
        least, past = self.product.min_ms, self.product.max_past_ms
        future = self.product.max_future_ms
        if (
            time is None
            or not time.integral
            or not 0 <= time.value <= MAX_TIME_MS
            or (least is not None and time.value < least)
            or (past is not None and time.value < self.now_ms - past)
            or (future is not None and time.value > self.now_ms + future)
        ):
            raise self.fault("time", f"{self.pointer}/time", value.start)


def nearest(name: str, identifiers: Iterable[str]) -> str | None:
    """Return the one identifier that differs in case only, or by one letter or one swap."""
    near = [identifier for identifier in identifiers if _is_near(name, identifier)]
    return near[0] if len(near) == 1 else None


def _is_near(name: str, identifier: str) -> bool:
    if name.lower() == identifier.lower():
        return True
    here, there = name, identifier
    while here and there and here[0] == there[0]:
        here, there = here[1:], there[1:]
    while here and there and here[-1] == there[-1]:
        here, there = here[:-1], there[:-1]
    # What is left between the common beginning and the common end is all that differs.
    one_letter = len(here) <= 1 and len(there) <= 1
    swapped = len(here) == len("ab") and here == there[::-1]
    return one_letter or swapped
