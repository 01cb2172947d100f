"""What a sender gets back, over MQTT 3.1.1 and 5 on either side."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import TOPIC, Broker, Sender, Service, small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXAMPLE = json.dumps(
    {
        "id": "123",
        "version": "1.0",
        "params": [
            {
                "deviceKey": device,
                "measurepoints": {
                    "Power": {"value": power, "quality": 9},
                    "temp": temp,
                    "branchCurr": branches,
                },
                "time": time,
            }
            for device, power, temp, branches, time in (
                ("device1", 1, 1.02, ["1.02", "2.02", "7.93"], 123456),
                ("device1", 2, 2.02, ["2.02", "3.02", "9.93"], 123567),
                ("device2", 1, 1.02, ["1.02", "2.02", "7.93"], 123456),
            )
        ],
        "method": "integration.measurepoint.post",
    },
    indent=4,
).encode()
"""The protocol page's example."""

SUCCESS = b'{"id":"123","code":200,"data":{}}'


@pytest.fixture(scope="module")
def broker_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with Broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.port


@pytest.fixture(scope="module", params=[5, 4], ids=["service-5", "service-3.1.1"])
def service(
    request: pytest.FixtureRequest, broker_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    extra = f"protocol = {request.param}", "[limits]", "payload_bytes = 1000000"
    with Service(folder, broker_port, *extra, name=f"service-{request.param}") as service:
        service.protocol = request.param
        yield service.ready()
        assert service.end() == 0


@pytest.fixture(params=[5, 4], ids=["sender-5", "sender-3.1.1"])
def sender(
    request: pytest.FixtureRequest,
    service: Service,  # noqa: ARG001 - must be there first
    broker_port: int,
) -> Iterator[Sender]:
    with Sender(broker_port, protocol=request.param) as sender:
        yield sender


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_pages_example_gets_the_pages_reply(sender: Sender, slash: str, qos: int) -> None:
    reply = sender.ask(EXAMPLE, slash + TOPIC, qos=qos)
    assert reply == (f"{slash}{TOPIC}_reply", SUCCESS, qos, False, None)


@pytest.mark.parametrize("qos", [0, 1])
def test_replies_come_in_the_order_of_the_requests(sender: Sender, qos: int) -> None:
    for number in range(300):
        sender.send(small(number), qos=qos)
    assert [json.loads(reply.payload)["id"] for reply in sender.take(300)] == [
        str(number) for number in range(300)
    ]


@pytest.mark.parametrize(
    ("payload", "topic", "code"),
    [
        (b"", TOPIC, 1251),
        (b"{", TOPIC, 1220),
        (b"\xff\x00", TOPIC, 1220),
        (small(1).replace(b"device1", b"device9"), TOPIC, 1257),
        (small(1).replace(b"1.5", b'"1.5"'), TOPIC, 1204),
        (small(1), TOPIC.replace("protocol", "unknown"), 1257),
        (small(1) + b" " * 1_000_000, TOPIC, 1008),
        (small(1) + b" " * 5_000_000, TOPIC, 1008),
    ],
)
def test_what_is_not_right_gets_its_code(
    sender: Sender, payload: bytes, topic: str, code: int
) -> None:
    reply = sender.ask(payload, topic)
    assert json.loads(reply.payload)["code"] == code
    assert reply.topic == topic + "_reply"


def test_a_large_request_is_judged_like_a_small_one(sender: Sender) -> None:
    measurepoints = ({"temp": n + 0.25, "Power": {"value": n}} for n in range(10_000))
    request = {
        "id": 7,
        "version": "1.1",
        "method": "integration.measurepoint.post",
        "params": [{"deviceKey": "device2", "measurepoints": each} for each in measurepoints],
    }
    payload = json.dumps(request, separators=(",", ":")).encode()
    assert 500_000 < len(payload) < 1_000_000
    assert sender.ask(payload).payload == b'{"id":7,"code":200,"data":{}}'


def test_correlation_data_is_echoed_and_the_response_topic_ignored(
    service: Service, broker_port: int
) -> None:
    correlation = b"\0\xffabc" * 50
    with Sender(broker_port) as sender:
        sender.send(small(1), correlation=correlation)
        reply = sender.reply()
    assert reply.topic == TOPIC + "_reply"
    # MQTT 3.1.1 does not carry it to the service.
    assert reply.correlation == (correlation if service.protocol == 5 else None)


def test_a_topic_that_no_product_can_have_is_counted_and_not_answered(
    service: Service, sender: Sender
) -> None:
    name = 'pointgate_requests_ignored_total{reason="bad_topic"}'
    before = service.metric(name)
    sender.send(small(1), TOPIC.replace("protocol", "no such key"))
    assert json.loads(sender.ask(small("next")).payload)["id"] == "next"
    service.wait_for_metric(name, before + 1)


def test_a_live_request_with_the_retain_flag_is_answered_and_the_reply_not_retained(
    sender: Sender,
) -> None:
    sender.send(small("live"), retain=True)
    reply = sender.reply()
    assert (json.loads(reply.payload)["id"], reply.retained) == ("live", False)
    sender.send(b"", retain=True)  # forget it; a request of no bytes, too
    assert json.loads(sender.reply().payload)["code"] == 1251


@pytest.mark.parametrize("protocol", [5, 4])
def test_stored_retained_requests_are_counted_and_not_answered(
    broker: Broker, protocol: int, tmp_path: Path
) -> None:
    with Sender(broker.port) as sender:
        sender.send(small("old"), retain=True).wait_for_publish(5)
        with Service(tmp_path, broker.port, f"protocol = {protocol}") as service:
            service.ready()
            assert json.loads(sender.ask(small("new")).payload)["id"] == "new"
            service.wait_for_metric('pointgate_requests_ignored_total{reason="retained"}', 1)


def test_every_request_is_accounted_for(service: Service) -> None:
    received = service.metric("pointgate_requests_received_total")
    codes = (200, 1008, 1251, 1220, 1260, 1257, 1204)
    answered = sum(service.metric(f'pointgate_requests_total{{code="{code}"}}') for code in codes)
    reasons = ("bad_topic", "retained", "connection_lost", "dead_lettered", "judge_failed")
    ignored = sum(
        service.metric(f'pointgate_requests_ignored_total{{reason="{reason}"}}')
        for reason in reasons
    )
    assert received == answered + ignored > 0
