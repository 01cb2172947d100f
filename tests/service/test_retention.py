"""The daily deletion of old points: every sink that expires them, and errors stop nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from pointgate.service.retention import expire_daily
from pointgate.sinks.base import SinkUnavailableError
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    import pytest

    from pointgate.sinks.base import Sink


class Sinking:
    """A sink that gives the results that it is told."""

    def __init__(self, *results: str | Exception) -> None:
        self.results = list(results)
        self.done = asyncio.Event()

    async def expire(self) -> bool:
        result = self.results.pop(0)
        if not self.results:
            self.done.set()
            self.results = ["done"]
        if isinstance(result, Exception):
            raise result
        return result == "done"


async def test_each_day_each_sink_is_asked_until_it_can(caplog: pytest.LogCaptureFixture) -> None:
    busy = Sinking("busy", "busy", "done", "done")
    failing = Sinking(SinkUnavailableError("cannot write to points: full"), "done")
    sinks = cast("list[Sink]", [busy, failing, object()])
    running = asyncio.create_task(expire_daily(sinks, seconds=0.001, busy_seconds=0.001))
    async with asyncio.timeout(PATIENCE):
        await busy.done.wait()
        await failing.done.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert caplog.messages == ["retention failed: cannot write to points: full"]
