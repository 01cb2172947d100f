"""Modes of products: the service's answer against the cases and the oracle (contract 11)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointgate import Catalog, Validator, _core
from tests.oracle.modes import Answer, answer
from tests.oracle.points import rows_of
from tests.support.cases import CATALOG, DEFAULT_NOW_MS, Case, load_cases
from tests.support.collected import entry, request, topic
from tests.support.strategies import ORACLE_CATALOG, Request, requests_to

if TYPE_CHECKING:
    from collections.abc import Sequence

CASES: Final = load_cases()
PRODUCTS: Final = sorted(
    key for key, product in ORACLE_CATALOG.products.items() if product.mode != "enforce"
)
SHADOW: Final = "mode-shadow"
LENIENT: Final = "mode-lenient"
BAD: Final = request("[" + entry('"int":1,"x":2') + "]")


@pytest.fixture(scope="module")
def validator() -> Validator:
    return Validator(Catalog.load(CATALOG))


def judged(
    validator: Validator,
    requests: Sequence[tuple[str, bytes]],
    *,
    now_ms: int = DEFAULT_NOW_MS,
    collect: bool = True,
) -> tuple[_core.Burst, pa.Table | None]:
    """The burst that the service would answer, and the points that it would store."""
    burst = _core.Burst.of([one[0] for one in requests], [one[1] for one in requests])
    burst.stamp(1000 * now_ms, now_ms)
    end, points = validator.judge_burst(burst, 0, collect=collect)
    assert end == len(requests)
    return burst, pa.table(points) if points is not None else None


def counted(burst: _core.Burst, product: str) -> dict[str, Any]:
    counters = _core.Counters()
    counters.serve([product])
    counters.receive(burst)
    counters.settle(burst, len(burst), 1.0)
    read: dict[str, Any] = counters.read()
    assert read["in_flight"] == 0
    counts: dict[str, Any] = read["products"][product]
    return counts


def check(validator: Validator, product: str, one: Request, now_ms: int, expected: Answer) -> None:
    burst, table = judged(validator, [(one.topic, one.payload)], now_ms=now_ms)
    [report] = burst.reports
    assert report is not None
    verdict, shadowed = expected.verdict, expected.shadowed
    assert (report.code, report.points) == (verdict.code, verdict.points)
    assert table is not None
    table.validate(full=True)
    assert rows_of(table) == expected.rows
    counts = counted(burst, product)
    if verdict.code == 200:
        echoed = b'"id":' + verdict.reply_id + b"," if verdict.reply_id else b""
        assert report.reply == b"{" + echoed + b'"code":200,"data":{}}'
    found = report.fault
    why = shadowed or verdict
    assert (found and (found.reason, found.pointer, found.index, found.device_key)) == (
        (why.reason, why.pointer, why.index, why.device_key) if why.reason else None
    )
    reasons = {key: value for key, value in counts["shadowed"].items() if value[1]}
    assert reasons == ({shadowed.reason: (shadowed.code, 1)} if shadowed else {})
    assert counts["skipped"] == expected.skipped
    if verdict.code and one.topic == topic(product):
        assert counts["codes"][verdict.code] == 1
        assert sum(counts["reasons"].values()) == (verdict.code != 200)
    kept = burst.rejected[2]
    assert kept == ([] if found is None or verdict.code == 0 else [report])


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.file == "11-modes"], ids=lambda case: case.name
)
def test_the_oracle_gives_the_answer_of_the_case(case: Case) -> None:
    got = answer(ORACLE_CATALOG, case.topic, case.payload, now_ms=case.now_ms)
    code = case.code if case.answer is None else case.answer
    points = case.points if case.answer is None else case.answer_points
    assert (got.verdict.code, got.verdict.points, len(got.rows)) == (code, points, points)
    assert got.skipped == case.skipped
    if case.answer == 200:
        assert got.shadowed is not None
        assert (got.shadowed.code, got.shadowed.pointer) == (case.code, case.pointer)
    elif case.answer is not None:
        assert got.verdict.pointer == case.answer_pointer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_service_answers_a_case_as_the_oracle(validator: Validator, case: Case) -> None:
    if case.payload_bytes != 8_388_608:
        pytest.skip("another limit")
    expected = answer(ORACLE_CATALOG, case.topic, case.payload, now_ms=case.now_ms)
    product = case.topic.removeprefix("/").split("/")[1] if case.code else "types"
    check(validator, product, Request(case.topic, case.payload), case.now_ms, expected)


@given(one=st.sampled_from(PRODUCTS).flatmap(lambda key: st.tuples(st.just(key), requests_to(key))))
def test_the_service_answers_as_the_oracle(validator: Validator, one: tuple[str, Request]) -> None:
    product, sent = one
    expected = answer(ORACLE_CATALOG, sent.topic, sent.payload, now_ms=DEFAULT_NOW_MS)
    check(validator, product, sent, DEFAULT_NOW_MS, expected)


@given(
    burst=st.lists(st.sampled_from(PRODUCTS).flatmap(requests_to), min_size=2, max_size=6),
    collect=st.booleans(),
)
def test_requests_of_a_burst_do_not_change_each_other(
    validator: Validator,
    burst: list[Request],
    collect: bool,  # noqa: FBT001
) -> None:
    together, table = judged(
        validator, [(one.topic, one.payload) for one in burst], collect=collect
    )
    alone = [judged(validator, [(one.topic, one.payload)])[0] for one in burst]
    assert together.reports == [one.reports[0] for one in alone]
    counts = pa.py_buffer(together.counts)
    stored = [report.points for report in together.reports if report and report.points]
    assert list(memoryview(counts).cast("I")) == stored
    if table is not None:
        assert table.num_rows == sum(stored)
        rows = [
            row._replace(received=0)
            for one in burst
            for row in answer(ORACLE_CATALOG, one.topic, one.payload, now_ms=DEFAULT_NOW_MS).rows
            if row.time != 1000 * DEFAULT_NOW_MS
        ]
        got = [row._replace(received=0) for row in rows_of(table)]
        instants = {1000 * DEFAULT_NOW_MS + place for place in range(len(burst))}
        assert [row for row in got if row.time not in instants] == rows


@pytest.mark.parametrize("mode", ["enforce", "lenient", "shadow"])
def test_validate_and_collect_give_the_verdict_in_each_mode(
    mode: Literal["enforce", "lenient", "shadow"],
) -> None:
    model = _core.Model.compile(b'{"measurepoints":{"a":{"dataType":"INT"}}}')
    product = _core.Product(model, _core.Devices.parse(b"device1", "txt"), mode=mode)
    catalog = _core.Catalog({"pk": product})
    assert product.mode == mode
    assert catalog.not_enforced == ({} if mode == "enforce" else {"pk": mode})
    validator = Validator(catalog)
    payload = request("[" + entry('"a":1,"b":2') + "]")
    [report] = validator.validate([topic("pk")], [payload])
    [collected], points = validator.collect([topic("pk")], [payload])
    assert report == collected
    assert (report.code, report.fault and report.fault.reason, len(points)) == (
        1204,
        "unknown_point",
        0,
    )
    verdicts, rows = validator.judge_arrow(pa.array([payload]), topic("pk"))
    assert pa.table(verdicts)["code"].to_pylist() == [1204]
    assert len(rows) == 0
    assert len(validator.all_faults(topic("pk"), payload)[0]) == 1


def test_a_mode_is_part_of_a_product() -> None:
    model = _core.Model.compile(b'{"measurepoints":{"a":{"dataType":"INT"}}}')
    devices = _core.Devices.parse(b"device1", "txt")
    shadow = _core.Product(model, devices, mode="shadow")
    assert shadow != _core.Product(model, devices)
    assert shadow.with_devices(devices).mode == "shadow"
    assert shadow.__getnewargs_ex__()[1]["mode"] == "shadow"
    with pytest.raises(ValueError, match="expected enforce, lenient or shadow, got off"):
        _core.Product(model, devices, mode="off")  # type: ignore[arg-type]


def test_further_faults_of_a_lenient_reply_are_those_that_reject_it() -> None:
    validator = Validator(Catalog.load(CATALOG), reply_detail="all")
    entries = [
        entry('"int":"x"'),
        entry('"int":1,"x":1', "other"),
        entry('"y":1', "device1", '"z"'),
    ]
    [reply] = judged(validator, [(topic(LENIENT), request(f"[{','.join(entries)}]"))])[0].replies
    assert reply is not None
    document = json.loads(reply)
    assert (document["code"], document["data"]["pointer"]) == (1257, "/params/1/deviceKey")
    assert [one["pointer"] for one in document["data"]["faults"]] == ["/params/2/time"]


def test_many_faulty_points_of_a_shadowed_request_take_linear_time(validator: Validator) -> None:
    points = ",".join(f'"unknown{number}":1' for number in range(100_000))
    payload = request(f"[{entry(points)}]")
    burst, table = judged(validator, [(topic(SHADOW), payload)])
    assert burst.replies == [b'{"code":200,"data":{}}']
    assert table is not None
    assert table.num_rows == 0
    assert counted(burst, SHADOW)["skipped"] == 100_000


def test_a_withdrawn_request_is_not_shadowed(validator: Validator) -> None:
    payload = BAD
    burst, _ = judged(validator, [(topic(SHADOW), payload), (topic(SHADOW), payload)])
    burst.withdraw([0])
    assert [report and report.code for report in burst.reports] == [None, 200]
    counts = counted(burst, SHADOW)
    assert counts["shadowed"]["unknown_point"] == (1204, 1)
    assert counts["skipped"] == 1


def test_a_withdrawn_request_is_counted_apart_from_a_bug(validator: Validator) -> None:
    burst, _ = judged(validator, [(topic(SHADOW), BAD)] * 2)
    burst.withdraw([1])
    unjudged = _core.Burst.of([topic(SHADOW)], [BAD])
    counters = _core.Counters()
    counters.receive(burst)
    counters.receive(unjudged)
    counters.settle(burst, 2, 1.0)
    counters.settle(unjudged, 1, 1.0)
    counts: dict[str, Any] = counters.read()
    assert {name: count for name, count in counts["ignored"].items() if count} == {
        "dead_lettered": 1,
        "judge_failed": 1,
    }
    assert counts["in_flight"] == 0


def test_judging_again_forgets_what_was_shadowed(validator: Validator) -> None:
    payload = BAD
    burst, _ = judged(validator, [(topic(SHADOW), payload)] * 3)
    for place in (1, 0):
        validator.judge_burst(burst, place, end=place + 1)
    assert counted(burst, SHADOW)["shadowed"]["unknown_point"] == (1204, 3)


def test_offenders_and_due_lines_say_that_requests_were_answered_200(validator: Validator) -> None:
    bad = BAD
    burst, _ = judged(validator, [(topic(SHADOW), bad), (topic("types"), bad)])
    counters = _core.Counters()
    counters.serve([SHADOW, "types"])
    counters.receive(burst)
    counters.settle(burst, 2, 1.0)
    due = {one.product: one.shadowed for one in counters.take_due()}
    assert due == {SHADOW: True, "types": False}
    faults, devices = counters.offenders(2.0, 10)
    assert {one.product: one.shadowed for one in faults} == due
    assert {one.product: one.shadowed for one in devices} == due
