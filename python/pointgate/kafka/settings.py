"""How a Kafka cluster is reached: the keys that `[kafka]` and a Kafka sink have in common.

Everything that librdkafka can do for a connection (TLS, SASL, timeouts, buffers) is set by its own
names in the table `options`. Two kinds of names are refused there: secrets, which belong in the
environment or in a file, and what pointgate's promises depend on, such as `acks`.
"""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - the validator below is read by pydantic
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from pointgate.diagnostics import shown
from pointgate.toml.document import Document
from pointgate.toml.values import (
    ReadableFile,
    Secret,
    control_character,
    is_host,
    is_port,
    secret_text,
)

Options: TypeAlias = dict[str, str | int | float | bool]
"""Settings of librdkafka by their names."""

_TOPIC: Final = r"[A-Za-z0-9._-]{1,249}"

_OWN: Final = {
    "bootstrap.servers": "use servers",
    "metadata.broker.list": "use servers",
    "group.id": "use group",
    "sasl.username": "use username",
    "sasl.oauthbearer.client.id": "use username",
    "acks": "pointgate writes with acks = all: less would break what a 200 promises",
    "request.required.acks": "pointgate writes with acks = all: less would break what a 200 "
    "promises",
    "enable.idempotence": "pointgate needs it, for the order of records",
    "transactional.id": "use transactional_id",
    "enable.auto.commit": "pointgate commits offsets after the reply",
    "auto.commit.enable": "pointgate commits offsets after the reply",
    "auto.commit.interval.ms": "pointgate commits offsets after the reply",
    "enable.auto.offset.store": "pointgate commits offsets after the reply",
    "enable.partition.eof": "pointgate sets it",
    "statistics.interval.ms": "pointgate sets it, for its metrics",
    "delivery.timeout.ms": "pointgate retries for as long as it takes",
    "message.timeout.ms": "pointgate retries for as long as it takes",
    "queue.buffering.max.messages": "pointgate limits requests in flight instead",
    "queue.buffering.max.kbytes": "pointgate limits requests in flight instead",
}
"""Settings of librdkafka that are refused, and why."""


def _servers(value: str) -> str:
    for server in value.split(","):
        host, colon, port = server.strip().rpartition(":")
        if not (colon and is_host(host.strip("[]")) and is_port(port)):
            raise ValueError(f"expected host:port, or several with commas, got {shown(value)}")
    return value


def topic_name(value: str) -> str:
    """The name of a Kafka topic."""
    if not re.fullmatch(_TOPIC, value) or value in {".", ".."}:
        raise ValueError(
            "expected a Kafka topic, 1 to 249 of A-Z, a-z, 0-9, '.', '_' and '-', got "
            f"{shown(value)}"
        )
    return value


def _plain(value: str) -> str:
    if not value or control_character(value):
        raise ValueError(f"expected text without control characters, got {shown(value)}")
    return value


def _password_file(value: Path, info: ValidationInfo) -> Path:
    if info.data.get("password") is not None:
        raise ValueError("expected either this or the password in the environment, got both")
    return value


def flat(value: object) -> object:
    """A table of librdkafka's settings: `security.protocol = "ssl"` is a table in TOML.

    In the environment it is a text: `security.protocol=ssl,sasl.mechanism=PLAIN`.
    """
    if isinstance(value, str):
        pairs = [one.partition("=") for one in value.split(",")]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError(f"expected name=value, or several with commas, got {shown(value)}")
        return {name.strip(): text.strip() for name, _, text in pairs}
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            found |= {f"{key}.{name}": one for name, one in _inner(inner)}
        else:
            found[key] = inner
    return found


def _inner(table: dict[str, Any]) -> list[tuple[str, Any]]:
    inner = flat(table)
    return list(inner.items()) if isinstance(inner, dict) else []


def _options(value: Options) -> Options:
    for name in value:
        if re.search(r"password|secret|\.pem$|sasl\.oauthbearer\.config", name):
            raise ValueError(
                f"expected no secret in this file, got {name}: use password_file or the variable "
                "that ends in __PASSWORD"
            )
        if name in _OWN:
            raise ValueError(f"not allowed to set {name}: {_OWN[name]}")
    return value


Servers = Annotated[str, AfterValidator(_servers)]
TopicName = Annotated[str, AfterValidator(topic_name)]
SERVERS_WORDS: Final = "host:port of a Kafka broker, or several with commas"


class ClientSettings(Document):
    """How a cluster is reached."""

    servers: Servers | None = Field(default=None, description=SERVERS_WORDS)
    username: Annotated[str, AfterValidator(_plain)] | None = Field(
        default=None, description="the user name of SASL, or the client id of OAUTHBEARER"
    )
    password: Secret | None = Field(default=None, description="a password, in the environment only")
    password_file: Annotated[ReadableFile, AfterValidator(_password_file)] | None = Field(
        default=None, description="a file whose first line is the password"
    )
    options: Annotated[
        dict[str, str | int | float | bool], BeforeValidator(flat), AfterValidator(_options)
    ] = Field(default={}, description="a table of librdkafka's settings")

    def client_options(self, table: str) -> Options:
        """The settings of librdkafka for a connection to this cluster.

        Args:
            table: Where these settings stand, for errors: `kafka`, `sinks.kafka`.

        Raises:
            ConfigError: The password file cannot be read.
        """
        bearer = str(self.options.get("sasl.mechanism", self.options.get("sasl.mechanisms")))
        id_, secret = "sasl.username", "sasl.password"
        if bearer.upper() == "OAUTHBEARER":
            id_, secret = "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret"
        found: Options = {"bootstrap.servers": self.servers or "", **self.options}
        if self.username is not None:
            found[id_] = self.username
        password = secret_text(self.password, self.password_file, f"{table}.password_file")
        if password is not None:
            found[secret] = password
        return found
