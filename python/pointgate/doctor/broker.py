"""Examines the broker: what it grants, what the account may do, what the broker does.

Everything goes over connections of the doctor's own, whose client ids begin with that of the
service; their sessions are removed at the end. Requests are posted for the product of
`mqtt.canary`, else for one of the catalog, and have no entries, so that nothing is stored.

Over MQTT 3.1.1 a broker does not say that it denies a message: what depends on that is skipped.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, cast

import aiomqtt
import orjson
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pointgate.doctor.findings import Findings
from pointgate.errors import ConfigError, ConnectionLost
from pointgate.sources.mqtt.capabilities import of_connack, of_suback
from pointgate.sources.mqtt.errors import BrokerRefused
from pointgate.sources.mqtt.packets import MQTT_5
from pointgate.sources.mqtt.plain_client import Tap, connected
from pointgate.topics import METHOD, REPLY_SUFFIX, REQUEST_FILTERS, request_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from paho.mqtt.reasoncodes import ReasonCode

    from pointgate.config import MqttSettings, Settings

_ANSWER_SECONDS: Final = 5.0
_QUIET_SECONDS: Final = 1.0
"""How long to wait for what may not come."""

_WINDOW: Final = 5
_MESSAGES: Final = 20

_VERSION_TOPIC: Final = "$SYS/broker/version"

_NO_REPLY: Final = (
    "no service has answered: none is running, or its request or reply is not delivered"
)


class _Client:
    """A connection with what the broker said on it."""

    def __init__(self, client: aiomqtt.Client, tap: Tap) -> None:
        self.client = client
        self.tap = tap
        self.arrived: asyncio.Queue[aiomqtt.Message] = asyncio.Queue()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def subscribe(self, *filters: str) -> list[str]:
        """Subscribe at QoS 1; the shortfalls. May raise `BrokerRefused`."""
        reasons = await self.client.subscribe([(name, 1) for name in filters])
        return of_suback(filters, cast("list[ReasonCode]", reasons), self.tap.suback)

    async def publish(self, topic: str, payload: bytes) -> str:
        """Publish at QoS 1; why the broker rejects it, empty if it does not.

        Mosquitto 2.0 closes the connection after it has rejected a message.
        """
        answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        numbers: list[int] = []

        def on_puback(number: int, reason: str) -> None:
            if number in numbers and not answered.done():
                answered.set_result(reason)

        self.tap.on_puback = on_puback
        numbers.append(self.tap.publish(topic, payload))
        async with asyncio.timeout(_ANSWER_SECONDS):
            await asyncio.wait([answered, self._ended], return_when=asyncio.FIRST_COMPLETED)
        return answered.result() if answered.done() else self._ended.result()

    async def next(self, topic: str, seconds: float) -> bytes | None:
        """The next message on a topic; None if none arrives in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    message = await self.arrived.get()
                    if str(message.topic) == topic:
                        return bytes(message.payload)
        return None

    async def listen(self) -> None:
        """Queue what arrives until the connection ends."""
        try:
            async for message in self.client.messages:
                self.arrived.put_nowait(message)
        except aiomqtt.MqttError:
            self._ended.set_result(str(self.tap.lost or "the broker closed the connection"))


@asynccontextmanager
async def _connected(
    settings: MqttSettings, name: str, *, properties: Properties | None = None, manual: bool = False
) -> AsyncIterator[_Client]:
    """A connection; raises `ConnectionLost` with the reason when it fails or ends."""
    client_id = f"{settings.client_id}-doctor-{os.getpid()}-{name}"
    async with connected(
        settings,
        client_id=client_id,
        answer_timeout=_ANSWER_SECONDS,
        properties=properties,
        manual_acks=manual,
    ) as (client, tap):
        opened = _Client(client, tap)
        listening = asyncio.create_task(opened.listen(), name="doctor")
        try:
            yield opened
        except TimeoutError as error:
            raise tap.lost or ConnectionLost("the broker did not answer in time") from error
        finally:
            listening.cancel()


async def examine_broker(settings: Settings, *, product: str) -> Findings:
    """Examine the broker of `[mqtt]`.

    Args:
        settings: The settings.
        product: A product of the catalog, for requests if there is no `mqtt.canary`.
    """
    found = Findings("broker")
    mqtt = settings.mqtt.model_copy(update={"canary": settings.mqtt.canary or product})
    if mqtt.protocol == "auto":
        mqtt = mqtt.model_copy(update={"protocol": 5})
    try:
        try:
            await _examine(settings, mqtt, found)
        except BrokerRefused as error:
            if settings.mqtt.protocol != "auto":
                raise
            found.clear()
            found.ok(f"MQTT 5 is refused ({error}), and mqtt.protocol is auto")
            await _examine(settings, mqtt.model_copy(update={"protocol": 4}), found)
    except (ConnectionLost, ConfigError) as error:
        found.fail(
            f"{mqtt.url}: {error}",
            "start the broker, or correct address, account and TLS in [mqtt]",
        )
    return found


async def _examine(settings: Settings, mqtt: MqttSettings, found: Findings) -> None:
    started = time.perf_counter()
    session = _expiry(mqtt.session_expiry) if mqtt.level == MQTT_5 else None
    async with _connected(mqtt, "session", properties=session) as client:
        took = (time.perf_counter() - started) * 1000
        version = "5" if mqtt.level == MQTT_5 else "3.1.1"
        found.ok(f"{mqtt.url}: connected over MQTT {version} in {took:.1f} ms")
        for shortfall in of_connack(mqtt, settings.limits, client.tap.connack):
            found.warn(shortfall, "raise the broker's limit, or lower the setting")
        if not getattr(client.tap.connack, "RetainAvailable", 1):
            found.warn(
                "the broker disconnects senders that mark a request as retained",
                "allow retained messages there",
            )
        await _version(client, found)
        await _subscriptions(client, mqtt, found)
    async with _connected(mqtt, "canary") as client:
        await _canary(client, mqtt, found)
    await _reply(mqtt, found)
    if session is not None:  # remove the session
        async with _connected(mqtt, "session", properties=_expiry(0)):
            pass
        await _window(mqtt, found)
    await _strangers(mqtt, found)


def _expiry(seconds: int) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = seconds
    return properties


async def _version(client: _Client, found: Findings) -> None:
    try:
        await client.subscribe(_VERSION_TOPIC)
    except BrokerRefused:
        return
    if version := await client.next(_VERSION_TOPIC, _QUIET_SECONDS):
        found.ok(f"it says that it is {version.decode('utf-8', 'replace')[:80]}")


async def _subscriptions(client: _Client, mqtt: MqttSettings, found: Findings) -> None:
    """Subscribe as the service does, to a group of another name, and unsubscribe."""
    filters = [
        f"$share/{mqtt.share_group}-doctor/{name}" if mqtt.share_group else name
        for name in REQUEST_FILTERS
    ]
    try:
        shortfalls = await client.subscribe(*filters)
    except BrokerRefused as error:
        found.fail(str(error), "let the account read sys/+/integration/measurepoint/post")
        return
    await client.client.unsubscribe(filters)
    for shortfall in shortfalls:
        found.warn(shortfall, "allow QoS 1 there")
    if not shortfalls:
        shared = f", shared as {mqtt.share_group}" if mqtt.share_group else ""
        found.ok(f"it grants the subscriptions to requests at QoS 1{shared}")


async def _canary(client: _Client, mqtt: MqttSettings, found: Findings) -> None:
    """Post a request, and look for it and for its reply."""
    topic = request_topic(str(mqtt.canary))
    reply_topic = f"{topic}{REPLY_SUFFIX}"
    with suppress(BrokerRefused):  # of topics that the account may not read
        await client.subscribe(topic)
    with suppress(BrokerRefused):
        await client.subscribe(reply_topic)
    started = time.perf_counter()
    name = f"doctor-{os.getpid()}"
    denied = await client.publish(topic, _request(name))
    if denied:
        found.ok(f"the account may not post requests ({denied}); delivery was not tested")
    elif mqtt.level != MQTT_5 and await client.next(topic, _QUIET_SECONDS) is None:
        found.skip("a request that was posted is not delivered: is the account allowed to post?")
    elif mqtt.level == MQTT_5 and await client.next(topic, _ANSWER_SECONDS) is None:
        found.fail(
            f"the broker accepts a request on {topic} and does not deliver it",
            "let the account read it",
        )
    else:
        found.ok("a request that was posted is delivered")
        if await client.next(reply_topic, _QUIET_SECONDS) is not None:
            took = (time.perf_counter() - started) * 1000
            found.ok(f"a service has answered, within {took:.0f} ms")
        else:
            found.skip(_NO_REPLY)


def _request(name: str) -> bytes:
    """A request without entries: it is answered 200, and nothing is stored (contract 3.1)."""
    return orjson.dumps({"id": name, "version": "1.0", "method": METHOD, "params": []})


async def _reply(mqtt: MqttSettings, found: Findings) -> None:
    """Write a reply."""
    if mqtt.level != MQTT_5:
        found.skip("may the account write replies? MQTT 3.1.1 does not say (see mqtt.canary)")
        return
    reply_topic = f"{request_topic(str(mqtt.canary))}{REPLY_SUFFIX}"
    async with _connected(mqtt, "reply") as client:
        denied = await client.publish(reply_topic, b"{}")
    if denied:
        found.fail(
            f"the account may not write replies: {denied}",
            "let it write sys/+/integration/measurepoint/post_reply",
        )
    else:
        found.ok("the account may write replies")


async def _window(mqtt: MqttSettings, found: Findings) -> None:
    """Whether the broker sends no more unacknowledged messages than Receive Maximum allows."""
    topic = request_topic(str(mqtt.canary))
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = _WINDOW
    async with (
        _connected(mqtt, "window", properties=properties, manual=True) as reader,
        _connected(mqtt, "writer") as writer,
    ):
        with suppress(BrokerRefused):
            await reader.subscribe(topic)
        for _ in range(_MESSAGES):
            if await writer.publish(topic, _request("doctor-window")):
                found.skip("Receive Maximum: the account may not post requests")
                return
        count = 0
        while await reader.next(topic, _QUIET_SECONDS) is not None:
            count += 1
    if not count:
        found.skip("Receive Maximum: no message was delivered")
    elif count <= _WINDOW:
        found.ok("it honours Receive Maximum")
    else:
        found.warn(
            f"it does not honour Receive Maximum: {count} unacknowledged messages instead of "
            f"{_WINDOW}",
            "limit its own window (Mosquitto: max_inflight_messages) to mqtt.receive_maximum",
        )


async def _strangers(mqtt: MqttSettings, found: Findings) -> None:
    """Whether clients without a password, or with a wrong one, are let in."""
    nobody: dict[str, Any] = {"username": None, "password": None, "password_file": None}
    if mqtt.username is None:
        found.warn(
            "mqtt.username is not set, and the broker lets us in: whoever reaches it may post "
            "requests and read replies",
            "give each sender an account and restrict its topics (deploy/mosquitto/acl)",
        )
        return
    if await _enters(mqtt.model_copy(update=nobody)):
        found.warn(
            "it lets clients in without a user name", "forbid it (Mosquitto: allow_anonymous false)"
        )
    else:
        found.ok("it refuses clients without a user name")


async def _enters(mqtt: MqttSettings) -> bool:
    try:
        async with _connected(mqtt, "stranger"):
            return True
    except (ConnectionLost, ConfigError):
        return False
