"""What brokers do beyond their limits, and what their kill loses: figures of docs/brokers.md."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from pointgate.sources.mqtt.capabilities import SHARE_GROUP_UNVERIFIED
from pointgate.topics import REQUEST_FILTERS
from tests.brokers.servers import Mosquitto, Nats
from tests.e2e.flood import Replies, open_session, publish
from tests.support.patience import PATIENCE
from tests.support.processes import TOPIC, Sender, Service, small

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers.servers import Server

_WAITING = 3_000


def test_by_default_a_queue_drops_what_is_beyond_its_size(
    kind: type[Server], tmp_path: Path
) -> None:
    with kind(tmp_path, defaults=True) as server:
        open_session(server.port, "service", REQUEST_FILTERS)
        publish(server.port, map(small, range(_WAITING)))  # every one is acknowledged
        with (
            Service(tmp_path, server.port, "protocol = 4") as gate,
            Sender(server.port, protocol=4) as sender,
        ):
            gate.wait_for("session resumed")
            kept = int(min(_WAITING, kind.default_queue))
            answered = {json.loads(reply.payload)["id"] for reply in sender.take(kept)}
            assert answered == set(map(str, range(kept)))  # the oldest: the newest are dropped
            assert json.loads(sender.ask(small("last")).payload)["id"] == "last"
            assert gate.metric("pointgate_requests_received_total") == kept + 1


@pytest.mark.parametrize("size", [1_000_000, 1_500_000, 2_500_000, 9_000_000])
def test_by_default_the_sender_of_a_larger_packet_is_disconnected(
    kind: type[Server], tmp_path: Path, size: int
) -> None:
    with kind(tmp_path, defaults=True) as server:
        if size < server.default_packet:
            publish(server.port, [small(1).ljust(size)])
            return
        with pytest.raises((OSError, AssertionError)):  # reset, or closed
            publish(server.port, [small(1).ljust(size)])


def test_what_has_a_limit_by_default_takes_all_with_the_settings_of_the_docs(
    kind: type[Server], tmp_path: Path
) -> None:
    with kind(tmp_path) as server:
        open_session(server.port, "service", REQUEST_FILTERS)
        publish(server.port, (small(number).ljust(9_000_000) for number in range(3)))
        publish(server.port, map(small, range(_WAITING)))
        with (
            Replies(server.port) as replies,
            Service(tmp_path, server.port, "protocol = 4") as gate,
        ):
            replies.take(_WAITING)
            assert gate.metric("pointgate_requests_received_total") >= _WAITING + 3


def test_what_waits_survives_the_kill_of_a_broker_that_stores_it_at_once(
    kind: type[Server], tmp_path: Path
) -> None:
    if kind is Mosquitto:
        pytest.skip("Mosquitto saves every few seconds: docs/operations.md")
    with kind(tmp_path) as server:
        open_session(server.port, "service", REQUEST_FILTERS)
        publish(server.port, map(small, range(_WAITING)))
        server.end(signal.SIGKILL)
        server.start()
        with (
            Replies(server.port) as replies,
            Service(tmp_path, server.port, "protocol = 4") as gate,
        ):
            gate.wait_for("session resumed")
            replies.take(_WAITING, patience=2 * PATIENCE)


@pytest.mark.broker
def test_nats_takes_a_share_group_for_a_topic_and_delivers_nothing(tmp_path: Path) -> None:
    if words := Nats.missing():
        pytest.skip(words)
    with (
        Nats(tmp_path) as server,
        Service(tmp_path, server.port, "protocol = 4", 'share_group = "gate"') as shared,
        Service(tmp_path, server.port, "protocol = 4", name="plain") as plain,
        Sender(server.port, protocol=4) as sender,
    ):
        shared.ready()  # so the SUBACK says
        plain.ready()
        for number in range(20):
            sender.send(small(number), ("/" if number % 2 else "") + TOPIC)
        sender.take(20)
        assert plain.metric("pointgate_requests_received_total") == 20
        assert shared.metric("pointgate_requests_received_total") == 0
        assert SHARE_GROUP_UNVERIFIED in shared.readiness()[1]


@pytest.mark.broker
def test_nats_refuses_mqtt_5_and_the_log_says_what_to_set(tmp_path: Path) -> None:
    if words := Nats.missing():
        pytest.skip(words)
    with Nats(tmp_path) as server, Service(tmp_path, server.port, "protocol = 5") as gate:
        gate.wait_for("does it speak MQTT 3.1.1 only.*mqtt.protocol = 4")
