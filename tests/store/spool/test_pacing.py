"""Groups form under load; a lone request does not wait, and none waits for long."""

from __future__ import annotations

from pointgate.store.spool.pacing import Pace

_DELAY = 0.004
_COMMIT = 0.0005


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _paced() -> tuple[Pace, _Clock]:
    clock = _Clock()
    return Pace(_DELAY, now=clock), clock


def _commit(pace: Pace, clock: _Clock, in_flight: int) -> None:
    pace.begin()
    clock.now += _COMMIT
    pace.end(in_flight)


def test_a_lone_request_never_waits() -> None:
    pace, clock = _paced()
    for _ in range(100):
        assert pace.rest(1) <= 0
        _commit(pace, clock, 1)


def test_a_window_that_is_full_never_waits() -> None:
    pace, clock = _paced()
    _commit(pace, clock, 20)  # 10 in the commit, 10 that wait
    for _ in range(100):
        assert 0 < pace.rest(19) <= _DELAY
        assert pace.rest(20) <= 0
        _commit(pace, clock, 20)


def test_under_load_commits_begin_at_least_the_delay_apart_and_nobody_waits_longer() -> None:
    pace, clock = _paced()
    _commit(pace, clock, 1000)
    assert abs(pace.rest(10) - (_DELAY - _COMMIT)) < 1e-9
    clock.now += _DELAY
    assert pace.rest(1) <= 0


def test_the_first_request_after_a_pause_does_not_wait() -> None:
    pace, clock = _paced()
    _commit(pace, clock, 1000)
    clock.now += 1.0
    assert pace.rest(1) <= 0


def test_what_was_in_flight_is_forgotten() -> None:
    pace, clock = _paced()
    _commit(pace, clock, 1000)
    commits = 0
    while pace.rest(1) > 0:
        clock.now += pace.rest(1)
        _commit(pace, clock, 1)
        commits += 1
    assert commits < 30


def test_without_a_delay_nothing_waits() -> None:
    clock = _Clock()
    pace = Pace(0.0, now=clock)
    _commit(pace, clock, 1000)
    assert pace.rest(1) <= 0
