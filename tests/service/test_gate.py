"""The gate keeps its order and its counts whatever fails."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pointgate import _core
from pointgate.errors import ConnectionLost
from pointgate.service import gate
from pointgate.service.bursts import ArrivedBurst
from pointgate.service.gate import LOOP_BYTES, Gate
from pointgate.sources.base import Request
from pointgate.store.arrival_clock import ArrivalClock

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pointgate import Report
    from pointgate.store.base import Points


class _Report:
    def __init__(self, payload: bytes) -> None:
        self.code = 200
        self.reply = b"re:" + payload[:10]


class _Panic(BaseException):
    """As a panic of the extension is: no Exception."""


class _Validator:
    def __init__(self) -> None:
        self.threads: list[str] = []
        self.calls: list[int] = []
        self.arrivals: list[tuple[bytes, int]] = []
        self.observed: list[Sequence[int | None] | None] = []
        self.turns: list[None] = []  # of the loop, as `_turns` notes them
        self.turns_at_calls: list[int] = []
        self.seconds = 0.0  # how long a call takes, on the clock below
        self.clock = 0.0

    def validate(
        self,
        topics: Sequence[str],
        payloads: Sequence[bytes],
        *,
        observed_us: Sequence[int | None] | None = None,
    ) -> list[Any]:
        self.observed.append(observed_us)
        assert len(topics) == len(payloads)
        self.threads.append(threading.current_thread().name)
        self.calls.append(len(payloads))
        self.turns_at_calls.append(len(self.turns))
        self.clock += self.seconds
        if b"panic" in payloads:
            raise _Panic
        return [_Report(payload) for payload in payloads]

    def collect(
        self,
        topics: Sequence[str],
        payloads: Sequence[bytes],
        *,
        now_ms: int,
        arrived_us: int,
        observed_us: Sequence[int | None] | None,
    ) -> tuple[list[Any], bytes]:
        assert arrived_us >= 1000 * now_ms - 1000
        self.arrivals += zip(payloads, range(arrived_us, arrived_us + len(payloads)), strict=False)
        reports = self.validate(topics, payloads, observed_us=observed_us)
        return reports, b"".join(payloads)  # a byte is a point


class _Counters:
    """Adds up, and holds what the real ones promise."""

    def __init__(self) -> None:
        self.received = self.settled = self.retained = self.failed = self.abandoned = 0

    def receive(self, payloads: Sequence[bytes]) -> None:
        self.received += len(payloads)

    def settle(self, reports: Sequence[Report], seconds: float) -> None:
        assert seconds >= 0
        self.settled += len(reports)

    def ignore_retained(self, requests: int) -> None:
        self.retained += requests

    def fail(self, requests: int) -> None:
        self.failed += requests

    def abandon(self, requests: int) -> None:
        self.abandoned += requests

    def judged(self, seconds: float) -> None:
        assert seconds >= 0

    @property
    def figures(self) -> tuple[int, int, int, int]:
        disposed = self.settled + self.retained + self.failed + self.abandoned
        assert self.received == disposed
        return self.received, self.settled, self.retained, self.abandoned


class _Connection:
    """Hands over what it was given, then drains."""

    def __init__(self, *bursts: list[Request], journal: list[str]) -> None:
        self._bursts = [*bursts, []]
        self._journal = journal
        self.answers: list[tuple[bytes, bytes | None]] = []
        self.settled = 7  # of bursts before
        self.ends: tuple[int, BaseException] | None = None

    async def receive(self) -> list[Request]:
        return self._bursts.pop(0)

    async def settle(self, requests: Sequence[Request], replies: Sequence[bytes | None]) -> None:
        if self.ends:
            settled, error = self.ends
            self.settled += settled
            raise error
        self._journal.append("settle")
        self.answers += zip((one.payload for one in requests), replies, strict=True)
        self.settled += len(requests)


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

    def append(
        self, reports: Sequence[Report], points: Sequence[Points]
    ) -> asyncio.Future[Collection[int]]:
        self.given.append(sum(map(len, points)))
        return asyncio.ensure_future(self._keep(len(reports)))

    async def _keep(self, count: int) -> Collection[int]:
        await self.full.wait()
        self._journal.append(f"keep {count}")
        return self.never


class _World:
    def __init__(self, *bursts: list[Request]) -> None:
        self.journal: list[str] = []
        self.counters = _Counters()
        self.validator = _Validator()
        self.store = _Store(self.journal)
        self.connection = _Connection(*bursts, journal=self.journal)
        self.gate = Gate(
            validator=self.validator,  # type: ignore[arg-type]
            store=self.store,
            counters=self.counters,  # type: ignore[arg-type]
        )

    async def run(self) -> None:
        await self.gate.run(self.connection)
        self.gate.close()


def _request(payload: bytes, *, retained: bool = False) -> Request:
    return Request("t", payload, 0.0, retained)


async def test_a_burst_is_kept_before_it_is_answered() -> None:
    world = _World([_request(b"a"), _request(b"b")], [_request(b"c")])
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
    assert world.connection.answers == [(b"a", b"re:a"), (b"b", b"re:b"), (b"c", b"re:c")]
    assert world.counters.figures == (3, 3, 0, 0)


async def test_requests_arrive_at_instants_of_their_own_and_say_when_they_were_observed() -> None:
    def arrived(number: int, observed: int | None = None) -> Request:
        payload = b"%d" % number
        return Request("t", payload, 0.0, observed=observed)

    clock = ArrivalClock(10**18)  # far ahead of the system's
    taken = ArrivedBurst.stamp(
        [
            arrived(1),
            arrived(2, 7),
            arrived(3, 10**18 + 3),  # its own instant
            arrived(4, 10**18 + 5),  # later than that: ignored
            arrived(5, 0),
        ],
        clock,
    )
    start = 10**18 + 1
    assert taken.first == start
    assert taken.observed() == [None, 7, start + 2, None, 0]
    assert taken.instants() == [start, 7, start + 2, start + 3, 0]
    part = taken.part(3, 5)
    assert (part.first, part.observed()) == (start + 3, [None, 0])
    assert clock.issue(1) == start + 5
    assert ArrivedBurst.stamp([arrived(6)], clock).observed() is None


async def test_stored_retained_requests_are_acknowledged_in_their_place_and_not_judged() -> None:
    world = _World(
        [_request(b"old", retained=True), _request(b"a"), _request(b"old", retained=True)]
    )
    await world.run()
    assert world.connection.answers == [(b"old", None), (b"a", b"re:a"), (b"old", None)]
    assert world.counters.figures == (3, 1, 2, 0)


async def test_a_large_burst_is_judged_off_the_loop_and_a_small_one_on_it() -> None:
    world = _World([_request(b"a" * LOOP_BYTES)], [_request(b"a" * (LOOP_BYTES + 1))])
    await world.run()
    on_loop, off_loop = world.validator.threads
    assert on_loop == threading.current_thread().name
    assert off_loop.startswith("judge")


async def _turns(seen: list[None]) -> None:
    """Note every turn of the loop."""
    while True:
        seen.append(None)
        await asyncio.sleep(0)


@pytest.mark.parametrize(("seconds", "turns"), [(0.0, 0), (0.01, 3)])
async def test_a_burst_that_is_slow_to_judge_does_not_hold_the_loop(
    seconds: float, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [_request(b"%d" % number) for number in range(200)]
    world = _World(requests)
    world.validator.seconds = seconds
    clock = SimpleNamespace(perf_counter=lambda: world.validator.clock, monotonic=time.monotonic)
    monkeypatch.setattr(gate, "time", clock)
    watching = asyncio.create_task(_turns(world.validator.turns))
    await world.run()
    watching.cancel()
    first, *_, last = world.validator.turns_at_calls
    assert last - first == turns
    assert world.validator.calls == [64, 64, 64, 8]
    assert world.journal == ["keep 200", "settle"]
    assert world.connection.answers == [(one.payload, b"re:" + one.payload) for one in requests]


async def test_an_ordinary_burst_is_one_call() -> None:
    world = _World([_request(b"a")] * 64)
    await world.run()
    assert world.validator.calls == [64]


async def test_times_that_look_like_seconds_are_logged_once_for_each_product(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = _core.Model.compile(b'{"measurepoints":{"t":{"dataType":"TIMESTAMP"}}}')
    product = _core.Product(model, _core.Devices.parse(b"d\n", "txt"))
    catalog = _core.Catalog({"solar": product, "wind": product, "hydro": product})

    def request(product: str, time: int, slash: str = "") -> Request:
        entry = f'{{"deviceKey":"d","measurepoints":{{}},"time":{time}}}'
        payload = f'{{"version":"1","method":"integration.measurepoint.post","params":{entry}}}'
        topic = f"{slash}sys/{product}/integration/measurepoint/post"
        return Request(topic, payload.encode(), 0.0)

    world = _World(
        [request("solar", 1_762_999_999), request("wind", 1_762_999_999_000)],
        [request("hydro", 31_535_999_999, "/"), request("solar", 1_763_000_000)],
        [Request("t", b"", 0.0, True), request("solar", 1_763_000_001)],  # noqa: FBT003
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
    assert counters.read()["early_times"] == 4


async def test_what_was_not_settled_is_counted_as_abandoned() -> None:
    world = _World([_request(b"a"), _request(b"old", retained=True)])
    world.connection.ends = 0, ConnectionLost("cut")
    with pytest.raises(ConnectionLost):
        await world.run()
    assert world.counters.figures == (2, 0, 0, 2)


async def test_what_was_settled_before_the_end_is_counted_as_settled() -> None:
    world = _World(
        [
            _request(b"a"),
            _request(b"old", retained=True),
            _request(b"panic"),
            _request(b"b"),
            _request(b"c"),
        ]
    )
    world.connection.ends = 4, ConnectionLost("cut")
    with pytest.raises(ConnectionLost):
        await world.run()
    assert world.counters.figures == (5, 2, 1, 1)
    assert world.counters.failed == 1


async def test_what_arrives_while_a_burst_is_being_kept_is_judged_meanwhile() -> None:
    bursts = [[_request(b"%d" % number)] for number in range(20)]
    world = _World(*bursts)
    world.store.full.clear()
    running = asyncio.create_task(world.run())
    while len(world.validator.calls) < len(bursts):  # noqa: ASYNC110 - another task does that
        await asyncio.sleep(0)
    assert world.connection.answers == []
    world.store.full.set()
    await running
    assert [payload for payload, _ in world.connection.answers] == [b"%d" % n for n in range(20)]
    assert world.counters.figures == (20, 20, 0, 0)


async def test_judging_waits_when_too_many_points_wait_to_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pointgate.sources.admission.POINTS", 3)
    world = _World(*([_request(b"ab")] for _ in range(20)))  # two points each, by their length
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
    world = _World([_request(b"old", retained=True), _request(b"a"), _request(b"b")])
    world.store.never = [0]
    await world.run()
    assert world.connection.answers == [(b"old", None), (b"a", None), (b"b", b"re:b")]
    assert world.counters.figures == (3, 1, 1, 0)
    assert world.counters.failed == 1


async def test_a_gate_that_is_cancelled_while_the_store_waits_answers_nothing() -> None:
    world = _World([_request(b"a")])
    world.store.full.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(world.run(), 0.05)
    assert world.connection.answers == []
    assert world.counters.figures == (1, 0, 0, 1)


@pytest.mark.parametrize("size", [0, LOOP_BYTES])
async def test_a_request_that_the_judge_fails_on_costs_no_other_its_answer(
    size: int, caplog: pytest.LogCaptureFixture
) -> None:
    large = b"b" * (size + 1)
    world = _World([_request(b"a"), _request(b"panic"), _request(large), _request(b"panic")])
    await world.run()
    assert world.connection.answers == [
        (b"a", b"re:a"),
        (b"panic", None),
        (large, b"re:" + large[:10]),
        (b"panic", None),
    ]
    assert world.counters.figures == (4, 2, 0, 0)
    assert world.counters.failed == 2
    assert len(caplog.records) == 1
