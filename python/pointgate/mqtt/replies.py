"""Replies on their way out: their frames, their packet ids, and how many may be open at once.

    frame = replies.frame(request, payload)  # None if the broker would not take it
    replies.acknowledge(packet_id, reason)   # from its PUBACK

Invariants: no two unacknowledged replies share a packet id, and none has one of the client
library's; a reply over the broker's maximum packet size is counted, not sent, because the broker
would end the connection for it and the request would come again, for ever.

It does not send and does not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from pointgate.mqtt.frames import FIRST_REPLY_ID, LAST_REPLY_ID, MQTT_5, REFUSED, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.properties import Properties

    from pointgate.mqtt.base import Request

_WINDOW: Final = 1000
"""Replies at QoS 1 that may be unacknowledged, if the broker allows as many."""

_WINDOW_3: Final = 20
"""The same in MQTT 3.1.1, where a broker cannot say what it allows: the usual default."""


class Replies:
    """The replies of one connection.

    Args:
        protocol: The protocol level, 4 or 5.
        qos: The QoS of every reply; None for each request's own.
        on_refused: Called with the reason for each reply that the broker does not take.
    """

    def __init__(
        self, *, protocol: int, qos: int | None, on_refused: Callable[[str], None]
    ) -> None:
        self._protocol = protocol
        self._qos = qos
        self._on_refused = on_refused
        # What the broker allows, known from CONNACK on.
        self._window = _WINDOW_3
        self._best_qos = 1
        self._packet_limit: int | None = None
        self._unacknowledged: set[int] = set()
        self._next_id = FIRST_REPLY_ID

    def allow(self, properties: Properties | None) -> None:
        """Take note of what CONNACK allows."""
        if self._protocol == MQTT_5:
            # What CONNACK leaves out is at its default (MQTT 5, 3.2.2.3).
            self._window = min(_WINDOW, getattr(properties, "ReceiveMaximum", _WINDOW))
            self._best_qos = min(1, getattr(properties, "MaximumQoS", 1))
            self._packet_limit = getattr(properties, "MaximumPacketSize", None)

    def qos(self, request: Request) -> int:
        """The QoS of the reply to a request (contract 1.6)."""
        return min(request.qos if self._qos is None else self._qos, self._best_qos)

    @property
    def window_is_full(self) -> bool:
        """Whether the broker wants no further reply at QoS 1 before it has acknowledged one."""
        return len(self._unacknowledged) >= self._window

    @property
    def ids_are_used_up(self) -> bool:
        """Whether no further reply at QoS 1 can be named."""
        return len(self._unacknowledged) > LAST_REPLY_ID - FIRST_REPLY_ID

    def frame(self, request: Request, payload: bytes) -> bytes | None:
        """Write the PUBLISH of a reply; None if it is more than the broker takes."""
        packet_id = self._free_id() if self.qos(request) else 0
        frame = publish(
            request.topic + "_reply",
            payload,
            packet_id=packet_id,
            correlation=request.correlation,
            protocol=self._protocol,
        )
        if self._packet_limit is not None and len(frame) > self._packet_limit:
            self._on_refused(f"it has {len(frame)} bytes, the broker takes {self._packet_limit}")
            return None
        if packet_id:
            self._unacknowledged.add(packet_id)
        return frame

    def acknowledge(self, packet_id: int, reason: int) -> None:
        """Take note of a PUBACK."""
        self._unacknowledged.discard(packet_id)
        if reason >= REFUSED:
            self._on_refused(_name(reason))

    def _free_id(self) -> int:
        """The next packet id that no unacknowledged reply has."""
        while True:
            packet_id = self._next_id
            self._next_id = FIRST_REPLY_ID if packet_id == LAST_REPLY_ID else packet_id + 1
            if packet_id not in self._unacknowledged:
                return packet_id


def _name(reason: int) -> str:
    """The name of a PUBACK's reason code; brokers send others than paho knows."""
    try:
        return str(ReasonCode(PacketTypes.PUBACK, identifier=reason))
    except (KeyError, ValueError):
        return f"reason 0x{reason:02x}"
