"""What is in flight is counted with all that it holds."""

from __future__ import annotations

import pytest

from pointgate._core import Burst, MqttCodec
from pointgate.config import LimitSettings
from pointgate.sources.admission import Admission
from pointgate.sources.mqtt.intake import BURST_BYTES, BURST_REQUESTS, Intake
from tests.support.scripted_broker import frame

_LARGE = 60_000


def _burst(topic: str = "t", payload: bytes = b"", correlation: bytes = b"") -> Burst:
    codec = MqttCodec(
        protocol=5, frame_limit=10**6, burst_requests=BURST_REQUESTS, burst_bytes=BURST_BYTES
    )
    name = topic.encode()
    if correlation:
        correlation = b"\x09" + len(correlation).to_bytes(2) + correlation
    body = len(name).to_bytes(2) + name + b"\0\1" + frame(0, correlation)[1:] + payload
    codec.feed(frame(0x32, body), 0.0)
    burst = codec.take_burst()
    assert burst
    return burst


_SMALL = _burst()


@pytest.mark.parametrize(
    "burst",
    [
        pytest.param(_burst(payload=b"x" * _LARGE), id="payload"),
        pytest.param(_burst(correlation=b"x" * _LARGE), id="correlation data"),
        pytest.param(_burst("x" * _LARGE), id="topic"),
        pytest.param(_burst("x" * (_LARGE - 4) + "\U0001f525"), id="topic of wide characters"),
    ],
)
def test_a_request_takes_as_much_as_all_that_it_holds(burst: Burst) -> None:
    assert _LARGE < burst.size < _LARGE + 1000


def test_what_is_handed_over_stays_in_flight_until_it_is_released() -> None:
    admission = Admission(LimitSettings(in_flight_requests=10))
    intake = Intake(admission)
    intake.add(11, 11 * _SMALL.size)
    assert admission.exceeds(1.0)
    intake.release(_SMALL)
    assert not admission.exceeds(1.0)
    for _ in range(10):
        intake.release(_SMALL)
    assert not admission.exceeds(0.0)


def test_a_connection_that_has_ended_gives_its_share_of_the_budget_back() -> None:
    admission = Admission(LimitSettings(in_flight_requests=10))
    ended, other = Intake(admission), Intake(admission)
    ended.add(8, 8 * _SMALL.size)
    for _ in range(3):
        ended.release(_SMALL)
    other.add(6, 6 * _SMALL.size)
    assert admission.exceeds(1.0)
    ended.close()
    assert not admission.exceeds(0.6)
    for _ in range(6):
        other.release(_SMALL)
    assert not admission.exceeds(0.0)
