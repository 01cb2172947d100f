"""The admin socket: the pages of the metrics port, and /tap, on a Unix socket of mode 0600.

    async with serve_admin(path, pages, metrics): ...

Who can connect can read payloads: only the service's user and root can. The socket of a process
that has ended is replaced; that of one that lives is not. The service listens after it has locked
its spool, so two services that share one never contend for the socket.

The socket is a file, which stays behind if the process is killed, and is deleted otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason
from pointgate.errors import ConfigError, Problem, TemporaryFailure
from pointgate.service.http import answer_connections
from pointgate.service.pages import Pages
from pointgate.service.path_checks import folder_reason
from pointgate.service.taps import Taps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pointgate.config import Settings
    from pointgate.service.metrics import Metrics
    from pointgate.service.pages import Health

KEY: Final = "admin.socket"

_LONGEST: Final = 107
"""Bytes of a socket's path: `sun_path` of Linux has 108, with a NUL at the end."""

_MODE: Final = 0o600
_PROBE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_taps(settings: Settings, metrics: Metrics, health: Health) -> AsyncIterator[Taps]:
    """Taps, to which clients attach at the admin socket of the settings, unless it is off."""
    taps, path = Taps(), settings.admin_socket
    async with contextlib.AsyncExitStack() as stack:
        if path is not None:
            pages, required = Pages(metrics, health, taps), settings.admin.socket is not None
            admin = serve_admin(path, pages, metrics, required=required)
            await stack.enter_async_context(admin)
        yield taps


@asynccontextmanager
async def serve_admin(
    path: Path, pages: Pages, metrics: Metrics, *, required: bool
) -> AsyncIterator[None]:
    """Serve pages on a Unix socket until the context is left.

    Args:
        path: The path of the socket.
        pages: The responses.
        metrics: Where connections are counted that were closed unanswered.
        required: Whether the settings name the path: the service runs without a default one that
            cannot be used, for reasons that its user never thought of.

    Raises:
        ConfigError: The path cannot be used.
        TemporaryFailure: Another process listens on it, or the system is out of resources.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            listener = await asyncio.to_thread(bound_socket, path)
            stack.callback(_delete, path, await asyncio.to_thread(_inode, path))
            await stack.enter_async_context(answer_connections([listener], pages, metrics))
            _log.info("admin socket %s", path)
        except (OSError, ValueError) as error:
            permanent = await asyncio.to_thread(path_reason, path)
            reason = f"cannot listen on {path}: {permanent or os_reason(error)}"
            if required and permanent:
                raise ConfigError([Problem("", KEY, reason)]) from error
            if required:
                raise TemporaryFailure(f"{KEY}: {reason}") from error
            _log.warning("%s: %s; pointgate tap cannot be used", KEY, reason)
        yield


def bound_socket(path: Path) -> socket.socket:
    """Bind a socket that does not listen yet, and replace that of a process that has ended.

    Raises:
        OSError: The path cannot be used, or a process that lives listens on it.
    """
    if reason := _length_reason(path):
        raise OSError(errno.ENAMETOOLONG, reason)
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(OSError):  # the mode of what `bind` creates, on Linux
            os.fchmod(listener.fileno(), _MODE)
        try:
            listener.bind(os.fspath(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if reason := _kind_reason(path):
                raise OSError(errno.EEXIST, reason) from None
            if _is_alive(path):
                raise OSError(errno.EADDRINUSE, "another process listens on it") from None
            path.unlink(missing_ok=True)
            listener.bind(os.fspath(path))
        path.chmod(_MODE)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_alive(path: Path) -> bool:
    """Whether a process listens on a socket, or might: it is not certain that none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # its backlog is full, or it is not ours
            return True
    return True


def path_reason(path: Path) -> str:
    """Why a path can never be used; empty if it can. It changes nothing."""
    if reason := _length_reason(path) or _kind_reason(path):
        return reason
    return folder_reason(path.parent)


def _length_reason(path: Path) -> str:
    """Why a path is too long for a socket; empty if it is not."""
    length = len(os.fsencode(path))
    return f"expected a path of at most {_LONGEST} bytes, got {length}" if length > _LONGEST else ""


def _kind_reason(path: Path) -> str:
    """Why what has the name of the socket cannot be replaced; empty if it can, or is not there."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        return os_reason(error)
    return "" if is_socket else "expected a socket, got another file"


def _inode(path: Path) -> int:
    return path.lstat().st_ino


def _delete(path: Path, inode: int) -> None:
    """Delete the socket, unless another process has replaced it."""
    with contextlib.suppress(OSError):
        if _inode(path) == inode:
            path.unlink()
