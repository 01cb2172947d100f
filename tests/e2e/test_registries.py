"""A running service and a registry: devices that are registered post, with or without it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psycopg

from pointgate.registries.postgres.schema import schema_sql
from pointgate.registries.postgres.settings import PostgresRegistrySettings
from tests.support.kafka_clients import Reader, send
from tests.support.kafka_service import KafkaService, settings
from tests.support.paths import CATALOG
from tests.support.patience import PATIENCE
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.support.processes import Broker, Sender, Service, small
from tests.support.registry_server import RegistryServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka_clients import Topics

pytest_plugins = ("tests.support.kafka_fixtures", "tests.support.postgres_fixtures")


def catalog_of(tmp_path: Path) -> Path:
    """A catalog of one product whose devices are those of a registry."""
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    shutil.copy(CATALOG / "models/protocol.json", catalog / "model.json")
    (catalog / "catalog.toml").write_text(
        '[products.protocol]\nmodel = "model.json"\nregistry = "../registry/fleet"\n'
    )
    return catalog


def section(server: RegistryServer) -> str:
    return (
        '[[registries]]\nname = "fleet"\ntype = "http"\nproduct = "protocol"\npoll = 50\n'
        f'url = "{server.url("/devices")}"\nchanges_url = "{server.url("/changes")}"'
    )


def code(sender: Sender, number: int) -> int:
    return int(json.loads(sender.ask(small(number)).payload)["code"])


def test_a_registered_device_posts_within_a_second(tmp_path: Path, broker: Broker) -> None:
    folder = catalog_of(tmp_path)
    with RegistryServer() as server:
        server.keys = ["another"]
        with (
            Service(tmp_path, broker.port, section(server), catalog=folder) as service,
            Sender(broker.port) as sender,
        ):
            service.ready()
            assert code(sender, 1) == 1257
            server.change("+device1")
            registered = time.monotonic()
            number = 2
            while code(sender, number) != 200:
                number += 1
                assert time.monotonic() - registered < 15
            service.wait_for_metric('pointgate_registry_changes_total{registry="fleet"}', 1)
            assert service.metric('pointgate_registry_age_seconds{registry="fleet"}') < 15
            assert service.end() == 0
        server.answers["/changes"] = server.answers["/devices"] = (503, {}, b"")
        # Without its registry the service starts on the copy.
        with (
            Service(tmp_path, broker.port, section(server), catalog=folder) as service,
            Sender(broker.port) as sender,
        ):
            service.wait_for("starting with the copy of .* s ago: HTTP 503", 30)
            service.ready()
            assert code(sender, number + 1) == 200


def test_without_a_copy_the_service_is_not_ready_until_the_registry_answers(
    tmp_path: Path, broker: Broker
) -> None:
    folder = catalog_of(tmp_path)
    with RegistryServer() as server:
        server.keys = ["device1"]
        server.answers["/devices"] = (503, {}, b"")
        with (
            Service(tmp_path, broker.port, section(server), catalog=folder) as service,
            Sender(broker.port) as sender,
        ):
            service.wait_for("registry fleet cannot be read, there is no copy yet: HTTP 503")
            end = time.monotonic() + PATIENCE
            while not (answer := service.readiness())[1].startswith("registry fleet: HTTP 503"):
                assert time.monotonic() < end, answer
                assert answer[0] == 503
            del server.answers["/devices"]
            service.ready()
            assert code(sender, 1) == 200


def test_a_device_that_is_not_known_yet_is_asked_for(tmp_path: Path, broker: Broker) -> None:
    folder = catalog_of(tmp_path)
    document = folder / "catalog.toml"
    document.write_text(document.read_text() + 'on_unknown = "recheck"\n')
    with RegistryServer() as server:
        # So slow that the device is never known by a change.
        slow = section(server).replace("poll = 50", 'poll = "1h"')
        with (
            Service(
                tmp_path,
                broker.port,
                f'{slow}\nkey_url = "{server.url("/known")}"',
                catalog=folder,
                ack="spool",
            ) as service,
            Sender(broker.port) as sender,
        ):
            service.ready()
            assert code(sender, 1) == 1257
            server.change("+device1")
            number, end = 2, time.monotonic() + PATIENCE
            while code(sender, number) != 200:  # an unknown key is asked for once a second
                assert time.monotonic() < end
                time.sleep(0.2)
                number += 1
            assert code(sender, number + 1) == 200
            service.wait_for_metric('pointgate_registry_rechecks_total{answer="present"}', 1)
            service.wait_for_metric("pointgate_requests_received_total", number + 1)
            service.wait_for_metric('pointgate_requests_total{code="200"}', 2)
            service.wait_for_metric('pointgate_requests_total{code="1257"}', number - 1)
            service.wait_for_metric("pointgate_spool_points_total", 2)
            assert service.end() == 0


def test_over_kafka_a_device_that_the_database_has_is_asked_for(
    tmp_path: Path, kafka: str, topics: Topics, server: PostgresServer
) -> None:
    folder = catalog_of(tmp_path)
    document = folder / "catalog.toml"
    document.write_text(document.read_text() + 'on_unknown = "recheck"\n')
    (tmp_path / "password").write_text(PASSWORD)
    registry = (
        '[[registries]]\nname = "fleet"\ntype = "postgres"\nproduct = "protocol"\n'
        f'url = "{server.url()}"\npassword_file = "password"\ntable = "devices"'
    )
    table = {"type": "postgres", "product": "protocol", "url": server.url(), "table": "devices"}
    text = settings(kafka, topics, registry).replace(str(CATALOG), str(folder))
    with psycopg.connect(server.url(), password=PASSWORD, autocommit=True) as database:
        database.execute("CREATE TABLE devices (product_key text, device_key text)")
        database.execute(schema_sql(PostgresRegistrySettings.model_validate(table)))
        database.execute("INSERT INTO devices VALUES ('protocol', 'another')")
        with (
            KafkaService(tmp_path, text).joined() as service,
            Reader(kafka, topics.replies) as replies,
        ):

            def codes(*numbers: int) -> set[int]:
                send(kafka, topics.requests, [small(number) for number in numbers])
                return {json.loads(one.value)["code"] for one in replies.take(len(numbers))}

            assert codes(1, 2) == {1257}
            # No change tells of it.
            database.execute("ALTER TABLE devices DISABLE TRIGGER USER")
            database.execute("INSERT INTO devices VALUES ('protocol', 'device1')")
            end = time.monotonic() + PATIENCE
            while codes(3) != {200}:  # an unknown key is asked for once a second
                assert time.monotonic() < end
                time.sleep(0.2)
            assert codes(4, 5, 6) == {200}
            # On a slow machine the connection may have been lost, and a snapshot has it.
            if service.metric("pointgate_registry_snapshots_total") == 1:
                service.wait_for_metric('pointgate_registry_rechecks_total{answer="present"}', 1)
            assert service.end() == 0


def test_check_and_doctor_see_a_registry(tmp_path: Path, broker: Broker) -> None:
    folder = catalog_of(tmp_path)
    with RegistryServer() as server:
        server.keys = ["device1"]
        with Service(tmp_path, broker.port, section(server), catalog=folder):
            pass  # it writes the settings
        shutil.rmtree(tmp_path / "registry", ignore_errors=True)
        settings = str(tmp_path / "service.toml")

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "pointgate", *arguments, "-c", settings]
            return subprocess.run(command, capture_output=True, text=True, check=False)

        checked = run("check")
        assert checked.returncode == 0, checked.stdout
        assert "expected the copy of a registry, got nothing: a registry in" in checked.stdout
        examined = run("check", "--connect")
        assert "ok       registry fleet: read in" in examined.stdout
        server.answers["/changes"] = (404, {}, b"")
        examined = run("doctor")
        assert examined.returncode == 1
        assert "problem  registry fleet: HTTP 404 from" in examined.stdout
        assert not (tmp_path / "registry").exists()
