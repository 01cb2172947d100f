"""The free space of the folders that the service writes to, for the metrics.

It is measured in a thread every `_SECONDS`, because a disk that does not respond must not stop the
event loop, not even for a scrape. The figures are the last ones that were measured.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pointgate.config import Settings

_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Space:
    """The disk of a folder, in bytes.

    Attributes:
        size: Its size.
        free: What the user of the service may still write.
    """

    size: int
    free: int


class DiskSpace:
    """Measures the disks of some folders.

    Args:
        folders: The folders by name; they and their parents may be missing.

    Attributes:
        spaces: By name what was measured last; without those that cannot be measured.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.spaces: dict[str, Space] = {}
        self._folders = folders

    @classmethod
    def of(cls, settings: Settings) -> DiskSpace:
        """The folders of the spool, the quarantine and the sinks, by their names in the settings.

        Those of an object store or a database are not on a disk of this machine.
        """
        folders = {}
        if settings.uses_spool:
            folders["spool"] = settings.spool.path
        if settings.rejections is not None and settings.rejections.path is not None:
            folders["quarantine"] = settings.rejections.path
        for sink in settings.sinks if settings.store.ack != "verdict" else ():
            if sink.output is not None and sink.output.kind != "stream":
                folders[f"sinks.{sink.name}"] = sink.output.path
        return cls(folders)

    def measure(self) -> None:
        """Measure every folder; of a missing one, or of a file, the nearest parent."""
        spaces = {}
        for name, path in self._folders.items():
            try:
                spaces[name] = _space(path)
            except OSError:
                continue  # no permission, or a disk that fails: the owner of the folder reports it
        self.spaces = spaces

    async def run(self) -> None:
        """Measure until cancelled."""
        while self._folders:
            await asyncio.to_thread(self.measure)
            await asyncio.sleep(_SECONDS)


def _space(path: Path) -> Space:
    place = path.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    usage = shutil.disk_usage(place)
    return Space(usage.total, usage.free)
