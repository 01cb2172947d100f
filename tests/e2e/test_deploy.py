"""The broker's files that `deploy/` ships do what they say, with a real Mosquitto."""

from __future__ import annotations

import json
import re
import signal
import sys
from typing import TYPE_CHECKING, Final

import pytest
import trustme

from pointgate.config import Settings, load_settings
from pointgate.topics import REQUEST_FILTERS
from tests.e2e.flood import Replies, open_session, publish
from tests.support.paths import CATALOG, DEPLOY
from tests.support.ports import unused_port
from tests.support.processes import MOSQUITTO, TOPIC, Process, Service, small
from tests.support.shipped_broker import (
    CONFIGURATION,
    PASSWORD,
    SQLITE,
    Account,
    ShippedBroker,
    sqlite_plugin,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUEST: Final = "sys/{}/integration/measurepoint/post"
REPLY: Final = REQUEST + "_reply"
NOT_AUTHORIZED: Final = 0x87
BAD_PASSWORD: Final = 0x87
NO_SUBSCRIBER: Final = 0x10


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedBroker]:
    """One broker for all tests that leave nothing behind."""
    with ShippedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def login(folder: Path, *, name: str = "pointgate") -> tuple[str, str]:
    """The lines of the service's settings with which it logs in."""
    file = folder / "password"
    file.write_text(f"{PASSWORD}\n")
    return f'username = "{name}"', f'password_file = "{file}"'


# The access list


@pytest.mark.parametrize(
    ("name", "password"),
    [(None, ""), ("nobody", PASSWORD), ("protocol", "guessed"), ("protocol", ""), ("#", PASSWORD)],
)
def test_nobody_comes_in_without_a_password(
    broker: ShippedBroker, name: str | None, password: str
) -> None:
    with Account(broker.port, name, password=password) as account:
        assert account.reason == BAD_PASSWORD


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("name", ["protocol", "replay"])
def test_requests_are_sent_and_replies_read(broker: ShippedBroker, name: str, slash: str) -> None:
    request, reply = slash + REQUEST.format("protocol"), slash + REPLY.format("protocol")
    everything = slash + REQUEST.format("+")
    with (
        Account(broker.port, name) as product,
        Account(broker.port, "pointgate") as gate,
    ):
        gate.subscribe(everything)
        product.subscribe(reply)
        assert product.publish(request, b"a request") == 0
        assert gate.next() == (request, b"a request")
        assert gate.publish(reply, b"a reply") == 0
        assert product.next() == (reply, b"a reply")


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("protocol", REQUEST.format("other")),
        ("protocol", "/" + REQUEST.format("other")),
        ("protocol", REQUEST.format("PROTOCOL")),
        ("protocol", REQUEST.format("")),
        ("protocol", REQUEST.format("protocol/protocol")),
        ("protocol", "//" + REQUEST.format("protocol")),
        ("protocol", REQUEST.format("protocol") + "/"),
        ("protocol", REPLY.format("protocol")),
        ("protocol", "/" + REPLY.format("protocol")),
        ("protocol", REPLY.format("other")),
        ("protocol", "$SYS/broker/publish/messages/dropped"),
        ("protocol", "$share/group/" + REQUEST.format("protocol")),
        ("protocol", "anything"),
        ("pointgate", REQUEST.format("protocol")),
        ("pointgate", REQUEST.format("pointgate")),
        ("pointgate", "/" + REQUEST.format("pointgate")),
        ("pointgate", REPLY.format("protocol") + "/more"),
        ("pointgate", "sys/protocol/other"),
        ("monitor", REQUEST.format("monitor")),
        ("monitor", REPLY.format("protocol")),
        ("monitor", "$SYS/broker/publish/messages/dropped"),
        ("replay", REPLY.format("protocol")),
        ("replay", REQUEST.format("replay")),
        ("a+b", REQUEST.format("a1b")),
        ("+", REQUEST.format("protocol")),
        ("%c", REQUEST.format("protocol")),
        ("%u", REQUEST.format("protocol")),
    ],
)
def test_nobody_sends_what_is_not_his(broker: ShippedBroker, name: str, topic: str) -> None:
    # The client id is the product's key: a pattern that looked at it would let these in.
    with Account(broker.port, name, client_id="protocol") as account:
        assert account.publish(topic) == NOT_AUTHORIZED


@pytest.mark.parametrize(
    "wanted",
    [
        "#",
        "/#",
        "sys/#",
        "sys/+/integration/measurepoint/+",
        REPLY.format("+"),
        REPLY.format("protocol"),
        REQUEST.format("+"),
        REQUEST.format("protocol"),
        "$SYS/#",
        "$share/group/#",
        "$share/group/" + REPLY.format("+"),
        "$share/group/" + REPLY.format("protocol"),
    ],
)
@pytest.mark.parametrize("name", ["other", "+", "a+b", "%c", "%u", "$SYS"])
def test_nobody_reads_what_is_not_his(broker: ShippedBroker, name: str, wanted: str) -> None:
    with (
        Account(broker.port, name, client_id="protocol") as account,
        Account(broker.port, "protocol") as product,
        Account(broker.port, "pointgate") as gate,
    ):
        account.subscribe(wanted)
        product.subscribe(REPLY.format("protocol"))
        assert product.publish(REQUEST.format("protocol")) in {0, NO_SUBSCRIBER}
        assert gate.publish(REPLY.format("protocol"), b"for one product") in {0, NO_SUBSCRIBER}
        assert product.next()[1] == b"for one product"
        # The broker has one thread and goes by the order: before this answer it would have come.
        account.subscribe("anything")
        assert account.messages.empty()


@pytest.mark.parametrize("wanted", ["#", "sys/#", REPLY.format("+")])
def test_of_a_wildcard_a_product_gets_its_own_replies(broker: ShippedBroker, wanted: str) -> None:
    with (
        Account(broker.port, "other") as product,
        Account(broker.port, "pointgate") as gate,
    ):
        product.subscribe(wanted)
        gate.publish(REPLY.format("protocol"), b"for another")
        gate.publish(REPLY.format("other"), b"for this one")
        assert product.next() == (REPLY.format("other"), b"for this one")


def test_the_service_reads_no_replies_and_the_monitor_no_requests(broker: ShippedBroker) -> None:
    with (
        Account(broker.port, "pointgate") as gate,
        Account(broker.port, "monitor") as monitor,
        Account(broker.port, "protocol") as product,
    ):
        gate.subscribe("#", "$SYS/#")
        monitor.subscribe("#")
        gate.publish(REPLY.format("protocol"))
        product.publish(REQUEST.format("protocol"))
        assert gate.next()[0] == REQUEST.format("protocol")
        monitor.subscribe("$SYS/broker/publish/messages/dropped")
        assert monitor.next() == ("$SYS/broker/publish/messages/dropped", b"0")
        assert gate.messages.empty()


# The service behind the shipped broker


def test_a_request_too_large_or_retained_is_answered(broker: ShippedBroker, tmp_path: Path) -> None:
    with (
        Service(tmp_path, broker.port, *login(tmp_path), name="answers") as gate,
        Account(broker.port, "protocol") as product,
    ):
        gate.ready()
        product.subscribe(TOPIC + "_reply")
        product.publish(TOPIC, small(1).ljust(Settings().limits.payload_bytes + 1))
        assert json.loads(product.next()[1])["code"] == 1008
        assert product.publish(TOPIC, small(2), retain=True) == 0
        assert json.loads(product.next()[1]) == {"id": "2", "code": 200, "data": {}}
        product.publish(TOPIC, b"", retain=True)


def test_the_queue_survives_the_broker(tmp_path: Path) -> None:
    wanted = {str(number) for number in range(1_500)}  # more than Mosquitto keeps by default
    with ShippedBroker(tmp_path) as broker:
        settings = (tmp_path, broker.port, *login(tmp_path))
        with Service(*settings) as gate:
            gate.ready()
            assert gate.end() == 0
        with Account(broker.port, "protocol") as product:
            for number in wanted:
                assert product.publish(TOPIC, small(number)) == 0
        broker.wait_for_save()
        broker.end(signal.SIGKILL)
        broker.start()
        with Account(broker.port, "protocol").__enter__() as product, Service(*settings) as gate:
            product.subscribe(TOPIC + "_reply")
            gate.wait_for("session resumed")
            replies = [json.loads(product.next()[1]) for _ in wanted]
    assert {reply["code"] for reply in replies} == {200}
    assert {reply["id"] for reply in replies} == wanted


def test_with_the_database_of_2_1_the_queue_survives_a_kill_at_any_time(tmp_path: Path) -> None:
    if sqlite_plugin() is None:
        pytest.skip(f"the plugin persist-sqlite of Mosquitto 2.1 is not beside {MOSQUITTO}")
    count = 3_000
    account = ("protocol", PASSWORD)
    with ShippedBroker(tmp_path, configuration=SQLITE) as broker:
        open_session(broker.port, "service", REQUEST_FILTERS, account=("pointgate", PASSWORD))
        publish(broker.port, map(small, range(count)), account=account)
        broker.end(signal.SIGKILL)  # right after the last acknowledgement
        broker.start()
        with (
            Replies(broker.port, account=account) as replies,
            Service(tmp_path, broker.port, *login(tmp_path), "protocol = 4") as gate,
        ):
            gate.wait_for("session resumed")
            replies.take(count)


def test_with_tls_nobody_takes_the_session_of_the_service(tmp_path: Path) -> None:
    authority, certificate = trustme.CA(), tmp_path / "server.crt"
    issued, key = authority.issue_cert("127.0.0.1", "localhost"), tmp_path / "server.key"
    issued.private_key_pem.write_to_path(str(key))
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    port = unused_port()
    lines = {
        "#listener 8883": f"listener {port} 127.0.0.1",
        "#certfile /etc/mosquitto/certs/server.crt": f"certfile {certificate}",
        "#keyfile /etc/mosquitto/certs/server.key": f"keyfile {key}",
        "#tls_version tlsv1.2": "tls_version tlsv1.2",
        "#use_username_as_clientid true": "use_username_as_clientid true",
    }
    with (
        ShippedBroker(tmp_path, lines) as broker,
        Service(tmp_path, broker.port, *login(tmp_path), name="known") as gate,
    ):
        gate.ready()
        with Account(port, "protocol", client_id="known", ca_file=tmp_path / "ca.crt") as product:
            assert product.reason == 0
            product.subscribe(TOPIC + "_reply").publish(TOPIC, small(1))
            assert json.loads(product.next()[1])["code"] == 200
        assert gate.metric("pointgate_mqtt_connections_lost_total") == 0


def test_the_shipped_settings_make_a_service(broker: ShippedBroker, tmp_path: Path) -> None:
    login(tmp_path)
    environ = {
        "MQTT__URL": f"mqtt://127.0.0.1:{broker.port}",
        "MQTT__PASSWORD_FILE": str(tmp_path / "password"),  # as the unit sets it
        "CATALOG__PATH": str(CATALOG),
        "METRICS__LISTEN": "127.0.0.1:0",
        "SPOOL__PATH": str(tmp_path / "spool"),
        "SINKS__PARQUET__PATH": str(tmp_path / "points"),
    }
    command = [sys.executable, "-m", "pointgate", "serve", "-c", str(DEPLOY / "pointgate.toml")]
    environ = {f"POINTGATE_{name}": value for name, value in environ.items()}
    with Process(*command, environ=environ) as gate, Account(broker.port, "protocol") as product:
        gate.wait_for("requests are being received")
        product.subscribe(TOPIC + "_reply").publish(TOPIC, small(1))
        assert json.loads(product.next()[1])["code"] == 200
        assert gate.end() == 0
    assert list((tmp_path / "points").rglob("date=*/*.parquet"))


def options_of(configuration: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) (\S+)$", configuration, re.MULTILINE))


@pytest.mark.parametrize("configuration", [CONFIGURATION, SQLITE], ids=["shipped", "sqlite"])
def test_the_broker_lets_through_what_the_service_is_set_for(configuration: str) -> None:
    options = options_of(configuration)
    defaults = Settings()
    assert int(options["max_inflight_messages"]) == defaults.mqtt.receive_maximum
    assert int(options["message_size_limit"]) >= 4 * defaults.limits.payload_bytes
    # What is above the payload's limit is acknowledged and dropped, not disconnected.
    packet = int(options["max_packet_size"])
    assert packet >= int(options["message_size_limit"]) + 2 * 0xFFFF  # topic, Correlation Data
    assert options["set_tcp_nodelay"] == "true"
    assert options["allow_anonymous"] == "false"
    shipped = load_settings(DEPLOY / "pointgate.toml", {})
    assert int(options["persistent_client_expiration"][:-1]) * 86400 >= shipped.mqtt.session_expiry


def test_the_two_configurations_differ_only_in_how_they_save() -> None:
    shipped, sqlite = options_of(CONFIGURATION), options_of(SQLITE)
    assert {name for name in shipped.keys() | sqlite if shipped.get(name) != sqlite.get(name)} == {
        "persistence",
        "autosave_interval",
        "autosave_on_changes",
        "plugin",
        "plugin_opt_flush_period",
        "plugin_opt_sync",
    }
