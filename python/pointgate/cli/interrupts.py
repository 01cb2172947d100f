"""Runs a coroutine that SIGINT and SIGTERM cancel, so that it closes its connections.

    sys.exit(run_or_exit(work()))

A signal handler that raises an exception, as other commands have, would raise it inside the event
loop, and asyncio would log it for the tasks.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run_or_exit(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a new event loop; SIGINT and SIGTERM end the command with 130 and 143."""
    stopped: list[signal.Signals] = []
    result = asyncio.run(_run(work, stopped))
    if stopped:
        sys.exit(128 + stopped[0])
    assert result is not None  # noqa: S101 - only a task that was cancelled has no result
    return result[0]


async def _run(work: Coroutine[Any, Any, T], stopped: list[signal.Signals]) -> tuple[T] | None:
    loop = asyncio.get_running_loop()
    working = loop.create_task(work)

    def stop(number: signal.Signals) -> None:
        stopped.append(number)
        working.cancel()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, stop, number)
    try:
        await asyncio.wait({working})
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
    if stopped and (working.cancelled() or working.exception()):
        return None
    return (working.result(),)
