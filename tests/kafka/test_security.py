"""TLS and SCRAM against a real cluster: everything that connects, and why it cannot."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from pointgate.config import LimitSettings, Settings
from pointgate.config.kafka import KafkaSettings
from pointgate.doctor.findings import Result
from pointgate.doctor.kafka import examine_kafka
from pointgate.registries.base import RegistryUnavailableError
from pointgate.registries.kafka.settings import KafkaRegistrySettings
from pointgate.registries.kafka.source import KafkaRegistry
from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.kafka.settings import KafkaSinkSettings
from pointgate.sinks.kafka.sink import KafkaSink
from tests.sources.kafka.member import Member, member, until
from tests.support.kafka_clients import Reader, Topics, send
from tests.support.kafka_server import PASSWORD, Addresses
from tests.support.point_tables import Point, table
from tests.support.processes import small

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("tests.support.kafka_fixtures",)

OPTIONS = {"security.protocol": "sasl_ssl", "sasl.mechanism": "SCRAM-SHA-512"}


def account(folder: Path, ca_file: str, password: str = PASSWORD) -> dict[str, Any]:
    file = folder / "password"
    file.write_text(password)
    options = OPTIONS | ({"ssl.ca.location": ca_file} if ca_file else {})
    return {"username": "gate", "password_file": file, "options": options}


def sink_of(addresses: Addresses, topics: Topics, **more: Any) -> KafkaSink:
    place: dict[str, Any] = {"servers": addresses.tls, "topic": topics.points}
    return KafkaSink(KafkaSinkSettings(type="kafka", name="kafka", **place, **more))


def registry_of(addresses: Addresses, topics: Topics, **more: Any) -> KafkaRegistry:
    place: dict[str, Any] = {"servers": addresses.tls, "topic": topics.requests}
    return KafkaRegistry(KafkaRegistrySettings(type="kafka", **place, **more))


def settings_of(addresses: Addresses, topics: Topics, **more: Any) -> Settings:
    place: dict[str, Any] = {"servers": addresses.tls, "topics": [topics.requests], "group": "gate"}
    return Settings(kafka=KafkaSettings(**place, **more))


async def test_everything_connects(
    kafka: str, kafka_addresses: Addresses, topics: Topics, tmp_path: Path
) -> None:
    more = account(tmp_path, kafka_addresses.ca_file)
    async with member(kafka_addresses.tls, topics, **more) as one:
        await asyncio.to_thread(send, kafka, topics.requests, [small(1)])
        await until(lambda: one.received == 1 and not one.in_flight)
    sink = sink_of(kafka_addresses, topics, **more)
    await sink.write(table([Point(device="d", time=1, double=0.5)]), sequence=1)
    await sink.close()
    with Reader(kafka, topics.points) as reader:
        assert json.loads((await asyncio.to_thread(reader.take, 1))[0].value)["time"] == 1
    registry = registry_of(kafka_addresses, topics, **more)
    assert await asyncio.to_thread(lambda: list(registry.snapshot().blocks))
    registry.close()
    found = await examine_kafka(settings_of(kafka_addresses, topics, **more))
    assert found[0].result == Result.OK


@pytest.mark.parametrize(
    ("password", "trusted", "reason"),
    [
        ("wrong-word", True, "authentication failed"),
        (PASSWORD, False, "certificate verify failed"),
    ],
)
async def test_why_nobody_is_let_in_is_reported_everywhere(
    kafka_addresses: Addresses,
    topics: Topics,
    tmp_path: Path,
    *,
    password: str,
    trusted: bool,
    reason: str,
) -> None:
    more = account(tmp_path, kafka_addresses.ca_file if trusted else "", password)
    one = Member(kafka_addresses.tls, topics, LimitSettings(), **more)
    running = asyncio.create_task(one.source.run())
    try:
        await until(lambda: reason in one.source.trouble.lower())
        assert not one.source.was_ready
    finally:
        one.source.drain()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(SinkUnavailableError) as of_sink:
        await sink_of(kafka_addresses, topics, **more).open()
    registry = registry_of(kafka_addresses, topics, **more)
    with pytest.raises(RegistryUnavailableError) as of_registry:
        await asyncio.to_thread(lambda: list(registry.snapshot().blocks))
    found = await examine_kafka(settings_of(kafka_addresses, topics, **more))
    assert found[0].result == Result.PROBLEM
    for text in (one.source.trouble, str(of_sink.value), str(of_registry.value), found[0].text):
        assert reason in text.lower()
        assert password not in text
