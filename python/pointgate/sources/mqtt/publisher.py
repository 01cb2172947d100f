"""Posting requests again: as their senders did, over the broker, each with its reply.

    post(request) ─► broker ─► the service, which judges, keeps and answers ─► the reply's code

A reply is told from the others on its topic by the MQTT 5 Correlation Data that the service echoes,
so this works beside senders that are at work; who posted the request first gets the reply, too.

Invariants: at most `_WINDOW` requests wait for their replies at a time; nothing is taken for
answered without a reply of its own.

It does not judge, and does not know where requests come from.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import aiomqtt
import orjson
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pointgate.errors import ConnectionLost, PointgateError
from pointgate.sources.mqtt.capabilities import of_suback
from pointgate.sources.mqtt.errors import not_connected
from pointgate.sources.mqtt.packets import RECEIVED
from pointgate.sources.mqtt.plain_client import Tap, plain_client
from pointgate.topics import REPLY_FILTERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from paho.mqtt.reasoncodes import ReasonCode

    from pointgate.config import MqttSettings

_WINDOW: Final = 64
_REPLY_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0


class PublishRefusedError(PointgateError):
    """The broker did not take a request: its text is the broker's reason."""


class Publisher:
    """Posts requests over one connection."""

    def __init__(self, client: aiomqtt.Client, tap: Tap, *, patience: float) -> None:
        self._client = client
        self._tap = tap
        self._open: dict[int, asyncio.Future[int]] = {}  # by packet id, until its PUBACK
        tap.on_puback = self._taken
        self._patience = patience
        self._window = asyncio.Semaphore(_WINDOW)
        self._waiting: dict[bytes, asyncio.Future[int]] = {}
        self._mark = os.urandom(8)
        self._number = 0

    async def post(
        self, topic: str, payload: bytes, *, received_us: int | None = None
    ) -> int | None:
        """Post a request.

        Args:
            topic: Its topic.
            payload: Its payload.
            received_us: When it first arrived, UTC microseconds: its entries without time have
                this one (contract 3.5).

        Returns:
            The code of its reply; None when none came in time.

        Raises:
            PublishRefusedError: The broker did not take it.
            ConnectionLost: The connection has ended.
        """
        async with self._window:
            self._number += 1
            mark = self._mark + self._number.to_bytes(8, "big")
            reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._waiting[mark] = reply
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = mark
            if received_us is not None:
                properties.UserProperty = (RECEIVED, str(received_us))
            packet_id = 0
            try:
                async with asyncio.timeout(self._patience):
                    packet_id = self._tap.publish(topic, payload, properties)
                    self._open[packet_id] = reply
                    return await reply
            except TimeoutError:
                return None
            finally:
                del self._waiting[mark]
                self._open.pop(packet_id, None)

    def _taken(self, packet_id: int, reason: str) -> None:
        """The broker has taken a request, or says why not."""
        reply = self._open.pop(packet_id, None)
        if reason and reply is not None and not reply.done():
            reply.set_exception(PublishRefusedError(reason))

    async def listen(self) -> None:
        """Take replies, until the connection ends."""
        try:
            async for message in self._client.messages:
                mark = getattr(message.properties, "CorrelationData", None)
                reply = self._waiting.get(mark) if isinstance(mark, bytes) else None
                if reply is not None and not reply.done():
                    reply.set_result(_code(message.payload))
        except aiomqtt.MqttError as error:
            lost = self._tap.lost or ConnectionLost(str(error))
            for reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(lost)


@asynccontextmanager
async def posting(
    settings: MqttSettings, *, patience: float = _REPLY_SECONDS
) -> AsyncIterator[Publisher]:
    """Connect to the broker of the service, under a client id of our own.

    Args:
        settings: How the service connects.
        patience: Seconds until a reply comes no more.

    Raises:
        ConfigError: A file for TLS or with a password cannot be used.
        ConnectionLost: The broker cannot be reached, or refuses us.
    """
    client_id = f"{settings.client_id}-replay-{os.getpid()}"
    client = plain_client(settings, client_id=client_id, timeout=_CONNECT_SECONDS)
    tap = Tap(client, client_id=client_id)
    try:
        async with client:
            reasons = await client.subscribe([(name, 1) for name in REPLY_FILTERS])
            of_suback(REPLY_FILTERS, cast("list[ReasonCode]", reasons), tap.suback)
            poster = Publisher(client, tap, patience=patience)
            listening = asyncio.create_task(poster.listen(), name="replies")
            try:
                yield poster
            finally:
                listening.cancel()
    except aiomqtt.MqttError as error:
        raise tap.lost or not_connected(error, tls=settings.tls) from error


def _code(payload: Any) -> int:
    """The code of a reply; 0 of what is none."""
    try:
        code = orjson.loads(payload)["code"]
    except (ValueError, TypeError, KeyError):
        return 0
    return code if isinstance(code, int) else 0
