"""The simulated plants: they post at a steady rate, and receive the replies.

Each plant has its own connection, as a gateway has. A reply is matched to its request by MQTT 5
Correlation Data, which the service echoes, because a faulty request may have no id. An observer
receives all replies; those to requests of no plant are replies to the user.

Invariants: memory is bounded, however long the demo runs.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, cast

import aiomqtt
import orjson
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pointgate.codes import Code
from pointgate.demo.broker import HOST
from pointgate.demo.plants import MISTAKES, PLANTS, body
from pointgate.topics import REPLY_FILTERS, REPLY_SUFFIX

if TYPE_CHECKING:
    from pointgate.demo.plants import Plant

_MISTAKE_SHARE: Final = 0.08
_NOTE_SECONDS: Final = 1.0
"""The rate limit of shown rejections, for people to read them."""

_REPLY_SECONDS: Final = 30.0
_LAST_REPLIES_SECONDS: Final = 5.0
_LATE_SECONDS: Final = 1.0
"""A sender that is later than this skips the requests that it missed."""

_MARK: Final = b"demo:"


@dataclass(frozen=True, slots=True)
class Note:
    """A reply that is shown."""

    clock: str
    sender: str  # the plant that posted the request; `you` for the user
    mistake: str  # that the plant made
    code: int
    message: str


@dataclass(slots=True)
class Tally:
    """The counts of all plants."""

    sent: int = 0
    answered: int = 0
    unexpected: int = 0  # accepted mistakes, and rejected valid requests
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=1000))  # seconds
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=7))
    _next_note: float = 0.0

    def latency(self) -> str:
        """The median and the 99th percentile of the latencies."""
        ordered = sorted(self.latencies) or [0.0]
        last = len(ordered) - 1
        p50, p99 = (1000 * ordered[min(int(share * (last + 1)), last)] for share in (0.5, 0.99))
        return f"reply p50 {p50:.1f} ms, p99 {p99:.1f} ms"

    def note(
        self, sender: str, mistake: str, reply: dict[str, Any], *, always: bool = False
    ) -> None:
        """Store a reply to show, within the rate limit."""
        now = time.monotonic()
        if now >= self._next_note or always:
            self._next_note = now + _NOTE_SECONDS
            clock, code = time.strftime("%H:%M:%S"), int(reply.get("code", 0))
            self.notes.append(Note(clock, sender, mistake, code, str(reply.get("message", ""))))


class _Sender:
    """One plant's gateway."""

    def __init__(self, plant: Plant, port: int, tally: Tally, seed: int) -> None:
        self.plant = plant
        self.client = _client(port, f"demo-{plant.name}")
        self.pending: dict[bytes, tuple[float, str]] = {}  # when it was sent, and its mistake
        self._tally = tally
        self._random = Random(seed)  # noqa: S311 - simulated values, not secrets
        self._number = 0

    async def post(self, interval: float) -> None:
        """Post a request every `interval` seconds, until cancelled."""
        posting = cast("asyncio.Task[None]", asyncio.current_task())
        loop = asyncio.get_running_loop()
        due = loop.time() + self._random.random() * interval
        while True:
            await asyncio.sleep(due - loop.time())
            await self._post_one()
            if posting.cancelling():
                # Before Python 3.12, the `wait_for` inside aiomqtt can lose a cancellation.
                raise asyncio.CancelledError
            due = max(due + interval, loop.time() - _LATE_SECONDS)

    async def _post_one(self) -> None:
        self._number += 1
        now_ms = int(time.time() * 1000)
        request = body(self.plant, self._random, number=self._number, now_ms=now_ms)
        mistake, payload = "", orjson.dumps(request)
        if self._random.random() < _MISTAKE_SHARE:
            mistake = self._random.choice(list(MISTAKES))
            payload = MISTAKES[mistake](request, self._random)
        correlation = _MARK + f"{self.plant.name}-{self._number}".encode()
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = correlation
        oldest = next(iter(self.pending), None)
        if oldest and time.perf_counter() - self.pending[oldest][0] > _REPLY_SECONDS:
            del self.pending[oldest]
        self.pending[correlation] = time.perf_counter(), mistake
        self._tally.sent += 1
        await self.client.publish(self.plant.topic, payload, qos=1, properties=properties)

    async def receive(self) -> None:
        """Receive the replies, until cancelled."""
        async for message in self.client.messages:
            correlation = _correlation(message)
            if correlation not in self.pending:
                continue
            sent_at, mistake = self.pending.pop(correlation)
            reply = _reply(message)
            accepted = reply.get("code") == Code.OK
            self._tally.latencies.append(time.perf_counter() - sent_at)
            self._tally.answered += 1
            self._tally.unexpected += accepted == bool(mistake)
            if not accepted:
                known = mistake or "valid until the catalog was changed"
                self._tally.note(self.plant.name, known, reply)


async def run_fleet(port: int, stop: asyncio.Event, *, rate: float, tally: Tally) -> None:
    """Post requests of all plants until `stop` is set; then wait for outstanding replies.

    Raises:
        ExceptionGroup: Of `aiomqtt.MqttError`: the connection to the broker is lost.
    """
    senders = [_Sender(plant, port, tally, seed) for seed, plant in enumerate(PLANTS)]
    observer = _client(port, "demo-observer")
    async with AsyncExitStack() as clients:
        for sender in senders:
            await clients.enter_async_context(sender.client)
            await sender.client.subscribe(f"{sender.plant.topic}{REPLY_SUFFIX}", qos=1)
        await clients.enter_async_context(observer)
        for replies in REPLY_FILTERS:
            await observer.subscribe(replies)
        async with asyncio.TaskGroup() as tasks:
            receiving = [tasks.create_task(sender.receive()) for sender in senders]
            receiving.append(tasks.create_task(_observe(observer, tally)))
            interval = len(PLANTS) / rate
            posting = [tasks.create_task(sender.post(interval)) for sender in senders]
            await stop.wait()
            for task in posting:
                task.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_REPLIES_SECONDS):
                    while any(sender.pending for sender in senders):  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
            for task in receiving:
                task.cancel()


async def _observe(observer: aiomqtt.Client, tally: Tally) -> None:
    """Note the replies to the user's own requests."""
    async for message in observer.messages:
        if not _correlation(message).startswith(_MARK):
            tally.note("you", "", _reply(message), always=True)


def _client(port: int, name: str) -> aiomqtt.Client:
    return aiomqtt.Client(
        HOST,
        port,
        identifier=name,
        protocol=aiomqtt.ProtocolVersion.V5,
        # Without it, Nagle's algorithm delays a request until the last one is acknowledged (40 ms).
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )


def _correlation(message: aiomqtt.Message) -> bytes:
    correlation: bytes = getattr(message.properties, "CorrelationData", b"")
    return correlation


def _reply(message: aiomqtt.Message) -> dict[str, Any]:
    reply: dict[str, Any] = orjson.loads(bytes(message.payload))
    return reply
