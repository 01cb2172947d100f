"""A PUBLISH on a served topic filter: a request, and what its reply and acknowledgement need."""

from __future__ import annotations

from dataclasses import dataclass

from pointgate.sources.base import Request


@dataclass(slots=True)
class MqttRequest(Request):
    """One MQTT message. `stale` says that it was retained by the broker.

    Attributes:
        qos: 0, 1 or, in a session that another program began, 2.
        packet_id: What the acknowledgement must carry; 0 at QoS 0.
        correlation: MQTT 5 Correlation Data to echo, when present (contract 1.2).
    """

    qos: int = 0
    packet_id: int = 0
    correlation: bytes | None = None

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if self.correlation is not None:
            self.size += len(self.correlation)
