"""`[[registries]]` with `type = "kafka"`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pointgate.kafka.settings import SERVERS_WORDS, ClientSettings, Servers, TopicName
from pointgate.registries.settings import RegistrySettings
from pointgate.toml.values import Seconds, seconds_words

_YEAR = 31_536_000


class KafkaRegistrySettings(RegistrySettings, ClientSettings):
    """A compacted Kafka topic: a record's key is a device key, without a value it is removed."""

    type: Literal["kafka"]
    servers: Servers = Field(description=SERVERS_WORDS)
    topic: TopicName = Field(description="the compacted topic of the devices")
    tombstone_retention: Seconds = Field(
        default=86_400, ge=1, le=_YEAR, description=seconds_words(1, _YEAR)
    )

    @property
    def identifying(self) -> frozenset[str]:
        """The settings that say what is copied."""
        return frozenset({"topic"})
