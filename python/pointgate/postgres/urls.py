"""The url of a PostgreSQL server, as it may stand in the settings: without a password.

`postgres/parameters.py` asks libpq whether it is valid.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pointgate.diagnostics import shown
from pointgate.toml.values import control_character

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import ValidationInfo


def postgres_url(value: str) -> str:
    """A url without a password.

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
            "use password_file or the variable that ends in __PASSWORD"
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


def not_both(value: Path, info: ValidationInfo) -> Path:
    """The path of a password file, unless there is a password already."""
    if info.data.get("password") is not None:
        raise ValueError("expected either this or the password in the environment, got both")
    return value
