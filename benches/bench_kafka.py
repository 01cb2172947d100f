"""The service's CPU time for a small request over Kafka: shape S, 3 entries of 3 points.

    python -m benches.bench_kafka --requests 100000 --json

Starts a Kafka of one node on loopback and, for each mode, a service with topics of its own, to
which all requests are written. Kafka, sender and service share the machine's cores, so only the CPU
time of the service is printed, with all its threads, read from /proc (Linux), and that of the
broker; rates are lower bounds. Every request must be settled before a figure counts.

    judged    ack = "verdict", without replies
    replies   the same with replies
    arrow     ack = "kafka", points as Arrow
    json      ack = "kafka", points as JSON
    exactly   ack = "kafka", exactly_once, points as Arrow
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer

from benches.bench_front_end import PAYLOAD
from tests.support.kafka_clients import Topics, make_topics
from tests.support.kafka_server import KafkaServer
from tests.support.kafka_service import KafkaService, settings
from tests.support.processes import TOPIC

MODES: Final = ("judged", "replies", "arrow", "json", "exactly")
PARTITIONS: Final = 6
PATIENCE: Final = 120.0

Figures = dict[str, Any]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def text(servers: str, topics: Topics, mode: str) -> str:
    if mode in {"judged", "replies"}:
        lines = settings(servers, topics)
        replies = f'replies = "{topics.replies}"\n'
        return lines.replace(replies, "") if mode == "judged" else lines
    sink = f'[[sinks]]\ntype = "kafka"\nservers = "{servers}"\ntopic = "{topics.points}"'
    if mode == "exactly":
        own = f'exactly_once = true\ntransactional_id = "{topics.requests}"'
        # As in `[kafka]` of these settings: both use one producer.
        sink += "\noptions.session.timeout.ms = 1500\noptions.heartbeat.interval.ms = 300"
        return settings(servers, topics, own, sink, 'format = "arrow"', ack="kafka")
    return settings(servers, topics, sink, f'format = "{mode}"', ack="kafka")


def send(servers: str, topic: str, count: int) -> None:
    options = {"bootstrap.servers": servers, "linger.ms": 20, "compression.type": "lz4"}
    producer = Producer({**options, "queue.buffering.max.messages": 2_000_000})
    headers: list[tuple[str, str | bytes | None]] = [("mqtt.topic", TOPIC.encode())]
    for number in range(count):
        key = b"gw%03d" % (number % 97)
        producer.produce(topic, (PAYLOAD % number).encode(), key=key, headers=headers)
        if number % 1000 == 0:
            producer.poll(0)
    assert producer.flush(PATIENCE) == 0


def measure(server: KafkaServer, folder: Path, mode: str, requests: int) -> Figures:
    topics = make_topics(server.servers, partitions=PARTITIONS)
    with KafkaService(folder, text(server.servers, topics, mode), name=mode).joined() as service:
        service.wait_for_metric("pointgate_kafka_partitions", PARTITIONS)
        send(server.servers, topics.requests, 2_000)  # warms up
        settled(service, 2_000)
        before, broker, began = cpu_seconds(service.pid), cpu_seconds(server.pid), time.monotonic()
        send(server.servers, topics.requests, requests)
        settled(service, 2_000 + requests)
        took = time.monotonic() - began
        used = cpu_seconds(service.pid) - before
        return {
            "mode": mode,
            "requests": requests,
            "service_us": used / requests * 1e6,
            "broker_us": (cpu_seconds(server.pid) - broker) / requests * 1e6,
            "rate": requests / took,
        }


def settled(service: KafkaService, requests: int) -> None:
    end = time.monotonic() + PATIENCE
    while service.metric('pointgate_requests_total{code="200"}') < requests:
        assert time.monotonic() < end, "not settled in time"
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "kafka"
        home.mkdir()
        with KafkaServer(home) as server:
            for mode in options.modes:
                found = measure(server, Path(name), mode, options.requests)
                if options.json:
                    print(json.dumps(found))
                else:
                    print(
                        f"{mode:8} {found['service_us']:6.1f} µs CPU of the service, "
                        f"{found['broker_us']:5.1f} of the broker a request, "
                        f"{found['rate']:7,.0f} requests/s"
                    )


if __name__ == "__main__":
    main()
