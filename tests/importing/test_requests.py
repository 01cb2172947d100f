"""Stored points as requests: what the judge makes of them are the same points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pointgate import Catalog, Validator
from pointgate.importing import requests as module
from pointgate.importing.requests import Requests
from pointgate.sinks.key_order import keyed
from pointgate.sinks.tables import one_batch
from tests.support.cases import CATALOG, DEFAULT_NOW_MS, load_cases
from tests.support.strategies import requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from tests.support.strategies import Request

ARRIVED_US = DEFAULT_NOW_MS * 1000 + 7
VALIDATOR = Validator(Catalog.load(CATALOG))


def accepted(topics: Sequence[str], payloads: Sequence[bytes]) -> pa.Table | None:
    """The points of those that are accepted, each key once."""
    _, points = VALIDATOR.collect(
        list(topics), list(payloads), now_ms=DEFAULT_NOW_MS, arrived_us=ARRIVED_US
    )
    table = pa.table(points)
    return (
        pa.Table.from_batches([keyed(one_batch(table), on_conflict="update")])
        if table.num_rows
        else None
    )


def posted(found: Requests, parts: Sequence[tuple[int, int]]) -> pa.Table:
    """The points that a service stores of them."""
    made = [found.request(*part) for part in parts]
    reports, points = VALIDATOR.collect(
        [one.topic for one in made],
        [one.payload for one in made],
        now_ms=DEFAULT_NOW_MS,  # later some would be outside of their product's time window
        arrived_us=ARRIVED_US + 1_000_000,
        observed_us=[one.received_us for one in made],
    )
    assert [report.code for report in reports] == [200] * len(made), reports
    return pa.table(points)


def rows(table: pa.Table) -> list[tuple[object, ...]]:
    names = [name for name in table.schema.names if name != "received"]
    return sorted(zip(*(table[name].to_pylist() for name in names), strict=True), key=repr)


def check(topics: Sequence[str], payloads: Sequence[bytes]) -> None:
    points = accepted(topics, payloads)
    if points is None:
        return
    found = Requests(points, "label")
    parts = list(found.parts(0, found.count))
    assert [start for start, _ in parts] == [0, *(stop for _, stop in parts)][:-1]
    assert parts[-1][1] == found.count == points.num_rows
    assert rows(posted(found, parts)) == rows(points)
    singly = [(row, row + 1) for row in range(found.count)]
    assert rows(posted(found, singly)) == rows(points)


def test_every_accepted_case_of_the_contract() -> None:
    cases = [case for case in load_cases() if case.code == 200]
    assert len(cases) > 100
    check([case.topic for case in cases], [case.payload for case in cases])


@given(found=st.lists(requests(), min_size=1, max_size=4))
def test_any_accepted_requests(found: list[Request]) -> None:
    check([one.topic for one in found], [one.payload for one in found])


def test_points_of_one_device_and_time_share_an_entry_and_requests_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REQUEST_POINTS", 4)
    params = ",".join(
        f'{{"deviceKey":"lenient-1","measurepoints":{{"int":{n},"bool":true}},"time":{n}}}'
        for n in range(5)
    )
    head = '{"version":"1","method":"integration.measurepoint.post","params":['
    payload = f"{head}{params}]}}"
    points = accepted(["sys/lenient/integration/measurepoint/post"], [payload.encode()])
    assert points is not None
    found = Requests(points, "label")
    assert list(found.parts(0, found.count)) == [(0, 4), (4, 8), (8, 10)]
    assert list(found.parts(3, 6)) == [(3, 6)]
    assert found.request(0, 3).payload == (
        b'{"id":"label-0","version":"1.0","method":"integration.measurepoint.post","params":['
        b'{"deviceKey":"lenient-1","measurepoints":{"bool":true,"int":0},"time":0},'
        b'{"deviceKey":"lenient-1","measurepoints":{"bool":true},"time":1}]}'
    )
