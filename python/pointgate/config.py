"""Settings: a TOML file, then the environment over it, checked as a whole.

    settings = load_settings(Path("pointgate.toml"), os.environ)

Every key of the file is also `POINTGATE_<SECTION>__<KEY>` in the environment, which wins.
Nothing is guessed: an unknown key or section, in the file or in the environment, is a mistake
that is named, and all mistakes are reported at once as `ConfigError.problems`. Relative paths
are relative to the file's folder.

Invariants: `Settings` is immutable and valid once it exists; a secret is never part of a `repr`,
an error or a log line, and is refused in the file itself, because files are copied, committed
and mailed.

It does not read the catalog (`catalog.py`) and does not connect anywhere.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

from pointgate.document import Document, check, did_you_mean, os_reason, read_toml, shown
from pointgate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

_PREFIX: Final = "POINTGATE_"

_FOREIGN: Final = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_[A-Z]+(_\w+)?)?)")
"""What Kubernetes tells every container about services called `pointgate…`: not settings."""

_DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}

_LAST_PORT: Final = 65_535
_MQTT_STRING_BYTES: Final = 65_535
_MQTT_PAYLOAD_BYTES: Final = 268_435_455
"""The longest packet that MQTT can carry."""

_LATER: Final = {"spool": "[spool]", "sinks": "[[sinks]]"}
"""Sections that the contract names and this version does not have yet."""


def _path(value: Path, info: ValidationInfo) -> Path:
    base: Path | None = (info.context or {}).get("base")
    return base / value if base else value


def _readable(value: Path, info: ValidationInfo) -> Path:
    path = _path(value, info)
    try:
        with path.open("rb"):
            return path
    except (OSError, ValueError) as error:
        # Not the path itself: who puts a password where its file belongs must not read it in a log.
        raise ValueError(f"cannot read this file: {os_reason(error)}") from None


def _only_with_tls(value: Path, info: ValidationInfo) -> Path:
    if not str(info.data.get("url", "mqtts:")).startswith("mqtts:"):
        raise ValueError("expected only beside an mqtts:// url, got an mqtt:// one")
    return value


def _beside(other: str) -> AfterValidator:
    def validate(value: Path | SecretStr, info: ValidationInfo) -> Path | SecretStr:
        if info.data.get(other, value) is None:
            raise ValueError(f"expected only beside mqtt.{other}, which is missing")
        return value

    return AfterValidator(validate)


def _mqtt_string(value: str) -> str:
    if not value or "\0" in value or len(value.encode()) > _MQTT_STRING_BYTES:
        raise ValueError(
            f"expected 1 to {_MQTT_STRING_BYTES} bytes of text without U+0000, got {shown(value)}"
        )
    return value


def _share_group(value: str) -> str:
    if set(value) & set("/+#"):
        raise ValueError(f"expected a name without '/', '+' and '#', got {shown(value)}")
    return value


def _broker_url(value: str) -> str:
    if "@" in value:
        # The text is not shown: it may hold a password.
        raise ValueError(
            "expected a url without user and password, got one with '@': "
            "use mqtt.username and POINTGATE_MQTT__PASSWORD or mqtt.password_file"
        )
    expected = f"expected mqtt://host:port or mqtts://host:port, got {shown(value)}"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:  # a port that is not a number, or too large a one; a broken [address]
        raise ValueError(expected) from None
    whole = parts.scheme in _DEFAULT_PORTS and _is_host(parts.hostname or "") and port != 0
    if not whole or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(expected)
    return value


def _listen_address(value: str) -> str:
    host, _, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    right_brackets = (":" in bare) == (bare != host)
    if not (right_brackets and _is_host(bare) and _is_port(port)):
        raise ValueError(
            f"expected host:port such as 127.0.0.1:9464 or 0.0.0.0:9464, got {shown(value)}"
        )
    return value


def _is_host(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?", text))


def _is_port(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,5}", text)) and int(text) <= _LAST_PORT


def _password_file(value: Path, info: ValidationInfo) -> Path:
    if info.data.get("password") is not None:
        raise ValueError("expected either this or POINTGATE_MQTT__PASSWORD, got both")
    return value


def _at_least_one_payload(value: int, info: ValidationInfo) -> int:
    largest = info.data.get("payload_bytes", 0)
    if value < largest:
        raise ValueError(f"expected at least limits.payload_bytes, {largest}, got {value}")
    return value


def _available(value: object) -> object:
    if value in ("spool", "sink"):
        raise ValueError(
            f'{shown(value)} is not available in this version: only "verdict" can be promised'
        )
    return value


def _integer(value: object) -> object:
    # True == 1 and 5.0 == 5 would do for a Literal.
    return shown(value) if isinstance(value, bool | float) else value


_Path = Annotated[Path, Field(strict=False), AfterValidator(_path)]
_File = Annotated[Path, Field(strict=False), AfterValidator(_readable)]
_MqttString = Annotated[str, AfterValidator(_mqtt_string)]


class MqttSettings(Document):
    """How to reach the broker, and as whom."""

    url: Annotated[str, AfterValidator(_broker_url)] = Field(
        default="mqtt://127.0.0.1:1883",
        description="mqtt://host:port, or mqtts://host:port for TLS",
    )
    client_id: _MqttString = Field(
        default_factory=lambda: f"pointgate-{socket.gethostname()}",
        description="a client id, the same after each restart and no other client's",
    )
    username: _MqttString | None = Field(default=None, description="a user name")
    password: Annotated[SecretStr, _beside("username")] | None = Field(
        default=None, description="a password, in the environment only"
    )
    password_file: Annotated[_File, AfterValidator(_password_file), _beside("username")] | None = (
        Field(default=None, description="a file whose first line is the password")
    )
    share_group: Annotated[_MqttString, AfterValidator(_share_group)] | None = Field(
        default=None, description="a group of replicas that share the requests between them"
    )
    protocol: Annotated[Literal[5, 4], BeforeValidator(_integer)] = Field(
        default=5, description="5 (MQTT 5) or 4 (MQTT 3.1.1)"
    )
    reply_qos: Annotated[Literal[0, 1] | None, BeforeValidator(_integer)] = Field(
        default=None, description="0 or 1 (each request's own QoS when absent)"
    )
    keepalive: int = Field(default=15, ge=1, le=65_535, description="1 to 65535 seconds")
    session_expiry: int = Field(
        default=3600, ge=0, le=4_294_967_295, description="0 to 4294967295 seconds"
    )
    receive_maximum: int = Field(default=1000, ge=1, le=65_535, description="1 to 65535 requests")
    ca_file: Annotated[_File, AfterValidator(_only_with_tls)] | None = Field(
        default=None, description="a file of CA certificates, PEM (the system's own when absent)"
    )
    cert_file: Annotated[_File, AfterValidator(_only_with_tls)] | None = Field(
        default=None, description="a file with our certificate, PEM"
    )
    key_file: Annotated[_File, AfterValidator(_only_with_tls), _beside("cert_file")] | None = Field(
        default=None, description="a file with our certificate's key, PEM"
    )

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        """The broker's host."""
        return self._parts.hostname or ""

    @property
    def port(self) -> int:
        """The broker's port; 1883 or, with TLS, 8883 when the url has none."""
        return self._parts.port or _DEFAULT_PORTS[self._parts.scheme]

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted and the broker's certificate is verified."""
        return self._parts.scheme == "mqtts"

    def password_text(self) -> str | None:
        """The password, from the environment or read anew from its file.

        Raises:
            ConfigError: The file cannot be read, or is not text.
        """
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text("utf-8").partition("\n")[0]  # "\r\n" is "\n" here
        except OSError as error:
            reason = f"cannot read this file: {os_reason(error)}"
        except UnicodeDecodeError:
            reason = "expected a file of UTF-8 text, got other bytes"
        raise ConfigError([Problem("", "mqtt.password_file", reason)])


class CatalogSettings(Document):
    """Where models and devices are."""

    path: _Path = Field(
        default=Path("catalog"), description="a folder with a catalog.toml", validate_default=True
    )


class MetricsSettings(Document):
    """Where /metrics, /livez and /readyz are served."""

    listen: Annotated[str, AfterValidator(_listen_address)] = Field(
        default="127.0.0.1:9464", description="host:port (port 0 for any free one)"
    )

    @property
    def host(self) -> str:
        """The address to listen on, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen on."""
        return int(self.listen.rpartition(":")[2])


class StoreSettings(Document):
    """What an answer of 200 promises (contract 7.1)."""

    ack: Annotated[Literal["verdict"], BeforeValidator(_available)] = Field(
        default="verdict", description='"verdict"'
    )


class LimitSettings(Document):
    """Bounds on what is taken in at once."""

    payload_bytes: int = Field(
        default=8_388_608,
        ge=1,
        le=_MQTT_PAYLOAD_BYTES,
        description=f"1 to {_MQTT_PAYLOAD_BYTES} bytes",
    )
    in_flight_requests: int = Field(
        default=4096, ge=1, le=1_000_000, description="1 to 1000000 requests"
    )
    in_flight_bytes: Annotated[int, AfterValidator(_at_least_one_payload)] = Field(
        default=67_108_864, validate_default=True, ge=1, le=2**40, description=f"1 to {2**40} bytes"
    )


class ReplySettings(Document):
    """How much a reply tells about a fault (contract 2.5)."""

    detail: Literal["full", "none"] = Field(default="full", description='"full" or "none"')


class Settings(Document):
    """Everything that can be set. Each section has defaults that work on one machine."""

    mqtt: MqttSettings = MqttSettings()
    catalog: CatalogSettings = CatalogSettings()
    metrics: MetricsSettings = MetricsSettings()
    store: StoreSettings = StoreSettings()
    limits: LimitSettings = LimitSettings()
    reply: ReplySettings = ReplySettings()


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read the settings from a file and from the environment.

    Args:
        path: The TOML file.
        environ: The environment; only names that begin with `POINTGATE_` are looked at.

    Raises:
        ConfigError: There are mistakes; `problems` has them all.
    """
    document, problems = read_toml(path)
    problems += _refuse(document, file=str(path))
    sources, mistakes = _overlay(document, environ)
    problems += mistakes
    document.setdefault("catalog", {})  # its default, too, is relative to the file
    checked = check(Settings, document, file=str(path), base=path.parent)
    if isinstance(checked, Settings) and not problems:
        return checked
    if not isinstance(checked, Settings):
        problems += [
            Problem(sources.get(found.location, found.file), found.location, found.reason)
            for found in checked
        ]
    # `from None`: a chained validation error would carry the values that must not be shown.
    raise ConfigError(problems) from None


def _refuse(document: dict[str, Any], *, file: str) -> list[Problem]:
    """Take out of the file what may not stand in it, with a better reason than `unknown key`."""
    problems = []
    for section in [section for section in _LATER if section in document]:
        del document[section]
        reason = f"{_LATER[section]} is not available in this version, which stores nothing yet"
        problems.append(Problem(file, section, reason))
    mqtt = document.get("mqtt")
    if isinstance(mqtt, dict) and mqtt.pop("password", None) is not None:
        reason = (
            "expected no secret in this file, got one: "
            "use POINTGATE_MQTT__PASSWORD or mqtt.password_file"
        )
        problems.append(Problem(file, "mqtt.password", reason))
    return problems


def _overlay(
    document: dict[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, str], list[Problem]]:
    """Write the environment's settings over the file's.

    Returns:
        Which key came from which variable, and the variables that are no settings.
    """
    variables = {
        f"{_PREFIX}{section}__{key}".upper(): (section, key)
        for section, field in Settings.model_fields.items()
        for key in _fields(field.annotation)
    }
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    for name in sorted(name for name in environ if name.startswith(_PREFIX)):
        if name in variables:
            section, key = variables[name]
            table = document.setdefault(section, {})
            if isinstance(table, dict):  # else the file's own mistake is reported
                table[key] = _typed(section, key, environ[name])
                sources[f"{section}.{key}"] = name
        elif "__" in name or not _FOREIGN.fullmatch(name.removeprefix(_PREFIX)):
            near = did_you_mean(name, variables)
            reason = f"unknown setting, expected {_PREFIX}<SECTION>__<KEY>{near}"
            problems.append(Problem(name, "", reason))
    return sources, problems


def _fields(section: object) -> dict[str, FieldInfo]:
    if isinstance(section, type) and issubclass(section, Document):
        return section.model_fields
    return {}


def _typed(section: str, key: str, text: str) -> int | str:
    """Read a variable as an integer where the setting is one; the check says when it is not."""
    annotation = _fields(Settings.model_fields[section].annotation)[key].annotation
    choices = (annotation, *get_args(annotation))
    values = (value for choice in choices for value in (choice, *get_args(choice)))
    is_number = any(value is int or isinstance(value, int) for value in values)
    return int(text) if is_number and re.fullmatch(r"[+-]?[0-9]{1,19}", text) else text
