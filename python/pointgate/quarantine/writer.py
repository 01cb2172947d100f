"""The quarantine: rejected requests, kept for inspection and replay.

    the gate:      add(topics, payloads, reports, received_us)     never blocks
    a thread:      queued requests ─► one transaction ─► delete the oldest above the limits

It is best effort: it never slows or stops the gate. Requests that arrive faster than they can be
written, or while the disk fails, are counted but not kept. The thread has a limited duty cycle,
so that a flood of rejected requests does not take a core from the judge. After a slow write it
pauses for at most `_LONGEST_PAUSE`, so that the queue is written soon after file and disk respond
again. A commit is not synced: a crash of the machine may lose the last requests, a crash of the
service the queue.

If the file cannot be opened at first, because it is locked or the disk is full, the thread opens it
later. A damaged file is renamed, and a new one begun. A folder that can never be used is refused
before (`preflight.py`).

Invariants: the queue is bounded in bytes; the file is bounded in bytes and in age, and the oldest
requests are deleted first; every rejected request of a selected product is counted once, as kept
or by the reason why not.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from pointgate.quarantine.database import (
    NAME,
    QuarantineDatabase,
    Rejected,
    is_damage,
    set_aside,
)
from pointgate.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate._core import Report
    from pointgate.config.quarantine import QuarantineSettings

_TOO_LARGE: Final = 1008

_WAITING_BYTES: Final = 16 * 1024 * 1024
_REQUEST_BYTES: Final = 1024
"""The memory of a queued request without its payload."""

_LINGER: Final = 0.25
"""Seconds that the first request of a transaction waits for more."""

_BATCH: Final = 250
"""Requests in a transaction. Inserting holds the interpreter lock part of the time: with 1,000
requests the gate waited for it for up to 16 ms, with 250 for 4 ms."""

_CACHED_TOPICS: Final = 1000
"""Bounded, because requests for unknown products can have any number of topics."""

_DUTY_CYCLE: Final = 0.1
"""The share of the time that the thread writes: enough for 5,000 to 8,000 small requests a second
(2 cores, 2026-11)."""

_LONGEST_PAUSE: Final = 2.0
"""Seconds. A write longer than a ninth of this waited for a lock or the disk and took no core."""

_REMOVALS: Final = 50
"""DELETE statements in one transaction, some 10,000 rows, so that it stays short."""

_CLEANUP_SECONDS: Final = 10.0
"""How often expired requests are deleted while no requests arrive."""

_log = logging.getLogger(__name__)

_Waiting = tuple[str, bytes, "Report", int]


class Quarantine:
    """Stores rejected requests.

    Args:
        settings: The folder, the limits and the products; its `path` must be set.

    Attributes:
        kept: How many requests were kept.
        not_kept: How many were not: `overflow`, the queue was full; `failed`, the file could not be
            written; `too_large`, the request exceeds half of the file's limit.
        removed: How many were deleted: `bytes`, to make room; `age`, they had expired.
        bytes: The size of the kept requests.
        trouble: Why requests are not being kept now, for /readyz; empty if they are.
        newest: The latest arrival among the requests kept before the start, UTC microseconds; 0
            if the file could not be opened at first.
    """

    def __init__(self, settings: QuarantineSettings, *, linger: float = _LINGER) -> None:
        assert settings.path is not None  # noqa: S101 - without it there is no quarantine
        self._folder = settings.path
        self.kept = 0
        self.not_kept = {"overflow": 0, "failed": 0, "too_large": 0}
        self.removed = {"bytes": 0, "age": 0}
        self.bytes = 0
        self.trouble = ""
        self._settings = settings
        self._linger = linger
        self._wanted_topics: dict[str, bool] = {}
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._failures = RateLimiter(60.0)
        self._file: QuarantineDatabase | None = None
        self.newest = self._open()
        self._thread = threading.Thread(target=self._run, name="quarantine", daemon=True)
        self._thread.start()

    def add(
        self,
        topics: Sequence[str],
        payloads: Sequence[bytes],
        reports: Sequence[Report | None],
        received_us: Sequence[int],
    ) -> None:
        """Queue the rejected requests of a burst. Never waits for the disk.

        Args:
            topics: The topics of the requests.
            payloads: Their payloads.
            reports: Their verdicts; None for requests without one.
            received_us: When each of them arrived, UTC microseconds.
        """
        found = [
            (topic, payload, report, received)
            for topic, payload, report, received in zip(
                topics, payloads, reports, received_us, strict=True
            )
            if report is not None and report.fault and report.code and self._is_wanted(topic)
        ]
        if not found:
            return
        with self._changed:
            for one in found:
                size = _REQUEST_BYTES + len(one[1])
                if self._waiting and self._waiting_bytes + size > _WAITING_BYTES:
                    self.not_kept["overflow"] += 1
                    continue
                self._waiting.append(one)
                self._waiting_bytes += size
            self._changed.notify()

    def close(self) -> None:
        """Write the queue, and close the file."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _is_wanted(self, topic: str) -> bool:
        if topic not in self._wanted_topics:
            if len(self._wanted_topics) >= _CACHED_TOPICS:
                self._wanted_topics.clear()
            self._wanted_topics[topic] = self._settings.keeps(_product(topic))
        return self._wanted_topics[topic]

    def _open(self) -> int:
        """Open the file; on failure the thread retries. Returns the latest arrival in it, or 0."""
        for _ in range(2):
            try:
                self._file = QuarantineDatabase(self._folder)
                self.bytes = self._file.size
                newest = self._file.newest
            except (OSError, sqlite3.Error) as error:
                if not self._set_aside(error):
                    _log.warning("the quarantine cannot be opened: %s; retrying", self.trouble)
                    break
            else:
                self.trouble = ""
                return newest
        return 0

    def _set_aside(self, error: Exception) -> bool:
        """Rename a damaged file, so that a new one is made; other errors are remembered."""
        path = self._folder / NAME
        self.trouble = f"rejected requests are not kept: {path}: {error}"
        if not is_damage(error):
            return False
        try:
            if self._file is not None:
                self._file.close()
                self._file = None
            aside = set_aside(self._folder)
        except (OSError, sqlite3.Error) as failed:
            self.trouble += f"; move it away ({failed})"
            return False
        _log.error("the quarantine is damaged: %s: %s; renamed to %s", path, error, aside.name)
        self.trouble = ""
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                if not (self._waiting or self._closing):
                    self._changed.wait(_CLEANUP_SECONDS)
                self._changed.wait_for(
                    lambda: self._closing or len(self._waiting) >= _BATCH,
                    self._linger,
                )
                requests = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                self._waiting_bytes -= sum(_REQUEST_BYTES + len(one[1]) for one in requests)
                ending = self._closing and not requests
            if ending:
                if self._file is not None:
                    self._file.close()
                return
            started = time.monotonic()
            self._write(requests)
            pause = min((time.monotonic() - started) * (1 / _DUTY_CYCLE - 1), _LONGEST_PAUSE)
            with self._changed:
                self._changed.wait_for(lambda: self._closing, pause)

    def _write(self, requests: Sequence[_Waiting]) -> None:
        """Write one transaction; count its requests as `failed` if it fails."""
        try:
            rows = [_rejected(*one, self._settings.max_bytes) for one in requests]
            fitting = [row for row in rows if row is not None]
            if self._file is None:
                self._file = QuarantineDatabase(self._folder)
            with self._file.transaction():
                self._file.insert(fitting)
                removed = self._make_room(self._file)
            self.bytes = self._file.size
        except Exception as error:  # noqa: BLE001 - no request may end the thread
            self.not_kept["failed"] += len(requests)
            self._set_aside(error)
            if events := self._failures.count():
                _log.warning("quarantine writes failed: %d, last error: %s", events, error)
            return
        self.trouble = ""
        self.kept += len(fitting)
        self.not_kept["too_large"] += len(rows) - len(fitting)
        for why, count in removed.items():
            self.removed[why] += count

    def _make_room(self, file: QuarantineDatabase) -> dict[str, int]:
        """Delete expired requests, and the oldest above the limit; later writes delete the rest."""
        removed = {"bytes": 0, "age": 0}
        oldest = time.time_ns() // 1_000_000 - self._settings.max_age * 1000
        for _ in range(_REMOVALS):
            if count := file.delete_before(oldest):
                removed["age"] += count
                continue
            excess = file.size - self._settings.max_bytes
            count = file.delete_oldest(excess) if excess > 0 else 0
            removed["bytes"] += count
            if not count:
                break
        return removed


def _product(topic: str) -> str:
    """The product key of a topic that is served."""
    return topic.removeprefix("/").split("/")[1]


def _rejected(
    topic: str, payload: bytes, report: Report, received_us: int, max_bytes: int
) -> Rejected | None:
    fault = report.fault
    if fault is None or len(payload) > max_bytes // 2:
        return None
    return Rejected(
        number=0,
        received_us=received_us,
        product=_product(topic),
        topic=topic,
        code=fault.code,
        reason=fault.reason,
        message=fault.message,
        pointer=fault.pointer,
        fault_offset=fault.offset,
        entry=fault.index,
        device=fault.device_key,
        identifier=fault.identifier,
        expected=fault.expected,
        got=fault.got,
        did_you_mean=fault.did_you_mean,
        payload=None if report.code == _TOO_LARGE else payload,
        answered=None if report.code == fault.code else report.code,
    )
