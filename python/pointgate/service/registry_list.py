"""The registries that the settings name: followed from the start of the service to its end.

A start waits until each copy is up to date, at most `START_SECONDS` if there is a copy of an
earlier run, which is then used as it is. Without any copy the service is not ready, and tries
again: it would reject every request with 1257.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from pointgate.registries.follower import Follower
from pointgate.registries.statistics import RegistryStatistics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from pointgate.registries.base import Registry
    from pointgate.registries.settings import RegistrySettings
    from pointgate.service.metrics import Metrics

_log = logging.getLogger(__name__)

START_SECONDS: Final = 10.0
"""How long a start waits for a registry of which there is a copy."""

_CLOSE_SECONDS: Final = 2.0


@asynccontextmanager
async def follow_registries(
    registries: Sequence[tuple[RegistrySettings, Registry]], metrics: Metrics
) -> AsyncIterator[list[Follower]]:
    """Follow registries until the block ends."""
    followers = []
    for settings, registry in registries:
        statistics = metrics.registries[settings.name] = RegistryStatistics()
        followers.append(Follower(settings, registry, statistics))
    tasks = [asyncio.create_task(one.run(), name=f"registry {one.name}") for one in followers]
    try:
        yield followers
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)


async def await_copies(
    followers: Sequence[Follower],
    on_wait: Callable[[str], None],
    *,
    start_seconds: float = START_SECONDS,
) -> bool:
    """Wait until each registry has a copy that can be used.

    Args:
        followers: Those that follow them.
        on_wait: Called with what the start waits for.
        start_seconds: How long it waits for a registry of which there is a copy.

    Returns:
        True.
    """
    started = time.monotonic()
    for one in followers:
        while not one.matched.is_set():
            late = time.monotonic() - started > start_seconds
            if late and one.is_usable:
                age = time.time() - one.copied_at
                _log.warning(
                    "registry %s cannot be read; starting with the copy of %.0f s ago: %s",
                    one.name,
                    age,
                    one.trouble or "no answer yet",
                )
                break
            on_wait(f"registry {one.name}: {one.trouble or 'reading the first snapshot'}")
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await one.matched.wait()
    return True
