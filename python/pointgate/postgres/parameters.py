"""The connection parameters of a PostgreSQL server, and the text of its errors.

The URL and libpq decide about hosts, TLS, certificates and the passfile. The password is in no
error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOWHERE: Final = "/dev/null/pointgate"
"""A folder that cannot exist, so that no server listens on a socket in it."""

_DEFAULTS: Final = {
    "application_name": "pointgate",
    # Routers between drop an idle connection without keepalives.
    "keepalives_idle": "60",
}

_OURS: Final = {"client_encoding": "UTF8"}


def error_text(error: psycopg.Error | OSError) -> str:
    """The server's message in one line, without its DETAIL, which can contain values."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        text = f"{error.diag.message_primary} ({error.sqlstate})"
    else:
        text = str(error)
    return " ".join(text.split())


def connection_parameters(url: str, password: str | None) -> dict[str, Any]:
    """The parameters of a connection.

    Raises:
        ValueError: The url is invalid.
    """
    # The URL is never shown: it may contain a password, and so may libpq's message about it.
    wrong = "expected a url such as postgresql://user@host:5432/database"
    if url.partition("://")[0] not in {"postgresql", "postgres"}:
        raise ValueError(f"{wrong}, got another scheme")
    try:
        found = conninfo_to_dict(url)
        reason = _rejection(found)
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
    if reason:
        hidden = ":" in url.partition("://")[2].partition("@")[0] or "pass" in url.lower()
        why = "" if hidden and "@" in url else f": {reason}"
        raise ValueError(f"{wrong}, got one that libpq rejects{why}")
    secret = {} if password is None else {"password": password}
    return _DEFAULTS | found | secret | _OURS


def _rejection(parameters: Mapping[str, Any]) -> str:
    """The error of libpq for parameters such as `sslmode=sometimes`; empty if it accepts them all.

    libpq checks their values only when it connects, before it opens a socket. So this connects to a
    socket in a folder that does not exist: an error that names the folder comes after the checks.
    """
    timeout = str(parameters.get("connect_timeout", "0"))
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,9}\s*", timeout):
        return f'invalid value for "connect_timeout": {timeout[:64]!r}'
    hosts = parameters.get("host") or parameters.get("hostaddr") or ""
    nowhere = ",".join([_NOWHERE] * (hosts.count(",") + 1))
    tried = {name: value for name, value in parameters.items() if name != "hostaddr"}
    text = make_conninfo(**tried | {"host": nowhere, "password": "x"})
    connection = psycopg.pq.PGconn.connect_start(text.encode())
    try:
        said = connection.error_message.decode("utf-8", "replace")
        is_right = connection.status != psycopg.pq.ConnStatus.BAD or _NOWHERE in said
        return "" if is_right else " ".join(said.split())
    finally:
        connection.finish()
