"""Asks the sinks once a day to delete what is older than their `keep`.

A sink does so when it is opened, too; so a service that is restarted more often than that needs
nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NoReturn

from pointgate.errors import PointgateError
from pointgate.sinks.base import Expires

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointgate.sinks.base import Sink

_DAY: Final = 86_400.0
_BUSY_SECONDS: Final = 60.0

_log = logging.getLogger(__name__)


async def expire_daily(
    sinks: Iterable[Sink], *, seconds: float = _DAY, busy_seconds: float = _BUSY_SECONDS
) -> NoReturn:
    """Run until cancelled.

    Args:
        sinks: The sinks; those that do not expire points are left alone.
        seconds: The interval.
        busy_seconds: The interval while a sink cannot delete now.
    """
    expiring = [sink for sink in sinks if isinstance(sink, Expires)]
    while True:
        await asyncio.sleep(seconds)
        waiting = list(expiring)
        while waiting:
            waiting = [sink for sink in waiting if not await _expire(sink)]
            if waiting:
                await asyncio.sleep(busy_seconds)


async def _expire(sink: Expires) -> bool:
    try:
        return await sink.expire()
    except PointgateError as error:
        _log.warning("retention failed: %s", error)
        return True
