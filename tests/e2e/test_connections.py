"""The service outlives its broker, its own death and other clients, and loses nothing at QoS 1."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import signal
import threading
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.support.paths import CATALOG
from tests.support.patience import PATIENCE
from tests.support.ports import unused_port
from tests.support.processes import TOPIC, Broker, Process, Sender, Service, small

if TYPE_CHECKING:
    from pathlib import Path


def ids(sender: Sender, wanted: set[str]) -> None:
    """Take replies until each of these ids has one; a request may be answered twice."""
    missing = set(wanted)
    while missing:
        reply = json.loads(sender.reply().payload)
        assert reply["code"] == 200
        missing.discard(reply["id"])


def test_a_broker_that_is_absent_at_start_is_waited_for(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    with Service(tmp_path, broker.port) as service:
        service.wait_for("no connection to .*refused.*retrying")
        status, why = service.readiness()
        url = f"mqtt://127.0.0.1:{broker.port}"
        assert (status, why.count("\n")) == (503, 1)
        assert why.startswith(f"not connected to the broker: {url}: cannot connect: ")
        with broker, Sender(broker.port) as sender:
            service.ready()
            assert service.readiness()[0] == 200
            assert json.loads(sender.ask(small(1)).payload)["code"] == 200


@pytest.mark.parametrize("protocol", [5, 4])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_broker_that_restarts_finds_the_service_back_in_its_session(
    tmp_path: Path, number: signal.Signals, protocol: int
) -> None:
    with (
        Broker(tmp_path, persistent=True) as broker,
        Service(tmp_path, broker.port, f"protocol = {protocol}") as service,
    ):
        service.ready()
        with Sender(broker.port) as sender:
            sender.ask(small(1))
        broker.end(number)
        service.wait_for("no connection")
        broker.start()
        with Sender(broker.port) as sender:
            service.wait_for("session resumed")
            service.ready()
            assert json.loads(sender.ask(small(2)).payload)["code"] == 200
        assert service.metric("pointgate_mqtt_reconnects_total") == 1
        assert service.metric("pointgate_mqtt_connections_lost_total") == 1
        assert service.metric("pointgate_mqtt_sessions_lost_total") == 0


def test_a_broker_that_forgot_the_session_is_subscribed_to_again(
    tmp_path: Path, broker: Broker
) -> None:
    with Service(tmp_path, broker.port) as service:
        service.ready()
        broker.end()
        broker.start()
        service.wait_for("new session")
        service.ready()
        with Sender(broker.port) as sender:
            assert json.loads(sender.ask(small(1)).payload)["code"] == 200
        assert service.metric("pointgate_mqtt_sessions_lost_total") == 1


@pytest.mark.parametrize("protocol", [5, 4])
def test_a_service_that_is_killed_leaves_no_request_at_qos_1_unanswered(
    tmp_path: Path, broker: Broker, protocol: int
) -> None:
    wanted = {str(number) for number in range(2000)}
    options = (f"protocol = {protocol}", "receive_maximum = 50")
    with Sender(broker.port) as sender:
        with Service(tmp_path, broker.port, *options) as service:
            service.ready()
            for number in range(2000):
                sender.send(small(number))
            sender.reply()  # it is in the middle of them
            service.end(signal.SIGKILL)
        with Service(tmp_path, broker.port, *options) as service:
            service.wait_for("session resumed")
            ids(sender, wanted - {"0"})


def test_requests_that_come_while_the_service_is_away_are_answered_when_it_is_back(
    tmp_path: Path, broker: Broker
) -> None:
    with Service(tmp_path, broker.port) as service:
        service.ready()
        assert service.end() == 0
    count = 5000
    with Sender(broker.port) as sender:
        for number in range(count):
            sender.send(small(number))
        # Mosquitto 2.0 sends them all at once, whatever Receive Maximum says.
        limits = "[limits]", "in_flight_requests = 100"
        with Service(tmp_path, broker.port, "receive_maximum = 50", *limits):
            ids(sender, {str(number) for number in range(count)})


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_service_that_was_never_ready_says_so_when_it_is_stopped(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with Service(tmp_path, unused_port()) as service:
        service.wait_for("no connection")
        assert service.end(number) == status


def test_a_log_as_json_has_an_object_on_each_line(tmp_path: Path, broker: Broker) -> None:
    log = "[logging]", 'format = "json"'
    with Service(tmp_path, broker.port, *log) as service:
        assert service.ready().end() == 0
    events = [json.loads(line) for line in service.lines if line != "(ended)"]
    assert all(one.keys() == {"time", "level", "logger", "message"} for one in events)
    assert {one["level"] for one in events} >= {"info", "warning"}


def test_a_second_signal_ends_at_once(tmp_path: Path, broker: Broker) -> None:
    with Service(tmp_path, broker.port) as service:
        service.ready()
        broker.send_signal(signal.SIGSTOP)
        try:
            service.send_signal(signal.SIGTERM)
            service.wait_for("draining")
            assert service.end(signal.SIGTERM) == -signal.SIGTERM
        finally:
            broker.send_signal(signal.SIGCONT)


def test_a_broker_that_stands_still_does_not_keep_the_service_from_ending(
    tmp_path: Path, broker: Broker
) -> None:
    with Service(tmp_path, broker.port) as service:
        service.ready()
        broker.send_signal(signal.SIGSTOP)
        try:
            assert service.end(signal.SIGTERM) == 0
        finally:
            broker.send_signal(signal.SIGCONT)


def test_replicas_share_the_requests_and_each_is_answered_once(
    tmp_path: Path, broker: Broker
) -> None:
    group = 'share_group = "gate"'
    with (
        Sender(broker.port) as sender,
        Service(tmp_path, broker.port, group, name="one") as one,
        Service(tmp_path, broker.port, group, name="two") as two,
    ):
        one.ready()
        two.ready()
        for number in range(400):
            sender.send(small(number), ("/" if number % 2 else "") + TOPIC)
        replies = [json.loads(reply.payload)["id"] for reply in sender.take(400)]
        assert sorted(replies, key=int) == [str(number) for number in range(400)]
        for service in (one, two):
            service.wait_for_metric("pointgate_requests_in_flight", 0)
        shares = [each.metric("pointgate_requests_received_total") for each in (one, two)]
        assert sum(shares) == 400
        assert min(shares) > 0


@pytest.mark.parametrize("protocol", [5, 4])
def test_a_service_that_joins_a_share_group_answers_each_request_once(
    tmp_path: Path, broker: Broker, protocol: int
) -> None:
    with Service(tmp_path, broker.port, f"protocol = {protocol}") as service:
        service.ready()
        assert service.end() == 0
    with Sender(broker.port) as sender:
        sender.send(small("waited")).wait_for_publish(PATIENCE)
        group = f"protocol = {protocol}", 'share_group = "gate"'
        with Service(tmp_path, broker.port, *group) as service:
            service.ready()
            for number in range(20):
                sender.send(small(number), ("/" if number % 2 else "") + TOPIC)
            found = [json.loads(one.payload)["id"] for one in sender.take(21)]
            assert sorted(found) == sorted(["waited", *map(str, range(20))])
            service.wait_for_metric("pointgate_requests_in_flight", 0)
            assert service.metric("pointgate_requests_received_total") == 21


@pytest.mark.parametrize("protocol", [5, 4])
@pytest.mark.parametrize(
    "groups", [("one", None), ("one", "two"), (None, "one", None), ("one", "two", "one")]
)
def test_a_service_that_changes_its_share_group_answers_each_request_once(
    tmp_path: Path, broker: Broker, groups: tuple[str | None, ...], protocol: int
) -> None:
    with Sender(broker.port) as sender:
        for number, group in enumerate(groups):
            options = [f"protocol = {protocol}", *([f'share_group = "{group}"'] if group else [])]
            with Service(tmp_path, broker.port, *options) as service:
                service.ready()
                for request in range(10):
                    sender.send(small(f"{number}-{request}"))
                found = [json.loads(one.payload)["id"] for one in sender.take(10)]
                assert sorted(found) == [f"{number}-{request}" for request in range(10)]
                service.wait_for_metric("pointgate_requests_in_flight", 0)
                assert service.metric("pointgate_requests_received_total") == 10
                assert service.end() == 0


@pytest.mark.parametrize("protocol", [5, 4])
def test_a_fight_over_the_client_id_is_told(tmp_path: Path, broker: Broker, protocol: int) -> None:
    with Service(tmp_path, broker.port, f"protocol = {protocol}") as service:
        service.ready()
        with Sender(broker.port, name="service"):  # paho comes back after a second, each time
            if protocol == 5 and broker.version >= (2, 1):  # the broker says so
                service.wait_for("another client connected as service; reconnecting in 60 s")
            else:
                service.wait_for("does another client use the client id service?")
        assert service.end() == 0


def test_a_broker_that_does_not_let_us_in_is_named_and_asked_again(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("gate:secret-canary\n")
    Process("mosquitto_passwd", "-U", str(passwords)).status()
    secret = tmp_path / "secret"
    secret.write_text("wrong-canary\n")
    options = ('username = "gate"', f'password_file = "{secret}"')
    with (
        Broker(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker,
        Service(tmp_path, broker.port, *options) as service,
    ):
        service.wait_for("refuses this client: .*Not authorized")
        status, why = service.readiness()
        assert status == 503
        assert why.startswith(f"refused by the broker: mqtt://127.0.0.1:{broker.port}: the broker")
        assert "Not authorized" in why
        secret.write_text("secret-canary\n")  # read anew at each try
        service.ready()
        assert not any("canary" in line for line in service.lines)


def test_a_reply_that_the_broker_refuses_is_counted_and_said_once(tmp_path: Path) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic read sys/#\ntopic write sys/+/integration/measurepoint/post\n")
    extra = "allow_anonymous true", f"acl_file {rights}"
    with (
        Broker(tmp_path, *extra) as broker,
        Service(tmp_path, broker.port) as service,
        Sender(broker.port) as sender,
    ):
        service.ready()
        for number in range(5):
            sender.send(small(number))
        service.wait_for("broker rejected .*Not authorized")
        # Mosquitto may close the connection after each of them; then the other requests are
        # redelivered on the next connection, after a backoff.
        service.wait_for_metric("pointgate_mqtt_replies_refused_total", 2, at_least=True)
        assert sum("broker rejected" in line for line in service.lines) == 1


def catalog(folder: Path, first: str, second: str) -> None:
    """Write a catalog whose one model has two points of these types."""
    points = {
        name: {"identifier": name, "dataType": kind, "hasQuality": False}
        for name, kind in (("first", first), ("second", second))
    }
    (folder / "model.json").write_text(json.dumps({"modelId": "m", "measurepoints": points}))


def test_a_catalog_that_changes_under_load_never_mixes_two_verdicts(
    tmp_path: Path, broker: Broker
) -> None:
    folder = tmp_path / "catalog"
    folder.mkdir()
    (folder / "catalog.toml").write_text(
        '[products.protocol]\nmodel = "model.json"\ndevices = "devices.txt"\n'
    )
    (folder / "devices.txt").write_text("device1\n")
    catalog(folder, "DOUBLE", "STRING")
    # Right under the first model; under the second, the first point is wrong, and after it the
    # other.
    payload = small(1).replace(b'"temp":1.5', b'"first":1.5,"second":"x"')
    with (
        Service(tmp_path, broker.port, catalog=folder) as service,
        Sender(broker.port) as sender,
    ):
        service.ready()
        verdicts = set()
        for round_number in range(4):
            before = {sender.ask(payload).payload for _ in range(20)}
            assert len(before) == 1
            verdicts |= before
            catalog(
                folder, *(("STRING", "DOUBLE") if round_number % 2 == 0 else ("DOUBLE", "STRING"))
            )
            service.send_signal(signal.SIGHUP)
            loaded = threading.Thread(target=service.wait_for, args=("catalog loaded: 1 product,",))
            loaded.start()
            while loaded.is_alive():
                verdicts.add(sender.ask(payload).payload)
            loaded.join()
            assert {sender.ask(payload).payload}.isdisjoint(before)
        codes = {json.loads(verdict)["code"] for verdict in verdicts}
        pointers = {json.loads(verdict)["data"].get("identifier") for verdict in verdicts}
        assert (len(verdicts), codes, pointers) == (2, {200, 1204}, {None, "first"})


def test_a_catalog_that_is_broken_leaves_the_last_good_one(tmp_path: Path, broker: Broker) -> None:
    folder = tmp_path / "catalog"
    shutil.copytree(CATALOG, folder)
    with (
        Service(tmp_path, broker.port, catalog=folder) as service,
        Sender(broker.port) as sender,
    ):
        service.ready()
        (folder / "models/protocol.json").write_text("{")
        service.wait_for("catalog not loaded, the last valid one stays")
        assert json.loads(sender.ask(small(1)).payload)["code"] == 200
        status, text = service.readiness()
        assert status == 200
        assert text.startswith("catalog not loaded, the last valid one stays active: ")
        assert f"{folder}/models/protocol.json" in text
        shutil.copy(CATALOG / "models/protocol.json", folder / "models")
        service.wait_for("catalog loaded")
        assert service.readiness() == (200, "ready\n")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_broker(folder: Path, authority: trustme.CA, *, host: str, clients: bool = False) -> Broker:
    certificate = authority.issue_cert(host)
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "chain.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    plain_port = unused_port()
    extra = [
        f"keyfile {folder}/key.pem",
        f"certfile {folder}/chain.pem",
        f"cafile {folder}/ca.pem",
        f"require_certificate {str(clients).lower()}",
        f"listener {plain_port} 127.0.0.1",
        "allow_anonymous true",
    ]
    broker = Broker(folder, *extra)
    broker.plain_port = plain_port
    return broker


def test_tls_works_with_the_right_authority_and_a_client_certificate(
    tmp_path: Path, authority: trustme.CA
) -> None:
    client = authority.issue_cert("pointgate")
    client.private_key_pem.write_to_path(tmp_path / "client-key.pem")
    client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    broker = tls_broker(tmp_path, authority, host="localhost", clients=True)
    options = (
        f'ca_file = "{tmp_path}/ca.pem"',
        f'cert_file = "{tmp_path}/client.pem"',
        f'key_file = "{tmp_path}/client-key.pem"',
    )
    url = f"mqtts://localhost:{broker.port}"
    with broker, Service(tmp_path, url, *options) as service, Sender(broker.plain_port) as sender:
        service.ready()
        for number in range(2000):
            sender.send(small(number))
        ids(sender, {str(number) for number in range(2000)})
        large = small("large") + b" " * 5_000_000
        assert json.loads(sender.ask(large).payload)["id"] == "large"


def test_a_port_that_does_not_speak_tls_is_asked_about(tmp_path: Path, broker: Broker) -> None:
    with Service(tmp_path, f"mqtts://localhost:{broker.port}") as service:
        service.wait_for(r"cannot connect: .*; does this port speak TLS\?")
        assert "; does this port speak TLS?" in service.readiness()[1]


@pytest.mark.parametrize(
    ("host", "authority_is_known", "reason"),
    [
        ("localhost", False, "certificate is not accepted: self-signed certificate"),
        ("elsewhere.example", True, "certificate is not accepted: Hostname mismatch"),
    ],
)
def test_tls_refuses_another_authority_and_another_host(
    tmp_path: Path,
    authority: trustme.CA,
    host: str,
    reason: str,
    *,
    authority_is_known: bool,
) -> None:
    broker = tls_broker(tmp_path, authority, host=host)
    known = tmp_path / "known.pem"
    (authority if authority_is_known else trustme.CA()).cert_pem.write_to_path(known)
    url = f"mqtts://localhost:{broker.port}"
    with broker, Service(tmp_path, url, f'ca_file = "{known}"') as service:
        service.wait_for(reason)
        assert service.readiness()[0] == 503


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "the broker requires a client certificate: see mqtt.cert_file"),
        ("foreign", "the broker does not know the authority of our certificate"),
        ("expired", "the broker reports that our certificate has expired"),
    ],
)
def test_a_client_certificate_that_the_broker_does_not_take_is_told_in_words(
    tmp_path: Path, authority: trustme.CA, kind: str, words: str
) -> None:
    issuer = trustme.CA() if kind == "foreign" else authority
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC) if kind == "expired" else None
    client = issuer.issue_cert("pointgate", not_after=past)
    client.private_key_pem.write_to_path(tmp_path / "client-key.pem")
    client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    broker = tls_broker(tmp_path, authority, host="localhost", clients=True)
    ours = f'cert_file = "{tmp_path}/client.pem"', f'key_file = "{tmp_path}/client-key.pem"'
    options = f'ca_file = "{tmp_path}/ca.pem"', *(() if kind == "missing" else ours)
    with broker, Service(tmp_path, f"mqtts://localhost:{broker.port}", *options) as service:
        service.wait_for(words)
