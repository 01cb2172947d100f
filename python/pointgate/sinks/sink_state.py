"""The delivery to one sink: its offset, and why it cannot be written now.

Invariants: `offset` is what the sink has committed; `written` is ahead of it between two commits.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import numbered, os_reason
from pointgate.rate_limiter import RateLimiter
from pointgate.sinks.base import SinkUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointgate.sinks.base import Sink
    from pointgate.sinks.statistics import SinkStatistics

_LOG_SECONDS: Final = 60.0
"""The rate limiter's interval for log lines of one kind."""

_STALLED_SECONDS: Final = 5.0
"""A sink that has not returned from a call for so long is reported as not ready."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class SinkState:
    """One sink on its way through the spool.

    Between commits `written` and `ends` are ahead of `offset` and `total`.
    """

    sink: Sink
    required: bool
    statistics: SinkStatistics
    offset: int  # the number of the last request that it has committed
    total: int  # how many points had been in the spool with that one
    written: int = 0  # the number of the last request that was written to it
    ends: int = 0  # how many points had been in the spool with that one
    points: int = 0  # how many points it has that are not committed
    singly: bool = False  # whether each chunk is committed by itself
    called: float = 0.0  # when the pending call to it began; 0 without one
    spent: float = 0.0  # the time of the calls since the last commit that returned
    failure: str = ""
    failures: RateLimiter = field(default_factory=lambda: RateLimiter(_LOG_SECONDS))
    rejections: RateLimiter = field(default_factory=lambda: RateLimiter(_LOG_SECONDS))
    losses: RateLimiter = field(default_factory=lambda: RateLimiter(_LOG_SECONDS))

    @property
    def trouble(self) -> str:
        """Why it is unavailable; empty when it is not."""
        seconds = time.monotonic() - self.called if self.called else 0.0
        stalled = f"sink {self.sink.name}: no answer for {seconds:.0f} s"
        return self.failure or (stalled if seconds > _STALLED_SECONDS else "")

    @contextmanager
    def calling(self) -> Iterator[None]:
        """A call to the sink; the time of one that raises is not counted as spent."""
        self.called = begun = time.monotonic()
        try:
            yield
            self.spent += time.monotonic() - begun
        finally:
            self.called = 0.0

    def count_commit(self, points: int) -> None:
        """Count a commit."""
        self.statistics.points += points
        self.statistics.commits.observe(self.spent)
        self.spent = 0.0

    def note_failure(self, error: Exception) -> None:
        """Count a failed call and log it, rate-limited."""
        self.statistics.failures += 1
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        self.failure = f"sink {self.sink.name}: {reason or type(error).__name__}"
        if events := self.failures.count():
            # An unexpected exception may be a bug: it is logged with its traceback.
            known = isinstance(error, (SinkUnavailableError, OSError, MemoryError))
            failures = numbered(events, "failure")
            unexpected = None if known else error
            _log.error("%s; %s, retrying", self.failure, failures, exc_info=unexpected)

    def count_dropped(self, points: int) -> None:
        """Count points that the full spool has deleted before the sink had them."""
        self.statistics.dropped += points
        if self.losses.count():
            _log.error(
                "sink %s: %s lost so far: it is not required, and they were deleted from "
                "the full spool before it had them",
                self.sink.name,
                numbered(self.statistics.dropped, "point"),
            )
