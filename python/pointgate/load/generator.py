"""One run: requests at a fixed rate or within a window, their replies, and the time that it takes.

    until the end:
        publish what is due: in an open loop by the clock, in a closed loop what the window allows
        wait for replies, or until the next request is due
        read each connection that has bytes, and count the replies
    then wait for the last replies, until each is there or lost

An open loop sends on, whether replies arrive or not, as independent senders do; it shows what a
rate costs in latency. A closed loop sends the next request when a reply arrives; it shows the
highest rate. Latencies count from the instant at which a request was due, so a generator or a
broker that falls behind makes them longer, never fewer (coordinated omission).

One connection receives all replies, because each subscriber of a topic gets every message; requests
are sent over all connections in turn.

Invariants: at most `window` requests are outstanding; a request is counted once.

It is one thread without an event loop, whose timers have a resolution of a millisecond.
"""

from __future__ import annotations

import os
import select
import selectors
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointgate._core import MqttLoad
from pointgate.errors import ConnectionLost
from pointgate.load.connection import KEEPALIVE, PINGREQ, connect
from pointgate.load.outcome import Outcome, outcome_of
from pointgate.sources.mqtt.errors import broken
from pointgate.topics import REPLY_SUFFIX, request_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate.config import MqttSettings
    from pointgate.load.connection import Connection
    from pointgate.load.requests import Requests

_SEND_BYTES: Final = 262_144
"""While more bytes wait for a socket, nothing is published on its connection."""

_STEP_BYTES: Final = 1_048_576
"""The most bytes that are published on a connection at once."""

_TICK_NS: Final = 200_000_000
"""The time between two checks for lost requests, pings and the display."""

_CHUNK: Final = 4096


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does.

    Attributes:
        product: The product key.
        qos: 0 or 1.
        connections: How many.
        window: The most requests without a reply.
        rate: Requests a second; None for a closed loop.
        bad: The share of requests that must be rejected.
        seconds: How long it sends.
        requests: The most requests; None for no limit.
        timeout: How many seconds a reply may take.
    """

    product: str
    qos: int = 1
    connections: int = 1
    window: int = 256
    rate: float | None = None
    bad: float = 0.0
    seconds: float = 10.0
    requests: int | None = None
    timeout: float = 10.0


class Generator:
    """Runs one plan.

    Args:
        settings: The broker, and the credentials.
        plan: What to do.
        requests: What to send.
        show: Called some times a second with the outcome so far.

    Attributes:
        stopped: Set it to end the run early: the last replies are still awaited.
    """

    def __init__(
        self,
        settings: MqttSettings,
        plan: Plan,
        requests: Requests,
        *,
        show: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        self.stopped = False
        self._settings = settings
        self._plan = plan
        self._show = show
        self._load = MqttLoad(
            requests.good,
            requests.bad,
            bad_share=plan.bad,
            qos=plan.qos,
            connections=plan.connections,
            mark=int.from_bytes(os.urandom(4), "big"),
            first_ms=requests.first_ms,
            span_ms=requests.span_ms,
            timeout_ns=round(plan.timeout * 1e9),
        )
        self._step = max(1, _STEP_BYTES // max(len(one.payload) for one in requests.good))
        self._connections: list[Connection] = []
        self._selector = selectors.DefaultSelector()
        self._writing: set[int] = set()
        self._turn = 0  # the connection that publishes next
        self._behind_ns = 0

    def run(self) -> Outcome:
        """Run the plan.

        Raises:
            ConfigError: A TLS file or a password file cannot be used.
            ConnectionLost: The broker cannot be reached, refuses a connection, or ended one.
        """
        with ExitStack() as closing:
            closing.callback(self._selector.close)
            name = f"pointgate-bench-{os.getpid()}-{os.urandom(3).hex()}"
            for number in range(self._plan.connections):
                topics = () if number else [request_topic(self._plan.product) + REPLY_SUFFIX]
                connection = connect(
                    self._settings, client_id=f"{name}-{number}", filters=topics, qos=self._plan.qos
                )
                closing.callback(connection.relay.close)
                self._connections.append(connection)
                self._selector.register(connection.relay, selectors.EVENT_READ, number)
            try:
                return self._run()
            except OSError as error:
                raise broken(error) from error

    def _run(self) -> Outcome:
        self._begun = begun = time.perf_counter_ns()
        self._cpu = time.process_time_ns()
        self._end = begun + round(self._plan.seconds * 1e9)
        self._interval = 1e9 / self._plan.rate if self._plan.rate else 0.0
        for number, connection in enumerate(self._connections):
            self._receive(number, connection.received)
        tick, pinged = begun + _TICK_NS, begun
        while True:
            now = time.perf_counter_ns()
            wait = self._publish(now)
            if wait is None and not self._load.outstanding:
                return self._outcome(time.perf_counter_ns())
            if now >= tick:
                tick = now + _TICK_NS
                self._load.expire(now)
                self._show(self._outcome(now))
                if now - pinged > KEEPALIVE * 5e8:
                    pinged = now
                    self._ping()
            self._wait(tick - now if wait is None else min(wait, tick - now))

    def _publish(self, now: int) -> float | None:
        """Publish what is due; returns the nanoseconds until more is, None after the end."""
        count = self._due(now)
        if count is None:
            return None
        room = self._plan.window - self._load.outstanding
        left = min(count, room)
        share = -(-left // len(self._connections))
        for _ in self._connections:
            if left <= 0:
                break
            sent = self._publish_on(self._turn, min(share, left, self._step), now)
            self._turn = (self._turn + 1) % len(self._connections)
            left -= sent
        if not self._interval:
            return float("inf")
        due_ns = self._begun + self._load.sent * self._interval
        self._behind_ns = max(self._behind_ns, round(time.perf_counter_ns() - due_ns))
        return max(0.0, due_ns - time.perf_counter_ns()) if left <= 0 and count <= room else 1e6

    def _due(self, now: int) -> int | None:
        """How many requests are due; None after the end of the run."""
        sent, most = self._load.sent, self._plan.requests
        if self.stopped or now >= self._end or (most is not None and sent >= most):
            return None
        count = self._plan.window
        if self._interval:
            count = int((now - self._begun) / self._interval) + 1 - sent
        return count if most is None else min(count, most - sent)

    def _publish_on(self, number: int, count: int, now: int) -> int:
        """Publish on one connection, unless its socket is slow; returns how many."""
        relay, load = self._connections[number].relay, self._load
        if relay.waiting_bytes > _SEND_BYTES:
            return 0
        before = load.sent
        due_ns = round(self._begun + before * self._interval) if self._interval else now
        relay.write(load.publish(number, count, due_ns, self._interval))
        self._flush(number)
        return load.sent - before

    def _flush(self, number: int) -> None:
        """Send, and watch the socket for what it did not accept."""
        relay = self._connections[number].relay
        waits = not relay.flush()
        if waits != (number in self._writing):
            self._writing ^= {number}
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits else 0)
            self._selector.modify(relay, events, number)

    def _wait(self, nanoseconds: float) -> None:
        """Wait for sockets, and serve those that are ready."""
        # `select` has microseconds; `epoll`, of which the selector has a descriptor, milliseconds.
        select.select([self._selector], [], [], max(0.0, nanoseconds) / 1e9)
        for key, events in self._selector.select(0):
            number: int = key.data
            if events & selectors.EVENT_WRITE:
                self._flush(number)
            if events & selectors.EVENT_READ:
                self._read(number)

    def _read(self, number: int) -> None:
        relay = self._connections[number].relay
        more = True
        while more:
            data = relay.read()
            if data == b"":
                raise ConnectionLost("the broker closed the connection")
            if data:
                self._receive(number, data)
            more = relay.has_more(data)

    def _receive(self, number: int, data: bytes) -> None:
        packets = self._load.feed(number, data, time.perf_counter_ns())
        if packets:
            self._connections[number].relay.write(packets)
            self._flush(number)

    def _ping(self) -> None:
        for number, connection in enumerate(self._connections):
            connection.relay.write(PINGREQ)
            self._flush(number)

    def _outcome(self, now: int) -> Outcome:
        cpu_seconds = (time.process_time_ns() - self._cpu) / 1e9
        seconds = (now - self._begun) / 1e9
        return outcome_of(
            self._load, seconds=seconds, cpu_seconds=cpu_seconds, behind=self._behind_ns / 1e9
        )
