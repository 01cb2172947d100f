"""Chunks of points posted through the broker to the service, each request until its 200.

    chunk → requests → at most `WINDOW` in flight → replies
                                                    200          noted (`answers.py`)
                                                    1204, 1257   its halves are posted, down to the
                                                                 point that is rejected, noted
                                                    1008         the same
                                                    another      ends the import
                                                    none         see below

While the broker is away, connecting is retried with backoff. While the service is away, or does not
answer within the reply timeout, one request at a time is posted until one is answered. Both end the
import after `wait` seconds without any reply.

After a kill the requests in flight are posted again, at most `WINDOW` of them: a point is stored
under its product, device, identifier and time, so the same value is stored again.

Invariants: a chunk is noted as done after every point of it was answered; its rejected points are
reported with that, so each is reported once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Self

from pointgate import failpoint
from pointgate.codes import Code
from pointgate.errors import ConnectionLost, PointgateError
from pointgate.importing.answers import Answers, Refused
from pointgate.importing.requests import Requests
from pointgate.importing.state import SinkState
from pointgate.sources.mqtt.backoff import Backoff
from pointgate.sources.mqtt.errors import BrokerRefused
from pointgate.sources.mqtt.publisher import (
    REPLY_SECONDS,
    Publisher,
    PublishRefusedError,
    connect_publisher,
)
from pointgate.topics import REPLY_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    import pyarrow as pa

    from pointgate.config import MqttSettings
    from pointgate.importing.requests import Request
    from pointgate.importing.state import State
    from pointgate.sources.mqtt.publisher import Reply

NAME: Final = "--post"
"""Its place among the sinks in the state; no sink has this name."""

WINDOW: Final = 32
"""Requests in flight."""

_REQUEST_BYTES: Final = 262_144
"""The limit on a request: EnOS takes 512 KiB, and Mosquitto 2.1 2 MB, a message."""

_ENVELOPE_BYTES: Final = 1024
"""What a packet has beside the payload: the topic and the properties."""

_SPLIT: Final = {Code.MODEL_VALIDATE_FAILED, Code.DEVICE_NOT_FOUND, Code.TOO_LARGE}
_WORDS: Final = {
    Code.MODEL_VALIDATE_FAILED: "model",
    Code.DEVICE_NOT_FOUND: "device",
    Code.TOO_LARGE: "too_large",
}
"""Reasons for a service with `reply.detail = "none"`."""


class PostingError(PointgateError):
    """Requests cannot be posted, or are not answered; the text says why."""


@dataclass(frozen=True, slots=True)
class PostOptions:
    """How to post.

    Attributes:
        mqtt: The service's settings.
        payload_bytes: The limit on a request.
        wait: How many seconds may pass without a reply.
    """

    mqtt: MqttSettings
    payload_bytes: int
    wait: float


class Posting:
    """Posts the chunks of an import, on an event loop in a thread of its own.

    Args:
        options: How.
        state: What is known of the import.
        folder: The folder of the state.
        calls: What it calls.
    """

    def __init__(self, options: PostOptions, state: State, folder: Path, calls: PostCalls) -> None:
        self._options = options
        self._state = state
        self._folder = folder
        self._calls = calls
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="posting", daemon=True)
        self._running: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._state.sinks.setdefault(NAME, SinkState())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # the reason is under way already
            asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def write(self, number: int, points: pa.Table) -> None:
        """Post a chunk, unless it is done, and note that it is.

        Args:
            number: Which one, from 0.
            points: Its points.

        Raises:
            PostingError: It cannot be posted.
            ConfigError: The settings of the broker cannot be used.
            OSError: The state cannot be written.
        """
        state = self._state.sinks[NAME]
        if state.chunks > number:
            return
        label = f"{self._state.id}-{number}"
        answers = Answers(self._folder / "answers.ndjson", label)
        try:
            requests = Requests(points, label)
            poster = _Poster(self._options, requests, answers, self._calls)
            self._run(poster.run())
            for refused in answers.refusals():
                self._calls.refuse(requests.row(refused.row), refused)
        finally:
            answers.close()
        for code, count in answers.codes.items():
            self._state.replies[str(code)] = self._state.replies.get(str(code), 0) + count
        self._state.unanswered += poster.unanswered
        self._state.refused += answers.refused
        state.chunks = number + 1
        self._calls.save()

    def _run(self, call: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            self._running = asyncio.create_task(call)
            await self._running

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    async def _cancel(self) -> None:
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.wait({self._running})


@dataclass(frozen=True, slots=True)
class PostCalls:
    """What posting calls.

    Attributes:
        save: Makes the state durable.
        refuse: Takes each point that the service rejects.
        show: Takes how many points of the chunk were answered since the last call.
        report: Prints a line of diagnostics.
    """

    save: Callable[[], None]
    refuse: Callable[[dict[str, Any], Refused], None]
    show: Callable[[int], None]
    report: Callable[[str], None]


class _Poster:
    """Posts the requests of one chunk that were not answered.

    Attributes:
        unanswered: How many posts got no reply within the timeout.
    """

    def __init__(
        self, options: PostOptions, requests: Requests, answers: Answers, calls: PostCalls
    ) -> None:
        self.unanswered = 0
        self._options = options
        self._requests = requests
        self._answers = answers
        self._calls = calls
        self._work: deque[tuple[int, int]] = deque()
        self._timeout = min(REPLY_SECONDS, options.wait)
        self._most = options.payload_bytes
        self._probing = False
        self._away = ""
        self._answered = time.monotonic()

    async def run(self) -> None:
        """Post until everything was answered."""
        left = self._requests.count
        for start, stop in self._answers.missing(self._requests.count):
            self._work.extend(self._requests.parts(start, stop))
            left -= stop - start
        self._calls.show(left)
        backoff = Backoff()
        self._answered = time.monotonic()
        while self._work:
            begun = None
            try:
                async with connect_publisher(
                    self._options.mqtt,
                    reply_timeout=self._timeout,
                    purpose="import",
                    filters=self._filters(),
                ) as publisher:
                    begun = time.monotonic()
                    self._most = self._limit(publisher)
                    await self._post_all(publisher)
            except BrokerRefused as error:  # until somebody changes a setting
                raise PostingError(f"{self._options.mqtt.url}: {error}") from error
            except ConnectionLost as error:
                lasted = None if begun is None else time.monotonic() - begun
                self._note_away(str(error))
                await asyncio.sleep(backoff.wait(error, lasted))

    def _filters(self) -> list[str]:
        """The reply topics of this chunk's products."""
        topics = {self._requests.topic(start) for start, _ in self._work}
        return sorted(f"{topic}{REPLY_SUFFIX}" for topic in topics)

    def _limit(self, publisher: Publisher) -> int:
        most = min(self._options.payload_bytes, _REQUEST_BYTES)
        if publisher.packet_bytes is not None:
            most = min(most, publisher.packet_bytes - _ENVELOPE_BYTES)
        return most

    async def _post_all(self, publisher: Publisher) -> None:
        while self._work:
            count = 1 if self._probing else min(WINDOW, len(self._work))
            try:
                async with asyncio.TaskGroup() as tasks:
                    for number in range(count):
                        tasks.create_task(self._worker(publisher), name=f"post {number}")
            except ExceptionGroup as group:
                raise _decisive(group) from group
            if self._probing:
                self._note_away(f"no reply within {self._timeout:.0f} s")

    async def _worker(self, publisher: Publisher) -> None:
        """Post requests until there are none, or one is not answered."""
        while self._work:
            part = self._work.popleft()
            request = self._fitting(*part)
            if request is None:
                continue
            try:
                reply = await publisher.request(
                    request.topic, request.payload, received_us=request.received_us
                )
            except PublishRefusedError as error:
                raise PostingError(
                    f"{self._options.mqtt.url}: the broker rejected a request on {request.topic}: "
                    f"{error}"
                ) from error
            except (ConnectionLost, asyncio.CancelledError):
                self._work.appendleft(part)
                raise
            if reply is None or not reply.code:
                self.unanswered += 1
                self._work.appendleft(part)
                self._probing = True
                return
            self._settle(*part, reply)
            if self._probing:
                self._probing = False
                return

    def _fitting(self, start: int, stop: int) -> Request | None:
        """The request of these rows; None after it was cut, because it is too large."""
        request = self._requests.request(start, stop)
        if len(request.payload) <= self._most:
            return request
        if stop - start > 1:
            self._halve(start, stop)
        else:
            reason = f"expected a request of at most {self._most} bytes, got {len(request.payload)}"
            self._refuse(start, Code.TOO_LARGE, "too_large", reason)
        return None

    def _settle(self, start: int, stop: int, reply: Reply) -> None:
        """Note what a reply says."""
        self._answered = time.monotonic()
        if self._away:
            self._away = ""
            self._calls.report("requests are answered again")
        failpoint.hit("import-before-answer")
        if reply.code == Code.OK:
            self._answers.stored(start, stop)
            self._calls.show(stop - start)
        elif reply.code not in _SPLIT:
            topic = self._requests.topic(start)
            raise PostingError(
                f"{topic}: expected the code 200, 1008, 1204 or 1257, got {reply.code}: "
                f"{reply.message}"
            )
        elif stop - start > 1:
            self._answers.rejected(start, stop, reply.code)
            self._halve(start, stop)
        else:
            reason = reply.reason or _WORDS[Code(reply.code)]
            self._refuse(start, reply.code, reason, reply.message)

    def _refuse(self, row: int, code: int, reason: str, message: str) -> None:
        self._answers.refuse(Refused(row, code, reason, message))
        self._calls.show(1)

    def _halve(self, start: int, stop: int) -> None:
        middle = (start + stop) // 2
        self._work.extendleft([(middle, stop), (start, middle)])

    def _note_away(self, reason: str) -> None:
        """Report that there are no replies; end the import when that lasts too long.

        Raises:
            PostingError: It lasts too long.
        """
        lasted = time.monotonic() - self._answered
        url = self._options.mqtt.url
        if lasted >= self._options.wait:
            raise PostingError(f"{url}: {reason}; no reply for {lasted:.0f} s (--wait)")
        if reason != self._away:
            self._away = reason
            self._calls.report(
                f"{url}: {reason}; retrying for {self._options.wait - lasted:.0f} s (--wait)"
            )


def _decisive(group: ExceptionGroup[Exception]) -> Exception:
    """Of the errors of the workers, the one that decides: any but a lost connection."""
    found = group.exceptions
    ends = [one for one in found if not isinstance(one, ConnectionLost)]
    return (ends or list(found))[0]
