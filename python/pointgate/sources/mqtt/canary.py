"""The canary: an end-to-end test with requests of our own, each of which must get its reply.

    subscribe to both reply topics ─► post on both forms of the topic ─► both replies, in time?

MQTT 3.1.1 cannot report that a share group delivers nothing, that one of the two forms of the topic
is not delivered, or that an access list drops our replies; MQTT 5 brokers can, but not all do. The
canary detects this: it uses a session of its own, so that the broker handles its requests like
those of any sender.

The request has no entries: it is answered 200 and stores nothing (contract 3.1). It is posted at
QoS 0: Mosquitto 2.0.11 closes the connection of a 3.1.1 client that publishes without permission.
It would then redeliver a request at QoS 1, whose reply would close the connection again.

`source.py` decides when it runs, and reports its result beside that of `capabilities.py`.
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
from pointgate.topics import METHOD, REPLY_SUFFIX, request_topic

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

    from pointgate.config import MqttSettings

REPLY_TIMEOUT: Final = 10.0
"""Seconds for both replies; behind a backlog they may take longer, and the next run succeeds."""

DISABLED: Final = (
    "the canary is disabled until restart: the connection was lost whenever it ran; does the "
    "broker use user names or certificates as client ids, or close connections for a reply it "
    "denies?"
)

_ACCEPTED: Final = 200
_ANSWER_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 1.0


async def probe(settings: MqttSettings, *, reply_timeout: float = REPLY_TIMEOUT) -> list[str]:
    """Post a request on both forms of the topic; returns the failures, in words.

    Args:
        settings: The service's settings, with the protocol in use and a `canary`.
        reply_timeout: Seconds for both replies.
    """
    client_id = f"{settings.client_id}-canary"
    try:
        client = plain_client(settings, client_id=client_id, timeout=_ANSWER_SECONDS)
        tap = Tap(client, client_id=client_id)
        try:
            with cancellable():
                async with client:
                    return await _Canary(client, tap, str(settings.canary)).probe(reply_timeout)
        except aiomqtt.MqttError as error:
            raise tap.lost or not_connected(error) from error
    except (ConnectionLost, ConfigError) as error:
        return [f"the canary got no answer: {error}"]


class _Canary:
    """One connection of the canary."""

    def __init__(self, client: aiomqtt.Client, tap: Tap, product: str) -> None:
        self._client = client
        self._tap = tap
        self._topics = [f"{slash}{request_topic(product)}" for slash in ("", "/")]
        self._awaited: dict[str, str] = {}  # topics, by the id of the request
        self._results: dict[str, str] = {}  # failures, by topic; empty for a success

    async def probe(self, reply_timeout: float) -> list[str]:
        filters = [f"{topic}{REPLY_SUFFIX}" for topic in self._topics]
        reasons = await self._client.subscribe([(name, 1) for name in filters])
        of_suback(filters, cast("list[ReasonCode]", reasons), self._tap.suback)
        self._client.timeout = _CLOSE_SECONDS  # the disconnect must not delay a shutdown
        for topic in self._topics:
            name = f"canary-{secrets.token_hex(8)}"
            self._awaited[name] = topic
            self._tap.publish(topic, _request(name), qos=0)
        try:
            async with asyncio.timeout(reply_timeout):
                await self._listen()
        except TimeoutError:
            pass
        missing = "no reply on {}_reply within {:g} s: the broker drops the request or the reply"
        results = [
            self._results.get(topic, missing.format(topic, reply_timeout)) for topic in self._topics
        ]
        return [f"the canary got {failure}" for failure in results if failure]

    async def _listen(self) -> None:
        try:
            async for message in self._client.messages:
                name, code = _answer(message.payload)
                if topic := self._awaited.pop(name, None):
                    wrong = f"the code {code} on {topic}_reply, not 200"
                    self._results[topic] = "" if code == _ACCEPTED else wrong
                if not self._awaited:
                    return
        except aiomqtt.MqttError as error:
            raise self._tap.lost or ConnectionLost("its connection was closed") from error


def _request(name: str) -> bytes:
    return orjson.dumps({"id": name, "version": "1.0", "method": METHOD, "params": []})


def _answer(payload: Any) -> tuple[str, object]:
    """The id and the code of a reply; replies to other senders arrive on the same topic."""
    try:
        document = orjson.loads(payload)
        return str(document["id"]), document["code"]
    except (ValueError, TypeError, KeyError):
        return "", None
