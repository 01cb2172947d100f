"""What the service promises, on every broker: one short suite."""

from __future__ import annotations

import contextlib
import json
import signal
from typing import TYPE_CHECKING, Final

import pytest

from pointgate.config import Settings
from tests.e2e.flood import Client
from tests.support.patience import PATIENCE
from tests.support.processes import TOPIC, Sender, Service, small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.brokers.servers import Server

    Serve = Callable[..., Service]

_QUEUE: Final = 1_000
"""What Mosquitto and HiveMQ queue by default."""


def plant(server: Server, protocol: int) -> Sender:
    """A sender that keeps every broker's Receive Maximum: HiveMQ CE's default is 10."""
    return Sender(server.port, protocol=protocol, inflight=10)


def answered(sender: Sender, wanted: Iterable[object]) -> None:
    """Take replies until each of these ids has one; a request may be answered twice."""
    missing = set(map(str, wanted))
    while missing:
        reply = json.loads(sender.reply().payload)
        assert reply["code"] == 200
        missing.discard(reply["id"])


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("slash", ["", "/"])
def test_requests_are_answered_in_order_on_their_own_form_of_the_topic(
    server: Server, serve: Serve, protocol: int, slash: str, qos: int
) -> None:
    with serve() as gate, plant(server, protocol) as sender:
        gate.ready()
        for number in range(300):
            sender.send(small(number), slash + TOPIC, qos=qos)
        replies = sender.take(300)
        assert [json.loads(reply.payload)["id"] for reply in replies] == list(map(str, range(300)))
        assert {reply[0] for reply in replies} == {f"{slash}{TOPIC}_reply"}
        assert {reply[2:4] for reply in replies} == {(qos, False)}
        assert gate.end() == 0


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [(b"1.5", b'"1.5"', 1204), (b"device1", b"device9", 1257), (b"{", b"[", 1220)],
)
def test_what_is_not_right_gets_its_code(
    server: Server, serve: Serve, protocol: int, *, old: bytes, new: bytes, code: int
) -> None:
    with serve() as gate, plant(server, protocol) as sender:
        gate.ready()
        reply = sender.ask(small(1).replace(old, new, 1))
        assert json.loads(reply.payload)["code"] == code


def test_a_request_of_the_limit_is_judged_and_a_larger_one_is_answered_1008(
    server: Server, serve: Serve, protocol: int
) -> None:
    limit = Settings().limits.payload_bytes
    with serve() as gate, plant(server, protocol) as sender:
        gate.ready()
        for size, code in ((limit, 200), (limit + 1, 1008), (2 * limit, 1008)):
            assert json.loads(sender.ask(small(size).ljust(size)).payload)["code"] == code
        assert json.loads(sender.ask(small("next")).payload)["code"] == 200


def test_correlation_data_is_echoed_over_mqtt_5(
    server: Server, serve: Serve, protocol: int
) -> None:
    with serve() as gate, plant(server, protocol) as sender:
        gate.ready()
        if protocol == 4:  # which has none
            sender.send(small(1))
            assert sender.reply().correlation is None
            return
        sender.send(small(1), correlation=b"\0\xffabc" * 50)
        assert sender.reply()[::4] == (f"{TOPIC}_reply", b"\0\xffabc" * 50)


def test_a_retained_request_is_answered_when_it_is_sent_and_not_when_it_was_stored(
    server: Server, serve: Serve, protocol: int
) -> None:
    with plant(server, protocol) as sender:
        sender.send(small("stored"), retain=True).wait_for_publish(PATIENCE)
        with serve() as gate:
            gate.ready()
            gate.wait_for_metric('pointgate_requests_ignored_total{reason="retained"}', 1)
            sender.send(small("live"), retain=True)
            reply = sender.reply()
            assert (json.loads(reply.payload)["id"], reply.retained) == ("live", False)
            sender.send(b"", retain=True)  # forget it; a request of no bytes, too
            assert json.loads(sender.reply().payload)["code"] == 1251


def test_more_than_the_default_queue_waits_for_a_service_that_is_away(
    server: Server, serve: Serve, protocol: int
) -> None:
    count = 3 * _QUEUE
    with serve() as gate:
        gate.ready()
        assert gate.end() == 0
    with plant(server, protocol) as sender:
        for number in range(count):
            sender.send(small(number))
        with serve() as gate:
            gate.wait_for("session resumed")
            answered(sender, range(count))


def test_a_service_that_is_killed_leaves_no_request_at_qos_1_unanswered(
    server: Server, serve: Serve, protocol: int
) -> None:
    count = 3 * _QUEUE
    with plant(server, protocol) as sender:
        with serve() as gate:
            gate.ready()
            for number in range(count):
                sender.send(small(number))
            first = json.loads(sender.reply().payload)["id"]  # it is in the middle of them
            gate.end(signal.SIGKILL)
        with serve() as gate:
            gate.wait_for("session resumed")
            answered(sender, set(map(str, range(count))) - {first})


def test_replicas_share_the_requests_and_each_is_answered_once(
    kind: type[Server], server: Server, serve: Serve, protocol: int
) -> None:
    if words := kind.lacks.get("share"):
        pytest.skip(words)
    group = f'share_group = "gate-{protocol}"'
    with (
        plant(server, protocol) as sender,
        serve(group, name="one") as one,
        serve(group, name="two") as two,
    ):
        one.ready()
        two.ready()
        for number in range(200):
            sender.send(small(number), ("/" if number % 2 else "") + TOPIC)
        ids = [json.loads(reply.payload)["id"] for reply in sender.take(200)]
        assert sorted(ids, key=int) == list(map(str, range(200)))
        for each in (one, two):
            each.wait_for_metric("pointgate_requests_in_flight", 0)
        shares = [each.metric("pointgate_requests_received_total") for each in (one, two)]
        assert sum(shares) == 200
        assert min(shares) > 0
        assert (one.end(), two.end()) == (0, 0)


def test_the_queue_and_the_session_survive_a_restart_of_the_broker(
    kind: type[Server], tmp_path: Path, protocol: int
) -> None:
    extra = f"protocol = {protocol}"
    with kind(tmp_path) as server:
        with Service(tmp_path, server.port, extra) as gate:
            gate.ready()
            assert gate.end() == 0
        with plant(server, protocol) as sender:
            for number in range(200):
                sender.send(small(number)).wait_for_publish(PATIENCE)
        server.end()
        server.start()
        with (
            plant(server, protocol) as sender,
            Service(tmp_path, server.port, extra) as gate,
        ):
            gate.wait_for("session resumed")
            answered(sender, range(200))
            assert json.loads(sender.ask(small("next")).payload)["code"] == 200


def test_a_takeover_of_the_client_id_is_reported_where_the_broker_reports_it(
    server: Server, serve: Serve, protocol: int
) -> None:
    with serve(name="taken") as gate:
        gate.ready()
        with contextlib.closing(Client(server.port, "taken")):
            if protocol == 5 and server.reports_takeovers:
                gate.wait_for("another client connected as taken; reconnecting in 60 s")
            else:
                gate.wait_for("no connection to .*; retrying")
                gate.ready()  # takes it back
