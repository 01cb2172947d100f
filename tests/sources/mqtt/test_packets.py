"""The codec cuts what brokers send as paho reads it, wherever the bytes are cut, and answers."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pointgate._core import FIRST_REPLY_ID, Burst, MqttCodec, Request
from pointgate.sources.mqtt.packets import HEADER_BYTES, RECEIVED, MalformedPacketError
from tests.support.mqtt_packets import (
    MAX_INSTANT,
    NO_TOPIC,
    NaiveRequest,
    Splitter,
    puback,
    pubcomp,
    pubrec,
)

_LIMIT = 100_000
_BURST_REQUESTS, _BURST_BYTES = 512, 200_000
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


def _codec(protocol: int, *, frame_limit: int = _LIMIT, reply_qos: int | None = None) -> MqttCodec:
    return MqttCodec(
        protocol=protocol,
        frame_limit=frame_limit,
        burst_requests=_BURST_REQUESTS,
        burst_bytes=_BURST_BYTES,
        reply_qos=reply_qos,
    )


def _requests(codec: MqttCodec) -> list[Request]:
    requests = []
    while burst := codec.take_burst():
        requests += burst.requests
    return requests


def _fields(request: Request | NaiveRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in NaiveRequest.__slots__}


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
    codec, arrived = _codec(protocol), 0

    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        arrived += codec.feed(stream[begin:end], 1.5)[0]

    found = _requests(codec)
    assert arrived == len(frames)
    assert [
        {name: value for name, value in _fields(one).items() if name != "observed"} for one in found
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
    codec = _codec(protocol)
    body = _string(topic.encode()) + (packet_id.to_bytes(2) if packet_id else b"")
    if protocol == 5:
        properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if correlation is not None:
            properties.CorrelationData = correlation
        body += properties.pack()
    codec.feed(_frame(0x32 if packet_id else 0x30, body), 0.0)
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
    codec = _codec(5)
    for packet_id in range(1, count + 1):
        codec.feed(_frame(0x32, _string(b"t") + packet_id.to_bytes(2) + b"\0"), 0.0)
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
    codec = _answered(2)
    codec.feed(_frame(0x40, b"\x80\x01\x87" + properties), 0.0)
    assert codec.take_rejected() == [(0x87, words)]
    assert not codec.take_rejected()


def test_a_topic_that_is_not_utf_8_becomes_one_that_no_product_has() -> None:
    codec = _codec(4)
    codec.feed(_frame(0x30, _string(b"sys/\xff/x") + b"{}"), 0.0)
    assert _requests(codec)[0].topic == "sys/\ufffd/x"


def test_requests_at_qos_2_and_their_releases_are_taken() -> None:
    codec = _codec(5)
    request = _frame(0x34, _string(b"t") + b"\0\x09" + b"\0{}")
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
    large = _frame(0x32, _string(b"t") + b"\0\7" + b'{"id":1' + b" " * (3 * _LIMIT))
    small = _frame(0x30, _string(b"t") + b"{}")
    stream = small + large + small
    codec = _codec(4)
    for at in range(0, len(stream), step):
        codec.feed(stream[at : at + step], 0.0)
    first, cut, last = _requests(codec)
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
    with pytest.raises(MalformedPacketError):
        _codec(5).feed(stream, 0.0)


def test_time_is_linear_when_a_large_packet_comes_in_small_pieces() -> None:
    # 4 MB in 40,000 pieces: seconds if each piece had the rest copied, milliseconds otherwise.
    frame = _frame(0x30, _string(b"t") + b"x" * 4_000_000)
    codec = _codec(4, frame_limit=10**7)
    for at in range(0, len(frame), 100):
        codec.feed(frame[at : at + 100], 0.0)
    assert len(_requests(codec)[0].payload) == 4_000_000


def test_properties_over_the_limit_are_a_request_that_is_only_acknowledged() -> None:
    user_property = b"\x26" + _string(b"k" * 60_000) + _string(b"v" * 60_000)
    size = len(user_property) * 10
    properties = (
        bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14)) + user_property * 10
    )
    stream = _frame(0x32, _string(b"t") + b"\0\7" + properties + b"{}") + _SUBACK
    codec = _codec(5, frame_limit=HEADER_BYTES)
    codec.feed(stream, 0.0)
    (request,) = _requests(codec)
    assert (request.topic, request.payload, request.packet_id) == (NO_TOPIC, b"", 7)
    assert codec.take_control() == _SUBACK


def _received(*pairs: tuple[bytes, bytes]) -> int | None:
    """What a request with these user properties, beside others, says of its first arrival."""
    properties = b"\x01\x00" + b"".join(
        b"\x26" + _string(name) + _string(value) for name, value in pairs
    )
    properties += b"\x09" + _string(b"mark")
    codec = _codec(5)
    size = bytes((len(properties),))
    codec.feed(_frame(0x32, _string(b"t") + b"\0\7" + size + properties + b"{}"), 0.0)
    (request,) = _requests(codec)
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
    codec = _codec(5)
    codec.feed(_frame(0x30, _string(b"t") + properties.pack()), 0.0)
    assert [one.observed for one in _requests(codec)] == [1_700_000_000_123_456]


def _read_naively(stream: bytes, protocol: int) -> tuple[list[dict[str, Any]], bytes, bytes, int]:
    splitter = Splitter(protocol=protocol, frame_limit=_LIMIT)
    splitter.feed(stream)
    pubcomps = b"".join(pubcomp(packet_id) for packet_id in splitter.released)
    acknowledged = len(splitter.acknowledged) + len(splitter.released)
    requests = [_fields(one) for one in splitter.requests]
    return requests, bytes(splitter.control), pubcomps, acknowledged


def _check(stream: bytes, protocol: int, cuts: list[int]) -> bool:
    """Whether the stream is MQTT; the codec must agree with the naive splitter."""
    codec, acknowledged = _codec(protocol), 0
    try:
        expected = _read_naively(stream, protocol)
    except MalformedPacketError:
        expected = None
    try:
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            acknowledged += codec.feed(stream[begin:end], 0.0)[2]
    except MalformedPacketError:
        assert expected is None
        return False
    found = [_fields(one) for one in _requests(codec)]
    assert (found, codec.take_control(), codec.take_pubcomps(), acknowledged) == expected
    return True


def _mutated(frame: bytes, rng: random.Random) -> bytes:
    """A packet with a few bytes changed, removed or inserted."""
    data = bytearray(frame)
    for _ in range(rng.randint(1, 3)):
        at = min(rng.randrange(len(data) + 1), rng.randrange(len(data) + 1))  # mostly the header
        match rng.randrange(4):
            case 0:
                data[at : at + 1] = bytes((rng.randrange(256),))
            case 1:
                data[at : at + 1] = bytes((data[at] ^ 1 << rng.randrange(8),)) if data[at:] else b""
            case 2:
                del data[at : at + rng.randint(1, 4)]
            case _:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
    return bytes(data)


@pytest.mark.parametrize("protocol", [4, 5])
def test_mutated_packets_are_read_as_the_naive_splitter_reads_them(protocol: int) -> None:
    rng = random.Random(protocol)  # noqa: S311 - the same packets each time
    user = b"\x26" + _string(NAME) + _string(b"1700000000123456")
    properties = b"\x01\1\x02\0\0\0\1\x03" + _string(b"json") + b"\x08" + _string(b"elsewhere")
    properties += b"\x09" + _string(b"mark") + b"\x0b\xff\x7f\x23\0\1" + user
    head = bytes((len(properties),)) + properties if protocol == 5 else b""
    packets = [
        _frame(0x30, _string(b"sys/a/x") + head + b"{}"),
        _frame(0x32, _string(b"sys/a/x") + b"\0\7" + head + b'{"id":1}'),
        _frame(0x3D, _string("sys/é/x".encode()) + b"\0\7" + head + b"x" * 300),
        _frame(0x40, b"\x80\x01"),
        _frame(0x40, b"\x80\x01\x87" + bytes((len(_USER + _WHY),)) + _USER + _WHY),
        _frame(0x62, b"\0\x09"),
        _SUBACK,
        _PINGRESP,
        _frame(0x20, b"\0\0"),
    ]
    well_formed = 0
    for _ in range(10_000):
        chosen = [rng.choice(packets) for _ in range(rng.randint(1, 3))]
        place = rng.randrange(len(chosen))
        chosen[place] = _mutated(chosen[place], rng)
        stream = b"".join(chosen)
        cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randint(0, 4)))
        well_formed += _check(stream, protocol, cuts)
    assert 500 < well_formed < 9_500  # both kinds occur


@pytest.mark.parametrize("protocol", [4, 5])
@given(data=st.data())
def test_any_bytes_are_read_as_the_naive_splitter_reads_them(
    protocol: int, data: st.DataObject
) -> None:
    parts = data.draw(st.lists(st.binary(max_size=12) | _publishes(protocol), max_size=6))
    stream = b"".join(parts)
    _check(stream, protocol, sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8))))


def test_a_burst_is_bounded_by_all_that_it_holds_and_requests_keep_their_order() -> None:
    codec = _codec(5, frame_limit=10**6)
    sizes = [150_000, 60_000, 10, 250_000, *[10] * 1000]
    stream = b"".join(
        _frame(0x30, _string(b"t") + b"\0" + b"%05d" % number + b"x" * size)
        for number, size in enumerate(sizes)
    )
    requests, size, _ = codec.feed(stream, 2.5)
    bursts: list[Burst] = []
    while burst := codec.take_burst():
        bursts.append(burst)
    assert [len(burst) for burst in bursts] == [1, 2, 1, 512, 488]
    assert requests == len(sizes)
    assert size == sum(burst.size for burst in bursts)
    assert all(len(burst) == 1 or burst.size <= _BURST_BYTES for burst in bursts)
    assert {burst.arrived for burst in bursts} == {2.5}
    payloads = [one.payload[:5] for burst in bursts for one in burst.requests]
    assert payloads == [b"%05d" % number for number in range(len(sizes))]


def test_requests_that_arrive_after_the_drain_are_neither_kept_nor_counted() -> None:
    codec = _codec(4)
    frame = _frame(0x32, _string(b"t") + b"\0\7{}")
    codec.feed(frame, 0.0)
    codec.ignore_requests()
    assert codec.feed(frame + puback(FIRST_REPLY_ID), 0.0) == (0, 0, 1)
    assert len(_requests(codec)) == 1


def test_replies_stop_at_the_window_and_tell_where_packets_end() -> None:
    codec = _codec(5)
    codec.allow(2, 1, 60)
    for packet_id, topic in ((1, b"t"), (2, b"t" * 50), (3, b"t"), (4, b"t"), (0, b"t")):
        head = _string(topic) + (packet_id.to_bytes(2) if packet_id else b"")
        codec.feed(_frame(0x32 if packet_id else 0x30, head + b"\0{}"), 0.0)
    burst = codec.take_burst()
    assert burst
    burst.answer([b"{}", b"{}", None, b"{}", b"{}"])
    packets, end, too_large, ends = codec.write(burst, 0, with_ends=True)
    assert (end, too_large) == (5, [2 + 2 + 56 + 2 + 1 + 2])
    assert ends[-1][1] == len(packets)
    parts = [packets[start:end] for (_, start), (end, _) in pairwise([(0, 0), *ends])]
    assert [len(part) for part in parts] == [2 + 2 + 7 + 2 + 1 + 2, 0, 0, 16, 14]
    acknowledgements = [packets[start:end] for start, end in ends]
    assert acknowledgements == [puback(1), puback(2), puback(3), puback(4), b""]
    assert codec.unacknowledged == 2
    assert codec.window_is_full
    assert [codec.must_wait(burst, place) for place in range(5)] == [True, True, False, True, False]
    assert codec.write(burst, 2)[1] == 3  # nothing to wait for; then the window
    assert codec.write(burst, 3)[1] == 5  # the caller has waited
    assert codec.unacknowledged == 3
