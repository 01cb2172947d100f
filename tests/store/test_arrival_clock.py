"""Arrival instants: unique, growing, and remembered (contract 3.5)."""

from __future__ import annotations

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointgate.quarantine.database import Filter, QuarantineDatabase
from pointgate.store.arrival_clock import ArrivalClock, system_us
from pointgate.store.points import SCHEMA
from tests.support.collected import ARRIVED, ARRIVED_US, entry, request, topic, validator
from tests.support.paths import FORMER
from tests.support.spools import files, keep, read, read_all, spool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

"""Files of the version whose instants were milliseconds: a spool of two requests, with the points 1
and 2, and 3; a quarantine of three requests of one millisecond; a Parquet file of three points."""

_LARGEST = 2**55


@given(
    last=st.integers(0, _LARGEST),
    calls=st.lists(st.tuples(st.integers(-_LARGEST, _LARGEST), st.integers(0, 3000)), max_size=30),
)
def test_no_instant_comes_twice_however_the_system_clock_goes(
    last: int, calls: list[tuple[int, int]]
) -> None:
    now = 0
    clock = ArrivalClock(last, now=lambda: now)
    given_so_far = last
    for now, count in calls:
        first = clock.issue(count)
        assert first == max(now, given_so_far + 1)
        assert clock.last == first + count - 1
        given_so_far = clock.last


@given(st.lists(st.integers(0, _LARGEST), max_size=10))
def test_a_clock_goes_on_behind_the_latest_instant_it_learns_of(instants: list[int]) -> None:
    clock = ArrivalClock(now=lambda: 0)
    for instant in instants:
        clock.advance(instant)
    assert clock.issue(1) == max(instants, default=0) + 1


# The judge.


def times(points: object) -> list[int]:
    found: list[int] = pa.table(points)["time"].cast(pa.int64()).to_pylist()
    return found


TIMELESS = request('[{"deviceKey":"device1","measurepoints":{"int":1}}]')


def judged(count: int, **arrival: object) -> pa.Table:
    _, points = validator().collect([topic("types")] * count, [TIMELESS] * count, **arrival)  # type: ignore[arg-type]
    return pa.table(points)


@pytest.mark.parametrize(
    ("arrival", "first"),
    [
        ({"now_ms": ARRIVED}, ARRIVED_US),
        ({"arrived_us": 1_234_567}, 1_234_567),
        ({"arrived_us": 1_234_567, "now_ms": ARRIVED}, 1_234_567),
        ({"arrived_us": -(2**62)}, -(2**62)),
        ({"now_ms": 0}, 0),
    ],
)
def test_each_request_of_a_call_arrives_a_microsecond_after_the_one_before(
    arrival: dict[str, int], first: int
) -> None:
    table = judged(4000, **arrival)  # so many bytes are judged without the interpreter lock
    instants = list(range(first, first + 4000))
    assert times(table) == instants
    assert table["received"].cast(pa.int64()).to_pylist() == instants


def test_a_rejected_request_takes_an_instant_too_and_entries_share_one() -> None:
    two = '{"deviceKey":"device1","measurepoints":{"int":1}}'
    payloads = [request(f"[{two},{two}]"), b"{", request(entry('"int":1', time="7")), TIMELESS]
    _, points = validator().collect([topic("types")] * 4, payloads, arrived_us=100)
    table = pa.table(points)
    assert times(table) == [100, 100, 7000, 103]
    assert table["received"].cast(pa.int64()).to_pylist() == [100, 100, 102, 103]


def test_without_a_clock_no_two_requests_of_a_process_have_the_same_instant() -> None:
    before = system_us()
    with ThreadPoolExecutor(4) as threads:
        calls = list(threads.map(lambda count: times(judged(count)), [1, 60, 3000] * 20))
    for instants in calls:
        assert all(later == earlier + 1 for earlier, later in pairwise(instants))
    every = [instant for instants in calls for instant in instants]
    assert len(set(every)) == len(every)
    assert min(every) >= before


@pytest.mark.parametrize("count", [3, 4000])
def test_what_was_observed_earlier_has_that_time_where_it_gives_none(count: int) -> None:
    payloads = [TIMELESS, request(entry('"int":1', time="7"))] + [TIMELESS] * (count - 2)
    observed: list[int | None] = [5, 6, *[None] * (count - 2)]
    topics = [topic("types")] * count
    _, points = validator().collect(topics, payloads, arrived_us=100, observed_us=observed)
    table = pa.table(points)
    assert times(table) == [5, 7000, *range(102, 100 + count)]
    assert table["received"].cast(pa.int64()).to_pylist() == list(range(100, 100 + count))
    with pytest.raises(ValueError, match="expected as many observed_us as topics, got 2 observed"):
        validator().collect(topics, payloads, observed_us=[1, 2])


@pytest.mark.parametrize(
    ("product", "ago_ms", "code"),
    [
        *(("window", 0, 200), ("window", 30 * 86_400_000, 200), ("window", 30 * 86_400_001, 1204)),
        *(("window-milliseconds", 1500, 200), ("window-milliseconds", 1501, 1204)),
        *(
            ("window-units", -90_000, 200),
            ("window-units", -90_001, 1204),
            ("protocol", 10**12, 200),
        ),
    ],
)
def test_a_window_judges_what_was_observed_earlier_as_a_time_that_came(
    product: str, ago_ms: int, code: int
) -> None:
    members = '"deviceKey":"device1","measurepoints":{"temp":1}'
    bare, null = request(f"[{{{members}}}]"), request(f'[{{"time":null,{members}}}]')
    dated = request(f'[{{{members},"time":{ARRIVED - ago_ms}}}]')
    observed = [ARRIVED_US - 1000 * ago_ms] * 3
    for call in (validator().validate, lambda *a, **k: validator().collect(*a, **k)[0]):
        reports = call(
            [topic(product)] * 3, [bare, null, dated], now_ms=ARRIVED, observed_us=observed
        )
        assert [report.code for report in reports] == [code] * 3
        if code != 200:
            faults = [report.fault for report in reports]
            places = {(one.pointer, one.reason, one.got) for one in faults if one}
            assert places == {("/params/0/time", "time", str(ARRIVED - ago_ms))}
        (report,) = call([topic(product)], [bare], now_ms=ARRIVED)
        assert report.code == 200  # it arrives now


# What is remembered.


async def test_an_emptied_spool_remembers_the_last_arrival(tmp_path: Path) -> None:
    ahead = system_us() + 10**12
    async with spool(tmp_path) as opened:
        opened.arrivals.advance(ahead)
        await keep(opened, 1.0)
        opened.commit_offset("main", opened.last)
    for lives in range(3):  # each one begins a new file, and deletes the former ones
        async with spool(tmp_path) as opened:
            assert opened.arrivals.issue(1) == ahead + 1 + 61 * lives
            opened.arrivals.issue(60)
            opened.commit_offset("main", await keep(opened, 2.0))


async def test_a_file_that_was_not_closed_remembers_the_last_arrival_that_was_committed(
    tmp_path: Path,
) -> None:
    ahead = system_us() + 10**12
    async with spool(tmp_path / "killed") as opened:
        opened.arrivals.advance(ahead)
        await keep(opened, 1.0)
        opened.arrivals.advance(ahead + 1000)  # never committed, so nobody has it
        shutil.copytree(tmp_path / "killed", tmp_path / "left")
    async with spool(tmp_path / "left") as opened:
        assert opened.arrivals.last == ahead
        assert await read_all(opened) == [1.0]


async def test_a_spool_of_the_former_version_is_read(tmp_path: Path) -> None:
    shutil.copytree(FORMER / "spool", tmp_path / "spool")
    (former,) = files(tmp_path / "spool")
    with closing(sqlite3.connect(former)) as connection:
        (committed,) = connection.execute("SELECT max(committed) FROM batch").fetchone()
    async with spool(tmp_path / "spool") as opened:
        assert opened.arrivals.last == 1000 * (committed + 1)
        chunk = await read(opened)
        assert chunk.points.schema == SCHEMA
        start = 1_700_000_000_000_000
        assert times(chunk.points) == [start, start + 1_000_000, start]
        await keep(opened, 4.0)
        assert await read_all(opened) == [1.0, 2.0, 3.0, 4.0]


def instants_of(file: QuarantineDatabase) -> list[int]:
    found = [file.get(number) for number in file.numbers(Filter())]
    return [one.received_us for one in found if one]


def test_requests_of_a_former_quarantine_get_instants_of_their_own(tmp_path: Path) -> None:
    shutil.copytree(FORMER / "quarantine", tmp_path / "quarantine")
    for _ in range(2):  # the second time there is nothing to migrate
        with closing(QuarantineDatabase(tmp_path / "quarantine")) as file:
            assert instants_of(file) == [1_700_000_000_123_000 + number for number in (1, 2, 3)]
            assert file.newest == 1_700_000_000_123_003
            assert len(file.numbers(Filter(since_ms=1_700_000_000_123))) == 3
            assert file.numbers(Filter(since_ms=1_700_000_000_124)) == []


def test_a_quarantine_keeps_instants_to_the_microsecond(tmp_path: Path) -> None:
    shutil.copytree(FORMER / "quarantine", tmp_path / "former")
    with closing(QuarantineDatabase(tmp_path / "former")) as former:
        rejected = former.get(1)
    assert rejected
    instants: Sequence[int] = [7, 999, 1000, 1_700_000_000_123_456]
    with closing(QuarantineDatabase(tmp_path)) as file:
        assert file.newest == 0
        file.insert(replace(rejected, received_us=instant) for instant in instants)
        assert instants_of(file) == instants
        assert file.newest == instants[-1]
