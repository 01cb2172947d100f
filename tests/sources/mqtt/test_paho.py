"""What is private of aiomqtt and paho, and still where `pointgate.sources.mqtt.paho` expects it."""

from __future__ import annotations

import inspect
import socket
from typing import TYPE_CHECKING

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from pointgate.config import MqttSettings
from pointgate.sources.mqtt.paho import Library
from pointgate.sources.mqtt.unix import connect_by
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


class _Events:
    """Nobody listens."""

    def opened(self, relay: object) -> None: ...
    def accepted(self, **_: object) -> None: ...
    def pending(self) -> None: ...
    def closing(self) -> None: ...
    def refused(self, **_: object) -> None: ...
    def ended(self, **_: object) -> None: ...


async def test_aiomqtt_keeps_the_paho_client_where_it_is_expected() -> None:
    client = aiomqtt.Client("127.0.0.1")
    assert isinstance(client._client, paho.Client)


async def test_aiomqtt_waits_in_handlers_that_can_be_wrapped() -> None:
    client = aiomqtt.Client("127.0.0.1")._client
    assert callable(client.on_connect)
    assert callable(client.on_disconnect)


def test_paho_keeps_its_socket_where_it_is_expected_and_has_not_used_it_yet() -> None:
    seen = []
    client = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)

    def on_socket_open(_client: object, _userdata: object, sock: object) -> None:
        seen.append((client._sock is sock, client.want_write()))

    client.on_socket_open = on_socket_open
    client.on_socket_register_write = lambda *_: None
    with socket.create_server(("127.0.0.1", 0)) as server:
        client.connect("127.0.0.1", server.getsockname()[1])
        assert seen == [(True, False)]
        assert client.socket() is client._sock
        client.socket().close()  # type: ignore[union-attr]


def test_paho_connects_to_unix_sockets_by_the_method_that_is_replaced(tmp_path: Path) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, transport="unix")
    connect_by(client, timeout=PATIENCE)
    with pytest.raises(FileNotFoundError):  # and no socket is left open
        client.connect(f"{tmp_path}/missing")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/sock")
        server.listen()
        client.connect(f"{tmp_path}/sock")
        assert inspect.signature(paho.Client._create_unix_socket_connection).parameters.keys() == {
            "self"
        }
        client.socket().close()  # type: ignore[union-attr]


def test_paho_uses_nothing_of_its_socket_that_a_relay_does_not_have() -> None:
    source = inspect.getsource(paho.Client)
    used = {
        part.split("(")[0].split(".")[0].split()[0]
        for part in source.replace("\n", " ").split("self._sock.")[1:]
    }
    assert used <= {"recv", "send", "close", "fileno", "setblocking", "pending"}


async def test_a_paho_that_keeps_its_socket_elsewhere_is_refused() -> None:
    settings = MqttSettings(client_id="me")
    library = Library(settings, context=None, events=_Events())
    client = library._client._client
    with pytest.raises(RuntimeError, match="elsewhere"), socket.socket() as sock:
        client.on_socket_open(client, None, sock)  # type: ignore[misc]
