"""Checks the folders and files that the service will write to, without side effects.

`pointgate check` may run beside a service that uses the same paths: nothing here creates, opens for
writing or locks anything. The results of `os.access` and `stat` hold for a service that runs as the
same user; a full disk or a lock held by another process is detected when it starts.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason

if TYPE_CHECKING:
    from pointgate.sinks.settings import LocalOutput

_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)

_VIRTUAL: Final = (Path("/proc"), Path("/sys"))
"""File systems on which root has write access but cannot create a folder."""


def output_reason(output: LocalOutput) -> str:
    """Why the folder or file of a sink cannot be written to; empty when it can."""
    if output.kind == "folder":
        reasons = map(folder_reason, (output.path, *output.inner))
        return next(filter(None, reasons), "")
    return file_reason(output.path) if output.kind == "file" else ""


def folder_reason(path: Path) -> str:
    """Why a folder cannot be created or written to; empty when it can.

    Args:
        path: The folder; it and its parents may be missing.
    """
    try:
        there, missing = _nearest(path)
        status = there.stat()
        if not stat.S_ISDIR(status.st_mode):
            where = "" if there == path else f" at {there}"
            return f"expected a folder, got {_kind(status.st_mode)}{where}"
        longest = os.pathconf(there, "PC_NAME_MAX")
    except (OSError, ValueError) as error:
        return os_reason(error)
    for name in missing:
        if len(os.fsencode(name)) > longest:
            return f"expected names of at most {longest} bytes, got one of {len(os.fsencode(name))}"
    if missing and status.st_dev in _virtual_devices():
        return f"no folder can be created in {there}"
    return _access_reason(there, os.R_OK | os.W_OK | os.X_OK)


def is_read_only(path: Path) -> bool:
    """Whether a folder or file cannot be written now because its file system is read-only."""
    try:
        return _is_read_only(_nearest(path)[0])
    except (OSError, ValueError):
        return False


def file_reason(path: Path) -> str:
    """Why a file cannot be created or written to; empty when it can.

    Args:
        path: The file; its folder must exist.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return _missing_file_reason(path)
    except (OSError, ValueError) as error:
        return os_reason(error)
    if not stat.S_ISREG(status.st_mode):
        return f"expected a file, got {_kind(status.st_mode)}"
    return _access_reason(path, os.R_OK | os.W_OK)


def _missing_file_reason(path: Path) -> str:
    if path.is_symlink():
        return f"a symbolic link to nothing: {path.readlink()}"
    if not path.parent.exists():
        return f"no such folder: {path.parent}"
    return folder_reason(path.parent)


def _nearest(path: Path) -> tuple[Path, list[str]]:
    """The nearest part of a path that exists, and the names below it that do not."""
    there, missing = path.absolute(), []
    while True:
        try:
            there.stat()
        except FileNotFoundError:
            if there.is_symlink():  # `mkdir` does not create what it points to
                raise
            missing.append(there.name)
            there = there.parent
        else:
            return there, missing


def _access_reason(path: Path, mode: int) -> str:
    if os.access(path, mode, effective_ids=os.access in os.supports_effective_ids):
        return ""
    if _is_read_only(path):
        return ""  # after a disk error; it may become writable again: not a configuration error
    return f"user {os.geteuid()} may not read and write {path}"


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _virtual_devices() -> set[int]:
    return {path.stat().st_dev for path in _VIRTUAL if path.exists()}


def _kind(mode: int) -> str:
    return next((name for is_one, name in _KINDS if is_one(mode)), "a device")
