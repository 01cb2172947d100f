"""The service over WebSockets, TLS with ALPN and Unix sockets: the same promises as over TCP."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trustme

from pointgate.config import MqttSettings
from pointgate.sources.mqtt.publisher import connect_publisher
from tests.support.patience import PATIENCE
from tests.support.ports import unused_port
from tests.support.processes import TOPIC, Broker, Sender, Service, small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRANSPORTS = ("ws", "wss", "unix")

LONG = 120.0
"""Seconds for a large request."""


class _Place:
    """A Mosquitto that listens in one more way, and how to reach it there."""

    def __init__(self, folder: Path, transport: str, *more: str) -> None:
        port = unused_port()
        self.lines: tuple[str, ...] = ()
        if transport == "tcp":
            self.url = f"mqtt://127.0.0.1:{port}"
            listener = [f"listener {port} 127.0.0.1"]
        elif transport == "unix":
            self.url = f"unix://{folder}/mosquitto.sock"
            listener = [f"listener 0 {folder}/mosquitto.sock"]
        else:
            self.url = f"{transport}://localhost:{port}/mqtt"
            listener = [f"listener {port} 127.0.0.1", "protocol websockets"]
        if transport == "wss":
            authority = trustme.CA()
            certificate = authority.issue_cert("localhost")
            certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
            authority.cert_pem.write_to_path(folder / "ca.pem")
            listener += [f"certfile {folder}/server.pem", f"keyfile {folder}/server.pem"]
            self.lines = (f'ca_file = "{folder}/ca.pem"',)
        self.broker = Broker(folder, "allow_anonymous true", *more, *listener)

    def settings(self, folder: Path) -> MqttSettings:
        ca_file = folder / "ca.pem" if self.lines else None
        return MqttSettings(url=self.url, client_id="service", ca_file=ca_file)


@contextmanager
def _busy(broker: Broker) -> Iterator[None]:
    """Keep a Mosquitto turning.

    Over WebSockets 2.0 sends 4 KiB a turn of its loop, which an idle one makes ten times a second:
    8 MB take it 200 s.
    """
    end = threading.Event()

    def run() -> None:
        with Sender(broker.port, name="busy") as sender:
            while not end.wait(0.001):
                sender.send(b"", "busy", qos=0)

    turning = threading.Thread(target=run)
    turning.start()
    try:
        yield
    finally:
        end.set()
        turning.join(PATIENCE)


def ids(sender: Sender, wanted: set[str]) -> None:
    """Take replies until each of these ids has one; a request may be answered twice."""
    missing = set(wanted)
    while missing:
        reply = json.loads(sender.reply().payload)
        assert reply["code"] == 200
        missing.discard(reply["id"])


@pytest.mark.parametrize("protocol", [5, 4])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_requests_of_all_sizes_are_answered_in_order(
    tmp_path: Path, transport: str, protocol: int
) -> None:
    place = _Place(tmp_path, transport)
    with (
        place.broker as broker,
        Service(tmp_path, place.url, f"protocol = {protocol}", *place.lines) as service,
        Sender(broker.port) as sender,
    ):
        service.ready()
        for qos in (0, 1):
            for number in range(1000):
                sender.send(small(number), ("/" if number % 2 else "") + TOPIC, qos=qos)
            replies = sender.take(1000)
            assert [json.loads(one.payload)["id"] for one in replies] == [
                str(number) for number in range(1000)
            ]
            assert {one.qos for one in replies} == {qos}
        assert service.metric("pointgate_mqtt_connections_lost_total") == 0
        assert service.end() == 0
        broker.wait_for("Received DISCONNECT from service")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_large_requests_are_answered(tmp_path: Path, transport: str) -> None:
    place = _Place(tmp_path, transport)
    with (
        place.broker as broker,
        Service(tmp_path, place.url, *place.lines) as service,
        Sender(broker.port) as sender,
        _busy(broker),
    ):
        service.ready()
        for size in (125, 126, 4_096, 65_535, 65_536, 8_000_000):
            large = small(size) + b" " * (size - len(small(size)))
            sender.send(large)
            assert json.loads(sender.replies.get(timeout=LONG).payload)["id"] == str(size)
        sender.send(small("over") + b" " * 8_388_608)
        assert json.loads(sender.replies.get(timeout=LONG).payload)["code"] == 1008
        assert service.metric("pointgate_mqtt_connections_lost_total") == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_broker_that_restarts_finds_the_service_back(
    tmp_path: Path, transport: str, number: signal.Signals
) -> None:
    place = _Place(tmp_path, transport, "persistence true", "autosave_interval 1")
    with place.broker as broker, Service(tmp_path, place.url, *place.lines) as service:
        service.ready()
        broker.end(number)
        service.wait_for("no connection")
        broker.start()
        service.ready()
        with Sender(broker.port) as sender:
            assert json.loads(sender.ask(small(2)).payload)["code"] == 200
        assert service.metric("pointgate_mqtt_reconnects_total") == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_backlog_beyond_the_limits_is_taken_at_the_services_pace(
    tmp_path: Path, transport: str
) -> None:
    place = _Place(tmp_path, transport)
    limits = "receive_maximum = 50", "[limits]", "in_flight_requests = 100"
    with place.broker as broker, Sender(broker.port) as sender:
        with Service(tmp_path, place.url, *place.lines, *limits) as service:
            service.ready()
            for number in range(3000):
                sender.send(small(number))
            sender.reply()  # it is in the middle of them
            service.end(signal.SIGKILL)
        with Service(tmp_path, place.url, *place.lines, *limits) as service:
            service.wait_for("session resumed")
            ids(sender, {str(number) for number in range(1, 3000)})
            service.wait_for_metric("pointgate_requests_in_flight", 0)


@pytest.mark.parametrize("transport", ["tcp", *TRANSPORTS])
def test_a_service_that_is_terminated_under_load_drains(tmp_path: Path, transport: str) -> None:
    place = _Place(tmp_path, transport)
    with (
        place.broker as broker,
        Sender(broker.port) as sender,
        Service(tmp_path, place.url, *place.lines) as service,
    ):
        service.ready()
        stop = threading.Event()
        sent: list[str] = []

        def load() -> None:
            while not stop.is_set():
                sent.append(str(len(sent)))
                sender.send(small(sent[-1])).wait_for_publish(PATIENCE)

        loading = threading.Thread(target=load)
        loading.start()
        sender.take(200)
        assert service.end(signal.SIGTERM) == 0
        stop.set()
        loading.join()
        broker.wait_for("DISCONNECT from service")
        # After a graceful shutdown nothing is answered twice, and nothing is missing.
        with Service(tmp_path, place.url, *place.lines) as successor:
            successor.ready()
            found = [json.loads(reply.payload)["id"] for reply in sender.take(len(sent) - 200)]
        assert found == sent[200:]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_requests_are_posted_again_over_every_transport(
    tmp_path: Path, transport: str
) -> None:
    place = _Place(tmp_path, transport)
    with (
        place.broker as broker,
        _busy(broker),
        Service(tmp_path, place.url, *place.lines) as service,
    ):
        service.ready()
        async with connect_publisher(place.settings(tmp_path), reply_timeout=LONG) as poster:
            assert await poster.post(TOPIC, small(1)) == 200
            assert await poster.post(f"/{TOPIC}", small(2) + b" " * 8_000_000) == 200


def test_a_websocket_where_there_is_none_is_told(tmp_path: Path, broker: Broker) -> None:
    with Service(tmp_path, f"ws://127.0.0.1:{broker.port}") as service:
        service.wait_for("closed the connection without an answer to the WebSocket's request; is")
        assert service.end() == 143


@pytest.mark.parametrize("transport", ["ws", "wss"])
def test_a_websocket_that_is_taken_for_plain_mqtt_is_told(tmp_path: Path, transport: str) -> None:
    place = _Place(tmp_path, transport)
    url = place.url.removesuffix("/mqtt").replace("ws", "mqtt", 1)
    with place.broker, Service(tmp_path, url, *place.lines) as service:
        service.wait_for("the broker's port speaks HTTP, not MQTT: is it ws:// or wss://?")
        status, text = service.readiness()
        assert status == 503
        assert text.startswith("refused by the broker: ")


def test_a_socket_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    place = _Place(tmp_path, "unix")
    with Service(tmp_path, place.url) as service:
        service.wait_for(r"no connection to unix://\S+: cannot connect: .*[Nn]o such file")
        with place.broker:
            service.ready()


class _TlsFront:
    """TLS with ALPN before a broker: passes on what comes, and notes the protocol.

    Args:
        folder: Where the certificates are written.
        target: The broker's plain port.
        speaks: What it speaks; None without ALPN.
    """

    def __init__(self, folder: Path, target: int, speaks: list[str] | None) -> None:
        authority = trustme.CA()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(self._context)
        authority.cert_pem.write_to_path(folder / "ca.pem")
        if speaks is not None:
            self._context.set_alpn_protocols(speaks)
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.chosen: list[str | None] = []

    def accept(self) -> tuple[ssl.SSLSocket, socket.socket]:
        self._listener.settimeout(PATIENCE)
        accepted, _ = self._listener.accept()
        client = self._context.wrap_socket(accepted, server_side=True)
        self.chosen.append(client.selected_alpn_protocol())
        return client, socket.create_connection(("127.0.0.1", self._target))

    def close(self) -> None:
        self._listener.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):  # wakes the other direction
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def _passing(front: _TlsFront) -> Iterator[None]:
    """Pass one connection on."""
    with ExitStack() as stack:
        stack.callback(front.close)

        def run() -> None:
            client, broker = map(stack.enter_context, front.accept())
            pairs = (client, broker), (broker, client)
            threads = [threading.Thread(target=_pump, args=pair) for pair in pairs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        passing = threading.Thread(target=run)
        passing.start()
        yield
        passing.join(PATIENCE)


@pytest.mark.parametrize("name", ["x-amzn-mqtt-ca", "mqtt"])
def test_tls_asks_for_the_protocol_of_the_settings(
    tmp_path: Path, broker: Broker, name: str
) -> None:
    front = _TlsFront(tmp_path, broker.port, ["http/1.1", "x-amzn-mqtt-ca", "mqtt"])
    options = f'ca_file = "{tmp_path}/ca.pem"', f'alpn = "{name}"'
    with (
        _passing(front),
        Service(tmp_path, f"mqtts://localhost:{front.port}", *options) as service,
        Sender(broker.port) as sender,
    ):
        service.ready()
        assert json.loads(sender.ask(small(1)).payload)["code"] == 200
        assert front.chosen == [name]


def test_tls_asks_for_no_protocol_unless_told_to(tmp_path: Path, broker: Broker) -> None:
    front = _TlsFront(tmp_path, broker.port, ["http/1.1", "mqtt"])
    url, option = f"mqtts://localhost:{front.port}", f'ca_file = "{tmp_path}/ca.pem"'
    with _passing(front), Service(tmp_path, url, option) as service:
        service.ready()
        assert front.chosen == [None]


def test_a_server_without_alpn_is_no_mistake(tmp_path: Path, broker: Broker) -> None:
    front = _TlsFront(tmp_path, broker.port, None)
    options = f'ca_file = "{tmp_path}/ca.pem"', 'alpn = "mqtt"'
    url = f"mqtts://localhost:{front.port}"
    with _passing(front), Service(tmp_path, url, *options) as service:
        service.ready()
        assert front.chosen == [None]


def test_a_server_that_ignores_the_protocol_and_does_not_answer_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        front = _TlsFront(tmp_path, silent.getsockname()[1], ["http/1.1"])
        options = f'ca_file = "{tmp_path}/ca.pem"', 'alpn = "mqtt"'
        url = f"mqtts://localhost:{front.port}"
        with _passing(front), Service(tmp_path, url, *options) as service:
            silent.accept()[0].close()
            service.wait_for("no answer to CONNECT.*it did not choose the protocol mqtt of mqtt.al")
