"""Publishes requests through the broker, as their senders did, and waits for each reply.

    post(request) ─► broker ─► the service judges, stores and answers ─► the reply's code

Replies are matched by the MQTT 5 Correlation Data that the service echoes, so this works while
senders use the same topics; the original sender gets the reply, too.

Invariants: at most `_WINDOW` requests wait for their replies at a time; a request counts as
answered only after its own reply.

It does not judge, and does not know where requests come from.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import aiomqtt
import orjson
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pointgate.errors import ConnectionLost, PointgateError
from pointgate.sources.mqtt.capabilities import of_suback
from pointgate.sources.mqtt.packets import RECEIVED
from pointgate.sources.mqtt.plain_client import Tap, connected
from pointgate.topics import REPLY_FILTERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from paho.mqtt.reasoncodes import ReasonCode

    from pointgate.config import MqttSettings

_WINDOW: Final = 64
REPLY_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0


class PublishRefusedError(PointgateError):
    """The broker rejected a request; the text is the broker's reason."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to a request.

    Attributes:
        code: Its code; 0 if the payload is not a reply.
        message: Its message.
        reason: The reason in its data; empty with `reply.detail = "none"`.
    """

    code: int
    message: str = ""
    reason: str = ""


class Publisher:
    """Publishes requests over one connection.

    Attributes:
        packet_bytes: The limit of the broker on a packet; None if it has not said one.
    """

    packet_bytes: int | None = None

    def __init__(self, client: aiomqtt.Client, tap: Tap, *, reply_timeout: float) -> None:
        self._client = client
        self._tap = tap
        self._open: dict[int, asyncio.Future[Reply]] = {}  # by packet id, until its PUBACK
        tap.on_puback = self._on_puback
        self._reply_timeout = reply_timeout
        self._window = asyncio.Semaphore(_WINDOW)
        self._waiting: dict[bytes, asyncio.Future[Reply]] = {}
        self._mark = os.urandom(8)
        self._number = 0

    async def post(
        self, topic: str, payload: bytes, *, received_us: int | None = None
    ) -> int | None:
        """Publish a request, and wait for its reply; returns the code. See `request`."""
        reply = await self.request(topic, payload, received_us=received_us)
        return reply.code if reply else None

    async def request(
        self, topic: str, payload: bytes, *, received_us: int | None = None
    ) -> Reply | None:
        """Publish a request, and wait for its reply.

        Args:
            topic: Its topic.
            payload: Its payload.
            received_us: When it first arrived, UTC microseconds: the time of its entries without
                one (contract 3.5).

        Returns:
            Its reply; None if none arrived in time.

        Raises:
            PublishRefusedError: The broker rejected it.
            ConnectionLost: The connection has ended.
        """
        async with self._window:
            self._number += 1
            mark = self._mark + self._number.to_bytes(8, "big")
            reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            self._waiting[mark] = reply
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = mark
            if received_us is not None:
                properties.UserProperty = (RECEIVED, str(received_us))
            packet_id = 0
            try:
                async with asyncio.timeout(self._reply_timeout):
                    packet_id = self._tap.publish(topic, payload, properties)
                    self._open[packet_id] = reply
                    return await reply
            except TimeoutError:
                return None
            finally:
                del self._waiting[mark]
                self._open.pop(packet_id, None)

    def _on_puback(self, packet_id: int, reason: str) -> None:
        """Handle a PUBACK: fail the request if the broker rejected it."""
        reply = self._open.pop(packet_id, None)
        if reason and reply is not None and not reply.done():
            reply.set_exception(PublishRefusedError(reason))

    async def listen(self) -> None:
        """Receive replies until the connection ends."""
        try:
            async for message in self._client.messages:
                mark = getattr(message.properties, "CorrelationData", None)
                reply = self._waiting.get(mark) if isinstance(mark, bytes) else None
                if reply is not None and not reply.done():
                    reply.set_result(_reply(message.payload))
        except aiomqtt.MqttError as error:
            lost = self._tap.lost or ConnectionLost(str(error))
            for reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(lost)


@asynccontextmanager
async def connect_publisher(
    settings: MqttSettings,
    *,
    reply_timeout: float = REPLY_SECONDS,
    purpose: str = "replay",
    filters: Sequence[str] = REPLY_FILTERS,
) -> AsyncIterator[Publisher]:
    """Connect to the service's broker, with a separate client id.

    Args:
        settings: The service's settings.
        reply_timeout: Seconds to wait for each reply.
        purpose: A word in the client id.
        filters: Topic filters for the replies; those of other senders are received, too.

    Raises:
        ConfigError: A TLS file or a password file cannot be used.
        ConnectionLost: The broker cannot be reached, or refuses us.
    """
    client_id = f"{settings.client_id}-{purpose}-{os.getpid()}"
    async with connected(settings, client_id=client_id, answer_timeout=_CONNECT_SECONDS) as (
        client,
        tap,
    ):
        reasons = await client.subscribe([(name, 1) for name in filters])
        of_suback(filters, cast("list[ReasonCode]", reasons), tap.suback)
        publisher = Publisher(client, tap, reply_timeout=reply_timeout)
        publisher.packet_bytes = getattr(tap.connack, "MaximumPacketSize", None)
        listening = asyncio.create_task(publisher.listen(), name="replies")
        try:
            yield publisher
        finally:
            listening.cancel()


def _reply(payload: Any) -> Reply:
    """A reply; its code is 0 if the payload is not a reply."""
    try:
        found = orjson.loads(payload)
        code = found["code"]
    except (ValueError, TypeError, KeyError):
        return Reply(0)
    data = found.get("data")
    reason = data.get("reason") if isinstance(data, dict) else ""
    return Reply(
        code if isinstance(code, int) else 0, str(found.get("message", "")), str(reason or "")
    )
