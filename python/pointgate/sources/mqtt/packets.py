"""Constants of MQTT; `_core.MqttCodec` reads and writes the frequent packets."""

from __future__ import annotations

from typing import Final

from pointgate.errors import PointgateError

MQTT_5: Final = 5
"""The protocol level of MQTT 5 on the wire (3.1.1: 4); only MQTT 5 has properties."""

HEADER_BYTES: Final = 0x2_0000
"""More than the header of a PUBLISH without properties: the longest topic is 64 KiB."""

DISCONNECT: Final = b"\xe0\x00"
"""A complete DISCONNECT: a normal disconnection, after which the session is kept."""

RECEIVED: Final = "pointgate-received"
"""The user property of a replayed request: when it first arrived (contract 3.5)."""


class MalformedPacketError(PointgateError, ValueError):
    """The broker sent bytes that are not MQTT; the rest of the stream cannot be parsed."""
