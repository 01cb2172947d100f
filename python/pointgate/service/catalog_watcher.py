"""Hot reload of a running service's catalog, with protection against truncated device tables.

    every half second, or at an event, in a thread:  look for changes (file_watch.py)
    files changed, but not since the last look:  load what has changed
    no change meanwhile, the catalog is valid, no device table shrank too far:  swap
    otherwise:  the last valid snapshot stays active, log problems once, wait for the next change
    the snapshot before:  release its products one by one, in a thread
    only files of changes have grown:  load at once, whole lines are complete
    an overlay has grown:  fold it into a new base in a thread, swap when that is done

A truncated or half-copied device table is a valid file, so it is detected only by comparing its
size with that of the active table. A shrunken table is refused until the file is corrected, until
`max_shrink` allows it, or until SIGHUP is received twice within `CONFIRM_SECONDS`.

Invariants: a snapshot is replaced on the event loop's thread; an invalid catalog never replaces the
last valid snapshot; the event loop never waits for a disk, nor for memory that is freed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from pointgate.catalog import Catalog, Loading
from pointgate.catalog_contents import DOCUMENT
from pointgate.diagnostics import numbered
from pointgate.errors import Problem
from pointgate.rate_limiter import RateLimiter
from pointgate.service.catalog_log import log_modes, log_warnings
from pointgate.service.file_watch import FileWatch
from pointgate.toml.document import dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pointgate._core import Devices
    from pointgate.catalog_contents import FollowedKey
    from pointgate.file_states import Signature
    from pointgate.service.metrics import Metrics

_log = logging.getLogger(__name__)

CONFIRM_SECONDS: Final = 30.0
"""Two reload requests within this time activate a shrunken device table."""

_ADVICE: Final = "if this is intended, send SIGHUP twice within 30 s, a second or more apart"
"""A second or more, because the kernel merges pending signals."""

DEFAULT_MAX_SHRINK: Final = 20
"""Percent."""

_POLL_SECONDS: Final = 0.5
"""An event, one of these and a load: a change takes effect within a second, without events in two.
"""

_MAX_UNSTABLE_POLLS: Final = 10
"""Files that are replaced continuously are loaded anyway after this many polls; a file that is
written in place continuously is reported after as many polls, repeatedly."""

_REFUSED: Final = "catalog not loaded, the last valid one stays active"
_LOGGED_PROBLEMS: Final = 20

_LOG_SECONDS: Final = 60.0
"""Seconds between two log lines about changes of devices."""


class CatalogWatcher:
    """Replaces a service's catalog when its files change.

    Args:
        path: The catalog folder.
        on_change: Called with each new snapshot, on the event loop's thread.
        metrics: Counts reloads and records the snapshot's size.
        catalog: The active snapshot; without one, the first poll loads it.
        max_shrink: By how many percent a device table may shrink, unless its product sets this.
        on_reload: Called when a requested reload has ended, whatever the result.
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
        on_reload: Callable[[], object] = lambda: None,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._path = Path(path)
        self._on_change = on_change
        self._metrics = metrics
        self._max_shrink = max_shrink
        self._on_reload = on_reload
        self._poll_seconds = poll_seconds
        self._catalog = catalog
        self._loaded: Mapping[Path, Signature] = catalog.files if catalog else {}
        self._seen: Mapping[Path, Signature] = self._loaded
        self._unstable_polls = 0
        self._reported: Sequence[Problem] = []
        self._woken = asyncio.Event()
        self._is_requested = catalog is None
        self._requested_at = -math.inf
        self._confirmed = False
        self._files = FileWatch(self._path / DOCUMENT, self._woken.set)
        self._folding: Folding | None = None
        self._changes_logged = RateLimiter(_LOG_SECONDS)

    @property
    def refused(self) -> str:
        """Why the files are not the active catalog, for /readyz; empty if they are."""
        if not self._reported:
            return ""
        more = f" (and {len(self._reported) - 1} more)" if len(self._reported) > 1 else ""
        return f"{_REFUSED}: {self._reported[0]}{more}"

    def request_reload(self) -> None:
        """Load at once, changed or not. For a signal handler of the event loop.

        A second request within `CONFIRM_SECONDS` also confirms shrunken device tables.
        """
        now = time.monotonic()
        self._confirmed = self._confirmed or now - self._requested_at < CONFIRM_SECONDS
        self._requested_at = now
        self._is_requested = True
        self._woken.set()

    def look_now(self) -> None:
        """Look at the files now, and not at the next poll."""
        self._woken.set()

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        try:
            await asyncio.to_thread(self._files.watch, self._loaded, list(self._loaded))
            at_rest = True
            if self._catalog is not None:
                self._folding = Folding.of(self._catalog)
            while True:
                at_rest = await self._turn(wake_up=at_rest)
        finally:
            self._files.close()

    async def _turn(self, *, wake_up: bool) -> bool:
        """Wait, look, and load what has changed.

        Args:
            wake_up: Whether to look as soon as there is an event.

        Returns:
            The same for the next turn. False while files are being written, and after an event that
            was none of ours: whoever writes beside our files does not keep us busy.
        """
        if not self._is_requested:
            if wake_up:
                self._files.arm()
            with suppress(TimeoutError):
                # Not `wait_for`: before Python 3.12 it can lose a cancellation.
                async with asyncio.timeout(self._poll_seconds):
                    await self._woken.wait()
            self._files.disarm()
        woken = self._woken.is_set()
        self._woken.clear()
        requested, self._is_requested = self._is_requested, False
        look = self._files.look_at_all if requested else self._files.look
        looked_at = time.time()
        seen = await asyncio.to_thread(look)
        if self._folding is not None and self._folding.is_done:
            await self._swap_folded(self._folding)
        if seen is self._loaded and not self._reported:
            self._metrics.catalog_matched_at = looked_at
        if requested or self._is_due(seen):
            await self._reload(seen, requested=requested)
            if requested:
                self._on_reload()
            return False
        return not woken and not self._unstable_polls

    def _is_due(self, seen: Mapping[Path, Signature]) -> bool:
        """Whether the files differ from the loaded ones and are not being written at the moment."""
        before, self._seen = self._seen, seen
        if seen is self._loaded or seen == self._loaded:
            self._unstable_polls = 0
            return False
        if self._has_only_grown(seen):
            return True
        self._unstable_polls += 1
        if seen is before or seen == before:
            return True
        if self._unstable_polls < _MAX_UNSTABLE_POLLS:
            return False
        writing = _written_in_place(before, seen)
        if writing and self._unstable_polls % _MAX_UNSTABLE_POLLS == 0:
            reason = "expected a file that is written and then left alone, it changes all the time"
            self._refuse([Problem(str(path), "", reason) for path in writing])
        return not writing

    def _has_only_grown(self, seen: Mapping[Path, Signature]) -> bool:
        """Whether the only change is that something was appended to files of changes."""
        following = self._catalog.contents.followed if self._catalog else {}
        if not following or self._reported:
            return False
        growing = {path for _, path in following}
        changed = [path for path, state in seen.items() if self._loaded.get(path) != state]
        return all(
            path in growing and _has_grown(self._loaded.get(path), seen[path]) for path in changed
        )

    async def _reload(self, seen: Mapping[Path, Signature], *, requested: bool) -> None:
        if requested:
            self._reported = []  # an explicit request always gets a log line
        # A request reads everything anew: it is the way out if the states of files do not tell.
        former = None if requested else self._catalog
        loading = Loading(self._path, former=former, seen=seen, tests=True)
        try:
            catalog = await asyncio.to_thread(loading.run, Catalog)
        except Exception as error:  # noqa: BLE001 - no file may end a running service
            loading.problems.append(Problem(str(self._path), "", f"cannot be loaded: {error!r}"))
            catalog = None
        self._loaded = loading.files
        self._seen = await asyncio.to_thread(self._files.watch, loading.files, loading.read)
        if self._seen is not self._loaded and self._unstable_polls < _MAX_UNSTABLE_POLLS:
            return  # the files changed during the load: the next look detects that
        self._unstable_polls = 0
        confirmed, self._confirmed = self._confirmed, False
        if catalog is None:
            self._refuse(loading.problems)
        elif loading.unchanged:  # a line is being written, or all is again as it was
            self._catalog = catalog
            if self._reported:
                self._reported = []
                self._metrics.reloads_succeeded += 1
                self._metrics.record_catalog(catalog)
                _log.info("catalog loaded: its files are those of the active one again")
        else:
            released = await self._accept(catalog, loading, confirmed=confirmed)
            del catalog
            await asyncio.to_thread(_release, released)

    async def _accept(
        self, catalog: Catalog, loading: Loading, *, confirmed: bool
    ) -> list[Catalog | None]:
        """Activate a catalog unless its tables shrank too far; returns the one to release."""
        former = self._catalog
        shrunk: list[Problem] = []
        if former is not None:
            shrunk = await asyncio.to_thread(shrunken, former, catalog, self._max_shrink)
        if shrunk and not confirmed:
            self._metrics.shrink_refused = len(shrunk)
            self._refuse(shrunk, _ADVICE)
            return [catalog]
        for problem in shrunk:
            _log.warning("catalog: %s; accepted, because SIGHUP was received twice", problem)
        self._reported = []
        self._metrics.catalog_changes += loading.changes
        self._metrics.reloads_succeeded += 1
        self._activate(catalog)
        if loading.read or not loading.changes:
            _log.info(
                "catalog loaded: %s, %s, %s",
                numbered(len(catalog), "product"),
                numbered(catalog.models, "model"),
                numbered(catalog.devices, "device"),
            )
            log_modes(former, catalog)
            log_warnings(catalog)
        elif lines := self._changes_logged.count(loading.changes):
            changes, devices = numbered(lines, "change"), numbered(catalog.devices, "device")
            _log.info("devices changed: %s applied, %s", changes, devices)
        return [former]

    def _activate(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._metrics.record_catalog(catalog)
        self._on_change(catalog)
        if self._folding is None:
            self._folding = Folding.of(catalog)

    async def _swap_folded(self, folding: Folding) -> None:
        """Replace the bases of tables whose overlays have grown."""
        self._folding = None
        if self._catalog is None:
            return
        try:
            newer = await asyncio.to_thread(folding.apply, self._catalog)
        except Exception as error:  # noqa: BLE001 - the tables work without it
            _log.warning("device tables not folded: %r", error)
            return
        released: list[Catalog | None] = [self._catalog]
        self._activate(newer)
        del newer, folding
        await asyncio.to_thread(_release, released)

    def _refuse(self, problems: Sequence[Problem], advice: str = "") -> None:
        """Count a refused catalog, and log the reasons unless they were logged before."""
        self._metrics.reloads_failed += 1
        if problems == self._reported:
            return
        self._reported = problems
        _log.error("%s:", _REFUSED)
        for problem in problems[:_LOGGED_PROBLEMS]:
            _log.error("  %s", problem)
        if len(problems) > _LOGGED_PROBLEMS:
            _log.error("  and %d more", len(problems) - _LOGGED_PROBLEMS)
        if advice:
            _log.error("  %s", advice)


class Folding:
    """New bases for some device tables, being made in a thread.

    Args:
        tables: The tables, by their keys in `Contents.followed`.
    """

    def __init__(self, tables: Mapping[FollowedKey, Devices]) -> None:
        self._tables = tables
        loop = asyncio.get_running_loop()
        self._result = loop.run_in_executor(
            None, lambda: {key: (table, table.folded()) for key, table in tables.items()}
        )

    @classmethod
    def of(cls, catalog: Catalog) -> Folding | None:
        """Begin to fold the tables of a catalog whose overlays have grown; None if none has."""
        followed = catalog.contents.followed
        tables = {key: one.devices for key, one in followed.items() if one.is_to_fold}
        return cls(tables) if tables else None

    @property
    def is_done(self) -> bool:
        """Whether `apply` does not wait."""
        return self._result.done()

    def apply(self, catalog: Catalog) -> Catalog:
        """The same catalog with the new bases; what changed meanwhile is carried over."""
        return catalog.with_folded(self._result.result())


def shrunken(old: Catalog, new: Catalog, max_shrink: int) -> list[Problem]:
    """The device tables that shrank by more than they may, one problem each.

    Args:
        old: The active catalog.
        new: The catalog that is to replace it.
        max_shrink: The limit in percent, for products without their own setting.
    """
    problems = []
    for key, product in old.products.items():
        newer = new.product(key)
        if newer is not None and newer.devices is product.devices:
            continue
        source = new.sources.get(key)
        before, after = len(product.devices), len(newer.devices) if newer else 0
        # Devices that lines of a file of changes remove are no sign of a truncated file.
        after += new.contents.removed(key)
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
            got = f"got {len(newer.devices) if newer else 0} keys where {before} are active"
            problems.append(Problem(str(source.path), "", f"{reason}, {got}"))
    return problems


def _release(catalogs: list[Catalog | None]) -> None:
    """Drop the last reference to a snapshot, one product at a time.

    The interpreter lock is free between two of them. Freed at once, ten thousand products would
    stop all replies for a tenth of a second.
    """
    catalog = catalogs.pop()
    products = catalog.products if catalog else {}
    del catalog
    while products:
        products.popitem()


def _has_grown(before: Signature, after: Signature) -> bool:
    """Whether a file may have been appended to: it is the same one, and not shorter; or new."""
    if before is None or after is None:
        return before is None
    return (before[0], before[4]) == (after[0], after[4]) and before[1] <= after[1]


def _written_in_place(
    before: Mapping[Path, Signature], after: Mapping[Path, Signature]
) -> list[Path]:
    """Files that changed between two polls without being replaced: their inodes are the same."""
    pairs = ((path, before.get(path), newer) for path, newer in after.items())
    return [path for path, old, new in pairs if old and new and old != new and old[0] == new[0]]
