"""Hypothesis strategies for requests to the test catalog, from faultless to broken bytes.

A request is built as a tree of JSON text from the product's own model, so that most values are
right. Then faults are planted in the tree (members dropped, repeated, renamed, reordered, values
swapped for odd ones), the tree is written with whitespace and escapes that JSON allows, and some
payloads are mutated as bytes. Each step leaves most requests alone, so that verdicts of every kind
stay common.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, TypeAlias

from hypothesis import strategies as st

from tests.oracle.catalog import load_catalog
from tests.oracle.judge import METHOD
from tests.oracle.numbers import F32, F64, INT32_MAX, INT32_MIN, decimal, rounded
from tests.oracle.values import MAX_TIME_MS
from tests.support.cases import CATALOG, DEFAULT_NOW_MS

if TYPE_CHECKING:
    from tests.oracle.catalog import Product
    from tests.oracle.definitions import Bounds, ValueType
    from tests.oracle.models import Point

ORACLE_CATALOG: Final = load_catalog(CATALOG)


@dataclass
class Members:
    """An object to be written: members in order, repeats allowed."""

    members: list[tuple[str, Node]]


@dataclass
class Items:
    """An array to be written."""

    items: list[Node]


# A text is a token that is written as it stands.
Node: TypeAlias = str | Members | Items


@dataclass(frozen=True)
class Request:
    """One message as the broker delivers it."""

    topic: str
    payload: bytes


ODD_TOKENS: Final = (
    *(
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "[null]",
        '{"value":1}',
        '""',
        '"\\u0000"',
        '"7"',
        '"x"',
    ),
    *("0", "-0", "0.0", "1", "1.0", "7e0", "70e-1", "1.5", "-1", "2", "9", "10", "1e400", "-1e400"),
    *("1e-400", "0e999999999", "1e999999999", "1e-999999999", "2147483647", "2147483648"),
    *("-2147483648", "-2147483649", "9223372036854775808", "18446744073709551617", "1e39"),
    *(
        "3.4028235677973366e38",
        "3.4028235677973367e38",
        "1.7976931348623159e308",
        "253402300800000",
    ),
    *(
        '"07"',
        '"1.5"',
        '"1e400"',
        '" 1"',
        '"on"',
        '"2023-02-29"',
        '"2024-02-29 23:59:59"',
        '"温度"',
    ),
    *('"\\ud83d\\ude00"', '"\\ud83d"', "01", "1.", "NaN", "tru", "'a'", '"\\x"', "", "[1,]"),
)
ODD_NAMES: Final = (
    *(
        "id",
        "version",
        "method",
        "params",
        "deviceKey",
        "measurepoints",
        "time",
        "value",
        "quality",
    ),
    *("int", "INT", "temp", "Temp", "count", "label", "nothing", "", "~/", "温度", "tempe", "a\0b"),
)
TOPICS: Final = (
    "sys/{}/integration/measurepoint/post",
    "/sys/{}/integration/measurepoint/post",
    "sys/{}/integration/measurepoint/post_reply",
    "sys/{}/integration/event/post",
)
NUMBER_TOKENS: Final = st.from_regex(
    r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)


def requests() -> st.SearchStrategy[Request]:
    """Requests to every product: most of them right, some with faults, some with broken bytes."""
    return st.sampled_from(sorted(ORACLE_CATALOG.products)).flatmap(requests_to)


@st.composite
def requests_to(draw: st.DrawFn, product_key: str) -> Request:
    """Requests to one product."""
    root = draw(_envelopes(ORACLE_CATALOG.products[product_key]))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 1, 2]))):
        draw(_planted(root))
    payload = draw(_written(root)).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 7)) == 0:
        payload = draw(mutated(payload))
    # Rarely another topic, or a product that the catalog lacks.
    index = draw(st.sampled_from([0] * 24 + [1] * 12 + [2, 3]))
    key = draw(st.sampled_from([product_key] * 60 + ["unknown", "not a key"]))
    return Request(TOPICS[index].format(key), payload)


@st.composite
def mutated(draw: st.DrawFn, payload: bytes) -> bytes:
    """Payloads that are a few byte edits away from this one."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(payload)))
        end = draw(st.integers(start, min(len(payload), start + 12)))
        inserted = draw(
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from([b'"', b",", b"}", b"]", b"\\", b"\xff", b"\xef\xbb\xbf", b"0"]),
            )
        )
        edits = {
            "delete": payload[:start] + payload[end:],
            "insert": payload[:start] + inserted + payload[start:],
            "replace": payload[:start] + inserted + payload[end:],
            "truncate": payload[:start],
            "duplicate": payload[:end] + payload[start:end] + payload[end:],
        }
        payload = edits[draw(st.sampled_from(sorted(edits)))]
    return payload


@st.composite
def _envelopes(draw: st.DrawFn, product: Product) -> Members:
    fewest = draw(st.sampled_from([1, 1, 1, 0]))
    entries: Node = Items(draw(st.lists(_entries(product), min_size=fewest, max_size=3)))
    if draw(st.integers(0, 9)) == 0:
        entries = draw(_entries(product))
    members: list[tuple[str, Node]] = [
        ("version", draw(st.sampled_from(['"1.0"', '"1.1"']))),
        ("method", _text(METHOD)),
        ("params", entries),
    ]
    identifier = draw(st.sampled_from(['"1"', "7", "null", '"\\u0031"', "1.50e3", None]))
    if identifier is not None:
        members.append(("id", identifier))
    return Members(draw(st.permutations(members)))


@st.composite
def _entries(draw: st.DrawFn, product: Product) -> Members:
    names = sorted(product.model.points)
    # Most rules are about what has an inside, so points that have one come more often.
    names += 6 * [name for name in names if _has_inside(product.model.points[name])]
    fewest = draw(st.sampled_from([1, 1, 1, 0]))
    identifiers = draw(st.lists(st.sampled_from(names), unique=True, min_size=fewest, max_size=4))
    points = [(name, draw(_points(product.model.points[name], product))) for name in identifiers]
    members: list[tuple[str, Node]] = [("measurepoints", Members(points))]
    if product.default_device is None or draw(st.booleans()):
        members.append(("deviceKey", _text(draw(st.sampled_from(sorted(product.devices))))))
    time = draw(_times(product))
    if time is not None:
        members.append(("time", time))
    return Members(draw(st.permutations(members)))


def _has_inside(point: Point) -> bool:
    return point.has_quality or point.type.name in {"ARRAY", "STRUCT", "ENUM"}


def _times(product: Product) -> st.SearchStrategy[str | None]:
    edges = [DEFAULT_NOW_MS]
    if product.min_ms is not None:
        edges += [product.min_ms, product.min_ms - 1, product.min_ms // 1000]
    if product.max_past_ms is not None:
        edges += [DEFAULT_NOW_MS - product.max_past_ms, DEFAULT_NOW_MS - product.max_past_ms - 1]
    if product.max_future_ms is not None:
        edges += [
            DEFAULT_NOW_MS + product.max_future_ms,
            DEFAULT_NOW_MS + product.max_future_ms + 1,
        ]
    around_now = st.integers(DEFAULT_NOW_MS - 1000, DEFAULT_NOW_MS)
    rare = st.sampled_from(["0", "1.7e12", "1700000000000.0", str(MAX_TIME_MS), "null", "1.5"])
    usual = st.one_of(around_now, st.sampled_from(edges)).map(str)
    return st.one_of(usual, usual, usual, st.none(), rare)


@st.composite
def _points(draw: st.DrawFn, point: Point, product: Product) -> Node:
    if product.ignore_null_points and draw(st.integers(0, 5)) == 0:
        value: Node = "null"
    else:
        value = draw(_values(point.type, strings=product.numbers_as_strings))
    if not point.has_quality or draw(st.booleans()):
        return value
    members: list[tuple[str, Node]] = [("value", value)]
    if draw(st.booleans()):
        members.append(("quality", draw(st.sampled_from(["0", "9", "9.0", "90e-1", '"9"', "10"]))))
    return Members(draw(st.permutations(members)))


def _values(value_type: ValueType, *, strings: bool) -> st.SearchStrategy[Node]:
    """Values that are right for a type, or next to what is right."""
    match value_type.name:
        case "ARRAY":
            assert value_type.item is not None
            items = st.lists(
                _values(value_type.item, strings=strings), max_size=min(value_type.max_size, 5)
            )
            return items.map(Items)
        case "STRUCT":
            return _structs(value_type, strings=strings)
        case "INT" | "FLOAT" | "DOUBLE":
            return _numbers(value_type, strings=strings)
        case "ENUM":
            return _keys(value_type)
    scalars: dict[str, st.SearchStrategy[Node]] = {
        "BOOL": st.sampled_from(
            [
                *("true", "false", "0", "1", "1.0", "10e-1"),
                *(('"1"', '"0"', '"true"', '"false"', '"1e0"') if strings else ()),
            ]
        ),
        "STRING": st.text(max_size=12).map(_text),
        "FILE": st.text(max_size=12).map(_text),
        "DATE": st.one_of(
            st.dates().map(lambda day: f'"{day:%4Y-%m-%d}"'),
            st.datetimes().map(lambda instant: _text(instant.isoformat(" ", "seconds"))),
        ),
        "TIMESTAMP": st.one_of(
            st.sampled_from(["0", "99999999", '"100000000"', "1762999999", "31535999999"]),
            st.integers(0, MAX_TIME_MS).map(str),
            st.integers(0, MAX_TIME_MS).map('"{}"'.format),
        ),
    }
    return scalars[value_type.name]


@st.composite
def _structs(draw: st.DrawFn, value_type: ValueType, *, strings: bool) -> Members:
    members = [
        (name, draw(_values(member.type, strings=strings)))
        for name, member in value_type.members.items()
        if member.required or draw(st.integers(0, 2)) == 0
    ]
    return Members(draw(st.permutations(members)))


def _keys(value_type: ValueType) -> st.SearchStrategy[Node]:
    if value_type.string_keys is not None:
        return st.sampled_from(["lost", "", *sorted(value_type.string_keys)]).map(_text)
    forms = st.sampled_from(["{}", "{}.0", "{}e0", "{}0e-1"])
    keys = st.sampled_from([8, *sorted(value_type.integer_keys or ())])
    return st.builds(str.format, forms, keys)


@st.composite
def _numbers(draw: st.DrawFn, value_type: ValueType, *, strings: bool) -> Node:
    bounds = value_type.bounds
    kind = draw(st.integers(0, 9))
    if kind == 0:
        token = draw(st.sampled_from(_near_bounds(bounds, is_float=value_type.name == "FLOAT")))
    elif kind == 1:
        token = draw(NUMBER_TOKENS)
    elif value_type.name == "INT":
        low = max(INT32_MIN, _whole(bounds.minimum, INT32_MIN))
        high = min(INT32_MAX, _whole(bounds.maximum, INT32_MAX))
        token = draw(st.sampled_from(["{}", "{}.0", "{}e0", "{}0e-1"])).format(
            draw(st.integers(low, high))
        )
    else:
        anywhere = st.floats(width=32) if value_type.name == "FLOAT" else st.floats()
        within = anywhere if bounds.minimum is None else st.floats(0.15, 0.25)
        token = json.dumps(draw(within.filter(math.isfinite)))
    return f'"{token}"' if strings and draw(st.booleans()) else token


def _whole(bound: str | None, default: int) -> int:
    return default if bound is None else int(decimal(bound).value)


def _near_bounds(bounds: Bounds, *, is_float: bool) -> list[str]:
    """Each bound, the point halfway to its neighbour, and a hair to either side of that."""
    target = F32 if is_float else F64
    tokens = ["3.4028235677973366e38", "3.4028235677973367e38", "1.7976931348623157e308"]
    for bound in (bounds.minimum, bounds.maximum):
        exact = rounded(decimal(bound or "1").value, target)
        if isinstance(exact, float) or abs(exact) > 10**6:
            continue
        step = max(abs(exact), Fraction(1, 2**20)) / 2**target.precision
        hair = Fraction(1, 10**40)
        values = (exact, exact + step, exact - step, exact + step + hair, exact - step - hair)
        tokens.extend(map(_decimal_text, values))
    return tokens


def _decimal_text(value: Fraction) -> str:
    """Write a fraction with 120 digits behind the point: exactly, for those made above."""
    scaled = round(abs(value) * 10**120)
    return f"{'-' if value < 0 else ''}{scaled // 10**120}.{scaled % 10**120:0120d}"


@st.composite
def _planted(draw: st.DrawFn, root: Members) -> None:
    """Plant one fault, or one harmless oddity, somewhere in the tree."""
    nodes = [node for node in _walk(root) if isinstance(node, Members) or node.items]
    # The envelope is one node of many, and its faults hide all others.
    inner = nodes[1:] if len(nodes) > 1 and draw(st.integers(0, 4)) else nodes
    node = draw(st.sampled_from(inner[::-1]))
    if isinstance(node, Items):
        index = draw(st.integers(0, len(node.items) - 1))
        odd: Node = draw(st.sampled_from(ODD_TOKENS))
        edits = {"replace": [odd], "drop": [], "repeat": [node.items[index]] * 5}
        node.items[index : index + 1] = edits[draw(st.sampled_from(sorted(edits)))]
        return
    name, value = draw(st.sampled_from(ODD_NAMES)), draw(st.sampled_from(ODD_TOKENS))
    position = draw(st.integers(0, len(node.members)))
    if not node.members or draw(st.integers(0, 4)) == 0:
        node.members.insert(position, (name, value))
        return
    index = draw(st.integers(0, len(node.members) - 1))
    old_name, old_value = node.members[index]
    kind = draw(st.sampled_from(["replace", "drop", "drop", "rename", "repeat", "near"]))
    if kind == "repeat":
        node.members.insert(position, (old_name, draw(st.sampled_from([old_value, value]))))
    elif kind == "drop":
        del node.members[index]
    else:
        near = old_name[:-1] + old_name[-1:].swapcase()
        changes: dict[str, tuple[str, Node]] = {
            "replace": (old_name, value),
            "rename": (name, old_value),
            "near": (near, old_value),
        }
        node.members[index] = changes[kind]


def _walk(node: Node) -> list[Members | Items]:
    if isinstance(node, Members):
        return [node, *(found for _, value in node.members for found in _walk(value))]
    if isinstance(node, Items):
        return [node, *(found for value in node.items for found in _walk(value))]
    return []


@st.composite
def _written(draw: st.DrawFn, root: Members) -> str:
    """Write a tree in one of the ways that JSON allows."""
    space = draw(st.sampled_from(["", "", "", " ", "\n\t", "\r\n  "]))
    escaped = draw(st.integers(0, 5)) == 0

    def name_text(name: str) -> str:
        if escaped and name:
            return (
                f'"\\u{ord(name[0]):04x}{json.dumps(name[1:])[1:]}'
                if name[0] < "\ud800"
                else _text(name)
            )
        return _text(name)

    def write(node: Node) -> str:
        if isinstance(node, Members):
            inside = f",{space}".join(
                f"{name_text(name)}{space}:{space}{write(value)}" for name, value in node.members
            )
            return f"{{{space}{inside}{space}}}"
        if isinstance(node, Items):
            return f"[{space}{f',{space}'.join(map(write, node.items))}{space}]"
        return node

    return space + write(root) + space


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
