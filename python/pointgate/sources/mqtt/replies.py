"""What the broker says of replies: its limits in CONNACK, its reasons in PUBACK.

`_core.MqttCodec` writes the replies, and keeps their packet ids and their window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from pointgate.diagnostics import shown

if TYPE_CHECKING:
    from paho.mqtt.properties import Properties

_WINDOW: Final = 1000
"""The in-flight window of replies at QoS 1, unless the broker's Receive Maximum is smaller."""


class ReplyLimits(NamedTuple):
    """A broker's limits of replies, as `_core.MqttCodec.allow` takes them.

    Attributes:
        window: The most replies at QoS 1 that it has not acknowledged.
        best_qos: The highest QoS of a reply.
        packet_limit: The most bytes of a packet; None without a limit.
    """

    window: int
    best_qos: int
    packet_limit: int | None


def reply_limits(properties: Properties | None) -> ReplyLimits:
    """The limits in a CONNACK of MQTT 5; missing ones have their defaults (3.2.2.3)."""
    return ReplyLimits(
        window=min(_WINDOW, getattr(properties, "ReceiveMaximum", _WINDOW)),
        best_qos=min(1, getattr(properties, "MaximumQoS", 1)),
        packet_limit=getattr(properties, "MaximumPacketSize", None),
    )


def rejection(reason: int, explained: str) -> str:
    """Why the broker rejected a reply, from its PUBACK; brokers also send codes unknown to paho."""
    try:
        name = str(ReasonCode(PacketTypes.PUBACK, identifier=reason))
    except (KeyError, ValueError):
        name = f"reason 0x{reason:02x}"
    return name + (f" ({shown(explained)})" if explained else "")
