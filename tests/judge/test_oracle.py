"""The oracle against the contract's cases, and its parts against independent ones."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import pytest

from tests.oracle.catalog import load_catalog
from tests.oracle.definitions import ModelError
from tests.oracle.json_reader import JsonSyntaxError, Object, read
from tests.oracle.judge import judge
from tests.oracle.models import parse_model
from tests.oracle.numbers import F32, F64, decimal, rounded
from tests.support.cases import CATALOG, Case, load_cases
from tests.support.paths import DATA

if TYPE_CHECKING:
    from pathlib import Path

CASES: Final = load_cases()
ORACLE_CATALOG: Final = load_catalog(CATALOG)
JSON_TEST_SUITE: Final = DATA / "public/json-test-suite/test_parsing"

REASONS: Final = {
    *("bad_topic", "too_large", "empty", "syntax", "envelope", "method", "device", "format"),
    *("unknown_point", "type", "range", "length", "enum", "date", "missing_member"),
    *("unknown_member", "duplicate", "quality", "time"),
}
# Sections 1.2, 1.5 and 1.6 are about MQTT, 6.2 and 6.3 about loading: no payload shows them.
SECTIONS: Final = {
    *("1.1", "1.3", "1.4", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7"),
    *("3", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "4"),
    *("5", "5.1", "5.2", "5.3", "5.4", "5.5", "5.6", "6.1", "6.4"),
    *("11.1", "11.2", "11.3"),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_oracle_gives_the_verdict_of_the_case(case: Case) -> None:
    verdict = judge(
        ORACLE_CATALOG,
        case.topic,
        case.payload,
        now_ms=case.now_ms,
        payload_bytes=case.payload_bytes,
    )
    got = (
        verdict.code,
        verdict.reason,
        verdict.pointer,
        verdict.index,
        verdict.device_key,
        verdict.identifier,
        verdict.points,
    )
    assert got == (
        case.code,
        case.reason,
        case.pointer,
        case.index,
        case.device_key,
        case.identifier,
        case.points,
    )
    if case.offset is not None:
        assert verdict.offset == case.offset
    if case.did_you_mean is not None:
        assert verdict.did_you_mean == case.did_you_mean
    if case.reply_id is not None:
        assert (verdict.reply_id or b"").decode("utf-8") == case.reply_id
    if case.reply is not None and case.code == 200:
        echoed = b'"id":' + verdict.reply_id + b"," if verdict.reply_id else b""
        assert b"{" + echoed + b'"code":200,"data":{}}' == case.reply.encode("utf-8")


def test_cases_are_many_and_have_names_of_their_own() -> None:
    assert len(CASES) >= 450
    repeated = [name for name, count in Counter(case.name for case in CASES).items() if count > 1]
    assert repeated == []


def test_cases_name_every_reason_and_every_section() -> None:
    assert {case.reason for case in CASES if case.reason} == REASONS
    assert {case.section for case in CASES} == SECTIONS


def test_cases_that_are_refused_say_why() -> None:
    assert [case.id for case in CASES if (case.code == 200) == (case.reason is not None)] == []


def _suite(prefix: str) -> list[Path]:
    return sorted(JSON_TEST_SUITE.glob(f"{prefix}_*.json"))


@pytest.mark.parametrize("path", _suite("y"), ids=lambda path: path.name)
def test_reader_accepts_what_json_is(path: Path) -> None:
    read(path.read_bytes())


@pytest.mark.parametrize("path", _suite("n"), ids=lambda path: path.name)
def test_reader_refuses_what_json_is_not(path: Path) -> None:
    payload = path.read_bytes()
    with pytest.raises(JsonSyntaxError) as caught:
        read(payload)
    assert 0 <= caught.value.offset <= len(payload)


def test_reader_keeps_order_repeats_tokens_and_offsets() -> None:
    root = read(b' {"b":1.50,"a":"\\u0041","b":[]}').root
    assert isinstance(root, Object)
    assert [(member.name, member.start) for member in root.members] == [
        ("b", 2),
        ("a", 11),
        ("b", 24),
    ]
    assert [(member.value.start, member.value.end) for member in root.members] == [
        (6, 10),
        (15, 23),
        (28, 30),
    ]


@pytest.mark.parametrize(
    ("payload", "token"),
    [
        (b'{"id":"1"', b'"1"'),
        (b'{"id":1', None),
        (b'{"id":1 ', b"1"),
        (b'{"id":null,"id":"2"', None),
        (b'{"a":{"id":"1"}', None),
    ],
)
def test_reader_keeps_the_id_that_stands_before_the_break(
    payload: bytes, token: bytes | None
) -> None:
    with pytest.raises(JsonSyntaxError) as caught:
        read(payload)
    assert caught.value.id_token == token


NUMBERS: Final = [
    *("0", "1", "0.1", "1.02", "1e308", "5e-324", "2e-324", "3e-324", "1e-400"),
    *("1.7976931348623157e308", "1.7976931348623158e308", "2.2250738585072011e-308"),
    *("9007199254740993", "1.000000059604644775390625", "3.4028235e38", "3.4028235677973366e38"),
    *("1e-45", "7e-46", "7.1e-46", "1.1754943508222875e-38", "16777217", "0.30000000000000004"),
    *("123456789012345678901234567890", "8.5e37", "1e23", "6.631236846766476e-316"),
]


@pytest.mark.parametrize("token", NUMBERS)
def test_f64_is_what_python_reads(token: str) -> None:
    assert rounded(decimal(token).value, F64) == float(token)
    assert rounded(decimal(f"-{token}").value, F64) == -float(token)


@pytest.mark.parametrize("token", NUMBERS)
def test_f32_is_the_nearest_of_its_neighbours(token: str) -> None:
    exact = decimal(token).value
    nearest = rounded(exact, F32)
    if isinstance(nearest, float):
        assert exact >= Fraction(2) ** 128 - Fraction(2) ** 103
        return
    assert struct.unpack("f", struct.pack("f", float(nearest)))[0] == nearest
    bits = struct.unpack("I", struct.pack("f", float(nearest)))[0]
    for neighbour in (bits - 1, bits + 1):
        other = struct.unpack("f", struct.pack("I", max(neighbour, 0)))[0]
        if math.isfinite(other):
            assert abs(exact - nearest) <= abs(exact - Fraction(other))


def test_f32_is_rounded_to_directly() -> None:
    halfway_and_a_hair = "1.00000005960464477539062500001"
    assert struct.unpack("f", struct.pack("f", float(halfway_and_a_hair)))[0] == 1.0
    assert rounded(decimal(halfway_and_a_hair).value, F32) == 1 + Fraction(2) ** -23


@pytest.mark.parametrize(
    ("token", "integral"),
    [
        ("7.0", True),
        ("70e-1", True),
        ("75e-1", False),
        ("0e-999999999", True),
        ("1e999999999", True),
        ("1e-999999999", False),
        ("1e99999999999999999999", True),
    ],
)
def test_numbers_know_whether_they_are_integral(token: str, integral: bool) -> None:  # noqa: FBT001
    assert decimal(token).integral is integral


@pytest.mark.parametrize(
    ("model", "pointer"),
    [
        ("[]", ""),
        ("{}", ""),
        ('{"measurepoints":[]}', "/measurepoints"),
        ('{"measurepoints":{"":{"dataType":"INT"}}}', "/measurepoints/"),
        ('{"measurepoints":{"a":1,"b":2}}', "/measurepoints/a"),
        (
            '{"measurepoints":{"a":{"dataType":"INT"},"a":{"dataType":"INT"}}}',
            "/measurepoints/a",
        ),
        (
            '{"thingMeasurepointMap":{"a":{"$class":"x.TSLLongMeasurepoint"}}}',
            "/thingMeasurepointMap/a/$class",
        ),
    ],
)
def test_models_that_are_not_understood_are_refused(model: str, pointer: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_model(model.encode("utf-8"))
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    ("point", "pointer"),
    [
        ({}, "/dataType"),
        ({"dataType": "LONG"}, "/dataType"),
        ({"dataType": "BOOL", "hasQuality": True}, "/hasQuality"),
        ({"dataType": "INT", "minimum": 2, "maximum": 1}, "/minimum"),
        ({"dataType": "ENUM", "dataDefinition": {"enumType": "INT"}}, "/dataDefinition/enumDesc"),
        (
            {"dataType": "ENUM", "dataDefinition": {"enumType": "INT", "enumDesc": {}}},
            "/dataDefinition/enumDesc",
        ),
        ({"dataType": "ARRAY", "dataDefinition": {"itemType": "BOOL"}}, "/dataDefinition/itemType"),
        (
            {
                "dataType": "STRUCT",
                "dataDefinition": {"items": [{"identifier": "b", "dataType": "STRUCT"}]},
            },
            "/dataDefinition/items/0/dataType",
        ),
    ],
)
def test_points_that_are_not_understood_are_refused(point: dict[str, object], pointer: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_model(json.dumps({"measurepoints": {"a": point}}).encode("utf-8"))
    assert caught.value.pointer == f"/measurepoints/a{pointer}"
