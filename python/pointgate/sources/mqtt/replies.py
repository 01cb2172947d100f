"""Outgoing replies: their frames, their packet ids, and the in-flight window.

    frame = replies.frame(request, payload)  # None if it exceeds the broker's packet limit
    replies.acknowledge(packet_id, reason)   # from its PUBACK

Invariants: no reply has a packet id from the client library's range; no two unacknowledged replies
share an id while one is free; a reply over the broker's Maximum Packet Size is counted, not sent:
the broker would close the connection, and the request would be redelivered indefinitely.

A broker that ignores our Receive Maximum sends its whole backlog before the first PUBACK
(Mosquitto 2.0: docs/decisions/0011). Replies then outnumber packet ids, and the id of the oldest
unacknowledged reply is reused: at QoS 1 a receiver stores no state by packet id.

It does not send and does not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from pointgate.diagnostics import shown
from pointgate.sources.mqtt.packets import FIRST_REPLY_ID, LAST_REPLY_ID, MQTT_5, REFUSED, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.properties import Properties

    from pointgate.sources.mqtt.request import MqttRequest

_WINDOW: Final = 1000
"""The in-flight window of replies at QoS 1, unless the broker's Receive Maximum is smaller."""

_IDS: Final = LAST_REPLY_ID - FIRST_REPLY_ID + 1

_WINDOW_3: Final = 20
"""The window in MQTT 3.1.1, which has no Receive Maximum: the usual default of brokers."""


class Replies:
    """The replies of one connection.

    Args:
        protocol: The protocol level, 4 or 5.
        qos: The QoS of every reply; None for each request's own.
        on_refused: Called with the reason for each reply that the broker rejects.
    """

    def __init__(
        self, *, protocol: int, qos: int | None, on_refused: Callable[[str], None]
    ) -> None:
        self._protocol = protocol
        self._qos = qos
        self._on_refused = on_refused
        # The broker's limits, known after CONNACK.
        self._window = _WINDOW_3
        self._best_qos = 1
        self._packet_limit: int | None = None
        self._open: dict[int, int] = {}  # packet id: how many unacknowledged replies have it
        self._unacknowledged = 0
        self._next_id = FIRST_REPLY_ID

    def allow(self, properties: Properties | None) -> None:
        """Read the broker's limits from CONNACK."""
        if self._protocol == MQTT_5:
            # Properties missing from CONNACK have their defaults (MQTT 5, 3.2.2.3).
            self._window = min(_WINDOW, getattr(properties, "ReceiveMaximum", _WINDOW))
            self._best_qos = min(1, getattr(properties, "MaximumQoS", 1))
            self._packet_limit = getattr(properties, "MaximumPacketSize", None)

    def qos(self, request: MqttRequest) -> int:
        """The QoS of the reply to a request (contract 1.6)."""
        return min(request.qos if self._qos is None else self._qos, self._best_qos)

    @property
    def window_is_full(self) -> bool:
        """Whether no reply at QoS 1 may be sent before the broker acknowledges one."""
        return self._unacknowledged >= self._window

    def frame(self, request: MqttRequest, payload: bytes) -> bytes | None:
        """Write the PUBLISH of a reply; None if it exceeds the broker's Maximum Packet Size."""
        packet_id = self._free_id() if self.qos(request) else 0
        frame = publish(
            request.topic + "_reply",
            payload,
            packet_id=packet_id,
            correlation=request.correlation,
            protocol=self._protocol,
        )
        if self._packet_limit is not None and len(frame) > self._packet_limit:
            self._on_refused(
                f"it has {len(frame)} bytes, the broker's limit is {self._packet_limit}"
            )
            return None
        if packet_id:
            self._open[packet_id] = self._open.get(packet_id, 0) + 1
            self._unacknowledged += 1
        return frame

    def acknowledge(self, packet_id: int, reason: int, explained: str = "") -> None:
        """Handle a PUBACK; `explained` is the broker's Reason String of the last rejection."""
        replies = self._open.pop(packet_id, 0)
        if not replies:
            return  # of no reply of this connection
        if replies > 1:
            self._open[packet_id] = replies - 1
        self._unacknowledged -= 1
        if reason >= REFUSED:
            self._on_refused(_name(reason) + (f" ({shown(explained)})" if explained else ""))

    def _free_id(self) -> int:
        """The next packet id that no unacknowledged reply has; if there is none, the oldest one."""
        while True:
            packet_id = self._next_id
            self._next_id = FIRST_REPLY_ID if packet_id == LAST_REPLY_ID else packet_id + 1
            if packet_id not in self._open or len(self._open) == _IDS:
                return packet_id


def _name(reason: int) -> str:
    """The name of a PUBACK's reason code; brokers also send codes unknown to paho."""
    try:
        return str(ReasonCode(PacketTypes.PUBACK, identifier=reason))
    except (KeyError, ValueError):
        return f"reason 0x{reason:02x}"
