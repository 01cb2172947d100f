"""The codec cuts what brokers send as paho reads it, wherever the bytes are cut, and answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pointgate._core import FIRST_REPLY_ID, MqttCodec
from pointgate.sources.mqtt.packets import HEADER_BYTES, RECEIVED, MalformedPacketError
from tests.support.mqtt_packets import MAX_INSTANT, NO_TOPIC, puback, pubcomp, pubrec
from tests.support.mqtt_streams import (
    LIMIT,
    codec_of,
    fields_of,
    publishes,
    requests_of,
    string,
)
from tests.support.scripted_broker import frame as packet

_PINGRESP = b"\xd0\x00"
_SUBACK = b"\x90\x04\x00\x01\x00\x01"


def _read_by_paho(frame: bytes, protocol: int) -> dict[str, Any]:
    at = 2
    while frame[at - 1] & 0x80:
        at += 1
    version = MQTTProtocolVersion(protocol)
    read = _packet.decode_publish(frame[0], bytearray(frame[at:]), version)
    return {
        "topic": read.topic.decode(),
        "payload": bytes(read.payload),
        "qos": read.qos,
        "stale": read.retain,
        "packet_id": read.mid if read.qos else 0,
        "correlation": getattr(read.properties, "CorrelationData", None),
    }


@pytest.mark.parametrize("protocol", [4, 5])
@given(data=st.data())
def test_requests_are_read_as_paho_reads_them_wherever_they_are_cut(
    protocol: int, data: st.DataObject
) -> None:
    frames = data.draw(st.lists(publishes(protocol), max_size=8))
    stream = b"".join(frame + _PINGRESP + _SUBACK for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    codec, arrived = codec_of(protocol), 0

    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        arrived += codec.feed(stream[begin:end], 1.5)[0]

    found = requests_of(codec)
    assert arrived == len(frames)
    assert [
        {name: value for name, value in fields_of(one).items() if name != "observed"}
        for one in found
    ] == [_read_by_paho(frame, protocol) for frame in frames]
    assert codec.take_control() == _SUBACK * len(frames)


def _reply(codec: MqttCodec, payload: bytes) -> bytes:
    """What is written for the next request when it is answered with this payload."""
    burst = codec.take_burst()
    assert burst
    burst.answer([payload] * len(burst))
    packets, end, too_large, _ = codec.write(burst, 0)
    assert (end, too_large) == (len(burst), [])
    return packets


@pytest.mark.parametrize("protocol", [4, 5])
@given(
    topic=st.text(min_size=1, max_size=300),
    payload=st.binary(max_size=20_000),
    packet_id=st.sampled_from((0, 1, 65535)),
    correlation=st.none() | st.binary(max_size=300),
)
def test_replies_are_written_as_paho_reads_them(
    protocol: int, topic: str, payload: bytes, packet_id: int, correlation: bytes | None
) -> None:
    codec = codec_of(protocol)
    body = string(topic.encode()) + (packet_id.to_bytes(2) if packet_id else b"")
    if protocol == 5:
        properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if correlation is not None:
            properties.CorrelationData = correlation
        body += properties.pack()
    codec.feed(packet(0x32 if packet_id else 0x30, body), 0.0)
    frame = _reply(codec, payload)
    if packet_id:
        assert frame.endswith(puback(packet_id))
        frame = frame[:-4]
    assert _read_by_paho(frame, protocol) == {
        "topic": topic + "_reply",
        "payload": payload,
        "qos": 1 if packet_id else 0,
        "stale": False,
        "packet_id": FIRST_REPLY_ID if packet_id else 0,
        "correlation": correlation if protocol == 5 else None,
    }


def _answered(count: int) -> MqttCodec:
    """A codec whose broker has not acknowledged this number of replies."""
    codec = codec_of(5)
    for packet_id in range(1, count + 1):
        codec.feed(packet(0x32, string(b"t") + packet_id.to_bytes(2) + b"\0"), 0.0)
    _reply(codec, b"{}")
    assert codec.unacknowledged == count
    return codec


def test_acknowledgements_of_replies_are_taken_and_those_of_nothing_are_dropped() -> None:
    codec = _answered(3)
    of_nothing = puback(1) + pubrec(FIRST_REPLY_ID) + pubcomp(7)
    packets = puback(FIRST_REPLY_ID) + of_nothing + b"\x40\x04\x80\x01\x87\x00"
    assert codec.feed(packets, 0.0) == (0, 0, 2)
    assert codec.unacknowledged == 1
    assert codec.take_rejected() == [(0x87, "")]
    assert not codec.take_control()
    assert not codec.take_pubcomps()


_WHY = b"\x1f" + string(b"no rule")
_USER = b"\x26" + string(b"key") + string(b"value")


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        (b"", ""),
        (b"\0", ""),
        (bytes((len(_WHY),)) + _WHY, "no rule"),
        (bytes((len(_USER + _WHY),)) + _USER + _WHY, "no rule"),
        (bytes((len(_USER),)) + _USER, ""),
        (b"\x0a\x1f\xff\xffcut", "cut"),
        (b"\x04\x1f\0\1\xff", "\ufffd"),
        (b"\x7f\x1f", ""),
    ],
)
def test_the_reason_string_of_a_refusal_is_read(properties: bytes, words: str) -> None:
    codec = _answered(2)
    codec.feed(packet(0x40, b"\x80\x01\x87" + properties), 0.0)
    assert codec.take_rejected() == [(0x87, words)]
    assert not codec.take_rejected()


def test_a_topic_that_is_not_utf_8_becomes_one_that_no_product_has() -> None:
    codec = codec_of(4)
    codec.feed(packet(0x30, string(b"sys/\xff/x") + b"{}"), 0.0)
    assert requests_of(codec)[0].topic == "sys/\ufffd/x"


def test_requests_at_qos_2_and_their_releases_are_taken() -> None:
    codec = codec_of(5)
    request = packet(0x34, string(b"t") + b"\0\x09" + b"\0{}")
    assert codec.feed(request + b"\x62\x02\0\x09" + b"\x62\x04\0\x0a\x92\0", 0.0)[2] == 2
    assert codec.take_pubcomps() == pubcomp(9) + pubcomp(10)
    assert not codec.take_pubcomps()
    assert not codec.take_control()
    burst = codec.take_burst()
    assert burst
    assert [(one.qos, one.packet_id, one.payload) for one in burst.requests] == [(2, 9, b"{}")]
    assert codec.write(burst, 0)[0] == pubrec(9)


@pytest.mark.parametrize("step", [1000, 65_536, 10**6])
def test_the_end_of_a_payload_over_the_limit_is_dropped_and_the_next_request_is_whole(
    step: int,
) -> None:
    large = packet(0x32, string(b"t") + b"\0\7" + b'{"id":1' + b" " * (3 * LIMIT))
    small = packet(0x30, string(b"t") + b"{}")
    stream = small + large + small
    codec = codec_of(4)
    for at in range(0, len(stream), step):
        codec.feed(stream[at : at + step], 0.0)
    first, cut, last = requests_of(codec)
    assert (first.payload, last.payload) == (b"{}", b"{}")
    assert cut.packet_id == 7
    assert cut.payload.startswith(b'{"id":1 ')
    assert LIMIT - 20 < len(cut.payload) < LIMIT


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"\x30\xff\xff\xff\xff\x01", id="length of five bytes"),
        pytest.param(packet(0x30, b"\x00\x09abc"), id="topic longer than the packet"),
        pytest.param(packet(0x30, b""), id="nothing in it"),
        pytest.param(packet(0x32, string(b"t") + b"\0"), id="packet id cut off"),
        pytest.param(packet(0x30, string(b"t") + b"\x09\x26"), id="properties cut off"),
        pytest.param(packet(0x30, string(b"t") + b"\x02\x7e\x00"), id="unknown property"),
        pytest.param(
            packet(0x30, string(b"t") + b"\x02\x09\x00" + b"\x09abcdefghijk"),
            id="property longer than the properties",
        ),
        pytest.param(packet(0x82, b"x" * 2 * LIMIT), id="endless packet of another kind"),
        pytest.param(packet(0x90, b"\1" * 5_000), id="SUBACK of thousands"),
        pytest.param(b"\x90\xff\xff\x7f", id="announcement of an endless packet"),
        pytest.param(packet(0x36, string(b"t") + b"\0\1\0"), id="QoS 3"),
        pytest.param(b"\x40\x01\x80", id="acknowledgement without a packet id"),
        pytest.param(b"\x62\x00", id="release without a packet id"),
    ],
)
def test_what_is_not_mqtt_ends_the_connection(stream: bytes) -> None:
    with pytest.raises(MalformedPacketError):
        codec_of(5).feed(stream, 0.0)


def test_time_is_linear_when_a_large_packet_comes_in_small_pieces() -> None:
    # 4 MB in 40,000 pieces: seconds if each piece had the rest copied, milliseconds otherwise.
    frame = packet(0x30, string(b"t") + b"x" * 4_000_000)
    codec = codec_of(4, frame_limit=10**7)
    for at in range(0, len(frame), 100):
        codec.feed(frame[at : at + 100], 0.0)
    assert len(requests_of(codec)[0].payload) == 4_000_000


def test_properties_over_the_limit_are_a_request_that_is_only_acknowledged() -> None:
    user_property = b"\x26" + string(b"k" * 60_000) + string(b"v" * 60_000)
    size = len(user_property) * 10
    properties = (
        bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14)) + user_property * 10
    )
    stream = packet(0x32, string(b"t") + b"\0\7" + properties + b"{}") + _SUBACK
    codec = codec_of(5, frame_limit=HEADER_BYTES)
    codec.feed(stream, 0.0)
    (request,) = requests_of(codec)
    assert (request.topic, request.payload, request.packet_id) == (NO_TOPIC, b"", 7)
    assert codec.take_control() == _SUBACK


def _received(*pairs: tuple[bytes, bytes]) -> int | None:
    """What a request with these user properties, beside others, says of its first arrival."""
    properties = b"\x01\x00" + b"".join(
        b"\x26" + string(name) + string(value) for name, value in pairs
    )
    properties += b"\x09" + string(b"mark")
    codec = codec_of(5)
    size = bytes((len(properties),))
    codec.feed(packet(0x32, string(b"t") + b"\0\7" + size + properties + b"{}"), 0.0)
    (request,) = requests_of(codec)
    assert (request.topic, request.payload, request.correlation) == ("t", b"{}", b"mark")
    return request.observed


NAME = RECEIVED.encode()


@pytest.mark.parametrize(
    "value", [0, 7, 1_700_000_000_123_456, MAX_INSTANT], ids=["first", "short", "today", "last"]
)
def test_the_first_arrival_is_read(value: int) -> None:
    text = b"%d" % value
    assert _received((NAME, text)) == value
    assert _received((b"a", b"b"), (NAME, text), (NAME[:-1], b"8"), (NAME + b"s", b"9")) == value
    assert _received((NAME, b"1"), (NAME, text)) == value
    assert _received((NAME, text), (NAME, b"late")) == value
    assert _received((b"1", NAME), (b"x", text)) is None


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b" 1", b"1 ", b"-1", b"+1", b"1.0", b"1e3", b"0x1", b"1_0", b"none", b"\xff"),
        *("\u0661".encode(), b"%d" % (MAX_INSTANT + 1), b"1" * 19, b"0" * 19, b"9" * 60),
    ],
)
def test_a_first_arrival_that_is_no_instant_is_ignored(value: bytes) -> None:
    assert _received((NAME, value)) is None


def test_paho_writes_the_first_arrival_as_it_is_read() -> None:
    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.UserProperty = (RECEIVED, "1700000000123456")
    codec = codec_of(5)
    codec.feed(packet(0x30, string(b"t") + properties.pack()), 0.0)
    assert [one.observed for one in requests_of(codec)] == [1_700_000_000_123_456]
