"""Records hold exactly the points, grouped by entry, or by the partition of their device."""

from __future__ import annotations

import json
from typing import Any, Final

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc

from pointgate.sinks.kafka import records
from pointgate.sinks.kafka.records import arrow_records, json_records, request_records
from pointgate.store.points import SCHEMA
from tests.support.engines import groups, validator
from tests.support.point_tables import Point, columns_of, table

NAMES: Final = st.sampled_from(["a", "b", 'ü"\n', "c d"])
POINTS: Final = st.lists(
    st.builds(
        Point,
        product=st.sampled_from(["solar", "wind"]),
        device=NAMES,
        identifier=NAMES,
        time=st.integers(0, 3),
        double=st.floats(-1e9, 1e9),
        long=st.none(),
        boolean=st.none(),
        text=st.none(),
        json=st.none(),
        quality=st.none() | st.integers(0, 9),
        received=st.integers(0, 1),
    ),
    min_size=1,
    max_size=40,
)


def entries(points: list[Point]) -> list[dict[str, Any]]:
    """What JSON records say, made one point after the other."""
    found: list[dict[str, Any]] = []
    for one in points:
        about = {key: getattr(one, key) for key in ("product", "device", "time", "received")}
        last = found[-1] if found else {}
        if any(last.get(key) != value for key, value in about.items()) or (
            one.identifier in last["points"]
        ):
            found.append(about | {"points": {}, "quality": {}})
        found[-1]["points"][one.identifier] = one.double
        if one.quality is not None:
            found[-1]["quality"][one.identifier] = one.quality
    return found


@given(POINTS)
def test_json_has_a_record_for_each_entry(points: list[Point]) -> None:
    made = list(json_records(table(points)))
    read = [{"quality": {}} | json.loads(one.value) for one in made]
    assert read == entries(points)
    assert [one.key for one in made] == [f"{one['product']}/{one['device']}" for one in read]


def test_json_has_values_as_lines_of_json_have_them() -> None:
    points = [
        Point(identifier="long", long=2**53 + 1),
        Point(identifier="on", boolean=True),
        Point(identifier="text", text='a\n"'),
        Point(identifier="list", json="[1,\n2]"),
        Point(identifier="temp", double=1.5, quality=9),
    ]
    (record,) = json_records(table(points))
    assert record.value == (
        '{"product":"solar","device":"inv1","time":0,"points":{"long":9007199254740993,"on":true,'
        '"text":"a\\n\\"","list":[1, 2],"temp":1.5},"quality":{"temp":9},"received":0}'
    )


def test_requests_have_values_with_their_quality_in_whole_milliseconds() -> None:
    points = [
        Point(device='d"', time=5, long=2**53 + 1, received=7),
        Point(device='d"', time=5, identifier="x", double=1.5, quality=9, received=7),
        Point(device='d"', time=5, identifier="list", json="[1,\n2]", received=7),
        Point(product="wind", time=6, boolean=True, received=8),
    ]
    first, second = request_records(table(points))
    assert first.value == (
        '{"id":"7000","version":"1.0","method":"integration.measurepoint.post","params":'
        '[{"deviceKey":"d\\"","time":5,"measurepoints":{"temp":9007199254740993,'
        '"x":{"value":1.5,"quality":9},"list":[1, 2]}}]}'
    )
    assert (first.key, first.partition) == ('solar/d"', -1)
    assert first.headers == {"topic": "sys/solar/integration/measurepoint/post"}
    assert second.headers == {"topic": "sys/wind/integration/measurepoint/post"}


HALFWAY: Final = "1.00000005960464477539062"
"""Halfway between two FLOATs: the shortest text of that DOUBLE lies beyond, at the upper one."""


def test_requests_give_the_points_that_they_were_made_of() -> None:
    """For every request of the case table that is accepted."""
    compared = 0
    for payload_bytes, now_ms, cases in groups():
        judge = validator(payload_bytes)
        for case in cases:
            arrived = 1000 * now_ms
            _, accepted = judge.collect(
                [case.topic], [case.payload], now_ms=now_ms, arrived_us=arrived
            )
            sent = pa.table(accepted)
            if not sent.num_rows:
                continue
            again = list(request_records(sent))
            topics = [str((one.headers or {})["topic"]) for one in again]
            payloads = [str(one.value).encode() for one in again]
            reports, points = judge.collect(topics, payloads, now_ms=now_ms, arrived_us=arrived)
            faults = [one.fault.message for one in reports if one.fault]
            assert not faults or HALFWAY in case.name, (case.id, faults)
            assert faults or same(pa.table(points)) == same(sent), case.id
            compared += 1
    assert compared > 300


def same(points: pa.Table) -> list[dict[str, Any]]:
    """What two requests with the same points have in common: lines may be broken elsewhere."""
    rows = points.drop(["received"]).to_pylist()
    return [(row | {"value_json": json.loads(row["value_json"] or "null")}) for row in rows]


@given(POINTS, st.integers(1, 5))
def test_arrow_has_the_same_rows_and_a_device_in_one_partition(
    points: list[Point], partitions: int
) -> None:
    read: list[pa.Table] = []
    owners: dict[str, set[int]] = {}
    for one in arrow_records(table(points), partitions):
        assert isinstance(one.value, bytes)
        rows = ipc.open_stream(one.value).read_all()
        assert rows.schema == SCHEMA
        read.append(rows)
        for device in rows["device"].unique().to_pylist():
            owners.setdefault(device, set()).add(one.partition)
    assert all(len(own) == 1 for own in owners.values())
    joined = pa.concat_tables(read)
    if partitions == 1:
        assert joined.to_pylist() == table(points).to_pylist()
    assert sorted(map(str, columns_of(joined))) == sorted(map(str, columns_of(table(points))))


def test_arrow_records_stay_small_whatever_the_names_and_texts_are(monkeypatch: Any) -> None:
    monkeypatch.setattr(records, "_RECORD_ROWS", 100)
    points = [Point(device=f"device-{number:05}", text="x" * 900) for number in range(3000)]
    made = list(arrow_records(table(points), 1))
    assert len(made) == 30
    assert max(len(one.value) for one in made) < 150_000
