"""The demo's plants at work: they post at a steady rate and follow their replies.

Each plant has a connection of its own, as a gateway has. A reply is matched with its request by the
MQTT 5 Correlation Data, which the service echoes, because a message that is empty or broken has no
id to match. An observer sees every reply there is: what no plant has asked for, a person has.

Invariants: what is remembered is bounded, however long the demo runs.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter, deque
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, cast

import aiomqtt
import orjson
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pointgate.demo.broker import HOST
from pointgate.demo.plants import METHOD, MISTAKES, PLANTS, body

if TYPE_CHECKING:
    from pointgate.demo.broker import Broker
    from pointgate.demo.plants import Plant

_MISTAKE_SHARE: Final = 0.08
_LATENCIES: Final = 1000
_NOTES: Final = 7
_NOTE_SECONDS: Final = 1.0
"""A rejection a second is as much as a person can read."""

_REPLY_SECONDS: Final = 30.0
_FAREWELL_SECONDS: Final = 5.0
_BEHIND_SECONDS: Final = 1.0
"""A sender that is this late leaves out what it has missed."""

_MARK: Final = b"demo:"
_ACCEPTED: Final = 200


@dataclass(frozen=True, slots=True)
class Note:
    """A reply worth showing.

    Attributes:
        clock: When it came.
        who: The plant that had posted the request; `you` for one that no plant has posted.
        mistake: What was wrong with it, as the plant knows it.
        code: The reply's code.
        message: The reply's message.
    """

    clock: str
    who: str
    mistake: str
    code: int
    message: str


@dataclass(slots=True)
class Tally:
    """What the plants have seen.

    Attributes:
        sent: Requests posted.
        answered: Replies to them.
        unanswered: Requests that no reply came for in time.
        surprises: Mistakes that were accepted, and right requests that were rejected.
        codes: Replies by code.
        latencies: Seconds from the request to its reply, of the last requests.
        notes: The last replies worth showing.
    """

    sent: int = 0
    answered: int = 0
    unanswered: int = 0
    surprises: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=_NOTES))
    _next_note: float = 0.0

    def quantile(self, share: float) -> float:
        """The latency that this share of the last requests did not exceed; 0 without any."""
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0

    def note(self, who: str, mistake: str, reply: dict[str, Any], *, always: bool = False) -> None:
        """Keep a reply to show, unless one was kept a moment ago."""
        now = time.monotonic()
        if now >= self._next_note or always:
            self._next_note = now + _NOTE_SECONDS
            message = str(reply.get("message", ""))
            clock = time.strftime("%H:%M:%S")
            self.notes.append(Note(clock, who, mistake, int(reply.get("code", 0)), message))


@dataclass(slots=True)
class _Pending:
    sent_at: float
    mistake: str


class _Sender:
    """One plant's gateway."""

    def __init__(self, plant: Plant, broker: Broker, tally: Tally, seed: int) -> None:
        self.plant = plant
        self.client = _client(broker, f"demo-{plant.name}")
        self.pending: dict[bytes, _Pending] = {}
        self._tally = tally
        self._random = Random(seed)  # noqa: S311 - weather, not secrets
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
            due = max(due + interval, loop.time() - _BEHIND_SECONDS)

    async def _post_one(self) -> None:
        self._number += 1
        now_ms = int(time.time() * 1000)
        request = body(self.plant, self._random, number=self._number, now_ms=now_ms)
        mistake = ""
        if self._random.random() < _MISTAKE_SHARE:
            chosen = self._random.choice(MISTAKES)
            mistake, payload = chosen.name, chosen.make(self._random, request)
        else:
            payload = orjson.dumps(request)
        correlation = _MARK + f"{self.plant.name}-{self._number}".encode()
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = correlation
        self.pending[correlation] = _Pending(time.perf_counter(), mistake)
        self._tally.sent += 1
        await self.client.publish(self.plant.topic, payload, qos=1, properties=properties)
        self._forget()

    def _forget(self) -> None:
        """Give up on the oldest request, if its reply is long overdue."""
        oldest = next(iter(self.pending), None)
        if oldest and time.perf_counter() - self.pending[oldest].sent_at > _REPLY_SECONDS:
            del self.pending[oldest]
            self._tally.unanswered += 1

    async def follow(self) -> None:
        """Take the replies, until cancelled."""
        async for message in self.client.messages:
            pending = self.pending.pop(_correlation(message), None)
            if pending is None:
                continue
            reply = _reply(message)
            code = int(reply.get("code", 0))
            tally = self._tally
            tally.latencies.append(time.perf_counter() - pending.sent_at)
            tally.answered += 1
            tally.codes[code] += 1
            as_meant = (code == _ACCEPTED) == (not pending.mistake)
            tally.surprises += not as_meant
            if code != _ACCEPTED:
                what = pending.mistake or "nothing wrong, until the catalog was changed"
                tally.note(self.plant.name, what, reply)


class Fleet:
    """All plants.

    Args:
        broker: Where they post.
        rate: Requests a second, of all together.
        tally: Where they note what they see.
    """

    def __init__(self, broker: Broker, *, rate: float, tally: Tally) -> None:
        self._tally = tally
        self._interval = len(PLANTS) / rate
        self._senders = [_Sender(plant, broker, tally, seed) for seed, plant in enumerate(PLANTS)]
        self._observer = _client(broker, "demo-observer")

    async def run(self, stop: asyncio.Event) -> None:
        """Post until asked to stop; then wait for the replies that are still missing.

        Raises:
            ExceptionGroup: Of `aiomqtt.MqttError`: the broker is gone.
        """
        async with AsyncExitStack() as clients:
            for sender in self._senders:
                await clients.enter_async_context(sender.client)
                await sender.client.subscribe(f"{sender.plant.topic}_reply", qos=1)
            await clients.enter_async_context(self._observer)
            for slash in ("", "/"):
                await self._observer.subscribe(f"{slash}sys/+/{METHOD.replace('.', '/')}_reply")
            async with asyncio.TaskGroup() as tasks:
                following = [tasks.create_task(sender.follow()) for sender in self._senders]
                following.append(tasks.create_task(self._observe()))
                posting = [
                    tasks.create_task(sender.post(self._interval)) for sender in self._senders
                ]
                await stop.wait()
                for task in posting:
                    task.cancel()
                await self._until_answered()
                for task in following:
                    task.cancel()

    async def _until_answered(self) -> None:
        deadline = time.monotonic() + _FAREWELL_SECONDS
        while any(sender.pending for sender in self._senders):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
        self._tally.unanswered += sum(len(sender.pending) for sender in self._senders)

    async def _observe(self) -> None:
        """Note the replies that no plant has asked for: somebody tries it out."""
        async for message in self._observer.messages:
            if not _correlation(message).startswith(_MARK):
                self._tally.note("you", "", _reply(message), always=True)


def _client(broker: Broker, name: str) -> aiomqtt.Client:
    return aiomqtt.Client(
        HOST,
        broker.port,
        identifier=name,
        protocol=aiomqtt.ProtocolVersion.V5,
        # Otherwise each request waits up to 40 ms for the acknowledgement of what was sent before.
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )


def _correlation(message: aiomqtt.Message) -> bytes:
    correlation: bytes = getattr(message.properties, "CorrelationData", b"")
    return correlation


def _reply(message: aiomqtt.Message) -> dict[str, Any]:
    try:
        reply = orjson.loads(bytes(message.payload))
    except (orjson.JSONDecodeError, TypeError):
        return {}
    return reply if isinstance(reply, dict) else {}
