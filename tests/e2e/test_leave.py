"""`pointgate leave`: a replica that is removed leaves no queue and no point behind."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.patience import PATIENCE
from tests.support.ports import unused_port
from tests.support.processes import Broker, Sender, Service, small, stop_loop

if TYPE_CHECKING:
    from pathlib import Path


def leave(folder: Path, name: str, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pointgate", "leave", "-c", str(folder / f"{name}.toml")]
    done = subprocess.run(
        [*command, "--quiet", "1", *options], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def has_session(port: int, name: str) -> bool:
    """Whether the broker has a session of this client id; it has one afterwards."""
    found: queue.SimpleQueue[bool] = queue.SimpleQueue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    client.on_connect = lambda _c, _u, flags, _r, _p: found.put(flags.session_present)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", port, clean_start=False, properties=properties)
    client.loop_start()
    try:
        return found.get(timeout=PATIENCE)
    finally:
        client.disconnect()
        stop_loop(client)


def answered(sender: Sender, count: int) -> set[str]:
    replies = [json.loads(reply.payload) for reply in sender.take(count)]
    assert {reply["code"] for reply in replies} == {200}
    return {reply["id"] for reply in replies}


@pytest.mark.parametrize("protocol", [4, 5])
def test_queued_requests_are_answered_and_the_session_ends(
    tmp_path: Path, broker: Broker, protocol: int
) -> None:
    lines = f"protocol = {protocol}", 'share_group = "gate"'
    two = Service(tmp_path, broker.port, *lines, name="two", ack="spool")
    with two, Sender(broker.port) as sender:
        two.ready()
        assert two.end() == 0
        for number in range(40):
            sender.send(small(number))
        with Service(tmp_path, broker.port, *lines, name="one") as one:
            one.ready()
            status, said = leave(tmp_path, "two")
            assert (status, said.count("session of two ended")) == (0, 1), said
            assert answered(sender, 40) == set(map(str, range(40)))
            for number in range(40, 60):  # of which the absent replica would have got some
                sender.send(small(number))
            assert answered(sender, 20) == set(map(str, range(40, 60)))
    assert not has_session(broker.port, "two")


def test_a_session_stays_while_requests_are_in_the_spool(tmp_path: Path, broker: Broker) -> None:
    away = f'[[sinks]]\ntype = "postgres"\nurl = "postgresql://127.0.0.1:{unused_port()}/away"'
    with Service(tmp_path, broker.port, away, name="one", ack="spool") as one:
        one.ready()
        with Sender(broker.port) as sender:
            assert json.loads(sender.ask(small(1)).payload)["code"] == 200
        assert one.end() == 0
    status, said = leave(tmp_path, "one", "--timeout", "1")
    assert status == 75
    assert "session not ended: requests are in the spool (postgres lacks 1)" in said
    assert has_session(broker.port, "one")
    settings = tmp_path / "one.toml"
    settings.write_text(settings.read_text().replace(away, '[[sinks]]\ntype = "ndjson"'))
    settings.write_text(settings.read_text() + 'path = "points.ndjson"\nname = "postgres"\n')
    assert leave(tmp_path, "one")[0] == 0
    assert len((tmp_path / "points.ndjson").read_text().splitlines()) == 1
    assert not has_session(broker.port, "one")


@pytest.mark.parametrize("protocol", [4, 5])
def test_without_a_session_it_says_so(tmp_path: Path, broker: Broker, protocol: int) -> None:
    with Service(tmp_path, broker.port, f"protocol = {protocol}", name="one", ack="spool") as one:
        one.ready()
        assert one.end() == 0
    settings = tmp_path / "one.toml"
    (tmp_path / "typo.toml").write_text(
        settings.read_text().replace('client_id = "one"', 'client_id = "noe"')
    )
    status, said = leave(tmp_path, "typo")
    assert (status, "session of noe ended" in said) == (1, False), said
    assert "the broker has no session of noe: is that the mqtt.client_id of the replica?" in said
    assert has_session(broker.port, "one")
    assert leave(tmp_path, "one")[0] == 0
    assert leave(tmp_path, "one")[0] == 1  # it has left before


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_replica_that_runs_elsewhere_stays(tmp_path: Path, broker: Broker, protocol: int) -> None:
    lines = f"protocol = {protocol}"
    with Service(tmp_path, broker.port, lines, name="one", ack="spool") as one:
        one.ready()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "one.toml").write_text((tmp_path / "one.toml").read_text())
        status, said = leave(elsewhere, "one", "--timeout", "120")
        assert (status, "does the replica run elsewhere" in said) == (75, True), said
        with Sender(broker.port) as sender:
            end = time.monotonic() + PATIENCE
            while sender.replies.empty():  # until it has its session again, and is subscribed
                assert time.monotonic() < end
                sender.send(small(1))
                time.sleep(0.5)
            assert json.loads(sender.reply().payload)["code"] == 200


def test_a_replica_that_runs_or_has_no_broker_does_not_leave(
    tmp_path: Path, broker: Broker
) -> None:
    with Service(tmp_path, broker.port, name="one", ack="spool") as one:
        one.ready()
        status, said = leave(tmp_path, "one")
        assert (status, "in use" in said) == (75, True), said
        assert "session not ended: " in said
        assert "the replica must be stopped first" in said
        assert one.end() == 0
    broker.end()
    status, said = leave(tmp_path, "one", "--timeout", "1")
    assert status == 75
    assert "session not ended: not connected to the broker" in said
