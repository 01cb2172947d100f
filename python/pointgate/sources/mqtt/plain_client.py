"""Plain aiomqtt clients, with access to reason codes that aiomqtt does not expose.

    client = plain_client(settings, ...)    # over the transport of the settings
    tap = Tap(client)                       # before it connects
    mid = tap.publish(topic, payload, properties)
    tap.on_puback = lambda mid, reason: ... # reason is empty if the broker accepted the message

aiomqtt ignores the reason code of a PUBACK, and drops every Reason String.

Like `paho.py` it uses `aiomqtt.Client._client` and paho's `_sock`, which
`tests/sources/mqtt/test_paho.py` checks.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiomqtt
import paho.mqtt.client as paho

from pointgate.errors import ConnectionLost
from pointgate.sources.mqtt.errors import describe, ended, not_connected, refused
from pointgate.sources.mqtt.packets import MQTT_5
from pointgate.sources.mqtt.tls import tls_context
from pointgate.sources.mqtt.unix import connect_by
from pointgate.sources.mqtt.websocket import open_websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from paho.mqtt.properties import Properties

    from pointgate.config import MqttSettings


_log = logging.getLogger(__name__)
# Errors that aiomqtt and paho log are lost connections, which the callers report.
_log.setLevel(logging.CRITICAL)


def plain_client(
    settings: MqttSettings,
    *,
    client_id: str,
    timeout: float,
    properties: Properties | None = None,
) -> aiomqtt.Client:
    """A client with its own session, which ends with the connection.

    Args:
        settings: The service's settings.
        client_id: Its client id.
        timeout: Seconds to wait for each response of the broker.
        properties: Those of CONNECT, in MQTT 5; a session expiry keeps its session.

    Raises:
        ConfigError: A TLS file or a password file cannot be used.
    """
    five = settings.level == MQTT_5
    client = aiomqtt.Client(
        settings.host,
        settings.port,
        transport=settings.transport,
        identifier=client_id,
        username=settings.username,
        password=settings.password_text(),
        protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
        tls_context=tls_context(settings),
        timeout=timeout,
        properties=properties,
        logger=_log,
    )
    inner = client._client  # noqa: SLF001 - see above
    inner.on_socket_register_write = _register_write(asyncio.get_running_loop())
    connect_by(inner, timeout=timeout)
    opened: Any = inner.on_socket_open

    def on_socket_open(paho_client: Any, userdata: Any, sock: Any) -> None:
        websocket = open_websocket(sock, settings, timeout=timeout)
        paho_client._sock = websocket  # noqa: SLF001 - see above
        opened(paho_client, userdata, websocket)

    if settings.websocket_path:
        inner.on_socket_open = on_socket_open
    return client


def _register_write(loop: asyncio.AbstractEventLoop) -> Callable[[Any, Any, Any], None]:
    """In place of aiomqtt's, which a moment later registers a socket that may be closed by then.

    That is what a broker does that refuses us: the error was logged with a traceback, or the number
    was that of another connection's socket.
    """

    def on_register_write(client: Any, _userdata: Any, sock: Any) -> None:
        descriptor = sock.fileno()

        def write() -> None:
            with suppress(OSError):  # the reader sees the end, too
                client.loop_write()

        def register() -> None:
            if sock.fileno() == descriptor:
                loop.add_writer(descriptor, write)

        # paho may call this in the thread in which it connects.
        loop.call_soon_threadsafe(register)

    return on_register_write


@asynccontextmanager
async def connected(
    settings: MqttSettings,
    *,
    client_id: str,
    answer_timeout: float,
    properties: Properties | None = None,
    manual_acks: bool = False,
) -> AsyncIterator[tuple[aiomqtt.Client, Tap]]:
    """Connect a plain client, and disconnect it at the end.

    Args:
        settings: The service's settings.
        client_id: Its client id.
        answer_timeout: Seconds to wait for each response of the broker.
        properties: Those of CONNECT, in MQTT 5; a session expiry keeps its session.
        manual_acks: Whether messages that arrive are not acknowledged.

    Raises:
        ConfigError: A TLS file or a password file cannot be used.
        ConnectionLost: The broker cannot be reached, refuses us, or has ended the connection.
    """
    client = plain_client(
        settings, client_id=client_id, timeout=answer_timeout, properties=properties
    )
    client._client.manual_ack_set(manual_acks)  # noqa: SLF001 - see above
    tap = Tap(client, client_id=client_id)
    try:
        async with client:
            yield client, tap
    except aiomqtt.MqttError as error:
        raise tap.lost or not_connected(error, tls=settings.tls) from error


class Tap:
    """Observes one client's packets.

    Attributes:
        lost: Why the broker refused or ended the connection; None while it has not.
        connack: The properties of the last CONNACK.
        suback: The properties of the last SUBACK.
        on_puback: Called with the packet id and the reason of each PUBACK.
    """

    def __init__(self, client: aiomqtt.Client, *, client_id: str) -> None:
        self.lost: ConnectionLost | None = None
        self.connack: Properties | None = None
        self.suback: Properties | None = None
        self.on_puback: Callable[[int, str], None] = lambda _mid, _reason: None
        self._client_id = client_id
        self._paho = client._client  # noqa: SLF001 - see above
        self._connected: Any = self._paho.on_connect
        self._disconnected: Any = self._paho.on_disconnect
        self._subscribed: Any = self._paho.on_subscribe
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_publish = self._on_publish

    def publish(
        self, topic: str, payload: bytes, properties: Properties | None = None, *, qos: int = 1
    ) -> int:
        """Publish, without waiting for the PUBACK; returns the packet id.

        Raises:
            ConnectionLost: The client is not connected.
        """
        sent = self._paho.publish(topic, payload, qos, properties=properties)
        if sent.rc not in {paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_QUEUE_SIZE}:
            raise self.lost or ConnectionLost(paho.error_string(sent.rc))
        return sent.mid

    def _on_connect(
        self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        self.connack = properties
        if reason.is_failure:
            self.lost = refused(reason, properties)
        self._connected(client, userdata, flags, reason, properties)

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self.lost = self.lost or ended(
                reason, by_broker=True, client_id=self._client_id, properties=properties
            )
        self._disconnected(client, userdata, flags, reason, properties)

    def _on_subscribe(
        self, client: Any, userdata: Any, mid: int, reasons: Any, properties: Any
    ) -> None:
        self.suback = properties
        self._subscribed(client, userdata, mid, reasons, properties)

    def _on_publish(
        self, _client: Any, _userdata: Any, mid: int, reason: Any, properties: Any
    ) -> None:
        self.on_puback(mid, describe(reason, properties) if reason.is_failure else "")
