"""`Settings`, and its sections; some are in `mqtt.py`, `kafka.py`, `admin.py`, `quarantine.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from pointgate.config.admin import AdminSettings
from pointgate.config.kafka import KafkaSettings
from pointgate.config.mqtt import MqttSettings
from pointgate.config.quarantine import QuarantineSettings
from pointgate.diagnostics import shown
from pointgate.quantities import DURATIONS, milliseconds_of
from pointgate.registries.settings import RegistrySettings
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.sinks.settings import SinkSettings
from pointgate.toml.document import Document
from pointgate.toml.values import (
    SHARE_WORDS,
    AnyPath,
    Bytes,
    Share,
    bytes_words,
    is_host,
    is_port,
)

_MQTT_PAYLOAD_BYTES: Final = 268_435_455
"""The largest packet in MQTT."""

_ALL_ADDRESSES: Final = ("", "*", "[::]")
"""Hosts in `metrics.listen` that mean all addresses, IPv6 and IPv4; `0.0.0.0` means only IPv4."""

_SPOOL_BYTES: Final = 1024 * 1024 * 1024

_QUARANTINE: Final = "quarantine"
"""The folder of rejected requests beside that of the spool, which the service can write to."""

_ADMIN_SOCKET: Final = "admin.sock"
"""The socket's name, by default in the same folder: commands find it by the settings alone, under
systemd as without it."""


def _listen_address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    right_brackets = (":" in bare) == (bare != host)
    is_all = host in _ALL_ADDRESSES
    if not (colon and right_brackets and (is_all or is_host(bare)) and is_port(port)):
        raise ValueError(
            "expected host:port such as 127.0.0.1:9464, or :9464 for all addresses, "
            f"got {shown(value)}"
        )
    return value


def _at_least_one_payload(value: int, info: ValidationInfo) -> int:
    largest = info.data.get("payload_bytes", 0)
    if value < largest:
        raise ValueError(f"expected at least limits.payload_bytes, {largest}, got {value}")
    return value


class CatalogSettings(Document):
    """The catalog of models and devices."""

    path: AnyPath = Field(
        default=Path("catalog"), description="a folder with a catalog.toml", validate_default=True
    )
    max_shrink: Share = Field(default=20, description=SHARE_WORDS)


class MetricsSettings(Document):
    """Where /metrics, /livez and /readyz are served, and how many products have their own label."""

    listen: Annotated[str, AfterValidator(_listen_address)] = Field(
        default="127.0.0.1:9464", description="host:port (port 0 for any free one)"
    )
    max_products: int = Field(default=100, ge=1, le=1000, description="1 to 1000 products")

    @property
    def host(self) -> str:
        """The address to listen on, without brackets; empty for all addresses."""
        host = self.listen.rpartition(":")[0]
        return "" if host in _ALL_ADDRESSES else host.strip("[]")

    @property
    def shown_host(self) -> str:
        """The host in the form of a url."""
        return self.listen.rpartition(":")[0] if self.host else "[::]"

    @property
    def port(self) -> int:
        """The port to listen on."""
        return int(self.listen.rpartition(":")[2])


class StoreSettings(Document):
    """What a reply of 200 guarantees (contract 7.1)."""

    ack: Literal["spool", "sink", "kafka", "verdict"] = Field(
        default="spool", description='"spool", "sink", "kafka" or "verdict"'
    )
    max_delay: Annotated[int, BeforeValidator(milliseconds_of)] = Field(
        default=4, ge=0, le=1000, description=f"0 to 1000 milliseconds or {DURATIONS}"
    )


class SpoolSettings(Document):
    """The write-ahead log of accepted points between the reply and the sinks."""

    path: AnyPath = Field(default=Path("spool"), description="a folder", validate_default=True)
    max_bytes: Bytes = Field(
        default=_SPOOL_BYTES, ge=2**20, le=2**50, description=bytes_words(2**20, 2**50)
    )


class LimitSettings(Document):
    """Limits on requests and on the in-flight window."""

    payload_bytes: Bytes = Field(
        default=8_388_608,
        ge=1,
        le=_MQTT_PAYLOAD_BYTES,
        description=bytes_words(1, _MQTT_PAYLOAD_BYTES),
    )
    in_flight_requests: int = Field(
        default=4096, ge=1, le=1_000_000, description="1 to 1000000 requests"
    )
    in_flight_bytes: Annotated[Bytes, AfterValidator(_at_least_one_payload)] = Field(
        default=67_108_864, validate_default=True, ge=1, le=2**40, description=bytes_words(1, 2**40)
    )


class ReplySettings(Document):
    """The detail of a fault in a reply (contract 2.5)."""

    detail: Literal["full", "all", "none"] = Field(
        default="full", description='"full", "all" or "none"'
    )


class LoggingSettings(Document):
    """The log, on stderr: one line for each event."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description='the least level: "debug", "info", "warning" or "error"'
    )
    format: Literal["text", "json"] = Field(
        default="text", description='"text", or "json": an object on each line'
    )


class Settings(Document):
    """All settings. The defaults work on one machine."""

    mqtt: MqttSettings = MqttSettings()
    kafka: KafkaSettings = KafkaSettings()
    catalog: CatalogSettings = CatalogSettings()
    metrics: MetricsSettings = MetricsSettings()
    admin: AdminSettings = AdminSettings()
    store: StoreSettings = StoreSettings()
    spool: SpoolSettings = SpoolSettings()
    sinks: tuple[SinkSettings, ...] = (ParquetSettings(),)
    registries: tuple[RegistrySettings, ...] = ()
    quarantine: QuarantineSettings = QuarantineSettings()
    limits: LimitSettings = LimitSettings()
    reply: ReplySettings = ReplySettings()
    logging: LoggingSettings = LoggingSettings()

    @property
    def rejections(self) -> QuarantineSettings | None:
        """The quarantine with its folder, by default beside the spool; None if it is off."""
        if not self.quarantine.enabled:
            return None
        path = self.quarantine.path or self.spool.path.absolute().parent / _QUARANTINE
        return self.quarantine.model_copy(update={"path": path})

    @property
    def admin_socket(self) -> Path | None:
        """The path of the admin socket, by default beside the spool; None if it is off."""
        if not self.admin.enabled:
            return None
        return self.admin.socket or self.spool.path.absolute().parent / _ADMIN_SOCKET

    @property
    def uses_kafka(self) -> bool:
        """Whether requests are read from Kafka."""
        return self.kafka.servers is not None

    @property
    def uses_spool(self) -> bool:
        """Whether accepted points are written to this machine's disk before the sinks.

        Where Kafka is the only source and replies wait for the sinks, its topic is the spool.
        """
        waits = self.store.ack in {"sink", "kafka"}
        return self.store.ack != "verdict" and not (waits and not self.uses_mqtt)

    @property
    def uses_mqtt(self) -> bool:
        """Whether there is a broker: beside Kafka only one that the settings name."""
        return not self.uses_kafka or "url" in self.mqtt.model_fields_set
