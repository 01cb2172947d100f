"""Hot reload of a running service's catalog, with protection against truncated device tables.

    every half second, in a thread:  stat catalog.toml and the files it names
    they changed, but not since the last poll:  load
    no change meanwhile, the catalog is valid, no device table shrank too far:  swap
    otherwise:  the last valid snapshot stays active, log problems once, wait for the next change

A truncated or half-copied device table is a valid file, so it is detected only by comparing its
size with that of the active table. A shrunken table is refused until the file is corrected, until
`max_shrink` allows it, or until SIGHUP is received twice within `CONFIRM_SECONDS`.

Invariants: a snapshot is replaced on the event loop's thread; an invalid catalog never replaces the
last valid snapshot; the event loop never waits for a disk.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from pointgate.catalog import Catalog, Loading, signature
from pointgate.errors import Problem
from pointgate.toml.document import dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pointgate.catalog import Signature
    from pointgate.service.metrics import Metrics

_log = logging.getLogger(__name__)

CONFIRM_SECONDS: Final = 30.0
"""Two reload requests within this time activate a shrunken device table."""

_ADVICE: Final = "if this is intended, send SIGHUP twice within 30 s, a second or more apart"
"""A second or more, because the kernel merges pending signals."""

DEFAULT_MAX_SHRINK: Final = 20
"""Percent."""

_POLL_SECONDS: Final = 0.5
"""Two polls and a load: a change takes effect within 2 seconds."""

_MAX_UNSTABLE_POLLS: Final = 10
"""Files that are replaced continuously are loaded anyway after this many polls; a file that is
written in place continuously is reported after as many polls, repeatedly."""

_LOGGED_PROBLEMS: Final = 20


def log_warnings(catalog: Catalog) -> None:
    """Log the warnings of a catalog that becomes active."""
    for warning in catalog.warnings:
        _log.warning("catalog: %s", warning)


class CatalogWatcher:
    """Replaces a service's catalog when its files change.

    Args:
        path: The catalog folder.
        on_change: Called with each new snapshot, on the event loop's thread.
        metrics: Counts reloads and records the snapshot's size.
        catalog: The active snapshot; without one, the first poll loads it.
        max_shrink: By how many percent a device table may shrink, unless its product sets this.
        poll_seconds: The interval between two polls.
    """

    def __init__(
        self,
        path: str | Path,
        on_change: Callable[[Catalog], None],
        metrics: Metrics,
        *,
        catalog: Catalog | None = None,
        max_shrink: int = DEFAULT_MAX_SHRINK,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._path = Path(path)
        self._on_change = on_change
        self._metrics = metrics
        self._max_shrink = max_shrink
        self._poll_seconds = poll_seconds
        self._catalog = catalog
        self._loaded: Mapping[Path, Signature] = catalog.files if catalog else {}
        self._seen: Mapping[Path, Signature] = self._loaded
        self._unstable_polls = 0
        self._reported: Sequence[Problem] = []
        self._requested = asyncio.Event()
        self._requested_at = -math.inf
        self._confirmed = False
        if catalog is None:
            self._requested.set()

    def request_reload(self) -> None:
        """Load at once, changed or not. For a signal handler of the event loop.

        A second request within `CONFIRM_SECONDS` also confirms shrunken device tables.
        """
        now = time.monotonic()
        self._confirmed = self._confirmed or now - self._requested_at < CONFIRM_SECONDS
        self._requested_at = now
        self._requested.set()

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        while True:
            with suppress(TimeoutError):
                # Not `wait_for`: before Python 3.12 it can lose a cancellation.
                async with asyncio.timeout(self._poll_seconds):
                    await self._requested.wait()
            requested = self._requested.is_set()
            self._requested.clear()
            seen = await asyncio.to_thread(_signatures, self._loaded)
            if requested or self._is_due(seen):
                await self._reload(requested=requested)

    def _is_due(self, seen: Mapping[Path, Signature]) -> bool:
        """Whether the files differ from the loaded ones and are not being written at the moment."""
        before, self._seen = self._seen, seen
        if seen == self._loaded:
            self._unstable_polls = 0
            return False
        self._unstable_polls += 1
        if seen == before:
            return True
        if self._unstable_polls < _MAX_UNSTABLE_POLLS:
            return False
        writing = _written_in_place(before, seen)
        if writing and self._unstable_polls % _MAX_UNSTABLE_POLLS == 0:
            reason = "expected a file that is written and then left alone, it changes all the time"
            self._refuse([Problem(str(path), "", reason) for path in writing])
        return not writing

    async def _reload(self, *, requested: bool) -> None:
        if requested:
            self._reported = []  # an explicit request always gets a log line
        loading = Loading(self._path)
        try:
            catalog = await asyncio.to_thread(loading.run, Catalog)
        except Exception as error:  # noqa: BLE001 - no file may end a running service
            loading.problems.append(Problem(str(self._path), "", f"cannot be loaded: {error!r}"))
            catalog = None
        after = await asyncio.to_thread(_signatures, loading.files)
        self._loaded = loading.files
        self._seen = after
        if after != loading.files and self._unstable_polls < _MAX_UNSTABLE_POLLS:
            return  # the files changed during the load: the next poll detects that
        self._unstable_polls = 0
        confirmed, self._confirmed = self._confirmed, False
        if catalog is None:
            self._refuse(loading.problems)
            return
        shrunk = shrunken(self._catalog, catalog, self._max_shrink) if self._catalog else []
        if shrunk and not confirmed:
            self._metrics.shrink_refused = len(shrunk)
            self._refuse(shrunk, _ADVICE)
            return
        for problem in shrunk:
            _log.warning("catalog: %s; accepted, because SIGHUP was received twice", problem)
        self._activate(catalog)

    def _activate(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._reported = []
        self._metrics.record_catalog(catalog)
        self._metrics.reloads_succeeded += 1
        self._on_change(catalog)
        _log.info(
            "catalog loaded: %d products, %d models, %d devices",
            len(catalog),
            catalog.models,
            catalog.devices,
        )
        log_warnings(catalog)

    def _refuse(self, problems: Sequence[Problem], advice: str = "") -> None:
        """Count a refused catalog, and log the reasons unless they were logged before."""
        self._metrics.reloads_failed += 1
        if problems == self._reported:
            return
        self._reported = problems
        _log.error("catalog not loaded, the last valid one stays active:")
        for problem in problems[:_LOGGED_PROBLEMS]:
            _log.error("  %s", problem)
        if len(problems) > _LOGGED_PROBLEMS:
            _log.error("  and %d more", len(problems) - _LOGGED_PROBLEMS)
        if advice:
            _log.error("  %s", advice)


def shrunken(old: Catalog, new: Catalog, max_shrink: int) -> list[Problem]:
    """The device tables that shrank by more than they may, one problem each.

    Args:
        old: The active catalog.
        new: The catalog that is to replace it.
        max_shrink: The limit in percent, for products without their own setting.
    """
    problems = []
    for key, product in old.products.items():
        before = len(product.devices)
        newer, source = new.products.get(key), new.sources.get(key)
        after = len(newer.devices) if newer else 0
        share = max_shrink if source is None or source.max_shrink is None else source.max_shrink
        if (before - after) * 100 <= before * share:
            continue
        allowed = f"by at most {share} % (max_shrink)"
        if source is None:
            path = old.sources[key].path if key in old.sources else Path()
            reason = f"its {before} device keys in {path} are lost, expected to shrink {allowed}"
            location = dotted(("products", key))
            problems.append(Problem(str(new.document), location, f"product removed: {reason}"))
        else:
            reason = f"expected the device table of {key} to shrink {allowed}"
            got = f"got {after} keys where {before} are active"
            problems.append(Problem(str(source.path), "", f"{reason}, {got}"))
    return problems


def _signatures(paths: Mapping[Path, Signature]) -> dict[Path, Signature]:
    return {path: signature(path) for path in paths}


def _written_in_place(
    before: Mapping[Path, Signature], after: Mapping[Path, Signature]
) -> list[Path]:
    """Files that changed between two polls without being replaced: their inodes are the same."""
    pairs = ((path, before.get(path), newer) for path, newer in after.items())
    return [path for path, old, new in pairs if old and new and old != new and old[0] == new[0]]
