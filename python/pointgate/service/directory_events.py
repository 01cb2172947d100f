"""Names of files that change in some folders, as the kernel reports them: inotify of Linux.

It only says where to look: a look at the file decides whether it has changed, and files are looked
at without events, too, because there are none for what another machine writes to a network file
system, for writes through mapped memory, and on other systems than Linux.

Through `ctypes`, because three calls are needed. The library `watchfiles` was the alternative: a
thread that wakes up twenty times a second, two more dependencies, and folders can only be added by
starting it anew, which misses what changes meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MODIFY: Final = 0x2
_ATTRIB: Final = 0x4
_CLOSE_WRITE: Final = 0x8
_MOVED: Final = 0x40 | 0x80
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_SELF_GONE: Final = 0x400 | 0x800
_OVERFLOW: Final = 0x4000
_ONLY_FOLDERS: Final = 0x1000000
_MASK: Final = (
    _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED | _CREATE | _DELETE | _SELF_GONE | _ONLY_FOLDERS
)

_EVENT: Final = struct.Struct("iIII")
_READ_BYTES: Final = 64 * 1024
_READS: Final = 16
"""A mebibyte at a time: more events than that wait for the next call."""


class DirectoryEvents:
    """The events of some folders.

    Attributes:
        descriptor: Readable when there are events; None if there is no such thing here.
    """

    def __init__(self) -> None:
        self.descriptor: int | None = None
        self._folders: dict[int, set[Path]] = {}
        self._watches: dict[Path, int] = {}
        self._library: Any = None
        if sys.platform != "linux":
            return
        self._library = ctypes.CDLL(None, use_errno=True)
        opened = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if opened >= 0:  # else the user has no instance left: the files are looked at
            self.descriptor = opened

    def watch(self, folders: Iterable[Path]) -> bool:
        """Watch these folders and no others.

        A folder is watched under its inode: call it again after a link to it has changed.

        Returns:
            Whether all of them are watched: there is a limit for each user.
        """
        if self.descriptor is None:
            return False
        before = set(self._watches.values())
        self._folders, self._watches = {}, {}
        for folder in folders:
            watch = self._library.inotify_add_watch(self.descriptor, os.fsencode(folder), _MASK)
            if watch >= 0:
                self._watches[folder] = watch
                self._folders.setdefault(watch, set()).add(folder)
            elif ctypes.get_errno() != 0 and folder.is_dir():
                return False
        for watch in before - self._folders.keys():
            self._library.inotify_rm_watch(self.descriptor, watch)
        return True

    def read(self) -> set[Path] | None:
        """The paths that have events; None if some were lost. Does not wait."""
        found: set[Path] = set()
        lost = False
        for _ in range(_READS):
            try:
                data = os.read(self.descriptor, _READ_BYTES) if self.descriptor is not None else b""
            except BlockingIOError:
                break
            if not data:
                break
            lost = self._parse(data, found) or lost
        return None if lost else found

    def _parse(self, data: bytes, found: set[Path]) -> bool:
        place, lost = 0, False
        while place < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, place)
            place += _EVENT.size
            name = data[place : place + length].rstrip(b"\0")
            place += length
            lost = lost or bool(mask & _OVERFLOW)
            for folder in self._folders.get(watch, ()):
                found.add(folder / os.fsdecode(name) if name else folder)
        return lost

    def close(self) -> None:
        """End the watch."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
