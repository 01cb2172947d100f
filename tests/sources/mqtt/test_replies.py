"""Packet ids of replies: unique while one is free, whatever the broker does with them."""

from __future__ import annotations

import random
from types import SimpleNamespace

from pointgate._core import FIRST_REPLY_ID, LAST_REPLY_ID, MqttCodec
from pointgate.sources.mqtt.replies import rejection, reply_limits
from tests.support.scripted_broker import TOPIC, puback, request

_IDS = LAST_REPLY_ID - FIRST_REPLY_ID + 1


def _codec() -> MqttCodec:
    return MqttCodec(protocol=4, frame_limit=10**6, burst_requests=512, burst_bytes=200_000)


def _next(codec: MqttCodec) -> int:
    """The packet id of the reply to one more request, which need not wait for the window."""
    codec.feed(request(b"{}", packet_id=1, five=False), 0.0)
    burst = codec.take_burst()
    assert burst
    burst.answer([b"x"])
    frame, *_ = codec.write(burst, 0)
    at = 4 + len(TOPIC + "_reply")
    return int.from_bytes(frame[at : at + 2])


def test_a_packet_id_is_used_again_only_when_every_other_is_taken_and_then_the_oldest() -> None:
    codec = _codec()
    first = [_next(codec) for _ in range(_IDS)]
    assert first == list(range(FIRST_REPLY_ID, LAST_REPLY_ID + 1))
    assert [_next(codec) for _ in range(1000)] == first[:1000]


def test_a_packet_id_that_is_free_is_taken_before_one_that_is_not() -> None:
    codec = _codec()
    taken = [_next(codec) for _ in range(_IDS)]
    for free in random.Random(7).sample(taken, 100):  # noqa: S311 - any order does
        codec.feed(puback(free), 0.0)
        assert _next(codec) == free


def test_every_reply_of_a_packet_id_is_waited_for() -> None:
    codec = _codec()
    taken = [_next(codec) for _ in range(_IDS + 50)]
    for packet_id in taken:
        assert codec.window_is_full
        codec.feed(puback(packet_id), 0.0)
        if codec.unacknowledged < 20:
            break
    assert not codec.window_is_full
    assert codec.unacknowledged == 19


def test_an_acknowledgement_of_nothing_changes_nothing() -> None:
    codec = _codec()
    packet_id = _next(codec)
    for _ in range(3):
        codec.feed(puback(packet_id, 0x87) + puback(packet_id + 1, 0x87), 0.0)
    assert [rejection(*one) for one in codec.take_rejected()] == ["Not authorized"]
    assert codec.unacknowledged == 0


def test_the_limits_that_a_broker_does_not_name_are_those_of_the_protocol() -> None:
    named = SimpleNamespace(ReceiveMaximum=7, MaximumQoS=0, MaximumPacketSize=99)
    assert reply_limits(None) == (1000, 1, None)
    assert reply_limits(named) == (7, 0, 99)  # type: ignore[arg-type]
    assert reply_limits(SimpleNamespace(ReceiveMaximum=65_535)) == (1000, 1, None)  # type: ignore[arg-type]
