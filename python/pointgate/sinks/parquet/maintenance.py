"""Merging in the background: what keeps a dataset at few files while it is written.

After each write the sink tells which folders got a file. When a folder has got `FAN_IN` of them, it
is looked at: one folder after the other, in a thread of its own with a low priority, which rests
`_REST` times as long as each merge took, so that it costs a quarter of a core at most. At the start
all folders are looked at, for what an earlier process left.

Invariants: it never holds up a write, except by using disk and processor; what goes wrong is logged
and does not end it; `stop` waits for at most one step of a merge.
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
from pointgate.sinks.parquet.compaction import FAN_IN, Stopped, merge, run_due
from pointgate.sinks.parquet.dataset import stored_files

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.sinks.parquet.dataset import Dataset

_REST: Final = 3

_NICENESS: Final = 10

_REMEMBERED: Final = 20_000
"""Folders whose files are counted."""

_log = logging.getLogger(__name__)


class Upkeep:
    """Merges files of one dataset, as they come."""

    def __init__(self, dataset: Dataset, *, name: str) -> None:
        self._dataset = dataset
        self._name = name
        self._fresh: Counter[Path] = Counter()
        self._due = asyncio.Event()
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix=f"merges of {name}", initializer=_step_back
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name=f"merges of {self._name}")

    def touched(self, folder: Path) -> None:
        """A folder has got a file."""
        self._fresh[folder] += 1
        if self._fresh[folder] >= FAN_IN:
            self._due.set()
        if len(self._fresh) > _REMEMBERED:  # a request of a hundred thousand days, once each
            self._fresh = Counter({one: n for one, n in self._fresh.items() if n > 1})

    async def stop(self) -> None:
        """End it; a merge that is not ready is given up."""
        self._stopping.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await asyncio.get_running_loop().run_in_executor(self._thread, _nothing)
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        for folder in await loop.run_in_executor(self._thread, self._survey):
            await self._look_at(folder)
        while True:
            await self._due.wait()
            self._due.clear()
            for folder in [folder for folder, files in self._fresh.items() if files >= FAN_IN]:
                await self._look_at(folder)

    async def _look_at(self, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        self._fresh.pop(folder, None)
        started = loop.time()
        if await loop.run_in_executor(self._thread, self._merge, folder):
            await asyncio.sleep(_REST * (loop.time() - started))

    def _survey(self) -> list[Path]:
        try:
            return self._dataset.partitions()
        except OSError as error:
            _log.warning("cannot look through %s: %s", self._dataset.path, os_reason(error))
            return []

    def _merge(self, folder: Path) -> bool:
        """Merge what is due in a folder, and say whether there was something."""
        on_conflict = self._dataset.on_conflict
        try:
            run = run_due(stored_files(folder, on_conflict))
            if not run:
                return False
            with self._dataset.locked("compaction", wait=False):
                merge(self._dataset, run, on_conflict=on_conflict, stopping=self._stopping.is_set)
        except (BlockingIOError, Stopped):  # `pointgate compact` is at it, or we have to go
            return False
        except Exception as error:  # noqa: BLE001 - a damaged file can raise anything
            reason = os_reason(error) if isinstance(error, OSError) else str(error)
            _log.warning("cannot merge files of %s: %s", folder, reason or type(error).__name__)
        return True


def _step_back() -> None:
    """Give way to other threads where the system has priorities of threads (Linux)."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _nothing() -> None:
    """What the thread comes to when all before is done."""
