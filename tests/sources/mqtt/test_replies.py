"""Packet ids of replies: unique while one is free, whatever the broker does with them."""

from __future__ import annotations

import random

from pointgate.sources.mqtt.packets import FIRST_REPLY_ID, LAST_REPLY_ID
from pointgate.sources.mqtt.replies import Replies
from pointgate.sources.mqtt.request import MqttRequest
from tests.support.scripted_broker import TOPIC

_IDS = LAST_REPLY_ID - FIRST_REPLY_ID + 1


def _request() -> MqttRequest:
    return MqttRequest(TOPIC, b"{}", 0.0, qos=1, packet_id=1)


def _replies() -> tuple[Replies, list[str]]:
    refused: list[str] = []
    return Replies(protocol=4, qos=None, on_refused=refused.append), refused


def _next(replies: Replies) -> int:
    frame = replies.frame(_request(), b"x")
    assert frame
    at = 4 + len(TOPIC + "_reply")
    return int.from_bytes(frame[at : at + 2])


def test_a_packet_id_is_used_again_only_when_every_other_is_taken_and_then_the_oldest() -> None:
    replies, _ = _replies()
    first = [_next(replies) for _ in range(_IDS)]
    assert first == list(range(FIRST_REPLY_ID, LAST_REPLY_ID + 1))
    assert [_next(replies) for _ in range(1000)] == first[:1000]


def test_a_packet_id_that_is_free_is_taken_before_one_that_is_not() -> None:
    replies, _ = _replies()
    taken = [_next(replies) for _ in range(_IDS)]
    for free in random.Random(7).sample(taken, 100):  # noqa: S311 - any order does
        replies.acknowledge(free, 0)
        assert _next(replies) == free


def test_every_reply_of_a_packet_id_is_waited_for() -> None:
    replies, _ = _replies()
    taken = [_next(replies) for _ in range(_IDS + 50)]
    for packet_id in taken:
        assert replies.window_is_full
        replies.acknowledge(packet_id, 0)
        if replies._unacknowledged < 20:
            break
    assert not replies.window_is_full
    assert replies._unacknowledged == 19


def test_an_acknowledgement_of_nothing_changes_nothing() -> None:
    replies, refused = _replies()
    packet_id = _next(replies)
    for _ in range(3):
        replies.acknowledge(packet_id, 0x87)
        replies.acknowledge(packet_id + 1, 0x87)
    assert refused == ["Not authorized"]
    assert replies._unacknowledged == 0
