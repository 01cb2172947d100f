"""The connections of the load generator to the broker: MQTT 3.1.1 over any transport.

    connection = connect(settings, client_id="load-1", filters=["sys/+/…_reply"], qos=1)
    connection.relay.write(packets)

Connecting and subscribing block; reading and writing do not. MQTT 3.1.1, because all brokers
have it, it has no Receive Maximum that would limit the load, and official senders speak it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from paho.mqtt.client import convert_connack_rc_to_reason_code
from paho.mqtt.enums import ConnackCode

from pointgate.errors import ConnectionLost
from pointgate.sources.mqtt.errors import (
    BrokerRefused,
    broken,
    describe,
    not_connected,
    speaks_http,
)
from pointgate.sources.mqtt.relay import Relay
from pointgate.sources.mqtt.tls import tls_context
from pointgate.sources.mqtt.websocket import open_websocket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from pointgate.config import MqttSettings
    from pointgate.sources.mqtt.websocket import WebSocket

KEEPALIVE: Final = 60
"""Seconds; the broker ends a connection that is silent for one and a half of it."""

PINGREQ: Final = b"\xc0\x00"

_TIMEOUT: Final = 10.0
_CONNACK, _SUBACK = 0x20, 0x90
_CLEAN_SESSION, _PASSWORD, _USERNAME = 0x02, 0x40, 0x80
_REFUSED: Final = 0x80
_CONTINUES: Final = 0x80
_HEADER: Final = 2


class Connection(NamedTuple):
    """A connection that is subscribed."""

    relay: Relay
    received: bytes  # behind the SUBACK


def connect(
    settings: MqttSettings, *, client_id: str, filters: Sequence[str] = (), qos: int = 0
) -> Connection:
    """Connect with a new session, and subscribe.

    Args:
        settings: The broker, and the credentials.
        client_id: The client id, which no other client has.
        filters: The topics to receive.
        qos: That of the subscription.

    Raises:
        ConfigError: A TLS file or a password file cannot be used.
        ConnectionLost: The broker cannot be reached, or refuses the client or a subscription.
    """
    packet = _connect_packet(settings.username, settings.password_text(), client_id)
    context = tls_context(settings)
    try:
        relay = Relay(_open(settings, context))
    except (OSError, ValueError) as error:  # ValueError: a host that cannot be one
        raise not_connected(error, tls=settings.tls) from error
    try:
        answer, received = _ask(relay, packet, _CONNACK)
        if answer[1]:
            _refuse(answer[1])
        if filters:
            granted, received = _ask(relay, _subscribe_packet(filters, qos), _SUBACK)
            _check_granted(filters, granted[2:])
    except OSError as error:
        relay.close()
        raise broken(error) from error
    except BaseException:
        relay.close()
        raise
    return Connection(relay, received)


def _open(settings: MqttSettings, context: ssl.SSLContext | None) -> socket.socket | WebSocket:
    with contextlib.ExitStack() as failing:
        if settings.transport == "unix":
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            failing.callback(opened.close)
            opened.settimeout(_TIMEOUT)
            opened.connect(settings.host)
        else:
            address = settings.host, settings.port
            opened = failing.enter_context(socket.create_connection(address, _TIMEOUT))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            opened = failing.enter_context(
                context.wrap_socket(opened, server_hostname=settings.host)
            )
        if settings.websocket_path:
            websocket = open_websocket(opened, settings, timeout=_TIMEOUT)
            failing.pop_all()
            return websocket
        opened.settimeout(0.0)
        failing.pop_all()
        return opened


def _ask(relay: Relay, packet: bytes, first: int) -> tuple[bytes, bytes]:
    """Send a packet; returns the body of the answer, a short packet, and what arrived behind it."""
    relay.write(packet)
    received, deadline = b"", time.monotonic() + _TIMEOUT
    while len(received) < _HEADER or len(received) < _HEADER + received[1]:
        unsent = () if relay.flush() else (relay,)
        left = deadline - time.monotonic()
        if left <= 0:
            raise ConnectionLost(f"the broker does not answer within {_TIMEOUT:.0f} s")
        data = relay.read()
        if data is None:
            select.select([relay], unsent, [], left)
            continue
        if not data:
            raise ConnectionLost("the broker closed the connection without an answer")
        received += data
        if received.startswith(b"HTTP"):
            raise speaks_http()
        if received[0] != first or (len(received) > 1 and received[1] >= _CONTINUES):
            raise ConnectionLost("the broker's answer is not one of MQTT 3.1.1")
    end = _HEADER + received[1]
    return received[_HEADER:end], received[end:]


def _refuse(code: int) -> NoReturn:
    try:
        reason = describe(convert_connack_rc_to_reason_code(ConnackCode(code)))
    except ValueError:
        reason = f"return code {code}"
    raise BrokerRefused(f"the broker refuses this client: {reason}")


def _check_granted(filters: Sequence[str], granted: bytes) -> None:
    for name, reason in zip(filters, granted, strict=False):
        if reason >= _REFUSED:
            raise BrokerRefused(f"the broker refuses the subscription to {name}")


def _connect_packet(username: str | None, password: str | None, client_id: str) -> bytes:
    flags, fields = _CLEAN_SESSION, [client_id]
    if username is not None:
        flags, fields = flags | _USERNAME, [*fields, username]
        if password is not None:
            flags, fields = flags | _PASSWORD, [*fields, password]
    body = _string("MQTT") + bytes((4, flags)) + KEEPALIVE.to_bytes(2, "big")
    return _packet(0x10, body + b"".join(map(_string, fields)))


def _subscribe_packet(filters: Sequence[str], qos: int) -> bytes:
    wanted = b"".join(_string(name) + bytes((qos,)) for name in filters)
    return _packet(0x82, b"\x00\x01" + wanted)


def _string(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _packet(first: int, body: bytes) -> bytes:
    length, size = bytearray(), len(body)
    while size >= _CONTINUES:
        length.append(size & (_CONTINUES - 1) | _CONTINUES)
        size >>= 7
    return bytes((first,)) + bytes((*length, size)) + body
