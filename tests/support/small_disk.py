"""A disk so small that a test can fill it. Mounting it takes root; without, the test is skipped."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a disk of so many bytes on a folder."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=False
    )
    if done.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Take all room but so many bytes; returns the file to delete again."""
    path = disk / "ballast"
    with path.open("wb", buffering=0) as ballast:
        while (found := os.statvfs(disk)).f_bavail * found.f_frsize > leave:
            ballast.write(bytes(4096))
    return path
