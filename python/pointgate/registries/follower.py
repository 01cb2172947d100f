"""Follows a registry: keeps the copy of it up to date, for as long as the service runs.

    open the copy ─► changes since its position ─► append them ─► wait ─► …
                     position gone, or no copy  ─► snapshot

The registry is read in a thread of its own, so that nothing blocks the event loop. A call without
progress for `_ANSWER_SECONDS` is ended by severing the connection. While the registry is away the
copy stays as it is, its age grows (`pointgate_registry_age_seconds`), and the registry is asked
again with exponential backoff and jitter.

Invariants: no error of a registry ends the service; the copy is only ever replaced by a complete
snapshot.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from pointgate.rate_limiter import RateLimiter
from pointgate.registries.base import RegistryUnavailableError
from pointgate.registries.device_copy import DeviceCopy

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate.device_changes import Changes
    from pointgate.registries.base import Registry
    from pointgate.registries.settings import RegistrySettings
    from pointgate.registries.statistics import RegistryStatistics

_log = logging.getLogger(__name__)

_ANSWER_SECONDS: Final = 60.0
"""A call that makes no progress for so long is ended."""

_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 15.0
"""Seconds between two attempts."""

_LOG_SECONDS: Final = 60.0

T = TypeVar("T")


def _retrieve(call: asyncio.Future[T]) -> None:
    if not call.cancelled():
        call.exception()


class Follower:
    """Keeps the copy of one registry up to date.

    Args:
        settings: Its settings.
        registry: The registry; this class closes it.
        statistics: What it counts.
        answer_seconds: After so many seconds without progress a call is ended.

    Attributes:
        name: The name of the registry.
        matched: Set once the copy is up to date.
        trouble: Why it cannot be read now; empty if it can.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        registry: Registry,
        statistics: RegistryStatistics,
        *,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        self.name = settings.name
        self.matched = asyncio.Event()
        self.trouble = ""
        self._registry = registry
        self._copy = DeviceCopy(settings)
        self._statistics = statistics
        self._answer_seconds = answer_seconds
        self._poll_seconds = settings.poll / 1000
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"registry-{settings.name}")
        self._moved_at = 0.0
        self._failures = 0
        self._logged = RateLimiter(_LOG_SECONDS)
        self._refused_logged = RateLimiter(_LOG_SECONDS)
        self._refused = 0

    @property
    def copied_at(self) -> float:
        """When the copy was last known to be up to date; 0 without a copy."""
        return self._copy.matched_at

    @property
    def is_usable(self) -> bool:
        """Whether there is a copy, however old."""
        return self._copy.is_usable

    @property
    def copy(self) -> DeviceCopy:
        """The copy."""
        return self._copy

    async def run(self) -> NoReturn:
        """Follow until cancelled."""
        try:
            while True:
                try:
                    await self._call(self._turn)
                    self._succeed()
                    await self._call(
                        lambda: self._registry.wait(self._poll_seconds), waits=self._poll_seconds
                    )
                except RegistryUnavailableError as error:
                    await self._recover(str(error))
                except Exception as error:  # noqa: BLE001 - no registry may end the service
                    _log.exception("registry %s: internal error", self.name)
                    await self._recover(f"internal error: {error!r}")
        finally:
            self._registry.sever()
            self._thread.submit(self._close)
            self._thread.shutdown(wait=False)

    def _close(self) -> None:
        self._registry.close()
        self._copy.close()

    async def _call(self, function: Callable[[], T], *, waits: float = 0.0) -> T:
        """Call a function in the thread; severs the registry if it makes no progress.

        Args:
            function: The function.
            waits: How many seconds it may wait before it has to make any.
        """
        self._moved_at = time.monotonic() + waits
        calling = asyncio.get_running_loop().run_in_executor(self._thread, function)
        calling.add_done_callback(_retrieve)  # if it fails after this task was cancelled
        while True:
            left = self._moved_at + self._answer_seconds - time.monotonic()
            done, _ = await asyncio.wait({calling}, timeout=max(left, 0.01))
            if done:
                return calling.result()
            if time.monotonic() - self._moved_at > self._answer_seconds:
                self._registry.sever()
                self._moved_at = time.monotonic()

    def _move(self) -> None:
        self._moved_at = time.monotonic()

    def _turn(self) -> None:
        """Bring the copy up to date. In the thread."""
        copy, statistics = self._copy, self._statistics
        copy.open()
        statistics.matched_at = copy.matched_at
        position = copy.position
        changes = None if position is None else self._registry.changes(position)
        self._move()
        if changes is not None:
            self._apply(changes)
        if changes is None or copy.is_to_renew:
            copy.replace(self._registry.snapshot(), self._move)
            statistics.snapshots += 1
            # Whatever has changed while it was read; if the position is gone again, the next turn
            # begins with that.
            if (changes := self._registry.changes(copy.position)) is not None:
                self._apply(changes)
        statistics.keys_refused = copy.lines.refused
        statistics.matched_at = copy.matched_at

    def _apply(self, changes: Changes[str]) -> None:
        self._copy.apply(changes.lines, changes.position)
        self._statistics.changes += changes.lines.count(b"\n")

    def _succeed(self) -> None:
        self._failures = 0
        if self.trouble:
            _log.info("registry %s: up to date again", self.name)
        self.trouble = ""
        if not self.matched.is_set():
            self.matched.set()
        total = self._statistics.keys_refused
        refused, self._refused = total - self._refused, total
        if refused and (count := self._refused_logged.count(refused)):
            _log.warning(
                "registry %s: %d keys left out that no device can have, such as %s",
                self.name,
                count,
                self._copy.lines.example,
            )

    async def _recover(self, reason: str) -> None:
        """Report why the registry cannot be read, and wait before the next attempt."""
        self._statistics.failures += 1
        is_new, self.trouble = reason != self.trouble, reason
        if self._logged.count() or is_new:
            kept = "the last copy stays active" if self._copy.is_usable else "there is no copy yet"
            _log.warning("registry %s cannot be read, %s: %s", self.name, kept, reason)
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self._failures, 16))
        self._failures += 1
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
