"""Follows a registry in a test."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pointgate.registries.follower import Follower
from pointgate.registries.statistics import RegistryStatistics
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pointgate.registries.base import Registry
    from pointgate.registries.settings import RegistrySettings


@asynccontextmanager
async def following(
    settings: RegistrySettings, registry: Registry, *, answer_seconds: float = 60.0
) -> AsyncIterator[tuple[Follower, RegistryStatistics]]:
    """A follower that runs, and what it counts."""
    statistics = RegistryStatistics()
    follower = Follower(settings, registry, statistics, answer_seconds=answer_seconds)
    task = asyncio.create_task(follower.run())
    try:
        yield follower, statistics
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE)
        assert task.cancelled()


async def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait until something holds; asked in a thread, because it may read files."""
    end = time.monotonic() + patience
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, "it does not become true"
        await asyncio.sleep(0.02)
