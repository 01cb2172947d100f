"""The quarantine: rejected requests, kept for a person to look at and to post again.

    the gate:      add(topics, payloads, reports, received_us)     never waits
    a thread:      what has come together ─► one transaction ─► the oldest go where it is too much

It is there to help, not to promise anything: it never slows or stops the gate. What comes faster
than it can be written, or while the disk fails, is not kept, and counted. The thread works a share
of the time only, so that a flood of rejected requests takes no core from those that judge them;
after a slow write it pauses for `_LONGEST_PAUSE` at most, so that what waits is soon in the file
once file and disk answer again. A commit is not synced: a crash of the machine may lose the last
requests, a crash of the service those that wait.

A file that cannot be opened at first, because it is locked or the disk is full, is opened by the
thread later. A folder that cannot be right is refused before (`preparation.py`).

Invariants: what waits to be written is bounded in bytes; the file is bounded in bytes and in age,
the oldest requests go first; every rejected request of a product that is kept is counted once, as
kept or by the reason why not.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from pointgate.quarantine.database import QuarantineDatabase, Rejected
from pointgate.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate._core import Report
    from pointgate.config.quarantine import QuarantineSettings

_NOT_KEPT: Final = (0, 200)
"""Codes of topics that are not served, and of what was accepted."""

_TOO_LARGE: Final = 1008

_WAITING_BYTES: Final = 16 * 1024 * 1024
_REQUEST_BYTES: Final = 1024
"""What a waiting request takes besides its payload."""

_LINGER: Final = 0.25
"""Seconds that the first request of a transaction waits for others."""

_TRANSACTION: Final = 250
"""Requests. The interpreter lock is held for a part of them; with 1,000 the gate has waited 16 ms
for it, with so many 4."""

_REMEMBERED_TOPICS: Final = 1000
"""Topics of products that nobody knows are without number."""

_SHARE: Final = 0.1
"""Of the time; 5,000 to 8,000 small requests a second are written in it (2 cores, 2026-11)."""

_LONGEST_PAUSE: Final = 2.0
"""Seconds. A write that took longer than a ninth of it waited for a lock or a disk, not for us."""

_REMOVALS: Final = 50
"""Statements of one transaction that remove requests, so that it stays short: some 10,000 rows."""

_TIDY_SECONDS: Final = 10.0
"""How often it is looked for those that are too old when nothing comes."""

_log = logging.getLogger(__name__)

_Waiting = tuple[str, bytes, "Report", int]


class Quarantine:
    """Keeps rejected requests.

    Args:
        settings: Where, how much, of whom; its `path` must be set.

    Attributes:
        kept: How many requests were written.
        not_kept: How many were not: `overflow`, they came too fast; `failed`, the file could not be
            written; `too_large`, it has no room for one.
        removed: How many had to go: `bytes`, to make room; `age`, they were too old.
        bytes: What the file's requests take.
        newest: The latest arrival among the requests that were there at first, UTC microseconds; 0
            where the file could not be opened at first.
    """

    def __init__(self, settings: QuarantineSettings, *, linger: float = _LINGER) -> None:
        assert settings.path is not None  # noqa: S101 - without it there is no quarantine
        self._folder = settings.path
        self.kept = 0
        self.not_kept = {"overflow": 0, "failed": 0, "too_large": 0}
        self.removed = {"bytes": 0, "age": 0}
        self.bytes = 0
        self._settings = settings
        self._linger = linger
        self._keeps: dict[str, bool] = {}
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
        """Keep those of a burst's requests that were rejected. Never waits for the disk.

        Args:
            topics: The topics the requests came on.
            payloads: Their payloads.
            reports: Their verdicts; None for what was not judged.
            received_us: When each of them arrived, UTC microseconds.
        """
        found = [
            (topic, payload, report, received)
            for topic, payload, report, received in zip(
                topics, payloads, reports, received_us, strict=True
            )
            if report is not None and report.code not in _NOT_KEPT and self._is_wanted(topic)
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
        """Write what waits, and close the file."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _is_wanted(self, topic: str) -> bool:
        if topic not in self._keeps:
            if len(self._keeps) >= _REMEMBERED_TOPICS:
                self._keeps.clear()
            self._keeps[topic] = self._settings.keeps(_product(topic))
        return self._keeps[topic]

    def _open(self) -> int:
        """Open the file, or leave that to the thread; returns the latest arrival in it."""
        try:
            self._file = QuarantineDatabase(self._folder)
            self.bytes = self._file.size
            newest = self._file.newest
        except (OSError, sqlite3.Error) as error:
            _log.warning("the quarantine cannot be opened: %s; retrying", error)
            newest = 0
        return newest

    def _run(self) -> None:
        while True:
            with self._changed:
                if not (self._waiting or self._closing):
                    self._changed.wait(_TIDY_SECONDS)
                self._changed.wait_for(
                    lambda: self._closing or len(self._waiting) >= _TRANSACTION, self._linger
                )
                requests = [
                    self._waiting.popleft() for _ in range(min(_TRANSACTION, len(self._waiting)))
                ]
                self._waiting_bytes -= sum(_REQUEST_BYTES + len(one[1]) for one in requests)
                ending = self._closing and not requests
            if ending:
                if self._file is not None:
                    self._file.close()
                return
            started = time.monotonic()
            self._write(requests)
            pause = min((time.monotonic() - started) * (1 / _SHARE - 1), _LONGEST_PAUSE)
            with self._changed:
                self._changed.wait_for(lambda: self._closing, pause)

    def _write(self, requests: Sequence[_Waiting]) -> None:
        """One transaction; whatever fails fails here, and is counted."""
        try:
            rows = [_rejected(*one, self._settings.max_bytes) for one in requests]
            fitting = [row for row in rows if row is not None]
            if self._file is None:
                self._file = QuarantineDatabase(self._folder)
            with self._file.transaction():
                self._file.insert(fitting)
                removed = self._make_room(self._file)
            self.bytes = self._file.size
        except Exception as error:  # noqa: BLE001 - no request, however odd, ends the thread
            self.not_kept["failed"] += len(requests)
            if events := self._failures.count():
                _log.warning(
                    "%d writes to the quarantine have failed, the last one: %s", events, error
                )
            return
        self.kept += len(fitting)
        self.not_kept["too_large"] += len(rows) - len(fitting)
        for why, count in removed.items():
            self.removed[why] += count

    def _make_room(self, file: QuarantineDatabase) -> dict[str, int]:
        """Remove what is too old or too much; what is left of that goes with later writes."""
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
        code=report.code,
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
    )
