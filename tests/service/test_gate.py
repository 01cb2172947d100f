"""The gate keeps its order and its counts whatever fails."""

from __future__ import annotations

import asyncio
import json
import threading
from array import array
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from pointgate import _core
from pointgate._core import Burst
from pointgate.errors import ConnectionLost
from pointgate.service.gate import LOOP_BYTES, Gate
from pointgate.store.arrival_clock import ArrivalClock

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pointgate.store.base import Points

TOPIC = "sys/pk/integration/measurepoint/post"


def _catalog() -> _core.Catalog:
    model = _core.Model.compile(b'{"measurepoints":{"t":{"dataType":"INT"}}}')
    product = _core.Product(model, _core.Devices.parse(b"d\n", "txt"))
    return _core.Catalog({"pk": product})


class _Panic(BaseException):
    """As a panic of the extension is: no Exception."""


class _Validator:
    """The judge, watched; it fails on some payloads, and takes as long as a test says."""

    def __init__(self) -> None:
        self._validator = _core.Validator(_catalog())
        self.threads: list[str] = []
        self.calls: list[int] = []
        self.turns: list[None] = []  # of the loop, as `_turns` notes them
        self.turns_at_calls: list[int] = []
        self.seconds = 0.0  # how long judging 64 requests takes

    def judge_burst(
        self, burst: Burst, start: int, *, end: int, collect: bool, seconds: float | None
    ) -> tuple[int, Points | None]:
        self.threads.append(threading.current_thread().name)
        self.turns_at_calls.append(len(self.turns))
        limit = 0.0 if seconds is not None and self.seconds > seconds else None
        for place in range(start, end):
            if b"panic" in burst.requests[place].payload:
                self._validator.judge_burst(burst, start, end=place, collect=collect)
                raise _Panic
        judged = self._validator.judge_burst(burst, start, end=end, collect=collect, seconds=limit)
        self.calls.append(judged[0] - start)
        return judged


class _Counters:
    """Adds up, and holds what the real ones promise."""

    def __init__(self) -> None:
        self.received = self.settled = self.retained = self.failed = self.abandoned = 0

    def receive(self, burst: Burst) -> None:
        self.received += len(burst)

    def settle(self, burst: Burst, settled: int, now: float) -> None:
        assert now >= burst.arrived
        for request, report in zip(burst.requests[:settled], burst.reports, strict=False):
            self.retained += request.retained
            self.failed += report is None and not request.retained
            self.settled += report is not None

    def take_due(self) -> list[_core.Offender]:
        return []

    def abandon(self, requests: int) -> None:
        self.abandoned += requests

    def judged(self, seconds: float) -> None:
        assert seconds >= 0

    def collected(self, points: object) -> None:
        pass

    @property
    def figures(self) -> tuple[int, int, int, int]:
        disposed = self.settled + self.retained + self.failed + self.abandoned
        assert self.received == disposed
        return self.received, self.settled, self.retained, self.abandoned


class _Connection:
    """Hands over what it was given, then drains."""

    def __init__(self, *bursts: Burst, journal: list[str]) -> None:
        self._bursts = [*bursts]
        self._journal = journal
        self.answers: list[tuple[str, bytes | None]] = []
        self.settled = 7  # of bursts before
        self.ends: tuple[int, BaseException] | None = None
        self.more: list[bool] = []

    async def receive(self) -> Burst | None:
        return self._bursts.pop(0) if self._bursts else None

    async def settle(self, burst: Burst, *, more: bool = False) -> None:
        if self.ends:
            settled, error = self.ends
            self.settled += settled
            raise error
        self._journal.append("settle")
        self.more.append(more)
        self.answers += zip(
            (_id(one.payload) for one in burst.requests), burst.replies, strict=True
        )
        self.settled += len(burst)


class _Store:
    ack = "test"
    promise = ""
    trouble = ""

    def __init__(self, journal: list[str]) -> None:
        self._journal = journal
        self.collects = False
        self.full = asyncio.Event()
        self.full.set()
        self.never: list[int] = []
        self.given: list[int] = []  # points of each call
        self.points: list[Points] = []

    def append(self, counts: bytes, points: Sequence[Points]) -> asyncio.Future[Collection[int]]:
        requests = array("I", counts)
        assert not points or sum(requests) == sum(map(len, points))
        self.given.append(sum(map(len, points)))
        self.points += points
        return asyncio.ensure_future(self._keep(len(requests)))

    async def _keep(self, count: int) -> Collection[int]:
        await self.full.wait()
        self._journal.append(f"keep {count}")
        return self.never


class _World:
    def __init__(self, *bursts: Burst) -> None:
        self.journal: list[str] = []
        self.counters = _Counters()
        self.validator = _Validator()
        self.store = _Store(self.journal)
        self.connection = _Connection(*bursts, journal=self.journal)
        self.gate = self.gate_with()

    def gate_with(self, **options: Any) -> Gate:
        return Gate(
            validator=self.validator,  # type: ignore[arg-type]
            store=self.store,
            counters=self.counters,  # type: ignore[arg-type]
            **options,
        )

    async def run(self) -> None:
        await self.gate.run(self.connection)
        self.gate.close()


def _id(payload: bytes) -> str:
    return str(json.loads(payload)["id"])


def _payload(name: str, *, points: int = 1, size: int = 0) -> bytes:
    """A request that is accepted, with so many points, and at least so many bytes."""
    entry = '{"deviceKey":"d","measurepoints":{"t":1}}'
    document = (
        f'{{"id":"{name}","version":"1","method":"integration.measurepoint.post",'
        f'"params":[{",".join([entry] * points)}]}}'
    )
    return document.encode().ljust(size)


def _burst(*names: str, retained: Sequence[str] = (), **options: int) -> Burst:
    """A burst with these requests; some were retained by the broker."""
    payloads = [_payload(name, **options) for name in names]
    places = [place for place, name in enumerate(names) if name in retained]
    return Burst.of([TOPIC] * len(names), payloads, retained=places)


def _reply(name: str) -> bytes:
    return f'{{"id":"{name}","code":200,"data":{{}}}}'.encode()


async def test_a_burst_is_kept_before_it_is_answered() -> None:
    world = _World(_burst("a", "b"), _burst("c"))
    world.store.full.clear()
    running = asyncio.create_task(world.run())
    await asyncio.sleep(0)
    assert world.journal == []
    world.store.full.set()
    await running
    kept = [index for index, event in enumerate(world.journal) if event.startswith("keep")]
    settled = [index for index, event in enumerate(world.journal) if event == "settle"]
    assert [world.journal[index] for index in kept] == ["keep 2", "keep 1"]
    assert all(before < after for before, after in zip(kept, settled, strict=True))
    assert world.connection.answers == [(name, _reply(name)) for name in "abc"]
    assert world.counters.figures == (3, 3, 0, 0)


async def test_the_last_of_the_bursts_that_are_stored_together_hands_over_all_replies() -> None:
    world = _World(_burst("a"), _burst("b"), _burst("c"))
    world.store.full.clear()
    running = asyncio.create_task(world.run())
    while len(world.store.given) < 3:  # noqa: ASYNC110 - nothing signals it
        await asyncio.sleep(0)
    world.store.full.set()
    await running
    assert world.connection.more == [True, True, False]
    alone = _World(_burst("a"))
    await alone.run()
    assert alone.connection.more == [False]


async def test_requests_arrive_at_instants_of_their_own_and_say_when_they_were_observed() -> None:
    start = 10**15
    observed = [
        (1, 7),
        (2, start + 1),  # its own instant
        (3, start + 1),  # an earlier one
        (4, start + 4),  # later than its own: ignored
        (6, 0),
    ]
    names = [str(number) for number in range(7)]
    burst = Burst.of(
        [TOPIC] * 7, [_payload(name) for name in names], retained=[1], observed=observed
    )
    world = _World(burst)
    world.store.collects = True
    clock = ArrivalClock(start - 1, now=lambda: 0)
    gate = world.gate_with(arrivals=clock)
    await gate.run(world.connection)
    expected = [start, start + 1, start + 1, start + 3, start + 4, 0]
    instants = burst.instants
    del instants[1]  # the retained one has none
    assert instants == expected
    points = pa.table(world.store.points[0])
    assert points["time"].cast(pa.int64()).to_pylist() == expected
    received = points["received"].cast(pa.int64()).to_pylist()
    assert received == [start + number for number in range(6)]
    assert clock.issue(1) == start + 6


async def test_stored_retained_requests_are_acknowledged_in_their_place_and_not_judged() -> None:
    world = _World(_burst("old", "a", "old", retained=["old"]))
    await world.run()
    assert world.connection.answers == [("old", None), ("a", _reply("a")), ("old", None)]
    assert world.counters.figures == (3, 1, 2, 0)


async def test_a_large_burst_is_judged_off_the_loop_and_a_small_one_on_it() -> None:
    world = _World(_burst("a", size=LOOP_BYTES), _burst("a", size=LOOP_BYTES + 1))
    await world.run()
    on_loop, off_loop = world.validator.threads
    assert on_loop == threading.current_thread().name
    assert off_loop.startswith("judge")


async def _turns(seen: list[None]) -> None:
    """Note every turn of the loop."""
    while True:
        seen.append(None)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("seconds", "turns", "calls"), [(0.0, 0, [200]), (0.01, 3, [64, 64, 64, 8])]
)
async def test_a_burst_that_is_slow_to_judge_does_not_hold_the_loop(
    seconds: float, turns: int, calls: list[int]
) -> None:
    names = [str(number) for number in range(200)]
    world = _World(_burst(*names))
    world.validator.seconds = seconds
    watching = asyncio.create_task(_turns(world.validator.turns))
    await world.run()
    watching.cancel()
    first, last = world.validator.turns_at_calls[0], world.validator.turns_at_calls[-1]
    assert last - first == turns
    assert world.validator.calls == calls
    assert world.journal == ["keep 200", "settle"]
    assert world.connection.answers == [(name, _reply(name)) for name in names]


async def test_an_ordinary_burst_is_one_call() -> None:
    world = _World(_burst(*"a" * 64))
    await world.run()
    assert world.validator.calls == [64]


async def test_times_that_look_like_seconds_are_logged_once_for_each_product(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = _core.Model.compile(b'{"measurepoints":{"t":{"dataType":"TIMESTAMP"}}}')
    product = _core.Product(model, _core.Devices.parse(b"d\n", "txt"))
    catalog = _core.Catalog({"solar": product, "wind": product, "hydro": product})

    def request(product: str, time: int, slash: str = "") -> tuple[str, bytes]:
        entry = f'{{"deviceKey":"d","measurepoints":{{}},"time":{time}}}'
        payload = (
            f'{{"id":"1","version":"1","method":"integration.measurepoint.post","params":{entry}}}'
        )
        return f"{slash}sys/{product}/integration/measurepoint/post", payload.encode()

    def burst(*requests: tuple[str, bytes], retained: Sequence[int] = ()) -> Burst:
        return Burst.of(
            [one[0] for one in requests], [one[1] for one in requests], retained=retained
        )

    world = _World(
        burst(request("solar", 1_762_999_999), request("wind", 1_762_999_999_000)),
        burst(request("hydro", 31_535_999_999, "/"), request("solar", 1_763_000_000)),
        burst(("t", b'{"id":"0"}'), request("solar", 1_763_000_001), retained=[0]),
    )
    counters = _core.Counters()
    watching = Gate(validator=_core.Validator(catalog), store=world.store, counters=counters)
    await watching.run(world.connection)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(", ")[0] for line in lines] == [
        "times before 1971 accepted: product solar",
        "times before 1971 accepted: product hydro",
    ]
    assert "time.min" in lines[0]
    assert ", 1 request;" in lines[0]
    assert lines[0].count('refuses them: {"id"'), "the payload as it is, and not Python's repr"
    assert counters.read()["early_times"] == 4


async def test_what_was_not_settled_is_counted_as_abandoned() -> None:
    world = _World(_burst("a", "old", retained=["old"]))
    world.connection.ends = 0, ConnectionLost("cut")
    with pytest.raises(ConnectionLost):
        await world.run()
    assert world.counters.figures == (2, 0, 0, 2)


async def test_what_was_settled_before_the_end_is_counted_as_settled() -> None:
    world = _World(_burst("a", "old", "panic", "b", "c", retained=["old"]))
    world.connection.ends = 4, ConnectionLost("cut")
    with pytest.raises(ConnectionLost):
        await world.run()
    assert world.counters.figures == (5, 2, 1, 1)
    assert world.counters.failed == 1


async def test_what_arrives_while_a_burst_is_being_kept_is_judged_meanwhile() -> None:
    bursts = [_burst(str(number)) for number in range(20)]
    world = _World(*bursts)
    world.store.full.clear()
    running = asyncio.create_task(world.run())
    while len(world.validator.calls) < len(bursts):  # noqa: ASYNC110 - another task does that
        await asyncio.sleep(0)
    assert world.connection.answers == []
    world.store.full.set()
    await running
    assert [name for name, _ in world.connection.answers] == [str(n) for n in range(20)]
    assert world.counters.figures == (20, 20, 0, 0)


async def test_judging_waits_when_too_many_points_wait_to_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pointgate.sources.admission.POINTS", 3)
    world = _World(*(_burst("a", points=2) for _ in range(20)))
    world.store.collects = True
    world.store.full.clear()
    running = asyncio.create_task(world.run())
    for _ in range(100):
        await asyncio.sleep(0)
    assert world.store.given == [2, 2]
    world.store.full.set()
    await running
    assert world.store.given == [2] * 20
    assert world.counters.figures == (20, 20, 0, 0)


async def test_what_can_never_be_kept_is_acknowledged_without_an_answer() -> None:
    world = _World(_burst("old", "a", "b", retained=["old"]))
    world.store.never = [0]
    await world.run()
    assert world.connection.answers == [("old", None), ("a", None), ("b", _reply("b"))]
    assert world.counters.figures == (3, 1, 1, 0)
    assert world.counters.failed == 1


async def test_a_gate_that_is_cancelled_while_the_store_waits_answers_nothing() -> None:
    world = _World(_burst("a"))
    world.store.full.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(world.run(), 0.05)
    assert world.connection.answers == []
    assert world.counters.figures == (1, 0, 0, 1)


@pytest.mark.parametrize("size", [0, LOOP_BYTES])
async def test_a_request_that_the_judge_fails_on_costs_no_other_its_answer(
    size: int, caplog: pytest.LogCaptureFixture
) -> None:
    world = _World(_burst("a", "panic", "b", "panic", size=size))
    world.store.collects = True
    await world.run()
    assert world.connection.answers == [
        ("a", _reply("a")),
        ("panic", None),
        ("b", _reply("b")),
        ("panic", None),
    ]
    assert world.store.given == [2]  # the points of those that are answered, once
    assert world.counters.figures == (4, 2, 0, 0)
    assert world.counters.failed == 2
    assert len(caplog.records) == 1


async def test_a_tap_is_offered_what_was_answered_and_nothing_is_called_without_one() -> None:
    offered: list[tuple[Burst, int]] = []

    class _Taps:
        attached: list[object] = []  # noqa: RUF012 - of this test alone

        def offer(self, burst: Burst, settled: int) -> None:
            offered.append((burst, settled))

    bursts = [_burst("a", "b"), _burst("c", "d", "e")]
    world = _World(*bursts)
    taps = _Taps()
    world.gate = world.gate_with(taps=taps)
    await world.run()
    assert offered == []
    world = _World(*[_burst("a", "b"), _burst("c", "d", "e")])
    world.gate = world.gate_with(taps=taps)
    taps.attached.append(None)
    await world.run()
    assert [settled for _, settled in offered] == [2, 3]
    world = _World(_burst("a", "b", "c"))
    world.gate = world.gate_with(taps=taps)
    world.connection.ends = 1, ConnectionLost("lost")
    with pytest.raises(ConnectionLost):
        await world.run()
    assert offered[-1][1] == 1
