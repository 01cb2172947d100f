"""`pointgate doctor` examines the topics of a real Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pointgate.config import KafkaSettings, Settings
from pointgate.doctor.findings import Result
from pointgate.doctor.kafka import examine_kafka

if TYPE_CHECKING:
    from tests.support.kafka_clients import Topics

pytest_plugins = ("tests.support.kafka_fixtures",)


async def found(servers: str, **kafka: Any) -> list[tuple[Result, str]]:
    settings = Settings(kafka=KafkaSettings(servers=servers, **kafka))
    return [(one.result, one.text) for one in await examine_kafka(settings)]


async def test_one_copy_and_small_records_are_warnings(kafka: str, topics: Topics) -> None:
    findings = await found(kafka, topics=[topics.requests], replies=topics.replies)
    assert findings[0] == (Result.OK, "1 brokers answer")
    copies = ": 3 partitions, 1 replicas, 1 in sync: a record that was acknowledged may be lost"
    assert [text.startswith(f"topic {topics.requests}{copies}") for _, text in findings][1]
    assert "it takes records of 1048588 bytes, less than the 8388608 of" in findings[2][1]
    assert [text.startswith(f"topic {topics.replies}{copies}") for _, text in findings][3]
    assert {result for result, _ in findings[1:]} == {Result.WARNING}
    assert len(findings) == 4


async def test_topics_that_are_missing_are_problems(kafka: str, topics: Topics) -> None:
    names = [topics.requests, "no.such", "^nothing.*"]
    findings = await found(kafka, topics=names, replies="no.replies")
    problems = [text for result, text in findings if result is Result.PROBLEM]
    assert problems == [
        "topic no.such: it does not exist",
        "topic ^nothing.*: it does not exist",
        "topic no.replies: it does not exist",
    ]


async def test_a_cluster_that_is_away_is_a_problem(monkeypatch: Any) -> None:
    monkeypatch.setattr("pointgate.doctor.kafka._ANSWER_SECONDS", 0.5)
    ((result, text),) = await found("127.0.0.1:1", topics=["a"])
    assert result is Result.PROBLEM
    assert text.startswith("127.0.0.1:1: ")
