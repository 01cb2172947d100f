"""aiomqtt and paho, with a `Relay` between paho and the socket.

Private attributes of the two libraries are used here, in `plain_client.py` and in `unix.py` only.

aiomqtt runs the blocking connect in a thread, waits for CONNACK and SUBACK and converts failures
into exceptions. paho writes and reads CONNECT, SUBSCRIBE, pings and DISCONNECT. Neither has the
socket itself: paho's callbacks for event loops are ours instead of aiomqtt's.

The private attributes, which have no public alternative (`tests/sources/mqtt/test_paho.py` checks
all of them):
    aiomqtt.Client._client  the paho client; aiomqtt has no public access to its callbacks
    paho Client._sock       paho's socket; replaced before its first use
    paho Client._create_unix_socket_connection  see `unix.py`

Invariants: if paho stores its socket elsewhere, connecting fails: without the relay it would
acknowledge requests before they are handled; a task that is cancelled while it waits here ends as
cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from pointgate.sources.mqtt.packets import MQTT_5
from pointgate.sources.mqtt.relay import Relay
from pointgate.sources.mqtt.unix import connect_by
from pointgate.sources.mqtt.websocket import open_websocket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence

    from pointgate.config import MqttSettings

TIMEOUT: Final = 10.0
"""Seconds for CONNACK."""

_TURN: Final = 0.005
"""Seconds that paho may read in one call: it needs up to 50 µs for a packet of two bytes."""

_SERVER_UNAVAILABLE: Final = 0x88

_log = logging.getLogger(__name__)
# Errors that paho logs are lost connections, which `source.py` logs once each.
_log.setLevel(logging.CRITICAL)


class Events(Protocol):
    """The events of a connection; all but `opened` are called on the event loop's thread."""

    def opened(self, relay: Relay) -> None:
        """The socket is connected, over any transport. Called on the connecting thread."""

    def accepted(self, *, session_present: bool, properties: Properties | None) -> None:
        """CONNACK accepted the connection."""

    def refused(self, *, reason: ReasonCode, properties: Properties | None) -> None:
        """CONNACK refused the connection; the library closes the socket."""

    def pending(self) -> None:
        """There are packets to write: call `write` on the loop. Called on any thread."""

    def closing(self) -> None:
        """The socket is about to be closed: its descriptor may be reused."""

    def ended(self, *, reason: ReasonCode, by_broker: bool, properties: Properties | None) -> None:
        """The connection has ended."""


class Library:
    """One client of one connection.

    Args:
        settings: The broker, and our identity.
        context: The TLS settings, None without TLS.
        events: Receives the events.

    Attributes:
        answered: Whether a CONNACK has arrived, of any kind.
        alpn_ignored: Whether the broker did not choose the protocol of `mqtt.alpn`.
        suback: The properties of the last SUBACK.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        context: ssl.SSLContext | None,
        events: Events,
    ) -> None:
        self._settings = settings
        self._events = events
        five = settings.level == MQTT_5
        self._client = aiomqtt.Client(
            settings.host,
            settings.port,
            transport=settings.transport,
            username=settings.username,
            password=settings.password_text(),
            identifier=settings.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
            # aiomqtt rejects each of the two with the other protocol.
            clean_start=False if five else paho.MQTT_CLEAN_START_FIRST_ONLY,
            clean_session=None if five else False,
            properties=_connect_properties(settings) if five else None,
            keepalive=settings.keepalive,
            timeout=TIMEOUT,
            tls_context=context,
            logger=_log,
        )
        client = self._client._client  # noqa: SLF001 - see above
        self._paho = client
        connect_by(client, timeout=TIMEOUT)
        client.on_socket_open = self._on_socket_open
        client.on_socket_register_write = self._on_socket_register_write
        client.on_socket_close = self._on_socket_close
        client.on_socket_unregister_write = None  # the relay accepts all bytes at once
        # aiomqtt's handlers complete its pending calls: ours run first, and then call them.
        self._aiomqtt_connected: Any = client.on_connect
        self._aiomqtt_disconnected: Any = client.on_disconnect
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        self._aiomqtt_subscribed: Any = client.on_subscribe
        client.on_subscribe = self._on_subscribe
        self._accepted = self.answered = self.alpn_ignored = False
        self.suback: Properties | None = None

    # Called by the connection.

    async def connect(self) -> None:
        """Connect and wait for CONNACK.

        Raises:
            aiomqtt.MqttError: The connection failed.
            ValueError: The host name is invalid.
        """
        with cancellable():
            await self._client.__aenter__()

    async def subscribe(self, filters: Sequence[str]) -> list[ReasonCode]:
        """Subscribe at QoS 1 and wait for SUBACK, without a timeout.

        Raises:
            aiomqtt.MqttError: The connection ended before the answer.
        """
        topics: list[tuple[str, Any]]
        if self._settings.level == MQTT_5:
            # Retained requests are delivered only for a new subscription, and only messages that
            # were stored have the RETAIN flag.
            options = SubscribeOptions(
                qos=1,
                retainAsPublished=False,
                retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB,
            )
            topics = [(name, options) for name in filters]
        else:
            topics = [(name, 1) for name in filters]
        with cancellable():
            reasons = await self._client.subscribe(topics, timeout=math.inf)
        # With this version of paho's callback API these are reason codes in 3.1.1, too.
        return cast("list[ReasonCode]", reasons)

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe and wait for UNSUBACK, without a timeout.

        Raises:
            aiomqtt.MqttError: The connection ended before the answer.
        """
        with cancellable():
            await self._client.unsubscribe(list(filters), timeout=math.inf)

    def read(self) -> None:
        """Let paho read its packets from the relay, for `_TURN` seconds, and detect its end."""
        end = time.perf_counter() + _TURN
        while isinstance(relay := self._paho.socket(), Relay) and (relay.control or relay.ended):
            if self._paho.loop_read() != paho.MQTT_ERR_SUCCESS or time.perf_counter() > end:
                return

    def write(self) -> None:
        """Let paho write its packets to the relay."""
        self._paho.loop_write()

    def tick(self) -> None:
        """Let paho send its pings; call this once a second."""
        self._paho.loop_misc()

    # Called by paho.

    def _on_socket_open(self, client: Any, _userdata: Any, sock: Any) -> None:
        if client._sock is not sock:  # noqa: SLF001 - see above
            raise RuntimeError("paho stores its socket elsewhere than the tested versions do")
        with contextlib.suppress(OSError):
            # A reply is often the last packet for a while: Nagle's algorithm would delay it.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, AttributeError):  # Linux only
            # Pings detect a dead broker only while we read. If we have stopped reading because it
            # does not receive our replies, the kernel must detect it.
            milliseconds = 2000 * self._settings.keepalive
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        if self._settings.alpn:
            self.alpn_ignored = sock.selected_alpn_protocol() is None
        path = self._settings.websocket_path
        relay = Relay(open_websocket(sock, self._settings, timeout=TIMEOUT) if path else sock)
        client._sock = relay  # noqa: SLF001 - see above
        self._events.opened(relay)

    def _on_socket_register_write(self, *_: Any) -> None:
        self._events.pending()

    def _on_socket_close(self, *_: Any) -> None:
        self._events.closing()

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.answered = True
        if reason.is_failure:
            self._events.refused(reason=reason, properties=properties)
        else:
            self._accepted = True
            self._events.accepted(session_present=flags.session_present, properties=properties)
        self._aiomqtt_connected(client, userdata, flags, reason, properties)

    def _on_subscribe(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        self.suback = properties
        self._aiomqtt_subscribed(client, userdata, mid, reasons, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self._events.ended(
            reason=reason,
            by_broker=flags.is_disconnect_packet_from_server,
            properties=properties,
        )
        if not self._accepted:
            # aiomqtt would wait for a CONNACK until its timeout.
            refused = ReasonCode(PacketTypes.CONNACK, identifier=_SERVER_UNAVAILABLE)
            self._aiomqtt_connected(
                client, userdata, paho.ConnectFlags(session_present=False), refused, None
            )
        # As a success: aiomqtt would set a failure in a future that is never awaited. If `connect`
        # was cancelled, that future raises it here; this task is not cancelled.
        with contextlib.suppress(asyncio.CancelledError):
            self._aiomqtt_disconnected(client, userdata, flags, paho.MQTT_ERR_SUCCESS, properties)


@contextlib.contextmanager
def cancellable() -> Iterator[None]:
    """Wraps waits in aiomqtt: before Python 3.12 its `wait_for` can swallow a cancellation."""
    try:
        yield
    finally:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError


def _connect_properties(settings: MqttSettings) -> Any:
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = settings.session_expiry
    properties.ReceiveMaximum = settings.receive_maximum
    return properties
