"""Taps show answered requests, in bounded memory and time, and say what they do not show."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from pointgate import _core
from pointgate._core import Burst, TapFilter
from pointgate.service import taps
from pointgate.service.taps import Bucket, TapQueryError, Taps, TooManyTapsError
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.service.taps import Tap

MODEL = b'{"measurepoints":{"t":{"dataType":"INT","maximum":100},"u":{"dataType":"INT"}}}'


@pytest.fixture(autouse=True)
def time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a loaded machine the taps' CPU time would end in the middle of a test."""
    monkeypatch.setattr(taps, "_SAVED_SECONDS", 5.0)


def validator() -> _core.Validator:
    product = _core.Product(_core.Model.compile(MODEL), _core.Devices.parse(b'd\ne\n"x\n', "txt"))
    return _core.Validator(_core.Catalog({"a": product, "b": product}))


def topic(product: str) -> str:
    return f"sys/{product}/integration/measurepoint/post"


def payload(value: object = 1, *, device: str = "d", point: str = "t", size: int = 0) -> bytes:
    entry = {"deviceKey": device, "measurepoints": {point: value}}
    document = {"id": "1", "version": "1.0", "method": "integration.measurepoint.post"}
    return json.dumps(document | {"params": [entry]}).encode().ljust(size)


def judged(requests: Sequence[tuple[str, bytes]]) -> Burst:
    burst = Burst.of([one[0] for one in requests], [one[1] for one in requests])
    burst.stamp(1_700_000_000_000_000, 1_700_000_000_000)
    validator().judge_burst(burst, 0, end=len(burst), collect=False)
    return burst


MIXED = [
    (topic("a"), payload()),
    (topic("a"), payload(101)),
    (topic("b"), payload("x", device="e")),
    (topic("b"), payload(2, device="e")),
    (topic("b"), payload(2, device='"x', point="u")),
    (topic("b"), payload(2, device="nobody")),
    (topic("none"), payload()),
    ("sys/a/other", payload()),
]


@pytest.mark.parametrize(
    ("criteria", "places"),
    [
        ({}, range(8)),
        ({"product": "a"}, [0, 1]),
        ({"product": "none"}, [6]),
        ({"code": 200}, [0, 3, 4]),
        ({"code": 0}, [7]),
        ({"reason": "range"}, [1]),
        ({"reason": "device", "code": 1257}, [5, 6]),
        ({"device": "e"}, [2, 3]),
        ({"device": "e", "code": 200}, [3]),
        ({"device": '"x'}, [4]),
        ({"device": "x"}, [2]),  # a value that equals the key; not the key `"x` of the next one
        ({"identifier": "t"}, [1, 2]),
    ],
)
def test_a_filter_selects_by_topic_verdict_and_payload(
    criteria: dict[str, Any], places: Sequence[int]
) -> None:
    matched, sample = TapFilter(**criteria).sample(judged(MIXED), 8, 8, 0, 1000)
    assert matched == len(places)
    assert [(one[0], one[1]) for one in sample] == [MIXED[place] for place in places]
    assert all(one[2] == len(one[1]) for one in sample)
    assert [one[4] - 1_700_000_000_000_000 for one in sample] == list(places)


def test_there_are_no_other_codes_and_reasons() -> None:
    with pytest.raises(ValueError, match="there is no code 404"):
        TapFilter(code=404)
    with pytest.raises(ValueError, match='there is no reason "x"'):
        TapFilter(reason="x")


def test_only_settled_requests_count_and_only_those_with_a_verdict() -> None:
    burst = Burst.of([topic("a")] * 4, [payload()] * 4, retained=[1])
    validator().judge_burst(burst, 0, end=3, collect=False)
    assert TapFilter().sample(burst, 4, 9, 0, 9)[0] == 2
    assert TapFilter().sample(burst, 1, 9, 0, 9)[0] == 1
    assert TapFilter().sample(burst, 99, 0, 7, 9) == (2, [])


def test_a_sample_has_requests_from_all_places_of_a_burst_in_order() -> None:
    burst = judged([(topic("a"), payload(number)) for number in range(100)])
    seen = set()
    for first in range(100):
        matched, sample = TapFilter().sample(burst, 100, 4, first, 1000)
        values = [json.loads(one[1])["params"][0]["measurepoints"]["t"] for one in sample]
        assert (matched, len(values), sorted(values)) == (100, 4, values)
        seen.update(values)
    assert seen == set(range(100))


def test_a_payload_is_cut_between_characters() -> None:
    burst = judged([(topic("a"), "aé漢😀".encode())])
    cut = [TapFilter().sample(burst, 1, 1, 0, size)[1][0][1].decode() for size in range(12)]
    assert cut == ["", "a", "a", "aé", "aé", "aé", *["aé漢"] * 4, "aé漢😀", "aé漢😀"]
    garbage = judged([(topic("a"), b"\x80" * 20)])
    assert len(TapFilter().sample(garbage, 1, 1, 0, 9)[1][0][1]) == 9


async def lines(tap: Tap, count: int) -> list[dict[str, Any]]:
    """So many lines."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE):
        async for part in tap.lines():
            found += map(json.loads, part.splitlines())
            if len(found) >= count:
                break
    return found


async def test_below_its_rate_a_tap_shows_every_request_with_its_verdict() -> None:
    all_taps = Taps()
    tap = all_taps.attach("rate=100")
    all_taps.offer(judged(MIXED[:2]), 2)
    counts, good, bad = await lines(tap, 3)
    assert counts["counts"]["answered"] == 2
    assert good["code"] == 200
    assert good["reason"] is None
    assert good["excerpt"] == MIXED[0][1].decode()
    assert bad | {"excerpt": ""} == {
        "received": "2023-11-14T22:13:20.000001Z",
        "topic": topic("a"),
        "code": 1204,
        "answered": 1204,
        "points": 0,
        "reason": "range",
        "message": bad["message"],
        "pointer": "/params/0/measurepoints/t",
        "offset": bad["offset"],
        "index": 0,
        "deviceKey": "d",
        "identifier": "t",
        "expected": bad["expected"],
        "got": "101",
        "didYouMean": None,
        "size": len(MIXED[1][1]),
        "dropped": 0,
        "excerpt": "",
    }
    assert good.keys() == bad.keys()


async def test_above_its_rate_it_shows_a_sample_and_how_many_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    all_taps = Taps()
    tap = all_taps.attach("rate=10&product=a")
    burst = judged([(topic("a"), payload(number)) for number in range(50)] + MIXED[2:4])
    for now in (100.0, 100.5, 100.501, 100.701):
        clock[0] = now
        all_taps.offer(burst, 52)
    counts, *shown = await lines(tap, 18)
    assert counts["counts"] == {
        "answered": 208,
        "matched": 200,
        "shown": 17,
        "dropped": 183,
        "unexamined": 0,
    }
    assert [one["dropped"] for one in shown if one["dropped"]] == [40, 45, 98]
    assert len(shown) == 10 + 5 + 2


async def test_payloads_are_whole_only_if_asked_for_and_not_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(taps, "PAYLOAD_BYTES", 500)
    all_taps = Taps()
    long, broken = payload(size=400), b"\xff{"
    burst = judged([(topic("a"), one) for one in (long, payload(size=501), broken)])
    whole, part = all_taps.attach("payload=1"), all_taps.attach("payload=0")
    all_taps.offer(burst, 3)
    _, first, second, third = await lines(whole, 4)
    assert first["payload"] == long.decode()
    assert not {"payload", "payloadBase64", "excerpt"} & second.keys()
    assert second["size"] == 501
    assert third["payloadBase64"] == "/3s="
    _, first, _, third = await lines(part, 4)
    assert first["excerpt"] == long[:256].decode()
    assert third["excerpt"] == "\\xff{"


async def test_a_client_that_does_not_read_makes_no_queue_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(taps, "_QUEUE_BYTES", 5000)
    all_taps = Taps()
    tap = all_taps.attach("rate=10000")
    burst = judged([MIXED[1]] * 30)
    for _ in range(20):
        all_taps.offer(burst, 30)
    assert tap._queued_bytes <= 5000
    counts, *shown = await lines(tap, 2)
    assert counts["counts"]["shown"] == len(shown) < 15
    assert counts["counts"]["dropped"] == 600 - len(shown)
    big = judged([(topic("a"), payload(size=9000))] * 2)
    other = all_taps.attach("payload=1")
    all_taps.offer(big, 2)
    _, first = await lines(other, 2)
    assert first["size"] == 9000  # one fits an empty queue, whatever its size


async def test_without_cpu_time_left_bursts_are_not_looked_at() -> None:
    all_taps = Taps()
    tap = all_taps.attach("")
    all_taps._allowance.spend(10.0)
    all_taps.offer(judged(MIXED), 8)
    (counts,) = await lines(tap, 1)
    assert counts["counts"]["unexamined"] == counts["counts"]["answered"] == 8
    assert counts["counts"]["matched"] == 0


def test_a_bucket_fills_up_to_its_size() -> None:
    bucket = Bucket(2.0, 10.0, 0.0)
    bucket.spend(12.0)
    assert bucket.level(0.5) == -1.0
    assert bucket.level(3.0) == 4.0
    assert bucket.level(100.0) == 10.0


async def test_a_bug_in_a_tap_does_not_reach_the_gate(caplog: pytest.LogCaptureFixture) -> None:
    all_taps = Taps()
    tap = all_taps.attach("")
    tap.offer = None  # type: ignore[method-assign,assignment]
    all_taps.offer(judged(MIXED), 8)
    assert "cannot show requests" in caplog.text


async def test_four_taps_may_be_attached() -> None:
    all_taps = Taps()
    attached = [all_taps.attach("") for _ in range(4)]
    with pytest.raises(TooManyTapsError, match="4 taps are attached"):
        all_taps.attach("")
    all_taps.detach(attached[0])
    all_taps.attach("")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("rate=0", "^rate: expected an integer from 1 to 10000, got '0'$"),
        ("rate=10001", "^rate: expected an integer"),
        ("rate=x", "^rate: expected an integer"),
        ("rate=nan", "^rate: expected an integer .*, got 'nan'$"),
        ("rate=%D9%A1", "^rate: expected an integer"),
        (f"rate={'1' * 5000}", "^rate: expected an integer"),
        ("rate=1&rate=1", "^the query has 'rate' twice$"),
        ("payload=yes", "^payload: expected an integer from 0 to 1, got 'yes'$"),
        ("code=7", "there is no code 7"),
        ("code=99999999", "^code: expected an integer"),
        ("reason=nothing", "there is no reason"),
        ("colour=red", "unknown parameter: 'colour'"),
        ("product", "the query is wrong"),
    ],
)
def test_a_wrong_query_is_refused(query: str, words: str) -> None:
    with pytest.raises(TapQueryError, match=words):
        Taps().attach(query)


def test_a_request_that_is_not_enforced_has_its_code_and_its_fault() -> None:
    model, devices = _core.Model.compile(MODEL), _core.Devices.parse(b"d\n", "txt")
    product = _core.Product(model, devices, mode="shadow")
    burst = Burst.of([topic("a")] * 2, [payload(), payload(101)])
    judge = _core.Validator(_core.Catalog({"a": product}))
    judge.judge_burst(burst, 0, end=2, collect=False)
    matched, sample = TapFilter(reason="range").sample(burst, 2, 2, 0, 1000)
    assert matched == TapFilter(identifier="t").sample(burst, 2, 2, 0, 1000)[0] == 1
    assert [TapFilter(code=code).sample(burst, 2, 2, 0, 9)[0] for code in (200, 1204)] == [2, 1]
    (report,) = (one[3] for one in sample)
    assert report.code == 200
    assert report.fault
    assert report.fault.got == "101"
