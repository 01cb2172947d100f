"""The splitter cuts what brokers send as paho reads it, wherever the bytes are cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pointgate.sources.mqtt.packets import (
    FIRST_REPLY_ID,
    HEADER_BYTES,
    MAX_INSTANT,
    NO_TOPIC,
    RECEIVED,
    MalformedPacketError,
    Splitter,
    puback,
    pubcomp,
    publish,
    pubrec,
)

_LIMIT = 100_000
_PINGRESP = b"\xd0\x00"
_SUBACK = b"\x90\x04\x00\x01\x00\x01"


def _frame(first: int, body: bytes) -> bytes:
    length, size = bytearray(), len(body)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes((first,)) + bytes(length) + body


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


@st.composite
def _publishes(draw: st.DrawFn, protocol: int) -> bytes:
    qos = draw(st.sampled_from((0, 1, 2)))
    body = _string(draw(st.text(min_size=1, max_size=20)).encode())
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
    return _frame(0x30 | duplicate << 3 | qos << 1 | retain, body)


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
    frames = data.draw(st.lists(_publishes(protocol), max_size=8))
    stream = b"".join(frame + _PINGRESP + _SUBACK for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    splitter = Splitter(protocol=protocol, frame_limit=_LIMIT)

    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        splitter.feed(stream[begin:end], 1.5)

    expected = [_read_by_paho(frame, protocol) for frame in frames]
    found = [{name: getattr(one, name) for name in expected[0]} for one in splitter.requests]
    assert found == expected
    assert splitter.control == _SUBACK * len(frames)


@pytest.mark.parametrize("protocol", [4, 5])
@given(
    topic=st.text(min_size=1, max_size=300),
    payload=st.binary(max_size=20_000),
    packet_id=st.sampled_from((0, FIRST_REPLY_ID, 65535)),
    correlation=st.none() | st.binary(max_size=300),
)
def test_replies_are_written_as_paho_reads_them(
    protocol: int, topic: str, payload: bytes, packet_id: int, correlation: bytes | None
) -> None:
    frame = publish(topic, payload, packet_id=packet_id, correlation=correlation, protocol=protocol)
    read = _read_by_paho(frame, protocol)
    assert read == {
        "topic": topic,
        "payload": payload,
        "qos": 1 if packet_id else 0,
        "stale": False,
        "packet_id": packet_id,
        "correlation": correlation if protocol == 5 else None,
    }


def test_acknowledgements_of_replies_are_taken_and_those_of_nothing_are_dropped() -> None:
    splitter = Splitter(protocol=5, frame_limit=_LIMIT)
    of_nothing = puback(1) + pubrec(FIRST_REPLY_ID) + pubcomp(7)
    splitter.feed(puback(FIRST_REPLY_ID) + of_nothing + b"\x40\x04\x80\x01\x87\x00", 0.0)
    assert splitter.acknowledged == [(FIRST_REPLY_ID, 0), (FIRST_REPLY_ID + 1, 0x87)]
    assert not splitter.control


_WHY = b"\x1f" + _string(b"no rule")
_USER = b"\x26" + _string(b"key") + _string(b"value")


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
    splitter = Splitter(protocol=5, frame_limit=_LIMIT)
    splitter.feed(_frame(0x40, b"\x80\x01\x87" + properties), 0.0)
    assert splitter.acknowledged == [(FIRST_REPLY_ID + 1, 0x87)]
    assert splitter.explained == words


def test_a_topic_that_is_not_utf_8_becomes_one_that_no_product_has() -> None:
    splitter = Splitter(protocol=4, frame_limit=_LIMIT)
    splitter.feed(_frame(0x30, _string(b"sys/\xff/x") + b"{}"), 0.0)
    assert splitter.requests[0].topic == "sys/\ufffd/x"


def test_requests_at_qos_2_and_their_releases_are_taken() -> None:
    splitter = Splitter(protocol=5, frame_limit=_LIMIT)
    request = _frame(0x34, _string(b"t") + b"\0\x09" + b"\0{}")
    splitter.feed(request + b"\x62\x02\0\x09" + b"\x62\x04\0\x0a\x92\0", 0.0)
    assert [(one.qos, one.packet_id, one.payload) for one in splitter.requests] == [(2, 9, b"{}")]
    assert splitter.released == [9, 10]
    assert not splitter.control


@pytest.mark.parametrize("step", [1000, 65_536, 10**6])
def test_the_end_of_a_payload_over_the_limit_is_dropped_and_the_next_request_is_whole(
    step: int,
) -> None:
    large = _frame(0x32, _string(b"t") + b"\0\7" + b'{"id":1' + b" " * (3 * _LIMIT))
    small = _frame(0x30, _string(b"t") + b"{}")
    stream = small + large + small
    splitter = Splitter(protocol=4, frame_limit=_LIMIT)
    for at in range(0, len(stream), step):
        splitter.feed(stream[at : at + step], 0.0)
    first, cut, last = splitter.requests
    assert (first.payload, last.payload) == (b"{}", b"{}")
    assert cut.packet_id == 7
    assert cut.payload.startswith(b'{"id":1 ')
    assert _LIMIT - 20 < len(cut.payload) < _LIMIT


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"\x30\xff\xff\xff\xff\x01", id="length of five bytes"),
        pytest.param(_frame(0x30, b"\x00\x09abc"), id="topic longer than the packet"),
        pytest.param(_frame(0x30, b""), id="nothing in it"),
        pytest.param(_frame(0x32, _string(b"t") + b"\0"), id="packet id cut off"),
        pytest.param(_frame(0x30, _string(b"t") + b"\x09\x26"), id="properties cut off"),
        pytest.param(_frame(0x30, _string(b"t") + b"\x02\x7e\x00"), id="unknown property"),
        pytest.param(
            _frame(0x30, _string(b"t") + b"\x02\x09\x00" + b"\x09abcdefghijk"),
            id="property longer than the properties",
        ),
        pytest.param(_frame(0x82, b"x" * 2 * _LIMIT), id="endless packet of another kind"),
        pytest.param(_frame(0x90, b"\1" * 5_000), id="SUBACK of thousands"),
        pytest.param(b"\x90\xff\xff\x7f", id="announcement of an endless packet"),
        pytest.param(_frame(0x36, _string(b"t") + b"\0\1\0"), id="QoS 3"),
        pytest.param(b"\x40\x01\x80", id="acknowledgement without a packet id"),
        pytest.param(b"\x62\x00", id="release without a packet id"),
    ],
)
def test_what_is_not_mqtt_ends_the_connection(stream: bytes) -> None:
    splitter = Splitter(protocol=5, frame_limit=_LIMIT)
    with pytest.raises(MalformedPacketError):
        splitter.feed(stream, 0.0)


def test_time_is_linear_when_a_large_packet_comes_in_small_pieces() -> None:
    # 4 MB in 40,000 pieces: seconds if each piece had the rest copied, milliseconds otherwise.
    frame = _frame(0x30, _string(b"t") + b"x" * 4_000_000)
    splitter = Splitter(protocol=4, frame_limit=10**7)
    for at in range(0, len(frame), 100):
        splitter.feed(frame[at : at + 100], 0.0)
    assert len(splitter.requests[0].payload) == 4_000_000


def test_properties_over_the_limit_are_a_request_that_is_only_acknowledged() -> None:
    user_property = b"\x26" + _string(b"k" * 60_000) + _string(b"v" * 60_000)
    size = len(user_property) * 10
    properties = (
        bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14)) + user_property * 10
    )
    stream = _frame(0x32, _string(b"t") + b"\0\7" + properties + b"{}") + _SUBACK
    splitter = Splitter(protocol=5, frame_limit=HEADER_BYTES)
    splitter.feed(stream, 0.0)
    (request,) = splitter.requests
    assert (request.topic, request.payload, request.packet_id) == (NO_TOPIC, b"", 7)
    assert splitter.control == _SUBACK


def _received(*pairs: tuple[bytes, bytes]) -> int | None:
    """What a request with these user properties, beside others, says of its first arrival."""
    properties = b"\x01\x00" + b"".join(
        b"\x26" + _string(name) + _string(value) for name, value in pairs
    )
    properties += b"\x09" + _string(b"mark")
    splitter = Splitter(protocol=5, frame_limit=_LIMIT)
    size = bytes((len(properties),))
    splitter.feed(_frame(0x32, _string(b"t") + b"\0\7" + size + properties + b"{}"), 0.0)
    (request,) = splitter.requests
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
    splitter = Splitter(protocol=5, frame_limit=_LIMIT)
    splitter.feed(_frame(0x30, _string(b"t") + properties.pack()), 0.0)
    assert [one.observed for one in splitter.requests] == [1_700_000_000_123_456]
