"""A broker that does what a test tells it, packet by packet: what Mosquitto cannot be made to do.

    async with ScriptedBroker() as broker:
        connecting = ...                      # the connection under test connects to broker.port
        await broker.accept()                 # CONNECT was read, CONNACK sent
        broker.send(publish_frame)
        packet = await broker.packet()        # the next packet of the client, pings aside

It answers CONNECT, SUBSCRIBE, UNSUBSCRIBE and, unless told not to, PINGREQ; nothing else.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CONNECT, CONNACK, PUBLISH, PUBACK = 0x10, 0x20, 0x30, 0x40
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 0x82, 0x90, 0xA2, 0xB0
PINGREQ, PINGRESP, DISCONNECT = 0xC0, 0xD0, 0xE0
TOPIC = "sys/protocol/integration/measurepoint/post"


def frame(first: int, body: bytes) -> bytes:
    """A whole packet."""
    length, size = bytearray(), len(body)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes((first,)) + bytes(length) + body


def request(
    payload: bytes,
    *,
    packet_id: int = 0,
    qos: int | None = None,
    five: bool = True,
    correlation: bytes = b"",
) -> bytes:
    """A PUBLISH of a request; at QoS 1 if it has a packet id."""
    qos = (1 if packet_id else 0) if qos is None else qos
    body = len(TOPIC).to_bytes(2, "big") + TOPIC.encode()
    body += packet_id.to_bytes(2, "big") if qos else b""
    if correlation:
        correlation = b"\x09" + len(correlation).to_bytes(2, "big") + correlation
    if five:
        body += frame(0, correlation)[1:]  # their length, written as that of a packet is
    return frame(PUBLISH | qos << 1, body + payload)


def puback(packet_id: int, reason: int = 0) -> bytes:
    """A PUBACK of a reply."""
    return frame(PUBACK, packet_id.to_bytes(2, "big") + (bytes((reason,)) if reason else b""))


async def until(condition: Callable[[], object]) -> None:
    """Give the loop turns until something holds; the test's own timeout is the end."""
    while not condition():  # noqa: ASYNC110 - nothing of what is awaited has an event
        await asyncio.sleep(0.01)


class ScriptedBroker:
    """One client at a time."""

    def __init__(self) -> None:
        self.port = 0
        self.answers_pings = True
        self.answers_subscriptions = True
        self.suback = b""  # the answer that was withheld
        self.pings = 0
        self.connect = b""
        self.filters: list[bytes] = []
        self.unsubscribed: list[bytes] = []
        self.grants = 1  # the reason code of each subscription in SUBACK
        self.suback_properties = b""
        self._clients: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )
        self._packets: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.writer: asyncio.StreamWriter
        self._reader: asyncio.StreamReader

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            lambda *streams: self._clients.put_nowait(streams), "127.0.0.1", 0
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        while not self._clients.empty():  # came again and were not taken
            self._writers.append(self._clients.get_nowait()[1])
        for writer in self._writers:
            writer.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    async def accept(
        self, *, session: bool = False, reason: int = 0, properties: bytes = b"", five: bool = True
    ) -> None:
        """Take a client and answer its CONNECT."""
        reader = await self.take()
        first, self.connect = await _read(reader)
        assert first == CONNECT
        tail = bytes((len(properties),)) + properties if five else b""
        self.send(frame(CONNACK, bytes((session, reason)) + tail))
        self._tasks.append(asyncio.create_task(self._serve(reader, five=five)))

    async def take(self) -> asyncio.StreamReader:
        """Take a client without a word."""
        self._reader, self.writer = await self._clients.get()
        self._writers.append(self.writer)
        return self._reader

    async def _serve(self, reader: asyncio.StreamReader, *, five: bool) -> None:
        while True:
            try:
                first, body = await _read(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                self._packets.put_nowait((0, b""))
                self.writer.close()
                return
            if first == PINGREQ:
                self.pings += 1
                if self.answers_pings:
                    self.send(frame(PINGRESP, b""))
            elif first == SUBSCRIBE:
                self.filters = list(_filters(body[3 if five else 2 :]))
                properties = frame(0, self.suback_properties)[1:] if five else b""
                granted = properties + bytes((self.grants,)) * len(self.filters)
                self.suback = frame(SUBACK, body[:2] + granted)
                if self.answers_subscriptions:
                    self.send(self.suback)
            elif first == UNSUBSCRIBE:
                tail = body[3 if five else 2 :]
                self.unsubscribed = list(_names(tail))
                codes = b"\0" + b"\0" * len(self.unsubscribed) if five else b""
                self.send(frame(UNSUBACK, body[:2] + codes))
            else:
                self._packets.put_nowait((first, body))

    def send(self, *frames: bytes) -> None:
        """Send bytes to the client."""
        self.writer.write(b"".join(frames))

    def freeze(self) -> None:
        """Read nothing more, as a broker that is stopped."""
        for task in self._tasks:
            task.cancel()

    async def discard(self) -> None:
        """Read on after `freeze`, and look at nothing."""
        while await self._reader.read(65_536):
            pass

    async def discard_packets(self) -> None:
        """Take the client's packets and look at none."""
        while (await self.packet())[0]:
            pass

    def hang_up(self) -> None:
        """Close the connection without a word."""
        self.writer.transport.abort()

    async def packet(self) -> tuple[int, bytes]:
        """The first byte and the body of the client's next packet; zero when it is gone."""
        return await self._packets.get()

    def packets_now(self) -> list[tuple[int, bytes]]:
        """The packets that have come and were not looked at."""
        found = []
        while not self._packets.empty():
            found.append(self._packets.get_nowait())
        return found


def _filters(body: bytes) -> Iterable[bytes]:
    while body:
        size = int.from_bytes(body[:2], "big")
        yield body[2 : 2 + size]
        body = body[size + 3 :]


def _names(body: bytes) -> Iterable[bytes]:
    while body:
        size = int.from_bytes(body[:2], "big")
        yield body[2 : 2 + size]
        body = body[size + 2 :]


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first = (await reader.readexactly(1))[0]
    size = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return first, await reader.readexactly(size)
