"""MQTT's frequent packets once more, in plain Python: what `_core.MqttCodec` is compared with.

    splitter.feed(data)         the bytes of one read, split at any position
      splitter.requests         every PUBLISH, in order
      splitter.acknowledged     every PUBACK of one of our replies, with its reason code
      splitter.released         the packet id of every PUBREL: our PUBREC of a request has arrived
      splitter.control          the bytes of every other packet, unchanged, for the client library

Tests also use it as a client's reader and writer of packets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pointgate.sources.mqtt.packets import HEADER_BYTES, MQTT_5, RECEIVED, MalformedPacketError

__all__ = ["HEADER_BYTES", "MQTT_5", "RECEIVED", "MalformedPacketError", "Splitter"]

FIRST_REPLY_ID: Final = 0x8000
LAST_REPLY_ID: Final = 0xFFFF
"""The packet ids of our replies; the library's ids, for SUBSCRIBE, start at 1 and stay below."""

NO_TOPIC: Final = "\ufffd"
"""Replaces an unknown topic: no product has it."""

REFUSED: Final = 0x80
"""MQTT 5 reason codes from here on are errors."""

_PUBLISH: Final = 0x30
_PUBACK: Final = 0x40
_PUBREC: Final = 0x50
_PUBREL: Final = 0x62
_PUBCOMP: Final = 0x70
_PINGRESP: Final = 0xD0
_IDLE: Final = {_PUBREC, _PUBCOMP, _PINGRESP}
"""Dropped. The first two acknowledge packets that we never send."""

_CONTROL_BYTES: Final = 0x1_0000
_ANSWER_BYTES: Final = 0x1000
"""The longest packet other than a PUBLISH, and the longest SUBACK or UNSUBACK: the library creates
an object for each byte of those."""

_ANSWERS: Final = {0x90, 0xB0}

_KIND: Final = 0xF0  # the upper half of a packet's first byte
_QOS: Final = 0x06
_QOS_1: Final = 0x02
_RETAIN: Final = 0x01
_CORRELATION: Final = 0x09
_REASON_STRING: Final = 0x1F
_USER: Final = 0x26
_MORE: Final = 0x80  # the continuation bit of a variable byte integer
_LAST_SHIFT: Final = 21  # of its fourth and last byte: seven bits each
_SHORTEST: Final = 2  # bytes of the shortest packet
_ID_BYTES: Final = 2

_VARIABLE: Final = -1  # a variable byte integer
_STRING: Final = -2  # a two-byte length and as many bytes
_PAIR: Final = -3  # two strings
_PROPERTY_SIZES: Final = {
    0x01: 1,  # payload format indicator
    0x02: 4,  # message expiry interval
    0x03: _STRING,  # content type
    0x08: _STRING,  # response topic: never used, the reply's topic follows from the request's
    _CORRELATION: _STRING,
    0x0B: _VARIABLE,  # subscription identifier
    0x23: 2,  # topic alias: we allow none; if a broker uses one, the topic is a bad topic
    _USER: _PAIR,
}
"""Every property that a PUBLISH can have (MQTT 5, 3.3.2.3)."""

_RECEIVED: Final = RECEIVED.encode()
_INSTANT_DIGITS: Final = 18
MAX_INSTANT: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""


@dataclass(slots=True)
class NaiveRequest:
    """A PUBLISH, as `_core.Request` is."""

    topic: str
    payload: bytes
    stale: bool
    observed: int | None
    qos: int
    packet_id: int
    correlation: bytes | None


class Splitter:
    """Splits the broker's bytes into requests, acknowledgements and other packets.

    Args:
        protocol: The protocol level, 4 or 5.
        frame_limit: A longer PUBLISH is truncated to this many bytes, at least `HEADER_BYTES`. If
            this is `HEADER_BYTES` over `limits.payload_bytes`, the judge still detects that the
            payload is too large.

    Attributes:
        requests: The requests that have arrived; the owner empties it.
        acknowledged: Packet id and reason code of each acknowledged reply; the owner empties it.
        explained: The Reason String of the last PUBACK that rejected a reply; empty without one.
        released: Packet id of each PUBREL; the owner empties it.
        control: Complete packets of every other kind; the owner empties it.
    """

    __slots__ = (
        "_frame_limit",
        "_needed",
        "_properties",
        "_skip",
        "_tail",
        "acknowledged",
        "control",
        "explained",
        "released",
        "requests",
    )

    def __init__(self, *, protocol: int, frame_limit: int) -> None:
        self.requests: list[NaiveRequest] = []
        self.acknowledged: list[tuple[int, int]] = []
        self.explained = ""
        self.released: list[int] = []
        self.control = bytearray()
        self._properties = protocol == MQTT_5
        self._frame_limit = frame_limit
        self._tail = bytearray()  # an incomplete packet
        self._needed = 0  # the length at which parsing it is tried again
        self._skip = 0  # bytes of a truncated packet that have not arrived

    def feed(self, data: bytes) -> None:
        """Parse the bytes of one read.

        Args:
            data: The bytes, in the order of arrival.

        Raises:
            MalformedPacketError: They are not MQTT.
        """
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._tail:
            self._tail += data
            if len(self._tail) < self._needed:
                return
            data = bytes(self._tail)
            self._tail = bytearray()
        try:
            rest = self._cut(data)
        except IndexError:
            raise MalformedPacketError("a packet from the broker ends too early") from None
        if rest < len(data):
            self._tail += data[rest:]

    def _cut(self, data: bytes) -> int:
        """Parse every complete packet; returns where the first incomplete one begins."""
        start, end = 0, len(data)
        while end - start >= _SHORTEST:
            size, body = data[start + 1], start + 2
            if size >= _MORE:
                size, body = _variable(data, start + 1, end)
                if not body:
                    self._needed = end - start + 1
                    return start
            stop = body + size
            if size > _ANSWER_BYTES:
                _check_size(data[start], size)
            if stop - start > self._frame_limit:
                if end - start < self._frame_limit:
                    self._needed = self._frame_limit
                    return start
                limit = start + self._frame_limit
                self.requests.append(self._request(data, start, body, limit, cut=True))
                self._skip = max(0, stop - end)
                start = min(stop, end)
                continue
            if stop > end:
                self._needed = stop - start
                return start
            if data[start] & _KIND == _PUBLISH:
                self.requests.append(self._request(data, start, body, stop))
            else:
                self._other(data, start, body, stop)
            start = stop
        self._needed = _SHORTEST
        return start

    def _other(self, data: bytes, start: int, body: int, stop: int) -> None:
        """Handle a packet that is not a PUBLISH."""
        first = data[start]
        if first == _PUBACK:
            self._acknowledgement(data, body, stop)
        elif first == _PUBREL:
            self.released.append(_packet_id(data, body, stop))
        elif first not in _IDLE:
            self.control += data[start:stop]

    def _acknowledgement(self, data: bytes, body: int, stop: int) -> None:
        packet_id = _packet_id(data, body, stop)
        if packet_id < FIRST_REPLY_ID:
            return
        # MQTT 5 omits the reason code of a success; 3.1.1 has none.
        reason = data[body + 2] if stop - body > _ID_BYTES else 0
        if reason >= REFUSED:
            self.explained = _reason_string(data, body + 3, stop)
        self.acknowledged.append((packet_id, reason))

    def _request(
        self, data: bytes, start: int, body: int, stop: int, *, cut: bool = False
    ) -> NaiveRequest:
        first = data[start]
        at = body + 2 + (data[body] << 8 | data[body + 1])
        # A topic that is not UTF-8 gets U+FFFD, which no product key has: it is a bad topic,
        # without a reply.
        topic = data[body + 2 : at].decode(errors="replace")
        qos = packet_id = 0
        if first & _QOS:
            qos = (first & _QOS) >> 1
            if first & _QOS == _QOS:
                raise MalformedPacketError("a PUBLISH from the broker has QoS 3")
            packet_id = data[at] << 8 | data[at + 1]
            at += 2
        correlation = observed = None
        if self._properties:
            if data[at]:
                try:
                    correlation, observed, at = _read_properties(data, at, stop)
                except MalformedPacketError:
                    if not cut:
                        raise
                    # The properties alone exceed the limit, which senders of this protocol do not
                    # cause. If we ended the connection, the packet would be redelivered forever.
                    topic, at = NO_TOPIC, stop
            else:
                at += 1
        if at > stop:
            raise MalformedPacketError("a PUBLISH from the broker ends inside its header")
        stale = bool(first & _RETAIN)
        return NaiveRequest(topic, data[at:stop], stale, observed, qos, packet_id, correlation)


def publish(
    topic: str, payload: bytes, *, packet_id: int, correlation: bytes | None, protocol: int
) -> bytes:
    """Write a PUBLISH that is not retained, at QoS 1 if it has a packet id, else at QoS 0."""
    name = topic.encode()
    header = len(name).to_bytes(2) + name
    if packet_id:
        header += packet_id.to_bytes(2)
    if protocol == MQTT_5:
        if correlation is None:
            header += b"\0"
        else:
            size = len(correlation)
            header += (
                _written(size + 3) + bytes((_CORRELATION, size >> 8, size & 0xFF)) + correlation
            )
    first = _PUBLISH | _QOS_1 if packet_id else _PUBLISH
    return bytes((first,)) + _written(len(header) + len(payload)) + header + payload


def puback(packet_id: int) -> bytes:
    """Write the PUBACK of a request."""
    return bytes((_PUBACK, 2, packet_id >> 8, packet_id & 0xFF))


def pubrec(packet_id: int) -> bytes:
    """Write the PUBREC of a request at QoS 2."""
    return bytes((_PUBREC, 2, packet_id >> 8, packet_id & 0xFF))


def pubcomp(packet_id: int) -> bytes:
    """Write the PUBCOMP that answers a PUBREL."""
    return bytes((_PUBCOMP, 2, packet_id >> 8, packet_id & 0xFF))


def _check_size(first: int, size: int) -> None:
    """Check the length of a packet.

    Raises:
        MalformedPacketError: It is longer than packets of its kind can be.
    """
    most = _ANSWER_BYTES if first in _ANSWERS else _CONTROL_BYTES
    if first & _KIND != _PUBLISH and size > most:
        raise MalformedPacketError(f"{size} bytes are too many for a packet of its kind")


def _packet_id(data: bytes, body: int, stop: int) -> int:
    """The packet id at the beginning of an acknowledgement."""
    if stop - body < _ID_BYTES:
        raise MalformedPacketError("an acknowledgement from the broker has no packet id")
    return data[body] << 8 | data[body + 1]


def _written(value: int) -> bytes:
    """Encode a variable byte integer."""
    out = bytearray()
    while value >= _MORE:
        out.append(value & 0x7F | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def _variable(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Decode the variable byte integer at `at`: its value and end; the end is 0 if incomplete."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < _MORE:
            return value, at
        if shift == _LAST_SHIFT:
            raise MalformedPacketError("a length from the broker has more than four bytes")
        shift += 7
    return 0, 0


def _reason_string(data: bytes, at: int, stop: int) -> str:
    """The Reason String of a PUBACK, whose only other properties are user properties."""
    size, at = _variable(data, at, stop) if at < stop else (0, 0)
    end = min(at + size, stop)
    while at + 3 <= end:
        kind, begin = data[at], at + 3
        at = begin + (data[at + 1] << 8 | data[at + 2])
        if kind == _REASON_STRING:
            return data[begin : min(at, end)].decode(errors="replace")
        if kind == _USER and at + 2 <= end:
            at += 2 + (data[at] << 8 | data[at + 1])
    return ""


def _read_properties(data: bytes, at: int, stop: int) -> tuple[bytes | None, int | None, int]:
    """Parse the properties at `at`: returns Correlation Data, the first arrival, and their end."""
    size, at = _variable(data, at, stop)
    end = at + size
    if not at or end > stop:
        raise MalformedPacketError("the properties of a PUBLISH from the broker are cut off")
    correlation = observed = None
    while at < end:
        kind = data[at]
        at += 1
        length = _PROPERTY_SIZES.get(kind)
        if length is None:
            raise MalformedPacketError(f"a PUBLISH from the broker has the unknown property {kind}")
        if length == _VARIABLE:
            at = _variable(data, at, end)[1] or end + 1
            continue
        if length >= 0:
            at += length
            continue
        begin = at + 2
        at = begin + (data[at] << 8 | data[at + 1])
        if kind == _CORRELATION:
            correlation = data[begin:at]
        elif length == _PAIR:
            name, begin = data[begin:at], at + 2
            at = begin + (data[at] << 8 | data[at + 1])
            if name == _RECEIVED and (instant := _instant(data[begin:at])) is not None:
                observed = instant
    if at != end:
        raise MalformedPacketError(
            "the properties of a PUBLISH from the broker do not fill their length"
        )
    return correlation, observed, at


def _instant(text: bytes) -> int | None:
    """Parse UTC microseconds in decimal digits; None for anything else, which is ignored."""
    if not text.isdigit() or len(text) > _INSTANT_DIGITS:
        return None
    instant = int(text)
    return instant if instant <= MAX_INSTANT else None
