"""Background compaction, which keeps the files of a dataset few while it is written.

After each write the sink reports the folders with a new file. When a folder has `FAN_IN` new files,
it is checked, and its files are merged if enough of them are of similar size. Folders are handled
one at a time, in a thread of low priority, which pauses `_PAUSE_FACTOR` times as long as each merge
took, so that compaction uses a quarter of a core at most. At the start all folders are checked, for
files of an earlier process.

Invariants: it never blocks a write, it only competes for disk and processor; errors are logged and
do not stop it; `stop` waits for at most one step of a merge.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason
from pointgate.sinks.parquet.compaction import FAN_IN, MergeCancelled, due_for_merge, merge
from pointgate.sinks.parquet.dataset import stored_files

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.sinks.parquet.dataset import Dataset

_PAUSE_FACTOR: Final = 3

_NICENESS: Final = 10

_COUNTED_FOLDERS: Final = 20_000
"""Folders whose new files are counted."""

_log = logging.getLogger(__name__)


class BackgroundMerger:
    """Merges the files of one dataset in the background."""

    def __init__(self, dataset: Dataset, *, name: str) -> None:
        self._dataset = dataset
        self._name = name
        self._new_files: Counter[Path] = Counter()
        self._due = asyncio.Event()
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix=f"merges of {name}", initializer=_lower_priority
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task, once."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"merges of {self._name}")

    def file_added(self, folder: Path) -> None:
        """Count a new file in a folder."""
        self._new_files[folder] += 1
        if self._new_files[folder] >= FAN_IN:
            self._due.set()
        if len(self._new_files) > _COUNTED_FOLDERS:  # one request can have points of 100,000 days
            self._new_files = Counter({one: n for one, n in self._new_files.items() if n > 1})

    async def stop(self) -> None:
        """Stop the task; a merge that is under way is cancelled."""
        self._stopping.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await asyncio.get_running_loop().run_in_executor(self._thread, _barrier)
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for folder in await loop.run_in_executor(self._thread, self._partitions):
            await self._merge_and_pause(folder)
        while True:
            await self._due.wait()
            self._due.clear()
            for folder in [folder for folder, files in self._new_files.items() if files >= FAN_IN]:
                await self._merge_and_pause(folder)

    async def _merge_and_pause(self, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        self._new_files.pop(folder, None)
        started = loop.time()
        if await loop.run_in_executor(self._thread, self._merge, folder):
            await asyncio.sleep(_PAUSE_FACTOR * (loop.time() - started))

    def _partitions(self) -> list[Path]:
        try:
            return self._dataset.partitions()
        except OSError as error:
            _log.warning("cannot list %s: %s", self._dataset.path, os_reason(error))
            return []

    def _merge(self, folder: Path) -> bool:
        """Merge the files of a folder that are due; returns whether there were any."""
        on_conflict = self._dataset.on_conflict
        try:
            due = due_for_merge(stored_files(folder, on_conflict))
            if not due:
                return False
            with self._dataset.locked("compaction", wait=False):
                merge(self._dataset, due, on_conflict=on_conflict, stopping=self._stopping.is_set)
        except (BlockingIOError, MergeCancelled):  # `pointgate compact` has the lock, or `stop`
            return False
        except Exception as error:  # noqa: BLE001 - a damaged file can raise anything
            reason = os_reason(error) if isinstance(error, OSError) else str(error)
            _log.warning("cannot merge files of %s: %s", folder, reason or type(error).__name__)
        return True


def _lower_priority() -> None:
    """Lower the priority of this thread, on systems where threads have their own (Linux)."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _barrier() -> None:
    """Do nothing: when this call returns, the thread's queue is empty."""
