"""Taps: a live sample of answered requests, with their verdicts, for `GET /tap`.

    the gate:      if taps.attached: taps.offer(burst, settled)     never waits
    each tap:      filter and sample in Rust ─► a JSON line each ─► a queue ─► its connection

A tap gets every request that matches while there are few of them, and a sample above its rate. It
never slows the gate: all taps together get `_SHARE` of a core, and what exceeds it is not looked
at; a queue that is full, because the client does not read, drops what comes. Both are counted.

A line is a request, as `pointgate rejects --json` has it, or `{"counts":…}`: what the tap has seen
and not shown since it was attached. Without taps the gate makes no object and no call.

Invariants: the number of taps, the bytes of each queue and the requests of a burst that become
objects are bounded, whatever arrives; a request that is in no line is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import orjson

from pointgate._core import TapFilter, codes
from pointgate.errors import PointgateError
from pointgate.fault_document import fault_document, payload_member, utc_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pointgate._core import Burst, Report

MOST_RATE: Final = 10_000
"""Requests a second of one tap. The share of a core allows some 1,000 (2 cores, 2026-11)."""

DEFAULT_RATE: Final = 100

PAYLOAD_BYTES: Final = 1024 * 1024
"""Larger payloads are not shown in full: encoding one takes some milliseconds on the loop."""

EXCERPT_BYTES: Final = 256

_MOST_TAPS: Final = 4
_MOST_OF_BURST: Final = 64
_QUEUE_BYTES: Final = 1024 * 1024

_SHARE: Final = 0.015
"""The share of a core that all taps together may take, in CPU time of the loop's thread."""

_SAVED_SECONDS: Final = 0.005
"""The CPU time that may be saved while nothing arrives."""

_CALL_SECONDS: Final = 0.5e-6
"""What looking at a burst takes besides what is measured."""

_LINGER: Final = 0.05
"""Seconds between two writes to a client."""

_COUNTS_SECONDS: Final = 1.0

_NO_FAULT: Final = dict.fromkeys(
    (
        "reason",
        "message",
        "pointer",
        "offset",
        "index",
        "deviceKey",
        "identifier",
        "expected",
        "got",
        "didYouMean",
    )
)

_log = logging.getLogger(__name__)


class TapQueryError(PointgateError):
    """The query of a tap is wrong; the text says how."""


class TooManyTapsError(PointgateError):
    """As many taps are attached as there may be."""


class Bucket:
    """A token bucket.

    Args:
        rate: How many tokens are added in a second.
        most: How many it holds; it begins full.
        now: The present, in seconds.
    """

    def __init__(self, rate: float, most: float, now: float) -> None:
        self._rate = rate
        self._most = self._level = most
        self._at = now

    def level(self, now: float) -> float:
        """How many tokens it has now; negative after more were spent than it had."""
        self._level = min(self._most, self._level + self._rate * (now - self._at))
        self._at = now
        return self._level

    def spend(self, tokens: float) -> None:
        """Remove tokens."""
        self._level -= tokens


@dataclass(frozen=True, slots=True)
class TapOptions:
    """What a client asks for.

    Attributes:
        filter: The requests that it wants.
        rate: The most requests a second.
        payload: Whether it wants whole payloads.
    """

    filter: TapFilter
    rate: int = DEFAULT_RATE
    payload: bool = False


class Taps:
    """The attached taps.

    Attributes:
        attached: Them; empty most of the time.
    """

    def __init__(self) -> None:
        self.attached: list[Tap] = []
        self._seen = _Seen()
        self._allowance = Bucket(_SHARE, _SAVED_SECONDS, time.monotonic())

    def attach(self, query: str) -> Tap:
        """Attach a tap.

        Args:
            query: The query of a url: `product`, `code`, `reason`, `device`, `identifier`, `rate`
                and `payload=1`.

        Raises:
            TapQueryError: The query is wrong.
            TooManyTapsError: As many are attached as there may be.
        """
        options = _options(query)
        if len(self.attached) >= _MOST_TAPS:
            raise TooManyTapsError(f"{_MOST_TAPS} taps are attached, and no more are possible")
        tap = Tap(options, self._seen, time.monotonic())
        self.attached.append(tap)
        return tap

    def detach(self, tap: Tap) -> None:
        """Detach a tap: it gets no more requests."""
        self.attached.remove(tap)

    def offer(self, burst: Burst, settled: int) -> None:
        """Show the first requests of a burst, which were answered, to every tap."""
        now = time.monotonic()
        self._seen.answered += settled
        if self._allowance.level(now) <= 0:
            self._seen.unexamined += settled
            return
        began = time.thread_time()
        for tap in self.attached:
            try:
                tap.offer(burst, settled, now)
            except Exception:  # noqa: BLE001 - a bug of ours must not stop the gate
                _log.exception("cannot show requests of a burst")
        self._allowance.spend(time.thread_time() - began + _CALL_SECONDS)


@dataclass(slots=True)
class _Seen:
    """What all taps have been offered since the start, and how much of it was not looked at."""

    answered: int = 0
    unexamined: int = 0


class Tap:
    """One tap: its filter, its queue and its counts.

    Args:
        options: What its client asks for.
        seen: What all taps have been offered.
        now: The present, on the monotonic clock, in seconds.
    """

    def __init__(self, options: TapOptions, seen: _Seen, now: float) -> None:
        self._options = options
        self._seen = seen
        self._before = replace(seen)
        self._rate = Bucket(options.rate, options.rate, now)
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._changed = asyncio.Event()
        self._counted_at = now
        self._shown_counts = (0, 0, 0, 0)
        self._dropped = 0
        """Matching requests since the last line that are not shown."""
        self._matched = self._shown = 0

    def offer(self, burst: Burst, settled: int, now: float) -> None:
        """Queue a line for each request of a sample."""
        most = max(0, min(int(self._rate.level(now)), _MOST_OF_BURST))
        limit = PAYLOAD_BYTES if self._options.payload else EXCERPT_BYTES
        matched, sample = self._options.filter.sample(
            burst, settled, most=most, first=self._matched, payload_bytes=limit
        )
        self._matched += matched
        self._dropped += matched - len(sample)
        self._rate.spend(len(sample))
        for topic, payload, size, report, received in sample:
            line = self._line(topic, payload, size, report, received)
            if self._queue and self._queued_bytes + len(line) > _QUEUE_BYTES:
                self._dropped += 1
                continue
            self._dropped = 0
            self._shown += 1
            self._queue.append(line)
            self._queued_bytes += len(line)
        if self._queue:
            self._changed.set()

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The queued lines as they come, and once a second the counts if they have changed."""
        yield self._counts_line()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_COUNTS_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            lines = b"".join(self._queue)
            self._queue.clear()
            self._queued_bytes = 0
            due = time.monotonic() - self._counted_at >= _COUNTS_SECONDS
            if due and self._counts != self._shown_counts:
                lines += self._counts_line()
            if lines:
                yield lines
                await asyncio.sleep(_LINGER)

    def _counts_line(self) -> bytes:
        """The line with the counts since it was attached."""
        self._counted_at = time.monotonic()
        answered, matched, shown, unexamined = self._shown_counts = self._counts
        counts = {
            "answered": answered,
            "matched": matched,
            "shown": shown,
            "dropped": matched - shown,
            "unexamined": unexamined,
        }
        return orjson.dumps({"counts": counts}, option=orjson.OPT_APPEND_NEWLINE)

    @property
    def _counts(self) -> tuple[int, int, int, int]:
        answered = self._seen.answered - self._before.answered
        unexamined = self._seen.unexamined - self._before.unexamined
        return answered, self._matched, self._shown, unexamined

    def _line(self, topic: str, payload: bytes, size: int, report: Report, received: int) -> bytes:
        """A request as a line of JSON."""
        fault = report.fault
        document: dict[str, Any] = {
            "received": utc_text(received),
            "topic": topic,
            "code": report.code if fault is None else fault.code,
            "answered": report.code,
            "points": report.points,
            **(_NO_FAULT if fault is None else fault_document(fault)),
            "size": size,
            "dropped": self._dropped,
        }
        if not self._options.payload:
            document["excerpt"] = payload.decode("utf-8", "backslashreplace")
        elif len(payload) == size:
            document |= payload_member(payload)
        return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _options(query: str) -> TapOptions:
    """What a query asks for."""
    given: dict[str, str] = {}
    try:
        for name, value in parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)):
            if name in given:
                raise TapQueryError(f"the query has {name!a} twice")
            given[name] = value
    except ValueError as error:
        raise TapQueryError(f"the query is wrong: {error}") from error
    rate = _integer("rate", given.pop("rate", str(DEFAULT_RATE)), 1, MOST_RATE)
    payload = _integer("payload", given.pop("payload", "0"), 0, 1)
    code = _integer("code", given.pop("code"), 0, codes[-1]) if "code" in given else None
    texts = {name: given.pop(name, None) for name in ("product", "reason", "device", "identifier")}
    if given:
        raise TapQueryError(f"the query has an unknown parameter: {next(iter(given))!a}")
    try:
        return TapOptions(TapFilter(code=code, **texts), rate, payload == 1)
    except ValueError as error:
        raise TapQueryError(f"the query is wrong: {error}") from error


def _integer(name: str, text: str, least: int, most: int) -> int:
    """A parameter of the query that is an integer."""
    if re.fullmatch("[0-9]{1,9}", text) and least <= int(text) <= most:
        return int(text)
    raise TapQueryError(f"{name}: expected an integer from {least} to {most}, got {text[:64]!a}")
