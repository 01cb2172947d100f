"""The points of a chunk as requests of the protocol, of any consecutive rows.

    rows of one product, by device and time         one request for up to `REQUEST_POINTS` of them:
                                                    {"deviceKey":…,"measurepoints":{…},"time":…}
    rows of one instant that is no whole            one request without `time`; the MQTT 5 property
    millisecond: archived without `time`            `pointgate-received` has it (contract 3.5)

A chunk has one order, whenever it is loaded, so the number of a row stands for the same point in
every run of an import. A value is written such that the judge stores what is in its row.

It does not post: `posting.py` does.
"""

from __future__ import annotations

import struct
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pointgate.sinks.key_order import series_of
from pointgate.sinks.tables import one_batch
from pointgate.topics import METHOD, request_topic

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST_POINTS: Final = 5000

_BITS: Final = struct.Struct("<Q")
_DOUBLE: Final = struct.Struct("<d")
_BELOW_F32: Final = 0x1FFFFFFF
"""The bits of a fraction that an f32 does not have."""
_MIDDLE: Final = 0x10000000
_FORTY_DIGITS: Final = Context(prec=40)

_VALUES: Final = ("value_double", "value_long", "value_bool", "value_text", "value_json")


class Request(NamedTuple):
    """A request.

    Attributes:
        topic: Its topic.
        payload: Its payload.
        received_us: The instant of its entries without `time`; None where they have one.
    """

    topic: str
    payload: bytes
    received_us: int | None


class Requests:
    """The points of a chunk in the order in which they are posted.

    Args:
        points: Rows of `store.points.SCHEMA`, each key once.
        label: The beginning of the `id` of each request.
    """

    def __init__(self, points: pa.Table, label: str) -> None:
        rows = one_batch(points)
        instants = rows["time"].view(pa.int64())
        # Arrow has no remainder.
        whole = pc.multiply(pc.divide(instants, 1000), 1000)
        is_arrival = pc.not_equal(instants, whole)
        devices = series_of(rows, ("product", "device"))
        keys = pa.record_batch(
            {
                "product": series_of(rows, ("product",)),
                "is_arrival": is_arrival.cast(pa.int8()),
                "instant": pc.if_else(is_arrival, instants, 0),
                "device": devices,
                "time": instants,
            }
        )
        order = pc.sort_indices(keys, [(name, "ascending") for name in keys.schema.names])
        self._rows = pa.record_batch([one.take(order) for one in rows.columns], schema=rows.schema)
        groups = [keys[name].take(order) for name in ("product", "is_arrival", "instant")]
        self._ends = _ends(groups)
        self._label = label

    @property
    def count(self) -> int:
        """How many points."""
        return int(self._rows.num_rows)

    def parts(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut rows into those of one request each."""
        for end in self._ends:
            while start < min(end, stop):
                part = min(start + REQUEST_POINTS, end, stop)
                yield start, part
                start = part

    def request(self, start: int, stop: int) -> Request:
        """The request of rows that can be in one."""
        rows = self._rows.slice(start, stop - start)
        names = [rows[name].to_pylist() for name in ("product", "device", "identifier")]
        instants = rows["time"].view(pa.int64()).to_pylist()
        received_us = instants[0] if instants[0] % 1000 else None
        values = [rows[name].to_pylist() for name in _VALUES]
        entries: list[str] = []
        members: list[str] = []
        last: tuple[str, int] | None = None
        for _, device, identifier, instant, quality, *value in zip(
            *names, instants, rows["quality"].to_pylist(), *values, strict=True
        ):
            if last is not None and last != (device, instant):
                entries.append(_entry(*last, members, dated=received_us is None))
                members = []
            last = device, instant
            members.append(f"{_text(identifier)}:{_value(quality, value)}")
        if last is not None:
            entries.append(_entry(*last, members, dated=received_us is None))
        head = f'{{"id":"{self._label}-{start}","version":"1.0","method":"{METHOD}","params":['
        payload = (head + ",".join(entries) + "]}").encode()
        return Request(request_topic(names[0][0]), payload, received_us)

    def topic(self, row: int) -> str:
        """The topic of the request of a row."""
        return request_topic(self._rows["product"][row].as_py())

    def row(self, number: int) -> dict[str, Any]:
        """One point, as its columns have it."""
        (row,) = self._rows.slice(number, 1).to_pylist()
        return row  # type: ignore[no-any-return]


def _ends(columns: list[pa.Array]) -> list[int]:
    """Where the rows of each group end."""
    size = len(columns[0])
    if not size:
        return []
    differs = pa.array([False] * (size - 1), pa.bool_())
    for column in columns:
        differs = pc.or_(differs, pc.not_equal(column[1:], column[:-1]))
    found = pc.indices_nonzero(differs).to_pylist()
    return [one + 1 for one in found] + [size]


def _entry(device: str, instant: int, members: list[str], *, dated: bool) -> str:
    text = f'{{"deviceKey":{_text(device)},"measurepoints":{{{",".join(members)}}}'
    return text + (f',"time":{instant // 1000}}}' if dated else "}")


def _value(quality: int | None, columns: list[Any]) -> str:
    double, whole, boolean, text, json = columns
    if double is not None:
        token = _number(double)
    elif whole is not None:
        token = str(whole)
    elif boolean is not None:
        token = "true" if boolean else "false"
    elif text is not None:
        token = _text(text)
    else:
        token = json or "null"
    return token if quality is None else f'{{"value":{token},"quality":{quality}}}'


def _number(value: float) -> str:
    """The shortest decimal of a number, if its f32 cannot differ from that of what was sent.

    0x3FF0000010000000 is 1 + 2**-24, in the middle of 1 and the next f32, 1.0000001. Its shortest
    decimal, 1.0000000596046448, is above the middle, and a FLOAT of at most 1 would be rejected. So
    what is in a middle is written as the next decimal towards 0, which is the same f64.
    """
    (bits,) = _BITS.unpack(_DOUBLE.pack(value))
    if bits & _BELOW_F32 != _MIDDLE:
        return repr(value)
    return str(_FORTY_DIGITS.next_toward(Decimal(value), Decimal(0)))


def _text(text: str) -> str:
    return orjson.dumps(text).decode()
