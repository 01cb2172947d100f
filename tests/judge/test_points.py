"""The rows of accepted points: which there are, in which order, and exact to the bit."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pytest

from pointgate.store.points import SCHEMA
from tests.oracle.points import Row, rows, rows_of
from tests.support.cases import Case, load_cases
from tests.support.collected import (
    ARRIVED,
    ARRIVED_US,
    collect,
    entry,
    one_product,
    request,
    topic,
    validator,
)
from tests.support.strategies import ORACLE_CATALOG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate import Report

CASES: Final = load_cases()


def said(report: Report) -> list[object]:
    """Everything that a report says."""
    fault = report.fault
    names = [name for name in dir(fault) if not name.startswith("_")] if fault else []
    return [report.code, report.points, report.reply, *(getattr(fault, name) for name in names)]


def expected(cases: Sequence[Case]) -> list[Row]:
    return [
        row
        for place, case in enumerate(cases)
        if case.code == 200
        for row in rows(
            ORACLE_CATALOG, case.topic, case.payload, arrived_us=1000 * case.now_ms + place
        )
    ]


def check(cases: Sequence[Case]) -> None:
    """Judge cases in one call: reports as `validate` gives them, rows as the oracle has them."""
    judge, now_ms = validator(cases[0].payload_bytes), cases[0].now_ms
    topics, payloads = [case.topic for case in cases], [case.payload for case in cases]
    reports, points = judge.collect(topics, payloads, now_ms=now_ms)
    judged = judge.validate(topics, payloads, now_ms=now_ms)
    assert [said(report) for report in reports] == [said(report) for report in judged]
    table = pa.table(points)
    table.validate(full=True)
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert rows_of(table) == expected(cases)
    assert [case.points for case in cases] == [report.points for report in reports]
    assert len(points) == table.num_rows == sum(case.points for case in cases)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_has_the_rows_of_its_points(case: Case) -> None:
    check([case])


@pytest.mark.parametrize("step", [1, -1])
def test_of_all_cases_in_a_call_only_the_accepted_have_rows(step: int) -> None:
    def settings(case: Case) -> tuple[int, int]:
        return case.payload_bytes, case.now_ms

    for _, same in itertools.groupby(sorted(CASES, key=settings), settings):
        check(list(same)[::step])


def test_a_refused_request_changes_nothing_of_those_beside_it() -> None:
    everything = request(
        "["
        + entry('"int":1,"string":"a","array_int":[1],"quality_int":{"quality":9,"value":2}')
        + ","
        + entry('"quality_int":3,"enum_string":"on","struct_optional":{},"bool":1,"double":4')
        + "]"
    )
    row = Case("", "", "", topic("types"), everything, 200, points=9)
    refused = [case for case in CASES if case.code != 200 and case.now_ms == ARRIVED]
    assert {case.code for case in refused} == {0, 1008, 1204, 1220, 1251, 1257, 1260}
    for size in {case.payload_bytes for case in refused}:
        some = [case for case in refused if case.payload_bytes == size]
        if size > len(everything):
            fit = replace(row, payload_bytes=size)
            check([case for one in some for case in (fit, one)] + [fit])


@pytest.mark.parametrize(
    "broken",
    [
        '"quality_int":{"quality":9,"value":1,"x":1}',
        '"quality_int":{"value":1,"quality":9},"nothing":1',
        '"quality_int":{"quality":9,"value":"1"}',
        '"string":"left behind","int":"1"',
        '"string":"left behind","string":"again"',
        '"array_int":[1,2,3],"string":1',
        '"array_int":[1,2,3],"struct_optional":{"value":1,"x":1}',
        '"bool":true,"bool":true',
    ],
)
def test_nothing_is_left_of_a_point_that_was_read_before_the_fault(broken: str) -> None:
    good = request(entry('"int":7,"string":"x","array_int":[],"quality_int":8,"bool":0'))
    bad = request(entry(broken))
    payloads = [good, bad, good, bad, bad, good]
    reports, points = validator().collect([topic("types")] * 6, payloads, now_ms=ARRIVED)
    assert [report.code for report in reports] == [200, 1204, 200, 1204, 1204, 200]
    assert rows_of(pa.table(points)) == [
        Row("types", "device1", identifier, 5000, column, value, None, ARRIVED_US + place)
        for place in (0, 2, 5)
        for identifier, column, value in (
            ("int", "value_long", 7),
            ("string", "value_text", "x"),
            ("array_int", "value_json", "[]"),
            ("quality_int", "value_long", 8),
            ("bool", "value_bool", False),
        )
    ]


DOUBLES: Final = [
    *("0", "-0", "0.0", "-0.0", "-0e9", "0.1", "1e23", "9007199254740993", "123456789.125"),
    *("5e-324", "-5e-324", "2e-324", "-2e-324", "3e-324", "1e-400", "-1e-400"),
    *("2.2250738585072011e-308", "2.2250738585072014e-308", "6.631236846766476e-316"),
    *("1.7976931348623157e308", "-1.7976931348623157e+308", "8.5e37", "1.02", "-3.40"),
]
# As they were sent, though they are judged as the nearest f32 (contract 5.7).
FLOATS: Final = [
    *("0", "-0.0", "0.1", "-0.1", "50.01", "50.0099983215332", "16777217", "1e-45", "-1e-50"),
    *("7e-46", "1.1754943508222875e-38", "3.4028235677973366e38"),
    "1.00000005960464477539062500001",
]
TENS: Final = "_0123456789" * 5
VALUES: Final = [
    *(("double", token, float(token).hex()) for token in DOUBLES),
    *(("float", token, float(token).hex()) for token in FLOATS),
    *(("int", token, -(2**31)) for token in ("-2147483648", "-2147483648.0", "-21474836480e-1")),
    *(("int", token, 0) for token in ("0", "-0", "0.00", "0e99", "-0.0e-9")),
    *(("int", token, 2147483647) for token in ("2147483647", "2.147483647e9")),
    *(("timestamp", token, 0) for token in ("0", '"0"', '"000"', "0.0")),
    *(("timestamp", token, 253402300799999) for token in ("253402300799999", '"253402300799999"')),
    ("timestamp", '"0000253402300799999"', 253402300799999),
    ("timestamp", "1.7e12", 1_700_000_000_000),
    *(("enum_int", token, -3) for token in ("-3", "-3.0", "-30e-1")),
    *(("enum_string", json.dumps(key), key) for key in ("on", "自动", "1")),
    *(("bool", token, True) for token in ("true", "1", "1.0", "10e-1")),
    *(("bool", token, False) for token in ("false", "0", "-0.0", "0e5")),
    *(("date", f'"{text}"', text) for text in ("2024-02-29", "0001-01-01 23:59:59")),
    ("date", r'"2024-\u0030\u0032-29"', "2024-02-29"),
    *(("file", f'"{text}"', text) for text in ("", "file:///a%20b", "é")),
    ("string", '""', ""),
    ("string", r'"\"\\\/\b\f\n\r\t"', '"\\/\b\f\n\r\t'),
    ("string", r'"\u0041\u00e9\u6e29\ud83d\ude00\uD83D\uDE00\u0001"', "Aé温😀😀\x01"),
    ("string", r'"null \u006e\u0075"', "null nu"),
    ("string", '"温度📶\x7f "', "温度📶\x7f "),
    ("string", f'"{"é" * 512}"', "é" * 512),
    *(("array_int", text, text) for text in ("[]", "[ 1 , 2 ]", "[7.0,5e2,-0]", "[\n1\t]")),
    ("array_float", "[0.10,-0.0]", "[0.10,-0.0]"),
    ("array_string", r'["\u0041","","温"]', r'["\u0041","","温"]'),
    ("struct_optional", "{ }", "{ }"),
    (
        "struct_optional",
        '{"quality" : 9,\n"v\\u0061lue":1.0}',
        '{"quality" : 9,\n"v\\u0061lue":1.0}',
    ),
    ("struct", '{"label":"]}\\"","count":1}', '{"label":"]}\\"","count":1}'),
    (
        "an_identifier_of_128_bytes_is_the_longest_that_a_model_can_have_123456789"
        + 5 * "_0123456789",
        "1",
        1,
    ),
]


@pytest.mark.parametrize(("identifier", "token", "value"), VALUES)
def test_a_value_is_exact(identifier: str, token: str, value: object) -> None:
    points = f"{json.dumps(identifier)}:{token}"
    [row] = rows_of(collect([("types", request(entry(points)))]))
    assert (row.identifier, row.value, type(row.value)) == (identifier, value, type(value))
    # The same between others, whose values stand in the same columns.
    around = f'"int_wide":1,"double_exclusive":0.5,{points},"string_8":"end"'
    assert rows_of(collect([("types", request(entry(around)))]))[2] == row


@pytest.mark.parametrize(
    ("identifier", "token", "value", "quality"),
    [
        ("double", '"-0.0"', (-0.0).hex(), None),
        ("float", '"50.01"', (50.01).hex(), None),
        ("int", '"70e-1"', 7, None),
        ("timestamp", '"1.7e12"', 1_700_000_000_000, None),
        ("enum_int", '"7.0"', 7, None),
        ("array_int", '["1", 2]', "[1, 2]", None),
        ("array_float", '[ "0.50" ,"1e-1"]', "[ 0.50 ,1e-1]", None),
        ("array_double", r'["\u0031", 2, "-0.0"]', "[1, 2, -0.0]", None),
        ("array_string", '["1", "x"]', '["1", "x"]', None),
        (
            "struct",
            '{"count":"7","label":"7","ratio":"0.5","flag":"1","at":"0012","list":["1",2],"day":"2024-01-01"}',
            '{"count":7,"label":"7","ratio":0.5,"flag":1,"at":"0012","list":[1,2],"day":"2024-01-01"}',
            None,
        ),
        (
            "struct",
            '{"label":"a","flag":"true","count":1}',
            '{"label":"a","flag":true,"count":1}',
            None,
        ),
        ("quality_int", '{"value":"1","quality":"9.0"}', 1, 9),
        ("quality_double", r'{"quality":"\u0030","value":"1e\u0032"}', (100.0).hex(), 0),
    ],
)
def test_a_number_in_a_string_is_the_number(
    identifier: str, token: str, value: str | int, quality: int | None
) -> None:
    points = f'"{identifier}":{token}'
    [row] = rows_of(collect([("lenient", request(entry(points, "lenient-1", '"1.7e12"')))]))
    assert row[2:] == (
        *(identifier, 1_700_000_000_000_000),
        *("value_long" if isinstance(value, int) else row.column, value),
        *(quality, ARRIVED_US),
    )


def test_whole_numbers_keep_all_64_bits() -> None:
    keys = [-(2**63), -(2**53) - 1, 2**53 + 1, 2**63 - 1]
    definition = {"enumType": "INT", "enumDesc": {str(key): {} for key in keys}}
    model = {"measurepoints": {"e": {"dataType": "ENUM", "dataDefinition": definition}}}
    judge = one_product(model)
    table = collect((("pk", request(entry(f'"e":{key}'))) for key in keys), judge)
    assert table["value_long"].to_pylist() == keys


@pytest.mark.parametrize(
    ("token", "value"),
    [('"1"', True), ('"0"', False), ('"true"', True), ('"false"', False), ('"10e-1"', True)],
)
def test_a_truth_in_a_string_is_the_truth(token: str, value: bool) -> None:  # noqa: FBT001
    [row] = rows_of(collect([("lenient", request(entry(f'"bool":{token}', "lenient-1")))]))
    assert (row.column, row.value) == ("value_bool", value)


def test_points_without_a_value_leave_no_row_and_no_trace() -> None:
    points = [
        '"int":null,"float":1,"quality_int":{"quality":9,"value":null},"quality_double":7',
        '"quality_int":{"value":null,"quality":3},"string":"a","bool":null,"double":2',
        '"struct":null,"array_int":null',
    ]
    entries = ",".join(map(entry, points))
    reports, _ = validator().collect([topic("gaps")], [request(f"[{entries}]")], now_ms=ARRIVED)
    assert [(report.points, report.null_points) for report in reports] == [(4, 6)]
    found = rows_of(collect([("gaps", request(f"[{entries}]"))]))
    assert [(row.identifier, row.quality) for row in found] == [
        *(("float", None), ("quality_double", None), ("string", None), ("double", None)),
    ]


@pytest.mark.parametrize("identifier", ["quality_int", "quality_float", "quality_double"])
def test_quality_belongs_to_its_point(identifier: str) -> None:
    values = {
        '{"value":7,"quality":9}': 9,
        "1": None,
        '{"quality":0,"value":7}': 0,
        '{"value":7}': None,
        '{ "quality" : 90e-1 , "value" : 7 }': 9,
        '{"value":7,"quality":8.0}': 8,
        "2": None,
    }
    entries = ",".join(entry(f'"{identifier}":{value},"int":1') for value in values)
    found = [row.quality for row in rows_of(collect([("types", request(f"[{entries}]"))]))]
    assert found == [quality for value in values.values() for quality in (value, None)]


def test_an_entry_without_time_has_that_of_arrival_and_one_without_device_the_default() -> None:
    points = '"measurepoints":{"int":1}'
    forms = {
        f'{{{points},"deviceKey":"lenient-2","time":0}}': ("lenient-2", 0),
        f"{{{points}}}": ("lenient-1", ARRIVED_US),
        f'{{"deviceKey":null,"time":null,{points}}}': ("lenient-1", ARRIVED_US),
        f'{{"time":253402300799999,{points}}}': ("lenient-1", 253402300799999_000),
        f'{{"deviceKey":"\\u8bbe备-2","time":null,{points}}}': ("设备-2", ARRIVED_US),
        f'{{"time":1700000000000.0,"deviceKey":"lenient-2",{points}}}': ("lenient-2", 17 * 10**14),
    }
    found = rows_of(collect([("lenient", request(f"[{','.join(forms)}]"))]))
    assert [(row.device, row.time) for row in found] == list(forms.values())
    assert {row.received for row in found} == {ARRIVED_US}


def test_points_that_the_model_lacks_leave_no_row() -> None:
    points = '"x":1,"int":1,"y":{"value":"s","quality":9},"string":"a","x":[1],"bool":true,"z":"t"'
    found = rows_of(collect([("lenient", request(entry(points, "lenient-1")))]))
    assert [(row.identifier, row.value, row.quality) for row in found] == [
        ("int", 1, None),
        ("string", "a", None),
        ("bool", True, None),
    ]


def test_entries_without_points_leave_no_row() -> None:
    entries = [entry("", "device1"), entry('"int":1', "dev:1.a_b-c"), entry("", "two words")]
    requests = [request("[]"), request(f"[{','.join(entries)}]"), request(entries[0])]
    table = collect([("types", one) for one in requests])
    assert [(row.device, row.value) for row in rows_of(table)] == [("dev:1.a_b-c", 1)]


def test_names_of_a_refused_request_are_no_trouble() -> None:
    good = request(entry('"int":1,"quality_int":2', "two words"))
    bad = request("[" + entry('"double":1,"quality_int":1') + "," + entry('"int":"x"') + "]")
    _, points = validator().collect([topic("types")] * 3, [bad, good, bad], now_ms=ARRIVED)
    table = pa.table(points)
    table.validate(full=True)
    assert [(row.device, row.identifier, row.value) for row in rows_of(table)] == [
        ("two words", "int", 1),
        ("two words", "quality_int", 2),
    ]


def test_a_large_burst_has_the_rows_of_small_ones() -> None:
    same = [case for case in CASES if case.now_ms == ARRIVED and case.payload_bytes == 8_388_608]
    some = [case for case in same if len(case.payload) < 1000][::4]
    topics = [case.topic for case in some] * 20
    payloads = [case.payload for case in some] * 20
    assert sum(map(len, payloads)) > 200_000
    reports, points = validator().collect(topics, payloads, now_ms=ARRIVED)
    assert [report.points for report in reports] == [case.points for case in some] * 20
    assert rows_of(pa.table(points)) == expected(some * 20)
