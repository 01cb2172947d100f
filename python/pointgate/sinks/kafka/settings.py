"""`[[sinks]]` with `type = "kafka"`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pointgate.kafka.settings import SERVERS_WORDS, ClientSettings, Servers, TopicName
from pointgate.sinks.settings import SinkSettings


class KafkaSinkSettings(SinkSettings, ClientSettings):
    """A Kafka topic."""

    type: Literal["kafka"]
    servers: Servers = Field(description=SERVERS_WORDS)
    topic: TopicName = Field(description="the Kafka topic of the points")
    format: Literal["json", "request", "arrow"] = Field(
        default="json",
        description='"json" (a record for each entry), "request" (a request for each) or "arrow"',
    )

    @property
    def remote_place(self) -> tuple[str, str]:  # noqa: D102 - see the base class
        return f"kafka {self.servers}", self.topic
