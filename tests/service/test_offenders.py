"""Who fails, and why: bounded whatever senders do, and in the log once."""

from __future__ import annotations

import json
import logging
import resource
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from pointgate import _core
from pointgate.service.metrics import Metrics
from pointgate.service.offenders import (
    MOST,
    log_rejection,
    offenders_document,
    offenders_text,
    render_offenders,
)
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL = b'{"measurepoints":{"temp":{"dataType":"DOUBLE","maximum":5},"on":{"dataType":"BOOL"}}}'
CATALOG = _core.Catalog(
    {
        key: _core.Product(_core.Model.compile(MODEL), _core.Devices(["d"]))
        for key in ("plant1", "plant2")
    }
)
VALIDATOR = _core.Validator(CATALOG)


def payload(device: str = "d", **points: object) -> bytes:
    entry = json.dumps({"deviceKey": device, "measurepoints": points, "time": 1})
    method = '"integration.measurepoint.post"'
    return f'{{"version":"1","method":{method},"params":[{entry}]}}'.encode()


def settle(
    counters: _core.Counters, requests: Sequence[tuple[str, bytes]], now: float = 0.0
) -> None:
    topics = [request_topic(product) for product, _ in requests]
    burst = _core.Burst.of(topics, [one for _, one in requests])
    VALIDATOR.judge_burst(burst, 0)
    counters.settle(burst, len(burst), now)


def counters() -> _core.Counters:
    made = _core.Counters()
    made.serve(list(CATALOG.products))
    return made


def test_the_most_frequent_faults_and_devices_come_first() -> None:
    counted = counters()
    settle(
        counted,
        [("plant1", payload(temp=9))] * 7
        + [("plant1", payload(temp=9, on=2))] * 2  # one request, one fault: the first
        + [("plant2", payload(on="x"))] * 5
        + [("plant2", payload("stranger"))] * 3
        + [("plant1", payload(temp=1))] * 50
        + [("nowhere", payload(temp=1))]
        + [("a/b", payload(temp=1))] * 100,  # a topic that is not served
    )
    faults, devices = counted.offenders(1.0, 10)
    assert [(one.product, one.reason, one.identifier, one.requests) for one in faults] == [
        ("plant1", "range", "temp", 9),
        ("plant2", "type", "on", 5),
        ("plant2", "device", None, 3),
        ("nowhere", "device", None, 1),
    ]
    assert [(one.product, one.device_key, one.requests) for one in devices] == [
        ("plant1", "d", 9),
        ("plant2", "d", 5),
        ("plant2", "stranger", 3),
    ]
    example = faults[1]
    assert example.pointer == "/params/0/measurepoints/on"
    assert (example.expected, example.got) == ("BOOL", 'string "x"')
    assert len(counted.offenders(1.0, 2)[0]) == 2


def test_what_failed_long_ago_is_below_what_fails_now() -> None:
    counted = counters()
    settle(counted, [("plant1", payload(temp=9))] * 500, now=100.0)
    settle(counted, [("plant2", payload(temp=8))] * 20, now=100.0)
    assert [one.product for one in counted.offenders(100.0, 9)[0]] == ["plant1", "plant2"]
    settle(counted, [("plant2", payload(temp=7))] * 20, now=3700.0)
    newest, oldest = counted.offenders(3700.0, 9)[0]
    assert (newest.product, newest.requests, newest.since, newest.last) == (
        "plant2",
        20,
        3700.0,
        3700.0,
    )
    assert newest.got == "7"  # the example is a recent one
    assert (oldest.product, oldest.last) == ("plant1", 100.0)
    assert oldest.rate < 0.01 < newest.rate


def test_what_has_ended_is_below_what_goes_on_however_much_it_was() -> None:
    counted = counters()
    settle(counted, [("plant1", payload(temp=9))] * 500, now=100.0)
    settle(counted, [("plant2", payload(temp=8))], now=155.0)
    assert [one.product for one in counted.offenders(160.0, 9)[0]] == ["plant1", "plant2"]
    assert [one.product for one in counted.offenders(162.0, 9)[0]] == ["plant2", "plant1"]
    assert [one.product for one in counted.offenders(162.0, 1)[0]] == ["plant2"]


def test_the_rate_of_many_is_estimated() -> None:
    counted = counters()
    requests = [("plant1", payload(temp=9)), ("plant2", payload(temp=9))] * 5_000
    for second in range(1, 11):
        settle(counted, requests, now=float(second))
    for one in counted.offenders(10.0, 2)[0]:
        assert 0.9 < one.requests / 50_000 < 1.1
        assert 0.9 < one.rate / (50_000 / 9) < 1.1


@pytest.mark.slow
def test_strangers_keys_take_no_memory() -> None:
    counted = counters()
    settle(counted, [("plant1", payload(f"first-{number}")) for number in range(10_000)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for part in range(100):
        now = 10.0 * part  # each second a thousand are counted each
        settle(
            counted,
            [("plant1", payload(f"{part}-{number}" + "x" * 90)) for number in range(10_000)],
            now,
        )
        settle(
            counted, [(f"product-{part}-{number}", payload(temp=1)) for number in range(100)], now
        )
        # Identifiers of a request that is rejected are as free as devices.
        settle(
            counted,
            [("plant2", payload("d", **{f"point-{part}-{number}": 1})) for number in range(100)],
            now,
        )
        settle(counted, [("plant2", payload(temp=9))] * 400, now)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 16 * 1024, f"{grown} KiB"
    faults, devices = counted.offenders(1000.0, 10_000)
    assert len(faults) <= 256
    assert len(devices) <= 256
    # What is frequent is found among them.
    assert [(one.product, one.reason) for one in faults[:2]] == [
        ("plant1", "device"),
        ("plant2", "range"),
    ]
    assert (devices[0].product, devices[0].device_key) == ("plant2", "d")
    assert len(render_offenders(counted, "application/json")[0]) < 2 * MOST * 2000


def test_texts_of_senders_are_escaped_and_truncated() -> None:
    counted = counters()
    settle(
        counted,
        [("plant1", payload("ä\n" * 1000, temp=1)), ("plant1", payload("d", **{"\n[x": 1}))],
    )
    (page, form) = render_offenders(counted, "text/plain")
    assert form == "text/plain; charset=utf-8"
    assert "\\n[x" in page.decode()
    assert max(map(len, page.decode().splitlines())) <= 100
    text = offenders_text(offenders_document(counted), shown=1, width=60)
    assert max(map(len, text.splitlines())) <= 60
    (body, _) = render_offenders(counted, "application/json")
    document = json.loads(body)
    assert len(document["devices"][0]["deviceKey"].encode()) <= 128
    assert document["faults"][0].keys() == document["devices"][0].keys()
    assert render_offenders(counters(), "text/plain")[0] == b"no request was rejected\n"


def test_a_product_and_a_reason_make_few_log_lines() -> None:
    counted = counters()

    def lines(now: float, *requests: tuple[str, bytes]) -> list[tuple[str, str, int]]:
        settle(counted, requests, now)
        return [(one.product, one.reason, one.requests) for one in counted.take_due()]

    bad, other = ("plant1", payload(temp=9)), ("plant1", payload(temp="x"))
    assert lines(100.0, bad, bad, bad) == [("plant1", "range", 1)]
    assert lines(100.0, other, ("nix", b"{}"), ("plant1", payload(temp=1))) == [
        ("plant1", "type", 1),
        ("nix", "envelope", 1),
    ]
    assert lines(159.0, *[bad] * 50, ("nix2", b"{}")) == []  # within the minute
    assert lines(160.0, bad) == [("plant1", "range", 53)]
    assert lines(300.0, *[bad] * 500) == []  # not ten times as many as before
    assert lines(301.0, *[bad] * 30) == [("plant1", "range", 530)]
    # A few that are always rejected: a line an hour.
    assert lines(3900.0, bad) == []
    assert lines(3901.0, bad) == [("plant1", "range", 2)]
    assert counted.take_due() == []


def test_the_line_names_product_reason_place_and_values(caplog: pytest.LogCaptureFixture) -> None:
    counted = counters()
    settle(counted, [("plant1", payload(temp=9)), ("plant1", payload("x\ny")), ("plant1", b"{")])
    with caplog.at_level(logging.WARNING):
        for rejection in counted.take_due():
            log_rejection(rejection)
    head = "requests rejected: 1 of product plant1, reason"
    finite = "expected a finite DOUBLE, at most 5, got 9"
    known = 'expected a device of the product, got "x\\ny"'
    assert caplog.messages == [
        f"{head} range; the last one: device 'd', /params/0/measurepoints/temp: {finite}",
        f"{head} device; the last one: device 'x\\ny', /params/0/deviceKey: {known}",
        f"{head} syntax; the last one: syntax: expected more JSON, got the end",
    ]


def test_times_are_those_of_the_clock() -> None:
    metrics = Metrics()
    settle(metrics.counters, [("plant1", payload(temp=9))], now=time.monotonic())
    document = offenders_document(metrics.counters)
    (fault,) = document["faults"]
    assert abs(time.time() - _seconds(fault["since"])) < 5


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
