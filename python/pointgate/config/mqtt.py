"""The section `[mqtt]`: the broker's address and transport, and the client's identity.

A secret is in no `repr`, error or log line, and is rejected in the file itself.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

from pointgate.diagnostics import shown
from pointgate.errors import Problem
from pointgate.toml.document import Document
from pointgate.toml.values import (
    ReadableFile,
    Seconds,
    Secret,
    control_character,
    is_host,
    seconds_words,
    secret_text,
)
from pointgate.topics import product_key

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_TLS: Final = {"mqtts", "wss"}
_WEBSOCKET: Final = {"ws", "wss"}
_UNIX: Final = "unix"

_WEBSOCKET_PATH: Final = "/mqtt"
_FORMS: Final = (
    "mqtt://host:port, mqtts://host:port, ws://host:port/path, wss://host:port/path or "
    "unix:///path/of/socket"
)

_SOCKET_PATH_BYTES: Final = 107
"""Linux limits the path of a Unix socket to 108 bytes, including a zero at its end."""

DEFAULT_CLIENT_ID: Final = "pointgate-service"
"""Not derived from the host name: a container has a new one at each start, but the messages in the
broker are queued for the old client id. Two services with this id take over each other's session,
which is logged at once."""

_PLACEHOLDER: Final = re.compile(r"change[-_ ]?(me|this)\b", re.IGNORECASE)
"""The placeholder for a client id in the configuration in `deploy/`, and similar ones."""

_MQTT_STRING_BYTES: Final = 65_535

_MOST_16: Final = 65_535
_MOST_32: Final = 4_294_967_295
"""The greatest values of the keepalive and the session expiry in MQTT."""


_T = TypeVar("_T")


def _only_with_tls(value: _T, info: ValidationInfo) -> _T:
    scheme = urlsplit(info.data.get("url", "mqtts:")).scheme
    if scheme not in _TLS:
        raise ValueError(f"only allowed with an mqtts:// or wss:// url, got {_an(scheme)} one")
    return value


def _an(scheme: str) -> str:
    return f"{'an' if scheme.startswith('m') else 'a'} {scheme}://"


def _alpn(value: str) -> str:
    """An ALPN protocol id: mqtt, http/1.1, x-amzn-mqtt-ca."""
    if not re.fullmatch(r"[!-+\--~]{1,255}", value):
        raise ValueError(
            "expected the name of one protocol, 1 to 255 ASCII characters without blanks and "
            f"commas, got {shown(value)}"
        )
    return value


def _beside(other: str) -> AfterValidator:
    def validate(value: Path | SecretStr, info: ValidationInfo) -> Path | SecretStr:
        if info.data.get(other, value) is None:
            raise ValueError(f"only allowed with mqtt.{other}, which is missing")
        return value

    return AfterValidator(validate)


def _mqtt_string(value: str) -> str:
    """A string that all brokers accept; for others they close the connection without a reason."""
    expected = f"expected 1 to {_MQTT_STRING_BYTES} bytes of text without control characters"
    if found := control_character(value):
        raise ValueError(f"{expected}, got {shown(value)} with {found}")
    if value != value.strip():
        raise ValueError(f"expected no blanks at its ends, got {shown(value)}")
    if not value or len(value.encode()) > _MQTT_STRING_BYTES:
        raise ValueError(f"{expected}, got {shown(value)}")
    return value


def _share_group(value: str, info: ValidationInfo) -> str:
    if set(value) & set("/+#"):
        raise ValueError(f"expected a name without '/', '+' and '#', got {shown(value)}")
    if info.data.get("client_id") == DEFAULT_CLIENT_ID:
        raise ValueError(
            "only allowed with mqtt.client_id, which is missing: each replica needs a unique id, "
            "the same after each restart"
        )
    return value


def _broker_url(value: str) -> str:
    expected = f"expected {_FORMS}, got {shown(value)}"
    if control_character(value):  # `urlsplit` removes them silently
        # The url is not shown if it may contain a password.
        raise ValueError(f"expected {_FORMS}" if "@" in value else expected)
    if value.lower().startswith(f"{_UNIX}:"):
        return _unix_url(value)
    if "@" in value:
        # The url is not shown: it may contain a password.
        raise ValueError(
            "expected a url without user and password, got one with '@': "
            "use mqtt.username and POINTGATE_MQTT__PASSWORD or mqtt.password_file"
        )
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:  # a port that is not a number, or too large a one; a broken [address]
        raise ValueError(expected) from None
    if parts.scheme not in _DEFAULT_PORTS or not is_host(parts.hostname or "") or port == 0:
        raise ValueError(expected)
    if "?" in value or "#" in value:
        raise ValueError(f"expected {_FORMS}, without '?' and '#', got {shown(value)}")
    if parts.scheme in _WEBSOCKET:
        if not re.fullmatch(r"[!-~]*", parts.path):
            raise ValueError(
                "expected a path of ASCII characters without blanks (write others as %20), got "
                f"{shown(value)}"
            )
    elif parts.path not in {"", "/"}:
        raise ValueError(
            f"expected no path in {_an(parts.scheme)} url (only ws:// and wss:// have one), got "
            f"{shown(value)}"
        )
    return value


def _unix_url(value: str) -> str:
    if "?" in value or "#" in value:
        raise ValueError(
            "expected unix:///path/of/socket, without '?' and '#' (write %3F and %23), got "
            f"{shown(value)}"
        )
    parts = urlsplit(value)
    if parts.netloc:
        raise ValueError(
            "expected unix:///path/of/socket, with no host and an absolute path, got "
            f"{shown(value)}"
        )
    path = unquote(parts.path)
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ValueError(
            f"expected unix:///path/of/socket, with an absolute path, got {shown(value)}"
        )
    if (size := len(os.fsencode(path))) > _SOCKET_PATH_BYTES:
        raise ValueError(
            f"expected the path of a socket, at most {_SOCKET_PATH_BYTES} bytes, got {size}"
        )
    return value


def _password_file(value: Path, info: ValidationInfo) -> Path:
    if info.data.get("password") is not None:
        raise ValueError("expected either this or POINTGATE_MQTT__PASSWORD, got both")
    return value


def _integer(value: object) -> object:
    # True == 1 and 5.0 == 5 would do for a Literal.
    return shown(value) if isinstance(value, bool | float) else value


_MqttString = Annotated[str, AfterValidator(_mqtt_string)]


class MqttSettings(Document):
    """The connection to the broker."""

    url: Annotated[str, AfterValidator(_broker_url)] = Field(
        default="mqtt://127.0.0.1:1883",
        description="mqtt://host:port, mqtts://… for TLS, ws(s)://host:port/path, unix:///path",
    )
    client_id: _MqttString = Field(
        default=DEFAULT_CLIENT_ID,
        description="a unique client id, the same after each restart",
    )
    username: _MqttString | None = Field(default=None, description="a user name")
    password: Annotated[Secret, _beside("username")] | None = Field(
        default=None, description="a password, in the environment only"
    )
    password_file: (
        Annotated[ReadableFile, AfterValidator(_password_file), _beside("username")] | None
    ) = Field(default=None, description="a file whose first line is the password")
    share_group: Annotated[_MqttString, AfterValidator(_share_group)] | None = Field(
        default=None, description="the name of a consumer group (shared subscription)"
    )
    protocol: Annotated[Literal[5, 4, "auto"], BeforeValidator(_integer)] = Field(
        default=5, description='5 (MQTT 5), 4 (MQTT 3.1.1) or "auto" (5 if the broker accepts it)'
    )
    reply_qos: Annotated[Literal[0, 1] | None, BeforeValidator(_integer)] = Field(
        default=None, description="0 or 1 (each request's own QoS when absent)"
    )
    canary: Annotated[str, AfterValidator(product_key)] | None = Field(
        default=None, description="a product key that no sender uses, for the canary's requests"
    )
    keepalive: Seconds = Field(
        default=15, ge=1, le=_MOST_16, description=seconds_words(1, _MOST_16)
    )
    session_expiry: Seconds = Field(
        default=3600, ge=0, le=_MOST_32, description=seconds_words(0, _MOST_32)
    )
    receive_maximum: int = Field(default=1000, ge=1, le=65_535, description="1 to 65535 requests")
    alpn: Annotated[str, AfterValidator(_alpn), AfterValidator(_only_with_tls)] | None = Field(
        default=None, description="an ALPN protocol id for TLS"
    )
    ca_file: Annotated[ReadableFile, AfterValidator(_only_with_tls)] | None = Field(
        default=None, description="a file of CA certificates, PEM (the system's own when absent)"
    )
    cert_file: Annotated[ReadableFile, AfterValidator(_only_with_tls)] | None = Field(
        default=None, description="a file with the client certificate, PEM"
    )
    key_file: (
        Annotated[ReadableFile, AfterValidator(_only_with_tls), _beside("cert_file")] | None
    ) = Field(default=None, description="a file with the client certificate's key, PEM")

    @property
    def level(self) -> Literal[5, 4]:
        """The protocol level of a connection; for "auto" the one of the first attempt."""
        return 4 if self.protocol == 4 else 5  # noqa: PLR2004 - MQTT 3.1.1

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        """The broker's host, or the path of its Unix socket."""
        if self.transport == "unix":
            return unquote(self._parts.path)
        return self._parts.hostname or ""

    @property
    def port(self) -> int:
        """The broker's port, by default that of the scheme; without meaning for a Unix socket."""
        return self._parts.port or _DEFAULT_PORTS.get(self._parts.scheme, 1883)

    @property
    def transport(self) -> Literal["tcp", "unix"]:
        """The transport below MQTT, TLS and WebSockets."""
        return "unix" if self._parts.scheme == _UNIX else "tcp"

    @property
    def websocket_path(self) -> str | None:
        """The path of the WebSocket; None without WebSockets."""
        if self._parts.scheme not in _WEBSOCKET:
            return None
        return self._parts.path or _WEBSOCKET_PATH

    @property
    def tls(self) -> bool:
        """Whether the connection uses TLS and verifies the broker's certificate."""
        return self._parts.scheme in _TLS

    def warnings(self) -> list[Problem]:
        """Settings that are valid, but probably mistakes."""
        found = []
        if _PLACEHOLDER.search(self.client_id):
            reason = f"{shown(self.client_id)} is a placeholder: expected a secret, unique id"
            found.append(Problem("", "mqtt.client_id", reason))
        password = self.password is not None or self.password_file is not None
        if self.username is not None and not password and self.cert_file is None:
            reason = "a user name without a password: set POINTGATE_MQTT__PASSWORD or password_file"
            found.append(Problem("", "mqtt.username", reason))
        return found

    def password_text(self) -> str | None:
        """The password, from the environment or read anew from its file.

        Raises:
            ConfigError: The file cannot be read, or is not text.
        """
        return secret_text(self.password, self.password_file, "mqtt.password_file")
