"""Writes the tables that describe the points (`sinks/parquet/dimensions.py`), also after reloads.

They are no points, so no request waits for them: an error is logged, and the next reload writes
again. Only the newest catalog is written.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pointgate._core import Catalog

_log = logging.getLogger(__name__)


class DimensionWriter:
    """Keeps the tables up to date.

    Args:
        folders: Where they are.
        catalog: The active catalog.
    """

    def __init__(self, folders: Iterable[Path], catalog: Catalog) -> None:
        self._folders = sorted(set(folders))
        self._catalog = catalog
        self._changed = asyncio.Event()
        self._changed.set()

    def update(self, catalog: Catalog) -> None:
        """Write another catalog, which was loaded. On the event loop's thread."""
        self._catalog = catalog
        self._changed.set()

    async def run(self) -> NoReturn:
        """Write until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            for folder in self._folders:
                await self._write(folder, self._catalog)

    async def _write(self, folder: Path, catalog: Catalog) -> None:
        from pointgate.sinks.parquet.dimensions import try_write  # noqa: PLC0415 - needs pyarrow

        written, reason = await asyncio.to_thread(try_write, folder, catalog)
        if reason:
            _log.warning("dimensions not written to %s: %s", folder, reason)
        elif written:
            _log.info("dimensions written to %s", folder)
