"""The registry in a topic of a real Kafka."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pointgate.registries.base import RegistryUnavailableError
from pointgate.registries.kafka.settings import KafkaRegistrySettings
from pointgate.registries.kafka.source import KafkaRegistry
from tests.support.following import following, until
from tests.support.kafka_clients import make
from tests.support.kafka_server import KafkaServer
from tests.support.patience import PATIENCE
from tests.support.registries import keys_of, write_catalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

pytest_plugins = ("tests.support.kafka_fixtures",)


@pytest.fixture
def topic(kafka: str) -> str:
    name = f"devices.{uuid.uuid4().hex[:8]}"
    make(kafka, name)
    return name


def settings_of(kafka: str, topic: str, **changes: Any) -> KafkaRegistrySettings:
    document = {"type": "kafka", "product": "pk", "servers": kafka, "topic": topic, "poll": 50}
    return KafkaRegistrySettings.model_validate(document | changes)


@pytest.fixture
def registry(kafka: str, topic: str) -> Iterator[KafkaRegistry]:
    with closing(KafkaRegistry(settings_of(kafka, topic))) as made:
        yield made


def write(kafka: str, topic: str, lines: Iterable[str]) -> None:
    """`+KEY` writes a record, `-KEY` a tombstone."""
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 1, "acks": "all"})
    for line in lines:
        producer.produce(topic, b"{}" if line[0] == "+" else None, key=line[1:].encode())
        producer.poll(0)
    assert producer.flush(30) == 0


def start(registry: KafkaRegistry) -> tuple[set[str], str]:
    snapshot = registry.snapshot()
    keys = set(b"".join(snapshot.blocks).decode().splitlines())
    apply(keys, snapshot.lines)
    return keys, snapshot.position


def apply(keys: set[str], lines: bytes) -> None:
    for line in lines.decode().splitlines():
        (keys.add if line[0] == "+" else keys.discard)(line[1:])


def take(registry: KafkaRegistry, position: str, count: int) -> bytes:
    """So many changes since a position; they arrive when the library has fetched them."""
    lines = b""
    while lines.count(b"\n") < count:
        changes = registry.changes(position)
        assert changes is not None
        lines, position = lines + changes.lines, changes.position
        registry.wait(0.1)
    return lines


def test_a_snapshot_is_what_the_last_records_say(
    kafka: str, topic: str, registry: KafkaRegistry
) -> None:
    assert start(registry)[0] == set()
    write(kafka, topic, [f"+d{number}" for number in range(3_000)])
    write(kafka, topic, ["-d1", "-d2", "+d2", "-d3", "-d3", "-never", "+d4"])
    expected = {f"d{number}" for number in range(3_000)} - {"d1", "d3"}
    keys, position = start(registry)
    assert keys == expected
    write(kafka, topic, ["+new", "-d4", "+d1", "-d1"])
    lines = take(registry, position, 4)
    apply(keys, lines)
    assert keys == expected - {"d4"} | {"new"}
    # Another process goes on at the position.
    with closing(KafkaRegistry(settings_of(kafka, topic))) as other:
        assert sorted(take(other, position, 4).splitlines()) == sorted(lines.splitlines())


def test_a_record_ends_the_wait(kafka: str, topic: str, registry: KafkaRegistry) -> None:
    _, position = start(registry)
    changes = registry.changes(position)
    assert changes is not None
    write(kafka, topic, ["+a"])
    started = time.monotonic()
    registry.wait(PATIENCE)
    assert time.monotonic() - started < PATIENCE / 2
    assert take(registry, changes.position, 1) == b"+a\n"


def test_a_position_is_gone(kafka: str, topic: str, registry: KafkaRegistry) -> None:
    write(kafka, topic, ["+a", "+b"])
    _, position = start(registry)
    known = json.loads(position)
    for changed in (
        {"topic": "another"},
        {"offsets": known["offsets"] | {"0": 1_000_000}},
        {"offsets": {"0": 0}},
        {"at": known["at"] - 90_000},  # tombstones may have been deleted since
    ):
        assert registry.changes(json.dumps(known | changed)) is None, changed
    assert registry.changes(position) is not None


def test_a_topic_that_was_made_anew_is_another_one(
    kafka: str, topic: str, registry: KafkaRegistry
) -> None:
    write(kafka, topic, ["+a", "+b", "+c"])
    _, position = start(registry)
    registry.close()
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.delete_topics([topic])[topic].result(30)
    for _ in range(100):
        try:
            make(kafka, topic)
            break
        except Exception:  # noqa: BLE001 - it is still being deleted
            time.sleep(0.1)
    write(kafka, topic, ["+d", "+e", "+f"])
    assert registry.changes(position) is None
    assert start(registry)[0] == {"d", "e", "f"}


def test_keys_that_no_device_can_have(kafka: str, topic: str, registry: KafkaRegistry) -> None:
    write(kafka, topic, ["+a\nb", "+", "+ok"])
    keys, _ = start(registry)
    assert keys == {"a\x01b", "", "ok"}  # the copy leaves out the first two


def test_what_is_wrong_is_named(kafka: str) -> None:
    with (
        closing(KafkaRegistry(settings_of(kafka, "missing.topic"))) as registry,
        pytest.raises(RegistryUnavailableError, match="topic"),
    ):
        start(registry)
    with (
        closing(KafkaRegistry(settings_of("127.0.0.1:1", "t"))) as registry,
        pytest.raises(RegistryUnavailableError),
    ):
        start(registry)
    with pytest.raises(ValueError, match="options: "):
        KafkaRegistry(settings_of(kafka, "t", options={"no.such": 1}))


async def test_a_copy_follows(kafka: str, topic: str, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "catalog", tmp_path / "registry/kafka", "pk")
    settings = settings_of(kafka, topic, path=tmp_path / "registry")
    write(kafka, topic, ["+a", "+b", "-a"])
    async with following(settings, KafkaRegistry(settings)) as (follower, statistics):
        await until(follower.matched.is_set)
        assert keys_of(catalog) == {"b"}
        write(kafka, topic, ["+c", "-b", "+a"])
        await until(lambda: keys_of(catalog) == {"a", "c"})
    async with following(settings, KafkaRegistry(settings)) as (follower, statistics):
        write(kafka, topic, ["+d"])
        await until(lambda: keys_of(catalog) == {"a", "c", "d"})
        assert statistics.snapshots == 0


async def test_one_topic_has_the_devices_of_several_products(
    kafka: str, topic: str, tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path / "catalog", tmp_path / "registry/kafka", "pk", "other")
    settings = settings_of(kafka, topic, path=tmp_path / "registry", product=None)
    write(kafka, topic, ["+pk/a", "+other/b", "-other/b", "+other/c", "+nonsense"])
    async with following(settings, KafkaRegistry(settings)) as (follower, statistics):
        await until(follower.matched.is_set)
        assert keys_of(catalog) == {"a"}
        assert keys_of(catalog, "other") == {"c"}
        assert statistics.keys_refused == 1


async def test_a_broker_that_is_away_is_followed_on(tmp_path: Path) -> None:
    home = tmp_path / "kafka"
    home.mkdir()
    catalog = write_catalog(tmp_path / "catalog", tmp_path / "registry/kafka", "pk")
    with KafkaServer(home) as server:
        make(server.servers, "devices")
        settings = settings_of(server.servers, "devices", path=tmp_path / "registry")
        write(server.servers, "devices", ["+a"])
        async with following(settings, KafkaRegistry(settings)) as (follower, statistics):
            await until(follower.matched.is_set)
            await asyncio.to_thread(server.kill)
            await until(lambda: bool(follower.trouble))
            assert keys_of(catalog) == {"a"}
            await asyncio.to_thread(server.start)
            await asyncio.to_thread(write, server.servers, "devices", ["+b", "-a"])
            await until(lambda: keys_of(catalog) == {"b"})
            await until(lambda: not follower.trouble)
            assert statistics.snapshots == 1
