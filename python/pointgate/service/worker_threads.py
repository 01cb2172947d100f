"""The threads of `asyncio.to_thread`, started at the beginning of the service."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

_THREADS: Final = 6
"""Threads for blocking calls: catalog files, dead letters, name lookups."""


def start_threads(loop: asyncio.AbstractEventLoop) -> None:
    """Start the threads of `asyncio.to_thread` now: later there may be no memory for a stack."""
    workers = ThreadPoolExecutor(_THREADS, thread_name_prefix="worker")
    started = threading.Barrier(_THREADS + 1)
    for _ in range(_THREADS):
        workers.submit(started.wait)  # a thread for each: every call waits for all the others
    started.wait()
    loop.set_default_executor(workers)
