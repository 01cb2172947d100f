"""The codec against a naive splitter, and what it promises of bursts and of the window."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointgate._core import FIRST_REPLY_ID, Burst
from pointgate.sources.mqtt.packets import RECEIVED, MalformedPacketError
from tests.support.mqtt_packets import Splitter, puback, pubcomp
from tests.support.mqtt_streams import (
    BURST_BYTES,
    LIMIT,
    codec_of,
    fields_of,
    publishes,
    requests_of,
    string,
)
from tests.support.scripted_broker import frame as packet

NAME = RECEIVED.encode()
_PINGRESP = b"\xd0\x00"
_SUBACK = b"\x90\x04\x00\x01\x00\x01"
_WHY = b"\x1f" + string(b"no rule")
_USER = b"\x26" + string(b"key") + string(b"value")


def _read_naively(stream: bytes, protocol: int) -> tuple[list[dict[str, Any]], bytes, bytes, int]:
    splitter = Splitter(protocol=protocol, frame_limit=LIMIT)
    splitter.feed(stream)
    pubcomps = b"".join(pubcomp(packet_id) for packet_id in splitter.released)
    acknowledged = len(splitter.acknowledged) + len(splitter.released)
    requests = [fields_of(one) for one in splitter.requests]
    return requests, bytes(splitter.control), pubcomps, acknowledged


def _check(stream: bytes, protocol: int, cuts: list[int]) -> bool:
    """Whether the stream is MQTT; the codec must agree with the naive splitter."""
    codec, acknowledged = codec_of(protocol), 0
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
    found = [fields_of(one) for one in requests_of(codec)]
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
    user = b"\x26" + string(NAME) + string(b"1700000000123456")
    properties = b"\x01\1\x02\0\0\0\1\x03" + string(b"json") + b"\x08" + string(b"elsewhere")
    properties += b"\x09" + string(b"mark") + b"\x0b\xff\x7f\x23\0\1" + user
    head = bytes((len(properties),)) + properties if protocol == 5 else b""
    packets = [
        packet(0x30, string(b"sys/a/x") + head + b"{}"),
        packet(0x32, string(b"sys/a/x") + b"\0\7" + head + b'{"id":1}'),
        packet(0x3D, string("sys/é/x".encode()) + b"\0\7" + head + b"x" * 300),
        packet(0x40, b"\x80\x01"),
        packet(0x40, b"\x80\x01\x87" + bytes((len(_USER + _WHY),)) + _USER + _WHY),
        packet(0x62, b"\0\x09"),
        _SUBACK,
        _PINGRESP,
        packet(0x20, b"\0\0"),
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
    parts = data.draw(st.lists(st.binary(max_size=12) | publishes(protocol), max_size=6))
    stream = b"".join(parts)
    _check(stream, protocol, sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8))))


def test_a_burst_is_bounded_by_all_that_it_holds_and_requests_keep_their_order() -> None:
    codec = codec_of(5, frame_limit=10**6)
    sizes = [150_000, 60_000, 10, 250_000, *[10] * 1000]
    stream = b"".join(
        packet(0x30, string(b"t") + b"\0" + b"%05d" % number + b"x" * size)
        for number, size in enumerate(sizes)
    )
    requests, size, _ = codec.feed(stream, 2.5)
    bursts: list[Burst] = []
    while burst := codec.take_burst():
        bursts.append(burst)
    assert [len(burst) for burst in bursts] == [1, 2, 1, 512, 488]
    assert requests == len(sizes)
    assert size == sum(burst.size for burst in bursts)
    assert all(len(burst) == 1 or burst.size <= BURST_BYTES for burst in bursts)
    assert {burst.arrived for burst in bursts} == {2.5}
    payloads = [one.payload[:5] for burst in bursts for one in burst.requests]
    assert payloads == [b"%05d" % number for number in range(len(sizes))]


def test_requests_that_arrive_after_the_drain_are_neither_kept_nor_counted() -> None:
    codec = codec_of(4)
    frame = packet(0x32, string(b"t") + b"\0\7{}")
    codec.feed(frame, 0.0)
    codec.ignore_requests()
    assert codec.feed(frame + puback(FIRST_REPLY_ID), 0.0) == (0, 0, 1)
    assert len(requests_of(codec)) == 1


def test_replies_stop_at_the_window_and_tell_where_packets_end() -> None:
    codec = codec_of(5)
    codec.allow(2, 1, 60)
    for packet_id, topic in ((1, b"t"), (2, b"t" * 50), (3, b"t"), (4, b"t"), (0, b"t")):
        head = string(topic) + (packet_id.to_bytes(2) if packet_id else b"")
        codec.feed(packet(0x32 if packet_id else 0x30, head + b"\0{}"), 0.0)
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
