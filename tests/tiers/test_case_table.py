"""The whole case table of the contract gives the same verdicts on every tier.

Through the Python API, `judge_arrow` and the engines that call it, and Spark (`make spark`), every
case is judged with the limit and at the present that it states. Through the services all cases go
that state neither: theirs is the default limit. The clock of the one with MQTT stands still at the
present of the table; librdkafka would stand still, too, so the cases of time windows do not go over
Kafka. A reply over MQTT or Kafka is that of the Python API, byte for byte; where the product's mode
makes it another one (contract 11), its code is the one that the table states.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa
import pytest
from confluent_kafka import Producer

from tests.support.cases import DEFAULT_NOW_MS, DEFAULT_PAYLOAD_BYTES, Case
from tests.support.engines import (
    CASES,
    Rows,
    check,
    check_in_spark,
    expected,
    groups,
    validator,
    with_chunks,
    with_datafusion,
    with_duckdb,
    with_duckdb_udf,
    with_polars,
    with_pyarrow,
)
from tests.support.kafka_clients import Reader, make_topics
from tests.support.kafka_service import KafkaService, settings
from tests.support.processes import Broker, Sender, Service
from tests.support.spark_session import REASON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Engine: TypeAlias = Callable[[Any, pa.Array, pa.Array], Rows]

pytest_plugins = ("tests.support.kafka_fixtures", "tests.support.spark_fixtures")

CLOCK: Final = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
WINDOWS: Final = ("window", "window-milliseconds", "window-units", "mode-lenient-gaps")
"""The products with a time window."""

LARGEST: Final = 12_000_000
"""Bytes of a record: there is a case of more than 8 MiB."""


@pytest.mark.parametrize(
    "engine",
    [with_pyarrow, with_chunks, with_polars, with_duckdb, with_duckdb_udf, with_datafusion],
)
def test_in_an_engine(engine: Engine) -> None:
    for payload_bytes, now_ms, cases in groups():
        judge = functools.partial(validator(payload_bytes).judge_arrow, now_ms=now_ms)
        topics = pa.array([case.topic for case in cases], pa.string())
        payloads = pa.array([case.payload for case in cases], pa.binary())
        check(cases, engine(judge, topics, payloads))


def test_in_the_python_api() -> None:
    for _, _, cases in groups():
        check(cases, [expected(case) for case in cases])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")
def test_in_spark(request: pytest.FixtureRequest) -> None:
    pytest.importorskip("pyspark", reason=REASON)
    check_in_spark(request.getfixturevalue("session"))


def in_a_service(*, windows: bool) -> list[Case]:
    """The cases for a service, those of time windows first, which depend on the present."""
    found = [
        case
        for case in CASES
        if (case.payload_bytes, case.now_ms) == (DEFAULT_PAYLOAD_BYTES, DEFAULT_NOW_MS)
        and (windows or not has_window(case.topic))
    ]
    return sorted(found, key=lambda case: not has_window(case.topic))


def has_window(topic: str) -> bool:
    """Whether verdicts on requests of the product depend on the present."""
    return any(f"sys/{key}/" in topic for key in WINDOWS)


def replies_of(cases: list[Case]) -> list[tuple[str, bytes | int]]:
    """The topics and replies of the Python API, or codes; without requests that get none."""
    topics, payloads = [case.topic for case in cases], [case.payload for case in cases]
    reports = validator(DEFAULT_PAYLOAD_BYTES).validate(topics, payloads, now_ms=DEFAULT_NOW_MS)
    return [
        (f"{case.topic}_reply", case.answer or case.code if has_mode(case.topic) else report.reply)
        for case, report in zip(cases, reports, strict=True)
        if report.reply is not None
    ]


def has_mode(topic: str) -> bool:
    """Whether the product is not enforced."""
    return "/mode-" in topic


def shown(topic: str, reply: bytes) -> tuple[str, bytes | int]:
    """A reply as `replies_of` has it."""
    return topic, json.loads(reply)["code"] if has_mode(topic) else reply


def frozen() -> dict[str, str]:
    """An environment in which the clock stands at the present of the cases."""
    if CLOCK is None:
        return {}
    return {
        "LD_PRELOAD": str(CLOCK),
        "FAKETIME": "2023-11-14 22:13:20",
        "TZ": "UTC",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def test_few_cases_go_through_no_service() -> None:
    assert len(CASES) - len(in_a_service(windows=True)) <= 25
    assert len(CASES) - len(in_a_service(windows=False)) <= 50


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


@pytest.mark.broker
def test_over_mqtt(tmp_path: Path, broker: Broker) -> None:
    # The others never arrive: brokers refuse control characters, and nobody subscribes to the rest.
    arrives = re.compile(r"/?sys/[^/+#\x00-\x1f]+/integration/measurepoint/post")
    found = in_a_service(windows=CLOCK is not None)
    cases = [case for case in found if arrives.fullmatch(case.topic)]
    wanted = replies_of(cases)
    with Service(tmp_path, broker.port, environ=frozen()) as service, Sender(broker.port) as sender:
        service.ready()
        for case in cases:
            sender.send(case.payload, case.topic)
        replies = [shown(reply.topic, reply.payload) for reply in sender.take(len(wanted))]
        assert replies == wanted
        assert service.end() == 0


def test_over_kafka(tmp_path: Path, kafka: str) -> None:
    cases = in_a_service(windows=False)
    wanted = replies_of(cases)
    topics = make_topics(kafka, partitions=1, config={"max.message.bytes": str(LARGEST)})
    text = settings(kafka, topics, f"options.fetch.message.max.bytes = {LARGEST}")
    with (
        KafkaService(tmp_path, text).joined() as service,
        Reader(kafka, topics.replies) as reader,
    ):
        producer = Producer({"bootstrap.servers": kafka, "message.max.bytes": LARGEST})
        for case in cases:
            headers: list[tuple[str, str | bytes | None]] = [("mqtt.topic", case.topic)]
            producer.produce(topics.requests, case.payload, headers=headers)
            producer.poll(0)
        assert producer.flush(60) == 0
        found = reader.take(len(wanted))
        assert [
            shown((one.headers["mqtt.topic"] or b"").decode(), one.value) for one in found
        ] == wanted
        assert service.end() == 0
