"""How long the reconnect backoff waits after a lost connection or a failed attempt."""

from __future__ import annotations

import pytest

from pointgate.errors import ConnectionLost, SessionTakenOver
from pointgate.sources.mqtt.backoff import Backoff
from pointgate.sources.mqtt.errors import BrokerRefused, ClosedByBroker


def test_an_absent_broker_is_tried_at_once_first_and_every_five_seconds_at_last() -> None:
    backoff = Backoff()
    waits = [backoff.wait(ConnectionLost(), None) for _ in range(2000)]
    assert waits[0] <= 0.1
    assert max(waits) <= 5.0
    assert min(waits[10:]) >= 2.5


def test_after_a_good_connection_the_wait_is_short_again() -> None:
    backoff = Backoff()
    for _ in range(20):
        backoff.wait(ConnectionLost(), None)
    assert backoff.wait(ConnectionLost(), 3600.0) <= 0.1


def test_a_broker_that_restarts_twice_within_seconds_is_met_at_once() -> None:
    backoff = Backoff()
    backoff.wait(ClosedByBroker(), 3600.0)
    for _ in range(20):
        backoff.wait(ConnectionLost(), None)  # refused
    for lasted in (2.0, 0.5, 4.0):
        assert backoff.wait(ClosedByBroker(), lasted) <= 0.4
        assert all(backoff.wait(ConnectionLost(), None) <= 5.0 for _ in range(20))


@pytest.mark.parametrize("error", [ClosedByBroker(), ConnectionLost()])
def test_connections_that_work_for_seconds_only_are_no_hot_loop_and_are_never_left_for_long(
    error: ConnectionLost,
) -> None:
    backoff = Backoff()
    waits = [backoff.wait(error, 1.0) for _ in range(100)]
    assert waits[0] <= 0.1
    assert min(waits[10:]) >= 2.5
    assert max(waits) <= 5.0
    assert sum(wait < 1.0 for wait in waits) <= 6
    assert backoff.wait(error, 60.0) <= 0.1


def test_attempts_that_reach_the_broker_and_no_further_are_failures() -> None:
    backoff = Backoff()
    assert min([backoff.wait(ClosedByBroker(), None) for _ in range(100)][10:]) >= 2.5
    assert not backoff.suspects_takeover


_CLOSED = (ClosedByBroker(), 1.0)


@pytest.mark.parametrize(
    ("ends", "suspects_takeover"),
    [
        pytest.param([_CLOSED] * 3, True, id="closed, taken, closed, taken, closed"),
        pytest.param([_CLOSED] * 2, False, id="twice is a restart"),
        pytest.param([_CLOSED] * 2 + [(ConnectionLost(), None), _CLOSED], False, id="refused once"),
        pytest.param([(ClosedByBroker(), 60.0)] * 9, False, id="long-lived"),
        pytest.param([(ConnectionLost("pings"), 1.0)] * 9, False, id="ended by us"),
        pytest.param([(ClosedByBroker(), None)] * 9, False, id="never worked"),
        pytest.param([(ConnectionLost("busy"), 1.0)] * 9, False, id="with a reason"),
    ],
)
def test_a_fight_over_the_client_id_is_suspected_by_its_own_signs_only(
    ends: list[tuple[ConnectionLost, float | None]], *, suspects_takeover: bool
) -> None:
    backoff = Backoff()
    for error, lasted in ends:
        backoff.wait(error, lasted)
    assert backoff.suspects_takeover is suspects_takeover


def test_a_client_id_that_was_taken_is_left_to_the_other_for_longer_each_time() -> None:
    backoff = Backoff()
    waits = [backoff.wait(SessionTakenOver(), 60.0) for _ in range(6)]
    assert waits == [60, 120, 240, 480, 900, 900]
    assert backoff.wait(SessionTakenOver(), 3600.0) == 60


def test_a_broker_that_refuses_is_not_asked_in_haste() -> None:
    assert Backoff().wait(BrokerRefused(), None) == 5.0
