"""Files and folders that survive a power cut, and who may read them.

fsync of a file makes its content durable; fsync of the folder that it is in makes its name durable.
A new folder needs the second one, too: without it the folder, and all the synced files in it, may
be gone after a power cut.

Nothing that holds points or requests is ever readable by everybody. `PRIVATE` is for what only the
service needs: spool, dead letters, rejected requests. `SHARED` is for what others read: datasets
and JSON lines, which a group may read. A umask that takes away more is honoured; the mode of a file
or folder that exists is never changed.

Invariants: what these functions made is durable when they return, as far as each of them says.
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
    """The permissions of what is created.

    Attributes:
        folder: Of folders.
        file: Of files.
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
    """Make a folder and those above it; its name and theirs are durable when this returns.

    The name of a folder that exists is synced, too: whoever made it may have died before it did so.

    Raises:
        OSError: One cannot be made or synced, or there is a file in its place.
    """
    if path.is_dir():
        with suppress(PermissionError):  # above what somebody else has made for us
            sync_folder(path.parent)
        return
    if not path.parent.is_dir():
        make_folder(path.parent, access)
    path.mkdir(access.folder, exist_ok=True)
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes | pa.Buffer, access: Access) -> int:
    """Write a file as a whole; its content is durable when this returns, its name is not.

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
    """Write a file that is there as a whole or not at all; `sync_folder` makes its name durable.

    Returns:
        How many bytes it has.

    Raises:
        OSError: It cannot be written, synced or renamed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    size = write_synced(temporary, content, access)
    temporary.replace(path)
    return size
