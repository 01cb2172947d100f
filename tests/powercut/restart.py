"""The service's storage, started on what a power cut has left.

Spool, drain, sinks and rejected requests as the service opens them, in this process: that takes a
tenth of the time of a whole service. `__main__.py` starts a whole one on some states.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointgate.config import load_settings
from pointgate.errors import ConfigError
from pointgate.quarantine.writer import Quarantine
from pointgate.service.metrics import Metrics
from pointgate.service.pipeline import open_store
from pointgate.sinks.parquet.compaction import compact_all
from pointgate.sinks.parquet.dataset import Dataset
from pointgate.sinks.registry import build

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.config import Settings

_PATIENCE: Final = 15.0


@dataclass(slots=True)
class Restart:
    """How a start went.

    Attributes:
        problems: What was not as it should be.
        log: What was logged as an error, or with a traceback.
    """

    problems: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)


class _Errors(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{record.name}: {self.format(record)}")


def restart(settings: Path) -> Restart:
    """Start the storage, let it deliver everything, stop it.

    Args:
        settings: The file.
    """
    found = Restart()
    handler = _Errors(found.log)
    log = logging.getLogger("pointgate")
    log.addHandler(handler)
    propagate, log.propagate = log.propagate, False
    try:
        asyncio.run(_restart(load_settings(settings, {}), found))
    except ConfigError as error:
        found.problems += [f"exit status 78: {problem}" for problem in error.problems]
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
    found.problems += [line for line in found.log if "Traceback" in line]
    return found


def compact(points: Path) -> list[str]:
    """Merge all files of a dataset; returns what could not be."""
    dataset = Dataset(points)
    dataset.create()
    with dataset.locked("compaction", wait=True):
        return compact_all(dataset, grace=0.0, progress=lambda _done, _all: None).problems


async def _restart(settings: Settings, found: Restart) -> None:
    metrics = Metrics(ack=settings.store.ack)
    async with open_store(settings, metrics, build(settings.sinks)) as pipeline:
        quarantine = Quarantine(settings.quarantine)
        drain = asyncio.create_task(pipeline.run())
        await pipeline.finish(_PATIENCE)
        metrics.refresh()
        for name, figures in metrics.sinks.items():
            if figures.lag_requests:
                found.problems.append(f"sink {name} does not get {figures.lag_requests} requests")
            if figures.dropped:
                found.problems.append(f"sink {name} has lost {figures.dropped} points")
        if trouble := pipeline.store.trouble:
            found.problems.append(f"not ready: {trouble}")
        if metrics.spool.unreadable:
            found.problems.append(f"{metrics.spool.unreadable} batches of the spool are unreadable")
        drain.cancel()
        await asyncio.wait([drain])
        await asyncio.to_thread(quarantine.close)
