"""`pointgate replay` with a running service: the catalog is mended, what was rejected comes in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from pointgate import Catalog, Validator
from pointgate.cli.commands import app
from pointgate.config import MqttSettings
from pointgate.config.quarantine import QuarantineSettings
from pointgate.errors import ConnectionLost
from pointgate.quarantine.writer import Quarantine
from pointgate.sources.mqtt.errors import BrokerRefused
from pointgate.sources.mqtt.publisher import PublishRefusedError, connect_publisher
from tests.support.paths import CATALOG
from tests.support.patience import PATIENCE
from tests.support.ports import unused_port
from tests.support.processes import TOPIC, Broker, Sender, Service
from tests.support.scripted_broker import ScriptedBroker

if TYPE_CHECKING:
    from pathlib import Path


def request(device: str, number: int, temp: object = 1.5) -> bytes:
    entry = {"deviceKey": device, "measurepoints": {"temp": temp}}
    document = {"id": f"r{number}", "version": "1.0", "params": [entry]}
    return json.dumps(document | {"method": "integration.measurepoint.post"}).encode()


def reject(folder: Path, catalog: Path, payloads: list[bytes], received_us: int) -> None:
    topics = [TOPIC] * len(payloads)
    reports = Validator(Catalog.load(catalog)).validate(topics, payloads)
    quarantine = Quarantine(QuarantineSettings(path=folder), linger=0)
    instants = range(received_us, received_us + len(payloads))
    quarantine.add(topics, payloads, reports, instants)
    quarantine.close()
    assert quarantine.kept == len(payloads)


def replay(config: Path, *options: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "pointgate", "replay", "--json", "-c", str(config), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def test_what_is_accepted_now_is_posted_and_leaves(tmp_path: Path, broker: Broker) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(CATALOG, catalog)
    received_us = time.time_ns() // 1000 - 3_600_000_000
    strangers = [request("newcomer", number) for number in range(150)]
    wrong = request("device1", 999, "x")
    reject(tmp_path / "quarantine", catalog, [*strangers, wrong], received_us)

    with (catalog / "devices/protocol.txt").open("a") as file:
        file.write("newcomer\n")
    extra = "[quarantine]", 'path = "quarantine"'
    with Service(tmp_path, broker.port, *extra, catalog=catalog) as service:
        service.ready()
        config = tmp_path / "service.toml"
        with Sender(broker.port) as sender:
            status, outcome = replay(config)
            replies = [json.loads(reply.payload) for reply in sender.take(150)]
        assert status == 1
        assert outcome == {
            "requests": 151,
            "accepted": 150,
            "answered": 150,
            "unanswered": 0,
            "refused": [],
            "faults": [{"code": 1204, "reason": "type", "requests": 1}],
            "forgotten": 0,
        }
        # Senders see the replies, in the order of arrival, as if they had posted again.
        assert [(reply["id"], reply["code"]) for reply in replies] == [
            (f"r{number}", 200) for number in range(150)
        ]
        assert replay(config)[1]["requests"] == 1
        assert replay(config, "--forget") == (
            0,
            outcome
            | {
                "requests": 1,
                "accepted": 0,
                "answered": 0,
                "forgotten": 1,
            },
        )
        assert replay(config)[1]["requests"] == 0
        assert service.end() == 0


def test_a_service_that_does_not_run_is_asked_about(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pointgate.sources.mqtt.publisher.connect_publisher",
        partial(connect_publisher, reply_timeout=0.2),
    )
    catalog = tmp_path / "catalog"
    shutil.copytree(CATALOG, catalog)
    now_us = time.time_ns() // 1000
    reject(tmp_path / "q", catalog, [request("newcomer", 1), request("newcomer", 2)], now_us)
    with (catalog / "devices/protocol.txt").open("a") as file:
        file.write("newcomer\n")
    config = tmp_path / "pointgate.toml"
    url = f"mqtt://127.0.0.1:{broker.port}"
    config.write_text(f"mqtt.url = '{url}'\ncatalog.path = 'catalog'\nquarantine.path = 'q'\n")
    done = CliRunner().invoke(app, ["replay", "-c", str(config)])
    assert done.exit_code == 1
    assert "2 posted without a reply: is the service running?" in done.stderr
    assert ["no", "reply", "2"] in [line.split() for line in done.stdout.splitlines()]


def test_without_a_broker_no_figures_are_printed(tmp_path: Path) -> None:
    now_us = time.time_ns() // 1000
    reject(tmp_path / "q", CATALOG, [request("newcomer", 1), request("newcomer", 2)], now_us)
    config = tmp_path / "pointgate.toml"
    config.write_text(
        f"mqtt.url = 'mqtt://127.0.0.1:{unused_port()}'\ncatalog.path = '{CATALOG}'\n"
        "quarantine.path = 'q'\n"
    )
    done = CliRunner().invoke(app, ["replay", "-c", str(config)])
    assert (done.exit_code, done.stdout.split()) == (74, ["not", "posted,", "kept", "2"])
    assert "cannot connect" in done.stderr


async def test_a_service_that_does_not_answer(broker: Broker) -> None:
    settings = MqttSettings(url=f"mqtt://127.0.0.1:{broker.port}", client_id="service")
    async with connect_publisher(settings, reply_timeout=0.2) as poster:
        assert await poster.post(TOPIC, request("device1", 1)) is None


async def test_only_its_own_reply_is_taken_for_one(tmp_path: Path, broker: Broker) -> None:
    settings = MqttSettings(url=f"mqtt://127.0.0.1:{broker.port}", client_id="other")
    with Service(tmp_path, broker.port) as service, Sender(broker.port) as sender:
        service.ready()
        sender.send(request("device1", 1, "x"))
        async with connect_publisher(settings, reply_timeout=15) as poster:
            posts = [poster.post(TOPIC, request("device1", 1)) for _ in range(100)]
            sender.send(request("device1", 1, "x"))
            assert await asyncio.gather(*posts) == [200] * 100
            assert await poster.post(f"/{TOPIC}", request("nobody", 1)) == 1257


@pytest.mark.parametrize(
    "rights",
    [
        pytest.param("topic read #", id="it may post nothing"),
        pytest.param("topic read #\ntopic write sys/other/#", id="it may post elsewhere"),
        pytest.param("topic read nothing", id="it may do nothing"),
    ],
)
async def test_a_request_that_the_broker_does_not_take_is_told_at_once(
    tmp_path: Path, rights: str
) -> None:
    (tmp_path / "rights").write_text(f"{rights}\n")
    extra = "allow_anonymous true", f"acl_file {tmp_path}/rights"
    with Broker(tmp_path, *extra) as broker:
        settings = MqttSettings(url=f"mqtt://127.0.0.1:{broker.port}", client_id="service")
        # Mosquitto 2.0.11 also ends the connection after a refused PUBLISH that has properties.
        with contextlib.suppress(ConnectionLost):
            async with connect_publisher(settings, reply_timeout=3600) as poster:
                with pytest.raises(PublishRefusedError, match="Not authorized"):
                    await poster.post(TOPIC, request("device1", 1))


async def test_what_the_broker_says_to_replay_is_passed_on() -> None:
    words = b"\x1f\x00\x04busy"
    async with ScriptedBroker() as broker, asyncio.timeout(PATIENCE):
        settings = MqttSettings(url=f"mqtt://127.0.0.1:{broker.port}", client_id="service")
        accepting = asyncio.create_task(broker.accept(reason=0x87, properties=words))
        with pytest.raises(BrokerRefused, match=r'Not authorized \("busy"\)'):
            async with connect_publisher(settings):
                pass
        await accepting
        broker.grants, broker.suback_properties = 0x87, words
        accepting = asyncio.create_task(broker.accept())
        with pytest.raises(BrokerRefused, match=r'the subscription to .*\("busy"\)'):
            async with connect_publisher(settings):
                pass
        await accepting
