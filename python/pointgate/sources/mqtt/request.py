"""A PUBLISH on a served topic filter: a request, with the data for its reply and PUBACK."""

from __future__ import annotations

from dataclasses import dataclass

from pointgate.sources.base import Request


@dataclass(slots=True)
class MqttRequest(Request):
    """One MQTT message. `stale` means that it was retained by the broker.

    Attributes:
        qos: 0, 1 or, in a session that another program created, 2.
        packet_id: The packet id of its acknowledgement; 0 at QoS 0.
        correlation: MQTT 5 Correlation Data to echo, if present (contract 1.2).
    """

    qos: int = 0
    packet_id: int = 0
    correlation: bytes | None = None

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if self.correlation is not None:
            self.size += len(self.correlation)
