"""The core against the naive oracle: the same verdict for any bytes on any topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointgate import Catalog, Validator
from tests.oracle.json_reader import read
from tests.oracle.judge import judge
from tests.oracle.points import rows, rows_of
from tests.support.cases import CATALOG, DEFAULT_NOW_MS
from tests.support.strategies import NUMBER_TOKENS, ORACLE_CATALOG, Request, requests

if TYPE_CHECKING:
    from pointgate import Report

PROTOCOL_TOPIC: Final = "sys/protocol/integration/measurepoint/post"


class Answer(NamedTuple):
    """What the core and the oracle must agree on."""

    code: int
    reason: str | None
    pointer: str | None
    entry_index: int | None
    device_key: str | None
    identifier: str | None
    points: int
    reply_id: bytes | None


@pytest.fixture(scope="module")
def validator() -> Validator:
    return Validator(Catalog.load(CATALOG))


def core_answer(report: Report) -> Answer:
    fault = report.fault
    return Answer(
        report.code,
        fault.reason if fault else None,
        fault.pointer if fault else None,
        fault.index if fault else None,
        fault.device_key if fault else None,
        fault.identifier if fault else None,
        report.points,
        read(report.reply).id_token if report.reply else None,
    )


def oracle_answer(request: Request, payload_bytes: int = 8_388_608) -> Answer:
    verdict = judge(
        ORACLE_CATALOG,
        request.topic,
        request.payload,
        now_ms=DEFAULT_NOW_MS,
        payload_bytes=payload_bytes,
    )
    return Answer(
        verdict.code,
        verdict.reason,
        verdict.pointer,
        verdict.index,
        verdict.device_key,
        verdict.identifier,
        verdict.points,
        verdict.reply_id,
    )


@given(burst=st.lists(requests(), min_size=1, max_size=4))
def test_core_and_oracle_agree_on_requests(validator: Validator, burst: list[Request]) -> None:
    reports = validator.validate(
        [request.topic for request in burst],
        [request.payload for request in burst],
        now_ms=DEFAULT_NOW_MS,
    )
    assert [core_answer(report) for report in reports] == [oracle_answer(it) for it in burst]


@given(burst=st.lists(requests(), min_size=1, max_size=4))
def test_the_first_of_all_faults_is_that_of_the_verdict(
    validator: Validator, burst: list[Request]
) -> None:
    for one in burst:
        [report] = validator.validate([one.topic], [one.payload], now_ms=DEFAULT_NOW_MS)
        faults, more = validator.all_faults(one.topic, one.payload, now_ms=DEFAULT_NOW_MS)
        assert faults[:1] == ([] if report.fault is None else [report.fault])
        assert len(faults) <= 100
        some, are_more = validator.all_faults(one.topic, one.payload, now_ms=DEFAULT_NOW_MS, most=1)
        assert some == faults[:1]
        assert are_more == (len(faults) > 1 or more)


@given(burst=st.lists(requests(), min_size=1, max_size=4))
def test_core_and_oracle_agree_on_points(validator: Validator, burst: list[Request]) -> None:
    reports, points = validator.collect(
        [request.topic for request in burst],
        [request.payload for request in burst],
        now_ms=DEFAULT_NOW_MS,
    )
    assert [core_answer(report) for report in reports] == [oracle_answer(it) for it in burst]
    assert rows_of(pa.table(points)) == [
        row
        for place, (request, report) in enumerate(zip(burst, reports, strict=True))
        if report.code == 200
        for row in rows(
            ORACLE_CATALOG,
            request.topic,
            request.payload,
            arrived_us=1000 * DEFAULT_NOW_MS + place,
        )
    ]


@given(payload=st.binary(max_size=64))
def test_core_and_oracle_agree_on_any_bytes(validator: Validator, payload: bytes) -> None:
    request = Request(PROTOCOL_TOPIC, payload)
    [report] = validator.validate([request.topic], [payload], now_ms=DEFAULT_NOW_MS)
    assert core_answer(report) == oracle_answer(request)


@given(
    topic=st.one_of(
        st.text(max_size=20),
        st.from_regex(r"/?/?sys/.{0,66}/integration/measurepoint/post(_reply|/|\n)?"),
    )
)
def test_core_and_oracle_agree_on_any_topic(validator: Validator, topic: str) -> None:
    request = Request(topic, b"{}")
    [report] = validator.validate([topic], [request.payload], now_ms=DEFAULT_NOW_MS)
    assert core_answer(report) == oracle_answer(request)


@given(request=requests(), payload_bytes=st.integers(1, 400))
def test_core_and_oracle_agree_on_payloads_over_a_limit(
    request: Request, payload_bytes: int
) -> None:
    small = Validator(Catalog.load(CATALOG), payload_bytes=payload_bytes)
    [report] = small.validate([request.topic], [request.payload], now_ms=DEFAULT_NOW_MS)
    assert core_answer(report) == oracle_answer(request, payload_bytes)


@pytest.mark.parametrize(
    "identifier",
    ["int", "int_fractional", "float", "float_unit", "float_exclusive", "double", "double_bounded"],
)
@given(token=NUMBER_TOKENS)
def test_core_and_oracle_agree_on_numbers(
    validator: Validator, identifier: str, token: str
) -> None:
    payload = (
        '{"version":"1.0","method":"integration.measurepoint.post","params":{"deviceKey":"device1",'
        f'"measurepoints":{{"{identifier}":{token}}}}}}}'
    )
    request = Request("sys/types/integration/measurepoint/post", payload.encode("utf-8"))
    [judged] = validator.validate([request.topic], [request.payload], now_ms=DEFAULT_NOW_MS)
    [report], points = validator.collect([request.topic], [request.payload], now_ms=DEFAULT_NOW_MS)
    assert core_answer(report) == core_answer(judged) == oracle_answer(request)
    if report.code == 200:
        assert rows_of(pa.table(points)) == rows(
            ORACLE_CATALOG, request.topic, request.payload, arrived_us=1000 * DEFAULT_NOW_MS
        )
