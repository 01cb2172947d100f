"""`[[registries]]` with `type = "http"`."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - the validator below is read by pydantic
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo

from pointgate.diagnostics import shown
from pointgate.registries.settings import RegistrySettings
from pointgate.toml.values import (
    ReadableFile,
    Seconds,
    Secret,
    control_character,
    is_host,
    seconds_words,
    secret_text,
)


def _url(value: str) -> str:
    if control_character(value) or re.search(r"[^!-~]", value):
        raise ValueError("expected a url in ASCII without blanks, got other characters")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.username is not None or parts.password is not None:
        # The url is not shown: it has a password.
        raise ValueError("expected a url without a user, got one with: use token_file")
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not is_host(host) or port == 0 or parts.fragment:
        raise ValueError(f"expected https://host/path, got {shown(value)}")
    return value


def _token_file(value: Path, info: ValidationInfo) -> Path:
    if info.data.get("token") is not None:
        raise ValueError("expected either this or the token in the environment, got both")
    return value


Url = Annotated[str, AfterValidator(_url)]


class HttpRegistrySettings(RegistrySettings):
    """A server that answers with a device file, and with its changes."""

    type: Literal["http"]
    url: Url = Field(description="https://host/path of the device file")
    changes_url: Url | None = Field(
        default=None, description="https://host/path that answers with changes since a position"
    )
    key_url: Url | None = Field(
        default=None, description="https://host/path that answers which of some devices exist"
    )
    format: Literal["txt", "csv", "jsonl"] | None = Field(
        default=None, description='"txt", "csv" or "jsonl"; default: by the Content-Type'
    )
    token: Secret | None = Field(default=None, description="a token, in the environment only")
    token_file: Annotated[ReadableFile, AfterValidator(_token_file)] | None = Field(
        default=None, description="a file whose first line is the bearer token"
    )
    ca_file: ReadableFile | None = Field(
        default=None, description="a PEM file with the certificates to trust"
    )
    timeout: Seconds = Field(default=30, ge=1, le=50, description=seconds_words(1, 50))

    @property
    def extra(self) -> str:
        """There is nothing to install."""
        return ""

    @property
    def answers(self) -> bool:
        """Whether it can be asked for some devices."""
        return self.key_url is not None

    @property
    def identifying(self) -> frozenset[str]:
        """The settings that say what is copied."""
        return frozenset({"url", "format"})

    def warnings(self) -> list[str]:
        """Settings that are valid and probably mistakes."""
        urls = [url for url in (self.url, self.changes_url, self.key_url) if url is not None]
        has_token = self.token is not None or self.token_file is not None
        if has_token and any(url.startswith("http:") for url in urls):
            return ["the token is sent unencrypted: use https://"]
        return []

    def token_text(self) -> str | None:
        """The token, from the environment or read from its file.

        Raises:
            ConfigError: The file cannot be read, or is not text.
        """
        return secret_text(self.token, self.token_file, f"registries.{self.name}.token_file")
