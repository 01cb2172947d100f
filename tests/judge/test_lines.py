"""`Validator.judge_lines`: the verdicts of `validate` on the lines of a block, on any threads."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest

from tests.support.cases import DEFAULT_NOW_MS, DEFAULT_PAYLOAD_BYTES
from tests.support.engines import CASES, validator

TOPIC = "sys/protocol/integration/measurepoint/post"
LINES = [
    case.payload
    for case in CASES
    if case.topic == TOPIC and case.payload.strip() and not set(case.payload) & {10, 13}
]
"""Payloads that are lines, accepted and rejected ones."""


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_the_verdicts_are_those_of_validate(threads: int) -> None:
    judge = validator(DEFAULT_PAYLOAD_BYTES)
    reports, points = judge.collect(
        [TOPIC] * len(LINES), LINES, now_ms=DEFAULT_NOW_MS, arrived_us=1_000_000
    )
    block = b"".join(line + b"\n" for line in LINES)
    found = judge.judge_lines(
        block, TOPIC, now_ms=DEFAULT_NOW_MS, arrived_us=1_000_000, collect=True, threads=threads
    )
    assert (found.lines, found.accepted) == (
        len(LINES),
        [one.code for one in reports].count(200),
    )
    assert found.points == sum(one.points for one in reports)
    assert [
        (n, block[start:end], code, reason) for n, start, end, code, reason in found.rejected
    ] == [
        (n, line, report.code, report.fault.reason)
        for n, (line, report) in enumerate(zip(LINES, reports, strict=True))
        if report.fault is not None
    ]
    tables = [pa.table(one) for one in found.collected]
    assert len(tables) == min(threads, len(tables))
    rows = [row for table in tables for row in table.to_pylist()]
    assert rows == pa.table(points).to_pylist()
    assert judge.judge_lines(block, TOPIC, now_ms=DEFAULT_NOW_MS).collected == []


def test_ends_of_lines_and_lines_of_whitespace() -> None:
    good = next(case.payload for case in CASES if case.topic == TOPIC and case.code == 200)
    judge = validator(DEFAULT_PAYLOAD_BYTES)
    block = b"\n \t\r\n" + good + b"\r\n" + b"x\r\n" + b"\x0b\x0c\n" + good
    for threads in range(1, 8):
        found = judge.judge_lines(block, TOPIC, threads=threads)
        assert (found.lines, found.accepted) == (6, 2)
        ((number, start, end, code, reason),) = found.rejected
        assert (number, block[start:end], code, reason) == (3, b"x", 1220, "syntax")
    assert judge.judge_lines(b"", TOPIC).lines == 0
    assert judge.judge_lines(b"\n" * 5, TOPIC, threads=2).lines == 5


def test_the_limit_is_that_of_the_payload_without_the_end_of_its_line() -> None:
    payload = b"1" * 16
    for end in (b"\n", b"\r\n", b""):
        found = validator(16).judge_lines(payload + end, TOPIC)
        assert Counter(one[3] for one in found.rejected) == {1220: 1}
        found = validator(16).judge_lines(payload + b"1" + end, TOPIC)
        assert Counter(one[3] for one in found.rejected) == {1008: 1}


def test_a_topic_that_is_not_served_is_no_reason_to_stop() -> None:
    found = validator(16).judge_lines(b"x\ny\n", "somewhere")
    assert [(one[3], one[4]) for one in found.rejected] == [(0, "bad_topic")] * 2
