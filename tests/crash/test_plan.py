"""Plans cover everybody everywhere, and a summary says what came of them."""

from __future__ import annotations

from random import Random

import pytest

from tests.crash.compare import Findings
from tests.crash.outcome import Outcome
from tests.crash.plan import (
    ALL,
    BROKER,
    COMMITS,
    DATABASE,
    PLACES,
    SERVICE,
    make,
)
from tests.crash.summary import Summary


def test_a_plan_kills_everybody_at_every_place_and_at_random() -> None:
    plan = make(5000, ALL, Random(1))  # noqa: S311 - the same each time
    assert {(kill.victim, kill.place) for kill in plan} == {
        (victim, place) for victim in ALL for place in ("", *PLACES, *COMMITS)
    }
    assert plan == make(5000, ALL, Random(1))  # noqa: S311
    lives = "".join(kill.victim[0] for kill in plan).replace(DATABASE[0], "").split(SERVICE[0])
    assert max(map(len, lives)) == 5
    assert BROKER[0] * 5 in lives


def test_who_may_not_be_killed_is_not() -> None:
    plan = make(1000, (SERVICE,), Random(1))  # noqa: S311
    assert {kill.victim for kill in plan} == {SERVICE}
    assert not {kill.place for kill in plan} & set(COMMITS)


def summary(outcome: Outcome) -> Summary:
    outcome.kills["service at random"] = 2
    return Summary(1, 2, 60.0, [outcome])


def test_a_summary_is_good_when_nothing_was_found() -> None:
    found = summary(Outcome(1, "spool", "there", sinks={"parquet": Findings(duplicates=200)}))
    assert found.good
    assert "  parquet: 200 duplicates, 200 allowed" in found.lines()
    assert found.as_json()["good"] is True


@pytest.mark.parametrize(
    ("outcome", "violation"),
    [
        (Outcome(1, "spool", "there", sinks={"s": Findings(lost=[7, 9])}), "s: lost: 2: 7, 9"),
        (Outcome(1, "spool", "there", sinks={"s": Findings(torn=[7])}), "s: torn: 1: 7"),
        (Outcome(1, "spool", "there", sinks={"s": Findings(phantom=[7])}), "s: phantom: 1: 7"),
        (Outcome(1, "spool", "there", sinks={"s": Findings(stale=[7])}), "s: stale: 1: 7"),
        (Outcome(1, "spool", "there", sinks={"s": Findings(strange=["x"])}), "s: strange: 1: x"),
        (
            Outcome(1, "spool", "there", sinks={"s": Findings(doubled=3)}),
            "s: 3 points stand there more than once",
        ),
        (
            Outcome(1, "spool", "there", sinks={"parquet": Findings(duplicates=201)}),
            "parquet: 201 duplicates, 200 are allowed",
        ),
        (Outcome(1, "spool", "there", forgotten=[7]), "forgotten: 1: 7"),
        (Outcome(1, "spool", "there", misjudged=[7]), "misjudged: 1: 7"),
        (
            Outcome(1, "sink", "there", unkept={"s": [7]}),
            "s: answered 200 and not there yet: 1: 7",
        ),
        (Outcome(1, "spool", "there", problems=["a problem"]), "a problem"),
    ],
)
def test_a_summary_tells_each_violation(outcome: Outcome, violation: str) -> None:
    found = summary(outcome)
    assert not found.good
    assert f"VIOLATION in there, seed 1: {violation}" in found.lines()
    assert found.as_json()["runs"][0]["violations"] == [violation]


def test_a_summary_of_too_few_kills_is_not_good() -> None:
    found = Summary(1, 2, 60.0, [Outcome(1, "spool", "there")])
    assert not found.good
    assert "NOT DONE: 0 of 2 kills" in found.lines()
