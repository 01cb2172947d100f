"""Streams of MQTT packets, and what a codec reads of them."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pointgate._core import MqttCodec, Request
from tests.support.mqtt_packets import NaiveRequest
from tests.support.scripted_broker import frame

LIMIT: Final = 100_000
BURST_REQUESTS: Final = 512
BURST_BYTES: Final = 200_000


def string(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def codec_of(protocol: int, *, frame_limit: int = LIMIT, reply_qos: int | None = None) -> MqttCodec:
    return MqttCodec(
        protocol=protocol,
        frame_limit=frame_limit,
        burst_requests=BURST_REQUESTS,
        burst_bytes=BURST_BYTES,
        reply_qos=reply_qos,
    )


def requests_of(codec: MqttCodec) -> list[Request]:
    requests = []
    while burst := codec.take_burst():
        requests += burst.requests
    return requests


def fields_of(request: Request | NaiveRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in NaiveRequest.__slots__}


@st.composite
def publishes(draw: st.DrawFn, protocol: int) -> bytes:
    qos = draw(st.sampled_from((0, 1, 2)))
    body = string(draw(st.text(min_size=1, max_size=20)).encode())
    if qos:
        body += draw(st.integers(1, 65535)).to_bytes(2, "big")
    if protocol == 5:
        properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if draw(st.booleans()):
            properties.CorrelationData = draw(st.binary(max_size=200))
        if draw(st.booleans()):
            properties.MessageExpiryInterval = draw(st.integers(0, 2**32 - 1))
            properties.PayloadFormatIndicator = 1
        if draw(st.booleans()):
            properties.ResponseTopic = "elsewhere"
            properties.ContentType = "application/json"
        if draw(st.booleans()):
            properties.UserProperty = [("a", "b"), ("c", "x" * draw(st.integers(0, 200)))]
        if draw(st.booleans()):
            properties.SubscriptionIdentifier = draw(st.integers(1, 268_435_455))
        body += properties.pack()
    body += draw(st.binary(max_size=300))
    retain, duplicate = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    return frame(0x30 | duplicate << 3 | qos << 1 | retain, body)
