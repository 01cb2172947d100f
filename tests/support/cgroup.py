"""A memory limit that the kernel enforces: a memory cgroup (v1 or v2), where one can be made.

Elsewhere the limit is only watched. What a process takes is its own memory (`VmHWM`), without the
system's cache of files, which a cgroup counts, too, and gives back when it is asked to.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Final, Self

MIB: Final = 1024 * 1024

_ROOT: Final = Path("/sys/fs/cgroup")


class MemoryLimit:
    """A group of processes with a limit on their memory.

    Args:
        size: Bytes.

    Attributes:
        enforced: Whether the kernel kills what goes beyond.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._folder: Path | None = None

    @property
    def enforced(self) -> bool:
        return self._folder is not None

    @property
    def command(self) -> list[str]:
        """What to put before a command for it to run in the group."""
        if self._folder is None:
            return []
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._folder / "cgroup.procs")]

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed for going beyond."""
        if self._folder is None:
            return 0
        for name in ("memory.events", "memory.oom_control"):
            file = self._folder / name
            if file.exists() and (found := re.search(r"oom_kill (\d+)", file.read_text())):
                return int(found[1])
        return 0

    def __enter__(self) -> Self:
        for parent, limit in (
            (_ROOT / "memory", "memory.limit_in_bytes"),
            (_ROOT, "memory.max"),
        ):
            folder = parent / f"pointgate-limits-{os.getpid()}-{id(self)}"
            with contextlib.suppress(OSError):
                folder.mkdir()
                try:
                    (folder / limit).write_text(str(self._size))
                    (folder / "cgroup.procs").stat()
                except OSError:
                    folder.rmdir()
                    continue
                self._folder = folder
                break
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            with contextlib.suppress(OSError):  # a process of it may not be quite gone
                self._folder.rmdir()


def most_memory(process: int) -> int:
    """The most that a process has taken so far, in bytes; 0 of one that is ending."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0
