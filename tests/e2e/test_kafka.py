"""The service over a real Kafka: round trips, restarts, and both sources at once."""

from __future__ import annotations

import json
import re
import signal
import time
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from tests.support.kafka_clients import Reader, Topics, make_topics, send
from tests.support.kafka_server import KafkaServer
from tests.support.kafka_service import KafkaService, settings
from tests.support.patience import PATIENCE
from tests.support.processes import TOPIC, Broker, Sender, small

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("tests.support.kafka_fixtures",)


def numbers(replies: list[bytes]) -> list[int]:
    """The ids of replies."""
    return [int(re.findall(rb'"id":"(\d+)"', reply)[0]) for reply in replies]


def test_a_single_request_is_answered_at_once(kafka: str, topics: Topics, tmp_path: Path) -> None:
    """A median of 7 ms on two shared cores; waiting for a full batch takes 100 each time."""
    with (
        KafkaService(tmp_path, settings(kafka, topics)).joined(),
        Reader(kafka, topics.replies) as reader,
    ):
        send(kafka, topics.requests, [small(0)])
        reader.take(1)
        producer = Producer({"bootstrap.servers": kafka, "linger.ms": 0})
        took = []
        for number in range(1, 51):
            started = time.perf_counter()
            producer.produce(topics.requests, small(number), headers=[("mqtt.topic", TOPIC)])
            producer.poll(0)
            (reply,) = reader.take(1)
            took.append(time.perf_counter() - started)
            assert numbers([reply.value]) == [number]
    assert min(took) < 0.09


def test_terminated_under_load_it_loses_and_repeats_nothing(
    kafka: str, topics: Topics, tmp_path: Path
) -> None:
    count = 20_000
    service = KafkaService(tmp_path, settings(kafka, topics)).joined()
    with service:
        send(kafka, topics.requests, [small(number) for number in range(count)])
        service.wait_for_metric("pointgate_requests_received_total", 1, at_least=True)
        assert service.end() == 0
    with KafkaService(tmp_path, settings(kafka, topics)), Reader(kafka, topics.replies) as reader:
        replies = reader.take(count, PATIENCE)
        assert sorted(numbers([one.value for one in replies])) == list(range(count))


def test_killed_it_loses_nothing(kafka: str, topics: Topics, tmp_path: Path) -> None:
    """At each place at which a request is in other hands."""
    count, places = (
        0,
        ("after-receive", "after-verdict", "before-reply", "after-reply", "after-ack"),
    )
    with Reader(kafka, topics.replies) as reader:
        for place in places:
            environ = {"POINTGATE_FAILPOINT": place}
            with KafkaService(tmp_path, settings(kafka, topics), environ=environ) as service:
                send(kafka, topics.requests, [small(count), small(count + 1)])
                count += 2
                assert service.status() == -signal.SIGKILL
        with KafkaService(tmp_path, settings(kafka, topics)):
            replies: list[bytes] = []
            while set(numbers(replies)) != set(range(count)):
                replies += [one.value for one in reader.take(1, PATIENCE)]


def test_both_sources_are_served_by_one_gate(
    kafka: str, topics: Topics, broker: Broker, tmp_path: Path
) -> None:
    text = settings(kafka, topics, f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"')
    with KafkaService(tmp_path, text) as service, Sender(broker.port) as sender:
        service.wait_for("metrics on")
        service.wait_for_metric("pointgate_mqtt_subscribed", 1)
        service.wait_for_metric("pointgate_kafka_partitions", 3)
        send(kafka, topics.requests, [small(1)])
        with Reader(kafka, topics.replies) as reader:
            assert numbers([one.value for one in reader.take(1, PATIENCE)]) == [1]
        assert numbers([sender.ask(small(2)).payload]) == [2]
        service.wait_for_metric("pointgate_requests_received_total", 2)
        assert service.readiness()[0] == 200
        assert "pointgate_mqtt_connected 1.0" in service.metrics()
        assert service.end() == 0


def test_a_cluster_that_is_away_is_waited_for(tmp_path: Path) -> None:
    home = tmp_path / "kafka"
    home.mkdir()
    with KafkaServer(home) as server:
        topics = make_topics(server.servers)
        server.kill()
        with KafkaService(tmp_path, settings(server.servers, topics)) as service:
            service.wait_for("metrics on")
            service.wait_for("Kafka: ")
            status, text = service.readiness()
            assert status == 503
            assert "not a member of the consumer group" in text
            assert "pointgate_mqtt" not in service.metrics()
            server.start()
            service.joined()
            send(server.servers, topics.requests, [small(1)])
            service.wait_for_metric('pointgate_requests_total{code="200"}', 1)
            server.kill()
            service.wait_for_metric("pointgate_kafka_connected", 0)
            assert "not connected to Kafka" in service.readiness()[1]
            began = time.monotonic()
            assert service.end() == 0
            assert time.monotonic() - began < 8


def test_a_200_is_sent_when_the_points_are_in_the_other_topic(
    kafka: str, topics: Topics, tmp_path: Path
) -> None:
    """With `ack = "kafka"`; killed where the points are stored and nobody knows."""
    sink = f'[[sinks]]\ntype = "kafka"\nservers = "{kafka}"\ntopic = "{topics.points}"'
    text = settings(kafka, topics, f'[spool]\npath = "{tmp_path}/spool"', sink, ack="kafka")
    environ = {"POINTGATE_FAILPOINT": "before-reply"}
    with KafkaService(tmp_path, text, environ=environ) as service:
        send(kafka, topics.requests, [small(1)])
        assert service.status() == -signal.SIGKILL
    with Reader(kafka, topics.points) as points, Reader(kafka, topics.replies) as replies:
        assert len(points.take(1)) == 1
        assert not replies.rest(0.5)
        with KafkaService(tmp_path, text) as service:
            assert numbers([one.value for one in replies.take(1)]) == [1]
            again = points.take(1)  # delivery is at least once
            assert {one.key for one in again} == {b"protocol/device1"}
            assert json.loads(again[0].value)["points"] == {"temp": 1.5}
            assert service.end() == 0
    assert not (tmp_path / "spool").exists()


def test_requests_that_are_passed_on_give_another_service_the_same_points(
    kafka: str, topics: Topics, tmp_path: Path
) -> None:
    sink = f'[[sinks]]\ntype = "kafka"\nservers = "{kafka}"\ntopic = "{topics.points}"\n'
    first = settings(kafka, topics, sink + 'format = "request"', ack="kafka")
    beyond = make_topics(kafka)._replace(requests=topics.points)
    file = tmp_path / "points.ndjson"
    spool = f'[spool]\npath = "{tmp_path}/spool"\n[[sinks]]\ntype = "ndjson"\npath = "{file}"'
    second = settings(kafka, beyond, spool, ack="sink")
    with (
        KafkaService(tmp_path, first, name="first"),
        KafkaService(tmp_path, second, name="second"),
        Reader(kafka, beyond.replies) as replies,
    ):
        send(kafka, topics.requests, [small(number) for number in range(20)])
        read = replies.take(20)
        assert {json.loads(one.value)["code"] for one in read} == {200}
    stored = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(one["device"], one["identifier"], one["value"]) for one in stored] == [
        ("device1", "temp", 1.5)
    ] * 20


def test_with_another_sink_the_topic_is_the_spool(
    kafka: str, topics: Topics, tmp_path: Path
) -> None:
    """With `ack = "sink"`; killed while requests arrive, nothing is lost and no disk is used."""
    file = tmp_path / "points.ndjson"
    sink = f'[[sinks]]\ntype = "ndjson"\npath = "{file}"'
    text = settings(kafka, topics, f'[spool]\npath = "{tmp_path}/spool"', sink, ack="sink")
    requests = [
        b'{"id":"%d","version":"1.0","params":[{"deviceKey":"device1","measurepoints":{"temp":1},'
        b'"time":%d}],"method":"integration.measurepoint.post"}' % (number, number)
        for number in range(5000)
    ]
    with KafkaService(tmp_path, text).joined() as service:
        send(kafka, topics.requests, requests)
        service.wait_for_metric("pointgate_requests_received_total", 1, at_least=True)
        service.end(signal.SIGKILL)
    with KafkaService(tmp_path, text), Reader(kafka, topics.replies) as replies:
        seen: set[int] = set()
        while len(seen) < 5000:
            seen |= set(numbers([one.value for one in replies.take(1, PATIENCE)]))
    stored = {json.loads(line)["time"] for line in file.read_text().splitlines()}
    assert stored == set(range(5000))
    assert not (tmp_path / "spool").exists()
