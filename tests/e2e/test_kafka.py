"""The service over a real Kafka: round trips, restarts, and both sources at once."""

from __future__ import annotations

import re
import signal
import statistics
import time
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from tests.support.kafka_clients import Reader, Topics, make_topics, send
from tests.support.kafka_server import KafkaServer
from tests.support.kafka_service import KafkaService, settings
from tests.support.processes import TOPIC, Broker, Sender, small

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("tests.support.kafka_fixtures",)

PATIENCE = 30.0


def numbers(replies: list[bytes]) -> list[int]:
    """The ids of replies."""
    return [int(re.findall(rb'"id":"(\d+)"', reply)[0]) for reply in replies]


def test_a_single_request_is_answered_at_once(kafka: str, topics: Topics, tmp_path: Path) -> None:
    """A median of 7 ms on two shared cores; waiting for a full batch would take 100."""
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
    assert statistics.median(took) < 0.05


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
