"""The Kafka sink: acknowledged records, or an error that says what to do with the points."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import ipc

from pointgate.errors import ConfigError
from pointgate.sinks import registry
from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.sinks.kafka.settings import KafkaSinkSettings
from pointgate.sinks.kafka.sink import KafkaSink
from pointgate.toml.document import check
from tests.support.kafka_clients import Reader, Topics, make_topics
from tests.support.kafka_server import KafkaServer
from tests.support.point_tables import Point, table

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("tests.support.kafka_fixtures",)


def settings(servers: str, topic: str, **more: Any) -> KafkaSinkSettings:
    document = {"type": "kafka", "servers": servers, "topic": topic, **more}
    made = check(KafkaSinkSettings, document, file="")
    assert isinstance(made, KafkaSinkSettings), made
    return made


async def opened(servers: str, topic: str, **more: Any) -> KafkaSink:
    sink = KafkaSink(settings(servers, topic, **more))
    await sink.open()
    return sink


async def test_each_entry_is_a_record_with_its_device_as_key(
    kafka: str, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    sink = await opened(kafka, topics.points)
    points = [Point(device=f"d{number % 7}", time=number, double=0.5) for number in range(500)]
    await sink.write(table(points), sequence=1)
    with Reader(kafka, topics.points) as reader:
        read = reader.take(500)
    assert {one.key for one in read} == {b"solar/d%d" % number for number in range(7)}
    for device in range(7):
        own = [one for one in read if one.key == b"solar/d%d" % device]
        assert len({one.partition for one in own}) == 1
        assert [json.loads(one.value)["time"] for one in own] == list(range(device, 500, 7))
    assert "replication factor of 1" in caplog.text
    await sink.close()


async def test_arrow_records_have_all_points(kafka: str, topics: Topics) -> None:
    sink = await opened(kafka, topics.points, format="arrow")
    points = [Point(device=f"d{number % 50}", time=number, double=0.5) for number in range(10_000)]
    await sink.write(table(points), sequence=1)
    await sink.close()
    rows: list[object] = []
    with Reader(kafka, topics.points) as reader:
        while len(rows) < 10_000:
            rows += ipc.open_stream(reader.take(1)[0].value).read_all()["time"].to_pylist()
    assert len({*rows}) == 10_000


@pytest.mark.parametrize("form", ["json", "arrow"])
async def test_a_point_that_no_record_can_hold_is_refused(
    kafka: str, topics: Topics, form: str
) -> None:
    sink = await opened(kafka, topics.points, format=form)
    with pytest.raises(SinkRefusedError, match="rejected by Kafka"):
        await sink.write(table([Point(text="x" * 1_100_000)]), sequence=1)
    await sink.write(table([Point(text="x" * 900_000)]), sequence=2)
    await sink.close()


async def test_a_topic_that_is_missing_is_unavailable(kafka: str) -> None:
    sink = KafkaSink(settings(kafka, "no.such.topic"))
    with pytest.raises(SinkUnavailableError, match="nknown topic or partition"):
        await sink.open()
    await sink.close()


async def test_a_cluster_that_is_away_is_waited_for(tmp_path: Path) -> None:
    with KafkaServer(tmp_path) as server:
        topics = make_topics(server.servers)
        sink = await opened(server.servers, topics.points)
        await sink.write(table([Point(time=1, double=1.0)]), sequence=1)
        server.kill()
        writing = asyncio.create_task(sink.write(table([Point(time=2, double=1.0)]), sequence=2))
        await asyncio.sleep(0.5)
        assert not writing.done()
        await asyncio.to_thread(server.start)
        await writing
        with Reader(server.servers, topics.points) as reader:
            assert [json.loads(one.value)["time"] for one in reader.take(2)] == [1, 2]
        server.kill()
        writing = asyncio.create_task(sink.write(table([Point(time=3, double=1.0)]), sequence=3))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(2):
            await sink.close()
        with pytest.raises(SinkUnavailableError, match="closed before"):
            await writing


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"acks": 1}, "not allowed to set acks: pointgate writes with acks = all"),
        ({"request.required.acks": 0}, "not allowed to set request.required.acks"),
        ({"enable.idempotence": False}, "not allowed to set enable.idempotence"),
        ({"sasl.password": "x"}, "expected no secret in this file"),
    ],
)
def test_weaker_writes_and_secrets_are_refused(options: dict[str, Any], reason: str) -> None:
    document = {"type": "kafka", "servers": "k:1", "topic": "t", "options": options}
    problems = check(KafkaSinkSettings, document, file="")
    assert isinstance(problems, list)
    assert reason in problems[0].reason


def test_what_librdkafka_does_not_take_is_a_problem_of_the_sink() -> None:
    with pytest.raises(ConfigError, match=r"sinks.kafka.options: no such configuration property"):
        registry.build([settings("k:1", "t", options={"no.such": 1})])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pointgate.sinks.kafka.sink", "pointgate.kafka.client"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigError, match=r"pip install 'pointgate\[kafka\]'"):
        registry.build([settings("k:1", "t")])
