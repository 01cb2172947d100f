"""Records as bridges write them become the requests that senders posted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from pointgate.config import KafkaSettings
from pointgate.kafka.rules import check_topic

if TYPE_CHECKING:
    from collections.abc import Mapping

MQTT: Final = "sys/solar/integration/measurepoint/post"
BODY: Final = b'{"id":"1","version":"1.0","params":[],"method":"integration.measurepoint.post"}'


class Made(NamedTuple):
    """A record that nobody sent."""

    value_: bytes | None = BODY
    key_: bytes | None = None
    headers_: Mapping[str, bytes | None] | None = None
    topic_: str = "iot.requests"

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def topic(self) -> str:
        return self.topic_

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return list(self.headers_.items()) if self.headers_ is not None else None


def read(record: Made, **settings: Any) -> tuple[str, bytes, bytes | None, bytes | None]:
    """What the rules find in a record, between others in which they find nothing, or no text."""
    others = Made(value_=None), Made(value_=b"{", key_=b"\xff", headers_={"topic": b"\xff"})
    requests = KafkaSettings(**settings).rules.reader()([others[0], record, others[1]])
    topic, payload, correlation, client = ([*zip(*requests, strict=True)])[1]
    return topic, payload, correlation, client


EVENT: Final = {
    "clientid": "gw1",
    "topic": MQTT,
    "payload": BODY.decode(),
    "qos": 1,
    "pub_props": {"User-Property": {}},
}

BRIDGES: Final[dict[str, tuple[dict[str, Any], Made]]] = {
    "EMQX, value ${payload}, headers topic and clientid": (
        {"client": "header:clientid"},
        Made(headers_={"topic": MQTT.encode(), "clientid": b"gw1"}),
    ),
    "EMQX, the whole event": (
        {"topic": "json:/topic", "payload": "json:/payload", "client": "json:/clientid"},
        Made(value_=json.dumps(EVENT).encode(), key_=b"gw1"),
    ),
    "HiveMQ extension: the topic is the key": ({}, Made(key_=MQTT.encode())),
    "Confluent MQTT source: the topic is the key, headers about the message": (
        {},
        Made(
            key_=MQTT.encode(),
            headers_={"mqtt.message.id": b"0", "mqtt.qos": b"1", "mqtt.retained": b"false"},
        ),
    ),
    "Redpanda Connect, metadata mqtt_topic as header": (
        {"topic": "header:mqtt_topic"},
        Made(headers_={"mqtt_topic": MQTT.encode(), "mqtt_qos": b"1"}),
    ),
    "Lenses stream-reactor: a Kafka topic for each MQTT topic, / as _": (
        {
            "topic": "kafka:sys_(.+)_integration_measurepoint_post->"
            r"sys/\1/integration/measurepoint/post"
        },
        Made(topic_="sys_solar_integration_measurepoint_post"),
    ),
    "Strimzi bridge: the product by rule in the Kafka topic": (
        {"topic": r"kafka:iot\.(?P<product>\w+)->sys/\g<product>/integration/measurepoint/post"},
        Made(topic_="iot.solar"),
    ),
    "Azure IoT Operations: the topic is the key, correlation as header": (
        {"correlation": "header:correlationData", "client": "header:clientId"},
        Made(key_=MQTT.encode(), headers_={"correlationData": b"\x00\xff", "clientId": b"gw1"}),
    ),
    "AWS IoT rule, SELECT *, a header with topic()": (
        {"topic": "header:topic"},
        Made(key_=b"gw1", headers_={"topic": MQTT.encode()}),
    ),
    "AWS IoT rule, SELECT * AS payload: an object, encoded again": (
        {"topic": "json:/topic", "payload": "json:/payload"},
        Made(value_=b'{"topic":"%s","payload": %s}' % (MQTT.encode(), BODY)),
    ),
    "one product, nothing says which": ({"topic": MQTT}, Made()),
}


@pytest.mark.parametrize("bridge", BRIDGES)
def test_a_bridges_record_is_the_request_that_was_posted(bridge: str) -> None:
    settings, record = BRIDGES[bridge]
    topic, payload, correlation, client = read(record, **settings)
    assert (topic, payload) == (MQTT, BODY)
    assert correlation == (b"\x00\xff" if "correlation" in bridge else None)
    known = {"key": record.key_}.get(settings.get("client", "key"), b"gw1")
    assert client == known


LOST: Final[dict[str, tuple[dict[str, Any], Made]]] = {
    "no header, no key": ({}, Made()),
    "a header without a value": ({}, Made(headers_={"mqtt.topic": None})),
    "a key that is no UTF-8": ({}, Made(key_=b"\xff")),
    "a value that is no JSON": ({"topic": "json:/topic"}, Made(value_=b"{")),
    "a member that is missing": ({"topic": "json:/topic"}, Made()),
    "a member of a number": ({"topic": "json:/a/b"}, Made(value_=b'{"a":1}')),
    "an element that an array has not": ({"topic": "json:/9"}, Made(value_=b"[1]")),
    "no value": ({"topic": "json:/topic"}, Made(value_=None)),
    "another Kafka topic": ({"topic": r"kafka:a(.)->sys/\1"}, Made(topic_="b1")),
}


@pytest.mark.parametrize("what", LOST)
def test_a_record_without_a_topic_is_no_exception(what: str) -> None:
    settings, record = LOST[what]
    assert read(record, **settings)[0] == ""


def test_what_the_libraries_cannot_say_is_not_found() -> None:
    """A header whose name is no UTF-8, and a member that is nested too deep to be encoded."""

    class Unspeakable(Made):
        def headers(self) -> list[tuple[str, bytes | None]]:
            raise SystemError

    assert read(Unspeakable(key_=MQTT.encode()))[0] == MQTT
    assert read(Unspeakable(), topic="header:topic")[0] == ""
    deep = b'{"payload":' + b"[" * 900 + b"]" * 900 + b"}"
    assert read(Made(value_=deep), payload="json:/payload")[1] == b""


def test_the_first_rule_that_finds_a_topic_counts() -> None:
    record = Made(key_=b"gw1", headers_={"topic": MQTT.encode()})
    assert read(record)[0] == MQTT
    assert read(record, topic=["key", "header:topic"])[0] == "gw1"


def test_a_record_without_a_value_is_an_empty_payload() -> None:
    assert read(Made(value_=None))[1] == b""
    assert read(Made(value_=b"{}"), payload="json:/payload")[1] == b""


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("json:/a~1b/0", '{"a/b":["x"]}'),
        ("json:/~01", '{"~1":"x"}'),
        ("json:/", '{"":"x"}'),
        ("json:/n", '{"n":{"x":1.50}}'),
    ],
)
def test_pointers_are_those_of_the_rfc(rule: str, text: str) -> None:
    expected = b'{"x":1.5}' if rule == "json:/n" else b"x"
    assert read(Made(value_=text.encode()), payload=rule)[1] == expected


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "header:",
        "headers:a",
        "json:",
        "json:topic",
        "json:/~2",
        "kafka:(.*)",
        "kafka:(->x",
        r"kafka:a->\1",
        "sys/a b/integration/measurepoint/post",
        "sys/+/integration/measurepoint/post",
        "value",
    ],
)
def test_a_rule_that_is_none_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        check_topic(rule)
