"""Where a running service answers HTTP, as a client sees it: its metrics port or its admin socket.

status, text = get(AdminSocket(path), "/readyz")
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason
from pointgate.errors import PointgateError

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_SECONDS: Final = 5.0
_MOST_BYTES: Final = 64 * 1024 * 1024
_MAY_NOT: Final = (errno.EACCES, errno.EPERM)


class UnreachableError(PointgateError):
    """The service does not answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """The metrics port of a service.

    Attributes:
        host: Its address.
        port: Its port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def connection(self) -> HTTPConnection:
        """A connection that is not open yet."""
        return HTTPConnection(self.host, self.port, timeout=TIMEOUT_SECONDS)


@dataclass(frozen=True, slots=True)
class AdminSocket:
    """The admin socket of a service.

    Attributes:
        path: Its path.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def connection(self) -> HTTPConnection:
        """A connection that is not open yet."""
        return _UnixConnection(self.path)


Endpoint = Address | AdminSocket


class _UnixConnection(HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def get(endpoint: Endpoint, path: str, *, accept: str = "text/plain") -> tuple[int, str]:
    """The status and the text of a page.

    Raises:
        UnreachableError: The service does not answer.
    """
    connection = endpoint.connection()
    try:
        connection.request("GET", path, headers={"Accept": accept})
        response = connection.getresponse()
        return response.status, response.read(_MOST_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        raise unreachable(endpoint, error) from error
    finally:
        connection.close()


def unreachable(endpoint: Endpoint, error: OSError | HTTPException) -> UnreachableError:
    """What an error of a connection means."""
    hint = "; is the service running, with these settings?"
    if isinstance(error, HTTPException):
        return UnreachableError(f"{endpoint} answers, but not with HTTP{hint}")
    if isinstance(endpoint, AdminSocket):
        hint = ""
        if error.errno in _MAY_NOT:
            hint = " (only the service's user and root may connect)"
        elif error.errno == errno.ENOENT:
            hint = " (is the service running, with this admin.socket?)"
        elif error.errno == errno.ECONNREFUSED:
            hint = " (the service that made it has ended)"
    return UnreachableError(f"cannot reach {endpoint}: {os_reason(error)}{hint}")
