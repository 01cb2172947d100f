"""The comparison finds each kind of violation, and nothing where there is none."""

from __future__ import annotations

import io
import json
from random import Random
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from pointgate import Catalog, Validator
from tests.crash import ledger as ledgers
from tests.crash.compare import KINDS, Findings, compare, forgotten, misjudged
from tests.crash.ledger import EXPECTED, Ledger, LedgerWriter
from tests.crash.traffic import Point, correct, make
from tests.support.paths import CATALOG

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FIRST = Point("protocol", "device1", "temp", 1, 1.5, None, None, None)
SECOND = Point("protocol", "device1", "Power", 1, None, 7, None, 3)


def ledger(*answers: dict[str, Any], points: Sequence[Point] = (FIRST, SECOND)) -> Ledger:
    """The ledger of one request, number 1, and what happened to it."""
    sent = {"sent": 1, "corrects": None, "wrong": False, "points": points}
    lines = [json.dumps(line) + "\n" for line in (sent, *answers)]
    return ledgers.read(lines)


def violations(findings: Findings) -> dict[str, list[int]]:
    return {kind: found for kind in KINDS if (found := getattr(findings, kind))}


def rows(*points: Point) -> pa.Table:
    names = EXPECTED.names[1:]
    dicts = [dict(zip(names, point, strict=True)) for point in points]
    return pa.Table.from_pylist(dicts, schema=EXPECTED.remove(0))


@pytest.mark.parametrize("answers", [[{"ok": 1}], []])
def test_a_request_that_is_there_as_a_whole_is_right(answers: list[dict[str, int]]) -> None:
    findings = compare(ledger(*answers), rows(FIRST, SECOND))
    assert (violations(findings), findings.duplicates, findings.points) == ({}, 0, 2)


@pytest.mark.parametrize("answers", [[{"err": 1}], []])
def test_a_request_that_was_not_answered_200_need_not_be_there(
    answers: list[dict[str, int]],
) -> None:
    assert violations(compare(ledger(*answers), rows())) == {}


def test_what_was_answered_200_and_is_missing_is_lost() -> None:
    assert compare(ledger({"ok": 1}), rows()).lost == [1]


def test_a_rejected_request_that_is_there_is_a_phantom() -> None:
    assert compare(ledger({"err": 1}), rows(FIRST)).phantom == [1]


@pytest.mark.parametrize("answers", [[{"ok": 1}], []])
def test_a_part_of_a_request_is_torn(answers: list[dict[str, int]]) -> None:
    assert violations(compare(ledger(*answers), rows(SECOND))) == {"torn": [1]}
    assert violations(compare(ledger(*answers), rows(SECOND, SECOND))) == {"torn": [1]}


@pytest.mark.parametrize(
    "other",
    [
        FIRST._replace(value_double=1.6),
        FIRST._replace(value_double=None),
        FIRST._replace(device="device2"),
        FIRST._replace(product="branches"),
        FIRST._replace(identifier="Power"),
        FIRST._replace(time=2),
        FIRST._replace(quality=1),
        FIRST._replace(value_json="1.5"),
    ],
)
def test_what_was_never_sent_like_this_is_strange(other: Point) -> None:
    findings = compare(ledger({"ok": 1}), rows(other, SECOND))
    assert len(findings.strange) == len(findings.torn) == 1


def test_copies_are_counted_by_request() -> None:
    findings = compare(ledger({"ok": 1}), rows(FIRST, FIRST, FIRST, SECOND, SECOND))
    assert (violations(findings), findings.duplicates, findings.doubled) == ({}, 2, 2)


def test_what_was_posted_again_is_counted_and_judged_by_what_counts() -> None:
    answered = ledger({"ok": 1}, CORRECTION, {"ok": 2})
    every = rows(*LATER, FIRST, SECOND, SECOND)
    findings = compare(answered, rows(*LATER), every=every)
    assert (violations(findings), findings.duplicates) == ({}, 1)
    assert (findings.doubled, findings.points) == (0, 5)


LATER = [FIRST._replace(value_double=2.5), SECOND._replace(value_long=8)]
CORRECTION = {"sent": 2, "corrects": 1, "wrong": False, "points": LATER}


def test_one_of_a_request_and_its_correction_is_there() -> None:
    answered = ledger({"ok": 1}, CORRECTION, {"ok": 2})
    assert violations(compare(answered, rows(*LATER))) == {}
    both = compare(answered, rows(*LATER, FIRST, SECOND))
    assert (violations(both), both.duplicates, both.doubled) == ({}, 0, 2)
    assert violations(compare(answered, rows(FIRST, SECOND))) == {"stale": [2]}
    assert violations(compare(answered, rows(LATER[0], SECOND))) == {"torn": [2]}
    assert violations(compare(answered, rows())) == {"lost": [1], "stale": [2]}


def test_a_correction_without_an_answer_may_be_there_or_not() -> None:
    open_still = ledger({"ok": 1}, CORRECTION)
    assert violations(compare(open_still, rows(*LATER))) == {}
    assert violations(compare(open_still, rows(FIRST, SECOND))) == {}
    assert violations(compare(open_still, rows(FIRST))) == {"torn": [1]}


def test_an_older_value_may_come_again_when_the_broker_was_killed() -> None:
    killed = ledger({"ok": 1}, CORRECTION, {"ok": 2}, {"cut": True})
    assert violations(compare(killed, rows(FIRST, SECOND))) == {}
    assert violations(compare(killed, rows())) == {"lost": [1]}


def test_a_request_that_a_living_broker_holds_and_nobody_answers_is_forgotten() -> None:
    assert forgotten(ledger({"taken": 1})) == [1]
    assert forgotten(ledger({"taken": 1}, {"cut": True})) == []
    assert forgotten(ledger({"cut": True}, {"taken": 1})) == [1]
    assert forgotten(ledger({"taken": 1}, {"ok": 1})) == []
    assert forgotten(ledger({"taken": 1}, {"err": 1})) == []
    assert forgotten(ledger()) == []


def test_an_answer_that_is_not_deserved_is_misjudged() -> None:
    assert misjudged(ledger({"err": 1})) == [1]
    assert misjudged(ledger({"ok": 1}, {"err": 1})) == [1]
    assert misjudged(ledger({"ok": 1})) == []
    wrong = ledger({"ok": 1})
    wrong.requests[1].wrong = True
    assert misjudged(wrong) == [1]


def test_a_ledger_reads_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    requests = [make(number, Random(number)) for number in range(50)]  # noqa: S311
    with LedgerWriter(path) as writer:
        for request in requests:
            writer.sent(request)
        writer.note(again=3)
        writer.note(strange="x")
    text = path.read_text()
    for cut in ("", '{"sent":99,"wro'):
        found = ledgers.read(io.StringIO(text + cut))
        assert found.requests.keys() == set(range(50))
        assert (found.requests[3].sent, found.requests[4].sent) == (2, 1)
        assert found.strange == ["x"]
        assert violations(compare(found, found.expected.remove_column(0))) == {}


def test_every_request_gets_the_verdict_it_was_made_for() -> None:
    draw = Random(1)  # noqa: S311
    requests = [make(number, draw) for number in range(2000)]
    validator = Validator(Catalog.load(CATALOG))
    reports = validator.validate(
        [request.topic for request in requests], [request.payload for request in requests]
    )
    for request, report in zip(requests, reports, strict=True):
        assert (report.code != 200) == request.wrong
        assert report.points in {0, len(request.points)}
    assert 100 < sum(request.wrong for request in requests) < 300
    values = [point[2:3] + point[4:] for request in requests for point in request.points]
    assert len(set(values)) == len(values)
    assert len({request.topic for request in requests}) == 4


def test_a_correction_has_the_same_points_and_other_values() -> None:
    draw = Random(1)  # noqa: S311
    for number in range(100):
        old = make(number, draw)
        new = correct(old, 1000 + number)
        assert [point[:4] for point in new.points] == [point[:4] for point in old.points]
        assert not {point[4:] for point in new.points} & {point[4:] for point in old.points}
        assert (new.topic, new.at, new.wrong) == (old.topic, number, False)
