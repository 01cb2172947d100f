"""`[[sinks]]` with `type = "postgres"`."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - the validator below is read by pydantic
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, Field, ValidationInfo

from pointgate.diagnostics import shown
from pointgate.sinks.settings import ON_CONFLICT, OnConflict, SinkSettings
from pointgate.toml.values import ReadableFile, Secret, control_character, secret_text


def _postgres_url(value: str) -> str:
    """A url without a password; `session.py` asks libpq whether it is valid.

    `urllib` cannot parse libpq's urls, which may have no host, or several, each with a port.
    """
    scheme, separator, rest = value.partition("://")
    right = bool(separator) and scheme in {"postgresql", "postgres"}
    if "password=" in re.sub(r"\s", "", unquote(value)) or (
        _may_hold_password(rest) if right else ":" in _before_host(value)
    ):
        # The url is not shown: it may contain a password.
        raise ValueError(
            "expected a url without a password, got one that may have it: "
            "use password_file or POINTGATE_SINKS__<NAME>__PASSWORD"
        )
    if not right or control_character(unquote(value)) or " " in value:
        raise ValueError(f"expected postgresql://user@host:port/database, got {shown(value)}")
    return value


def _may_hold_password(rest: str) -> bool:
    """Whether the part after `postgresql://` may contain a password.

    It may have a "/" or "@" in it, and so be in a place where libpq does not expect it.
    """
    authority, _, path = rest.partition("/")
    user, at, hosts = authority.partition("@")
    in_path = ":" in authority and "@" in path.partition("?")[0]
    return in_path or (bool(at) and (":" in user or "@" in hosts))


def _before_host(value: str) -> str:
    """The part before the last "@" of a text that is not a libpq url, without a scheme.

    A user name is not secret, but the text after a colon may be a password.
    """
    return re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*:?//", "", unquote(value).rpartition("@")[0])


def _password_file(value: Path, info: ValidationInfo) -> Path:
    if info.data.get("password") is not None:
        raise ValueError("expected either this or the password in the environment, got both")
    return value


class PostgresSettings(SinkSettings):
    """A PostgreSQL or TimescaleDB database."""

    type: Literal["postgres"]
    url: Annotated[str, AfterValidator(_postgres_url)] = Field(
        description="postgresql://user@host:port/database"
    )
    password: Secret | None = Field(default=None, description="a password, in the environment only")
    password_file: Annotated[ReadableFile, AfterValidator(_password_file)] | None = Field(
        default=None, description="a file whose first line is the password"
    )
    schema_name: str = Field(
        default="pointgate",
        alias="schema",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        description="a schema's name: 1 to 63 of A-Z, a-z, 0-9 and _, no digit first",
    )
    on_conflict: OnConflict = Field(default="update", description=ON_CONFLICT)

    def password_text(self) -> str | None:
        """The password, from the environment or read from its file.

        Raises:
            ConfigError: The file cannot be read, or is not text.
        """
        return secret_text(self.password, self.password_file, f"sinks.{self.name}.password_file")
