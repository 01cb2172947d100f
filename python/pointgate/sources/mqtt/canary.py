"""The canary: requests of our own, which must come back as replies of our own.

    subscribe to both reply topics ─► post on both forms of the topic ─► both replies, in time?

MQTT 3.1.1 cannot say that a share group delivers nothing, that one of the two forms of the topic is
not delivered, or that an access list drops our replies; MQTT 5 brokers can, and do not always. This
can: it goes the way that the requests of senders go, by a session of its own, so that the broker
treats it as another client.

The request has no entries: it is answered 200 and stores nothing (contract 3.1). It is posted at
QoS 0: Mosquitto 2.0.11 ends the connection of a 3.1.1 client that publishes what it may not, and
would redeliver a request at QoS 1 to it, whose reply ends the connection again.

It decides nothing: `link.py` says when, and shows what was found beside what `granted.py` finds.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final, cast

import aiomqtt
import orjson

from pointgate.errors import ConfigError, ConnectionLost
from pointgate.sources.mqtt.capabilities import of_suback
from pointgate.sources.mqtt.errors import not_connected
from pointgate.sources.mqtt.paho import cancellable
from pointgate.sources.mqtt.plain_client import Tap, plain_client
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

    from pointgate.config import MqttSettings

PATIENCE: Final = 10.0
"""Seconds for both replies; behind a backlog they may take longer, and the next try finds them."""

CUT: Final = (
    "the canary is off until a restart: the connection was lost whenever it asked; does the broker "
    "take user names or certificates for client ids, or end connections for a reply it denies?"
)

_ACCEPTED: Final = 200
_ANSWER_SECONDS: Final = 10.0
_FAREWELL: Final = 1.0


async def ask(settings: MqttSettings, *, patience: float = PATIENCE) -> list[str]:
    """Post a request on both forms of the topic; returns what went wrong, in words.

    Args:
        settings: How the service connects, with the protocol it has chosen and a `canary`.
        patience: Seconds for both replies.
    """
    client_id = f"{settings.client_id}-canary"
    try:
        client = plain_client(settings, client_id=client_id, timeout=_ANSWER_SECONDS)
        tap = Tap(client, client_id=client_id)
        try:
            with cancellable():
                async with client:
                    return await _Canary(client, tap, str(settings.canary)).ask(patience)
        except aiomqtt.MqttError as error:
            raise tap.lost or not_connected(error) from error
    except (ConnectionLost, ConfigError) as error:
        return [f"the canary got no answer: {error}"]


class _Canary:
    """One connection of it."""

    def __init__(self, client: aiomqtt.Client, tap: Tap, product: str) -> None:
        self._client = client
        self._tap = tap
        self._topics = [f"{slash}{request_topic(product)}" for slash in ("", "/")]
        self._awaited: dict[str, str] = {}  # topics, by the id of the request
        self._found: dict[str, str] = {}  # what became of the request on a topic

    async def ask(self, patience: float) -> list[str]:
        filters = [f"{topic}_reply" for topic in self._topics]
        reasons = await self._client.subscribe([(name, 1) for name in filters])
        of_suback(filters, cast("list[ReasonCode]", reasons), self._tap.suback)
        self._client.timeout = _FAREWELL  # for the end: it must not delay that of the service
        for topic in self._topics:
            name = f"canary-{secrets.token_hex(8)}"
            self._awaited[name] = topic
            self._tap.publish(topic, _request(name), qos=0)
        try:
            async with asyncio.timeout(patience):
                await self._listen()
        except TimeoutError:
            pass
        missing = "no reply on {}_reply within {:g} s: the broker drops the request or the reply"
        told = [self._found.get(topic, missing.format(topic, patience)) for topic in self._topics]
        return [f"the canary got {words}" for words in told if words]

    async def _listen(self) -> None:
        try:
            async for message in self._client.messages:
                name, code = _answer(message.payload)
                if topic := self._awaited.pop(name, None):
                    told = "" if code == _ACCEPTED else f"the code {code} on {topic}_reply, not 200"
                    self._found[topic] = told
                if not self._awaited:
                    return
        except aiomqtt.MqttError as error:
            raise self._tap.lost or ConnectionLost("its connection was closed") from error


def _request(name: str) -> bytes:
    document = {"id": name, "version": "1.0", "params": []}
    return orjson.dumps(document | {"method": "integration.measurepoint.post"})


def _answer(payload: Any) -> tuple[str, object]:
    """The id and the code of a reply; others come on the same topic."""
    try:
        document = orjson.loads(payload)
        return str(document["id"]), document["code"]
    except (ValueError, TypeError, KeyError):
        return "", None
