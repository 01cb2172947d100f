"""What is in flight is counted with all that it holds, and bursts are bounded."""

from __future__ import annotations

import pytest

from pointgate.config import LimitSettings
from pointgate.sources.admission import Admission
from pointgate.sources.mqtt.intake import BURST_BYTES, BURST_REQUESTS, Intake
from pointgate.sources.mqtt.request import MqttRequest

_LARGE = 60_000


def _request(
    topic: str = "t", payload: bytes = b"", *, correlation: bytes | None = None
) -> MqttRequest:
    return MqttRequest(topic, payload, 0.0, qos=1, packet_id=1, correlation=correlation)


_LARGE_ONES = [
    pytest.param(_request(payload=b"x" * _LARGE), 1, id="payload"),
    pytest.param(_request(correlation=b"x" * _LARGE), 1, id="correlation data"),
    pytest.param(_request("x" * _LARGE), 1, id="topic"),
    pytest.param(_request("x" * (_LARGE - 1) + "\U0001f525"), 4, id="topic of wide characters"),
]


@pytest.mark.parametrize(("request_", "width"), _LARGE_ONES)
def test_a_request_takes_as_much_as_all_that_it_holds(request_: MqttRequest, width: int) -> None:
    assert width * _LARGE < request_.size < width * _LARGE + 1000


@pytest.mark.parametrize(("request_", "width"), _LARGE_ONES)
def test_a_burst_is_bounded_by_all_that_it_holds(request_: MqttRequest, width: int) -> None:
    intake = Intake(Admission(LimitSettings()))
    intake.add([request_] * 10)
    assert len(intake.burst()) == max(1, BURST_BYTES // (width * _LARGE))


def test_a_burst_is_bounded_in_requests_and_keeps_their_order() -> None:
    intake = Intake(Admission(LimitSettings()))
    requests = [_request(payload=b"%d" % number) for number in range(1000)]
    intake.add(requests)
    bursts = []
    while burst := intake.burst():
        bursts.append(burst)
    assert [request for burst in bursts for request in burst] == requests
    assert max(map(len, bursts)) <= BURST_REQUESTS


def test_what_is_handed_over_stays_in_flight_until_it_is_released() -> None:
    admission = Admission(LimitSettings(in_flight_requests=10))
    intake = Intake(admission)
    intake.add([_request()] * 11)
    burst = intake.burst()
    assert admission.exceeds(1.0)
    intake.release(burst[:1])
    assert not admission.exceeds(1.0)
    intake.release(burst[1:])
    assert not admission.exceeds(0.0)


def test_a_connection_that_has_ended_gives_its_share_of_the_budget_back() -> None:
    admission = Admission(LimitSettings(in_flight_requests=10))
    ended, other = Intake(admission), Intake(admission)
    ended.add([_request()] * 8)
    ended.release(ended.burst()[:3])
    other.add([_request()] * 6)
    assert admission.exceeds(1.0)
    ended.close()
    assert not admission.exceeds(0.6)
    other.release(other.burst())
    assert not admission.exceeds(0.0)
    assert not ended.burst()
