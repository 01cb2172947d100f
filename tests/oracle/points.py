"""The points of an accepted request, one row each, as the store's columns promise them.

It walks the tree that the verdict was judged on, so the text of an array or a struct is the slice
of the payload from its first byte to its last. What a row has:

    FLOAT, DOUBLE            `value_double`   in hexadecimal, so that equal means equal to the bit
    INT, INT ENUM, TIMESTAMP `value_long`
    BOOL                     `value_bool`
    STRING, FILE, DATE, ENUM `value_text`     escapes decoded
    ARRAY, STRUCT            `value_json`     as it came; 5.4: with numbers for strings

It does not judge: `judge.judge` has accepted the request before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import pyarrow as pa

from tests.oracle.json_reader import Array, Null, Number, Object, String, Value, read
from tests.oracle.values import Rules, number_of, rules_of, truth_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.oracle.catalog import Catalog, Product
    from tests.oracle.definitions import ValueType
    from tests.oracle.models import Point

Scalar: TypeAlias = "tuple[str, str | int | bool]"
"""The column of a value, and what stands in it."""

_TEXTS: Final = frozenset(["STRING", "FILE", "DATE"])


class Row(NamedTuple):
    """One point; `column` is the only value column that is set."""

    product: str
    device: str
    identifier: str
    time: int
    column: str
    value: str | int | bool
    quality: int | None
    received: int


def rows(catalog: Catalog, topic: str, payload: bytes, *, arrived_us: int) -> list[Row]:
    """Return the rows of an accepted request, in the order of the text.

    Args:
        catalog: the products.
        topic: the topic it came on.
        payload: its bytes.
        arrived_us: the instant of its arrival, in microseconds since the epoch.
    """
    root = read(payload).root
    assert isinstance(root, Object)  # narrows the type, as below: the request is accepted
    params = root.first("params")
    entries = params.items if isinstance(params, Array) else (params,)
    return rows_of_entries(catalog, topic, payload, entries, arrived_us=arrived_us)


def rows_of_entries(
    catalog: Catalog,
    topic: str,
    payload: bytes,
    entries: Iterable[Value | None],
    *,
    arrived_us: int,
) -> list[Row]:
    """Return the rows of accepted entries."""
    product_key = topic.removeprefix("/").split("/")[1]
    product = catalog.products[product_key]
    return [
        Row(product_key, device, identifier, time, column, value, quality, arrived_us)
        for entry in entries
        for device, time in [_device_and_time(product, entry, arrived_us)]
        for identifier, (column, value), quality in _points(product, entry, payload)
    ]


def rows_of(table: pa.Table) -> list[Row]:
    """Return what a table has, in the same form."""
    for name in ("time", "received"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].cast(pa.int64()))
    return [_row(values) for values in table.to_pylist()]


def _row(values: dict[str, Any]) -> Row:
    [column] = [name for name in values if name.startswith("value_") and values[name] is not None]
    value = values[column].hex() if column == "value_double" else values[column]
    rest = {name: values[name] for name in Row._fields if name in values}
    return Row(column=column, value=value, **rest)


def _device_and_time(product: Product, entry: Value | None, arrived_us: int) -> tuple[str, int]:
    """3.4 and 3.5: what the entry says, or the default device and the instant of arrival."""
    assert isinstance(entry, Object)
    device, time = entry.first("deviceKey"), entry.first("time")
    device_key = device.text if isinstance(device, String) else product.default_device
    assert device_key is not None
    if time is None or isinstance(time, Null):
        return device_key, arrived_us
    return device_key, 1000 * _whole(time, rules_of(product))


def _points(
    product: Product, entry: Value | None, payload: bytes
) -> Iterator[tuple[str, Scalar, int | None]]:
    """Identifier, value and quality of each point; 5.5: names that the model lacks leave none."""
    assert isinstance(entry, Object)
    measurepoints = entry.first("measurepoints")
    assert isinstance(measurepoints, Object)
    rules = rules_of(product)
    for member in measurepoints.members:
        point = product.model.points.get(member.name)
        if point is not None:
            value, quality = _value_and_quality(point, member.value, rules)
            # 5.3: a point without a value was accepted only to be ignored.
            if isinstance(value, Null):
                continue
            yield member.name, _scalar(point.type, value, payload, rules), quality


def _value_and_quality(point: Point, value: Value, rules: Rules) -> tuple[Value, int | None]:
    """5.2: an object of value and quality, or the bare value."""
    if not point.has_quality or not isinstance(value, Object):
        return value, None
    inner, quality = value.first("value"), value.first("quality")
    assert inner is not None
    return inner, None if quality is None else _whole(quality, rules)


def _scalar(value_type: ValueType, value: Value, payload: bytes, rules: Rules) -> Scalar:
    if isinstance(value, Array | Object):
        text = payload[value.start : value.end]
        # 5.4: from the last one to the first, so that the places of the others stay.
        for string in reversed(_numbers_in_strings(value_type, value, rules)):
            start, end = string.start - value.start, string.end - value.start
            text = text[:start] + string.text.encode("utf-8") + text[end:]
        return "value_json", text.decode("utf-8")
    if value_type.name == "BOOL":
        return "value_bool", truth_of(value, rules) is True
    if value_type.name in {"FLOAT", "DOUBLE"}:
        assert isinstance(value, Number | String)
        return "value_double", float(value.text).hex()  # 5.7: as it was sent, FLOAT, too
    if value_type.name in _TEXTS or value_type.string_keys is not None:
        assert isinstance(value, String)
        return "value_text", value.text
    return "value_long", _whole(value, rules)


def _numbers_in_strings(value_type: ValueType, value: Value, rules: Rules) -> list[String]:
    """Return the strings inside a value that are stored as numbers, in the order of the text."""
    if isinstance(value, Array):
        assert value_type.item is not None
        item = value_type.item
        return [one for inner in value.items for one in _numbers_in_strings(item, inner, rules)]
    if isinstance(value, Object):
        return [
            one
            for inner in value.members
            if inner.name in value_type.members
            for one in _numbers_in_strings(value_type.members[inner.name].type, inner.value, rules)
        ]
    if (
        not isinstance(value, String)
        or value_type.name in _TEXTS
        or value_type.string_keys is not None
    ):
        return []
    is_truth = value_type.name == "BOOL" and truth_of(value, rules) is not None
    return [value] if is_truth or number_of(value, rules) is not None else []


def _whole(value: Value, rules: Rules) -> int:
    # 5: a TIMESTAMP may be a string of digits whatever the product's setting.
    if isinstance(value, String) and value.text.isdigit():
        return int(value.text)
    number = number_of(value, rules)
    assert number is not None
    return int(number.value)
