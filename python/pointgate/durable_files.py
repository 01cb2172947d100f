"""Writes files and folders that survive a power failure, with restricted permissions.

fsync of a file makes its content durable; fsync of its folder makes its name durable. A new folder
needs the second one, too: otherwise the folder and all synced files in it may be missing after a
power failure.

No file with points or requests is world-readable. `PRIVATE` is for files that only the service
needs: spool, dead letters, rejected requests. `SHARED` is for files that other programs read:
datasets and JSON lines, readable by the group. A more restrictive umask is honoured; the mode of an
existing file or folder is never changed.

Invariants: each function returns only when the parts that it documents as durable are durable.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Access:
    """The permissions of new files and folders.

    Attributes:
        folder: The mode of folders.
        file: The mode of files.
    """

    folder: int
    file: int

    def opener(self, path: str, flags: int) -> int:
        """Open a file, for `open(path, opener=…)`."""
        return os.open(path, flags, self.file)


PRIVATE: Final = Access(0o700, 0o600)
SHARED: Final = Access(0o750, 0o640)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: It cannot be opened, or the fsync failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, access: Access) -> None:
    """Make a folder and its parents; all their names are durable when this returns.

    The name of an existing folder is synced, too: the process that made it may have died first.

    Raises:
        OSError: One cannot be made or synced, or there is a file in its place.
    """
    if path.is_dir():
        with suppress(PermissionError):  # the parent of a folder that an administrator made
            sync_folder(path.parent)
        return
    if not path.parent.is_dir():
        make_folder(path.parent, access)
    path.mkdir(access.folder, exist_ok=True)
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes | pa.Buffer, access: Access) -> int:
    """Write a whole file; its content is durable when this returns, its name is not.

    Returns:
        How many bytes it has.

    Raises:
        OSError: It cannot be written or synced.
    """
    with open(path, "wb", buffering=0, opener=access.opener) as file:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    return len(memoryview(content))


def write_file(path: Path, content: bytes | pa.Buffer, access: Access) -> int:
    """Write a file atomically, by renaming a temporary one; `sync_folder` makes its name durable.

    Returns:
        How many bytes it has.

    Raises:
        OSError: It cannot be written, synced or renamed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    size = write_synced(temporary, content, access)
    temporary.replace(path)
    return size
