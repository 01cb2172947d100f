"""The state of a file, for change detection, and how a file is read."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, TypeAlias

from pointgate.diagnostics import os_reason

if TYPE_CHECKING:
    from pathlib import Path

Signature: TypeAlias = tuple[int, int, int, int, int] | None
"""Inode, size, mtime, ctime and device; None if the file is missing. `rsync -t` can set mtime back,
but not ctime. Two paths with the same signature are the same file."""


def signature(path: Path) -> Signature:
    """The state of a file, which differs after each change."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a fifth cheaper, which counts for 20,000 files
    except (OSError, ValueError):
        return None
    return (
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_dev,
    )


def not_a_folder(path: Path) -> str:
    """What was found instead of a folder; empty if it is one."""
    try:
        return "" if stat.S_ISDIR(path.stat().st_mode) else "a file"
    except FileNotFoundError:
        return "nothing: no such folder"
    except (OSError, ValueError) as error:
        return f"nothing: {os_reason(error)}"
