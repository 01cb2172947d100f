"""When the socket is read: groups under load, nothing held back from a lone sender for long."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest

from pointgate.sources.mqtt.read_pace import ReadPace

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 500


class Link:
    """A socket with requests in it, the kernel's low-water mark, and a clock.

    Attributes:
        now: The clock, in ticks.
        reads: How many requests each read found.
    """

    def __init__(self, tick: float = 1.0) -> None:
        self.now = 0.0
        self.reads: list[int] = []
        self.mark = 1
        self.waiting = 0
        self._timers: list[Callable[[], None]] = []
        self.pace = ReadPace(
            tick,
            call_later=lambda _, timer: self._timers.append(timer),
            read=self._read,
            expect=self._expect,
        )

    def _expect(self, size: int) -> None:
        self.mark = size

    def _read(self) -> None:
        requests, self.waiting = self.waiting, 0
        if requests:
            self.reads.append(requests)
            self.pace.record(requests, requests * SIZE, self.now)

    def arrive(self) -> None:
        """A request arrives; the socket is read if it is reported as readable."""
        self.waiting += 1
        if self.waiting * SIZE >= self.mark:
            self._read()

    def tick(self) -> bool:
        """A tick passes; whether one was awaited."""
        self.now = math.floor(self.now) + 1.0
        timers, self._timers = self._timers, []
        for timer in timers:
            timer()
        return bool(timers)


def flood(link: Link, requests: int, per_tick: int = 50) -> None:
    for number in range(requests):
        link.now += 0.9 / per_tick
        link.arrive()
        if number % per_tick == per_tick - 1:
            link.tick()


def test_groups_grow_under_load_up_to_a_limit() -> None:
    link = Link()
    flood(link, 10_000)
    assert link.pace.group == 16
    assert set(link.reads[-100:]) <= {15, 16}


def test_a_request_waits_two_ticks_at_most() -> None:
    link = Link()
    flood(link, 10_000)
    link.tick()
    link.tick()
    link.waiting = 0
    flood(link, 16)
    link.arrive()
    assert link.waiting
    link.tick()
    link.tick()
    assert not link.waiting


def test_when_nothing_arrives_any_byte_wakes_and_no_timer_runs() -> None:
    link = Link()
    flood(link, 10_000)
    for _ in range(4):
        link.tick()
    assert link.mark == 1
    assert not link.tick()
    link.arrive()
    assert not link.waiting


def lone(link: Link, requests: int) -> int:
    """A sender that waits for each reply; returns how many of its requests waited for a tick."""
    delayed = 0
    for _ in range(requests):
        link.arrive()
        if link.waiting:
            delayed += 1
            link.tick()
            link.tick()
        assert not link.waiting
    return delayed


def test_a_sender_that_waits_for_each_reply_is_hardly_delayed() -> None:
    link = Link()
    lone(link, 10_000)  # the first attempts to form groups
    assert lone(link, 40_960) <= 10


@pytest.mark.parametrize("window", [2, 3, 5, 20])
def test_a_window_is_not_waited_for_in_vain(window: int) -> None:
    link = Link()
    delayed = 0
    for number in range(20_000):
        for _ in range(window):
            link.arrive()
        if link.waiting == 0 or window - link.waiting >= window // 2:
            continue  # at least half of the window is answered, and comes again
        delayed += number >= 10_000
        link.tick()
        link.tick()
    assert delayed < 100


@pytest.mark.parametrize("per_tick", [6, 10, 15, 40])
def test_senders_that_wait_for_nobody_are_read_once_a_tick(per_tick: int) -> None:
    draw = random.Random(per_tick)  # noqa: S311 - the same arrivals each time
    link = Link()
    flood(link, 10_000)
    ticks = math.ceil(link.now)
    arrival = float(ticks)
    for number in range(80_000):
        arrival += draw.expovariate(per_tick)
        while arrival >= ticks + 1:
            ticks += 1
            link.now = max(link.now, ticks - 0.5)
            link.tick()
        link.now = arrival
        link.arrive()
        if number == 40_000:
            link.reads.clear()
    mean = sum(link.reads) / len(link.reads)
    assert mean > min(12, 0.7 * per_tick)


def test_an_awaited_acknowledgement_wakes_at_once() -> None:
    link = Link()
    flood(link, 10_000)
    assert link.mark > 4
    link.pace.hurry(wanted=True)
    assert link.mark == 1
    flood(link, 20)
    assert link.mark == 1
    link.pace.hurry(wanted=False)
    flood(link, 20)
    assert link.mark > 4


def test_a_group_has_a_limit_in_bytes() -> None:
    marks: list[int] = []
    pace = ReadPace(
        0.004, call_later=lambda _seconds, _timer: None, read=lambda: None, expect=marks.append
    )
    for number in range(100):
        pace.record(16, 16 * 40_000, number * 0.001)
    assert max(marks) < 65_536


def test_without_a_delay_reads_never_wait() -> None:
    link = Link(0.0)
    flood(link, 1000)
    assert set(link.reads) == {1}
    assert link.mark == 1
