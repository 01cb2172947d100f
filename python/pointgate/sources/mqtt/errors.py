"""Converts errors of aiomqtt, paho and sockets into exceptions that say why a connection ended.

The class of the exception decides when we reconnect (`backoff.py`): a `BrokerRefused` lasts until
somebody changes the settings of the broker or ours, and is retried every 5 s for that moment; after
a `SessionTakenOver` we wait longer.

The functions return exceptions; none raises.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from pointgate.diagnostics import shown
from pointgate.errors import ConnectionLost, SessionTakenOver
from pointgate.sources.mqtt.packets import MQTT_5, MalformedPacketError
from pointgate.sources.mqtt.websocket import HandshakeRefusedError

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

    from pointgate.config import MqttSettings


class BrokerRefused(ConnectionLost):
    """The broker refuses the connection or a subscription: settings or permissions are wrong.

    It is retried all the same: the broker's settings can be corrected without a restart of ours.
    """


class ProtocolRefused(BrokerRefused):
    """The broker does not support this version of MQTT."""


class ClosedByBroker(ConnectionLost):
    """The broker closed the connection without a reason: a stop, or an unreported takeover."""


class Unanswered(ClosedByBroker):
    """The broker accepted the connection but did not answer CONNECT."""


_PROTOCOL_ERROR: Final = 0x82
_KEEP_ALIVE_TIMEOUT: Final = 0x8D
_TAKEN_OVER: Final = 0x8E
_PERMANENT_IN_CONNACK: Final = {
    0x84,  # unsupported protocol version
    0x85,  # client identifier not valid
    0x86,  # bad user name or password
    0x87,  # not authorized
    0x8A,  # banned
    0x8C,  # bad authentication method
    0x95,  # packet too large
    0x9C,  # use another server
    0x9D,  # server moved
}
"""Permanent reason codes in CONNACK; paho maps those of 3.1.1 to these."""

_PERMANENT_IN_DISCONNECT: Final = {
    0x87,  # not authorized
    0x8F,  # topic filter invalid
    0x9B,  # QoS not supported
    0x9C,  # use another server
    0x9D,  # server moved
    0x9E,  # shared subscriptions not supported
    0xA1,  # subscription identifiers not supported
    0xA2,  # wildcard subscriptions not supported
}
"""Permanent reason codes in DISCONNECT."""

_PROTOCOL_VERSION: Final = 0x84
_OTHER_LEVEL: Final = '; does it speak MQTT 3.1.1 only? Then mqtt.protocol = 4, or "auto"'

_CERTIFICATE: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the broker requires a client certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the broker ended the handshake; it may require a client "
    "certificate, or another cipher",
    "TLSV1_ALERT_UNKNOWN_CA": "the broker does not know the authority of our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the broker reports that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the broker reports that our certificate is revoked",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the broker does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the broker does not accept our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the broker does not accept this kind of certificate",
    "TLSV1_ALERT_ACCESS_DENIED": "the broker denies access with our certificate",
    "TLSV1_ALERT_DECRYPT_ERROR": "the broker could not verify our certificate's signature",
}
"""TLS alerts about our certificate, by OpenSSL's name."""

_NO_PROTOCOL: Final = "TLSV1_ALERT_NO_APPLICATION_PROTOCOL"
"""OpenSSL's name of the alert that no protocol in ALPN is supported."""

_WRONG_PORT: Final = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"}


def describe(reason: ReasonCode, properties: Any = None) -> str:
    """A reason code in words, with the broker's Reason String and Server Reference."""
    text = str(reason)
    if said := getattr(properties, "ReasonString", None):
        text += f" ({shown(said)})"
    if server := getattr(properties, "ServerReference", None):
        text += f"; use the server {shown(server)}"
    return text


def not_connected(error: BaseException, *, tls: bool = False) -> ConnectionLost:
    """The exception for a failed attempt to connect.

    Args:
        error: The exception of aiomqtt.
        tls: Whether the TLS handshake may have failed: a port without TLS closes the connection.
    """
    cause = error.__context__ if isinstance(error.__context__, OSError) else error
    if alert := _alert(cause):
        return alert
    if isinstance(cause, HandshakeRefusedError):
        return BrokerRefused(str(cause))
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = f"the broker's certificate is not accepted: {cause.verify_message}"
    else:
        reason = getattr(cause, "strerror", None) or str(cause) or str(error)
    cut = isinstance(cause, ConnectionResetError | BrokenPipeError | ssl.SSLEOFError)
    hint = "; does this port speak TLS?" if tls and cut else ""
    return ConnectionLost(f"cannot connect: {reason}{hint}")


def refused(reason: ReasonCode, properties: Any = None) -> ConnectionLost:
    """The exception for a CONNACK that refuses the connection."""
    words = describe(reason, properties)
    if reason.value == _PROTOCOL_VERSION:
        return ProtocolRefused(f"the broker refuses this client: {words}{_OTHER_LEVEL}")
    if reason.value in _PERMANENT_IN_CONNACK:
        return BrokerRefused(f"the broker refuses this client: {words}")
    return ConnectionLost(f"the broker refuses this client for now: {words}")


def unanswered(
    lost: ConnectionLost, settings: MqttSettings, *, alpn_ignored: bool = False
) -> Unanswered:
    """The exception for a connection that ended, or timed out, before CONNACK."""
    hint = "; does it require another client certificate (mqtt.cert_file)?" if settings.tls else ""
    if alpn_ignored:
        hint += f"; it did not choose the protocol {settings.alpn} of mqtt.alpn"
    if settings.level == MQTT_5:
        hint += _OTHER_LEVEL
    return Unanswered(f"{lost} (no answer to CONNECT){hint}")


def speaks_http() -> BrokerRefused:
    """The exception for an HTTP response to CONNECT."""
    return BrokerRefused("the broker's port speaks HTTP, not MQTT: is it ws:// or wss://?")


def _alert(error: BaseException) -> BrokerRefused | None:
    """The exception for a TLS alert about our certificate, or for a port without TLS."""
    if not isinstance(error, ssl.SSLError):
        return None
    name = getattr(error, "reason", None) or ""  # missing if Python itself raised it
    if name == _NO_PROTOCOL:
        return BrokerRefused("the broker does not speak the protocol of mqtt.alpn on this port")
    if name in _CERTIFICATE:
        return BrokerRefused(f"{_CERTIFICATE[name]}: see mqtt.cert_file and mqtt.key_file")
    if name in _WRONG_PORT:
        return BrokerRefused(
            "the broker's port does not speak TLS: is it mqtt:// or ws://, another port?"
        )
    return None


def broken(error: Exception) -> ConnectionLost:
    """The exception for an error while reading or writing."""
    if isinstance(error, MalformedPacketError):
        return ConnectionLost(f"we closed the connection: {error}")
    if alert := _alert(error):
        return alert
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return ClosedByBroker(f"the connection broke: {error.strerror or error}")
    if isinstance(error, OSError):
        return ConnectionLost(f"the connection broke: {error.strerror or error}")
    if isinstance(error, MemoryError):
        return ConnectionLost(
            "we closed the connection: out of memory; unanswered requests will be redelivered"
        )
    return ConnectionLost(f"we closed the connection: internal error: {error!r}")


def ended(
    reason: ReasonCode, *, by_broker: bool, client_id: str, properties: Any = None
) -> ConnectionLost:
    """The exception for a DISCONNECT of the broker, or for an end that paho detected."""
    if by_broker and reason.value == _TAKEN_OVER:
        return SessionTakenOver(f"another client connected as {client_id}")
    if by_broker and reason.value in _PERMANENT_IN_DISCONNECT:
        return BrokerRefused(f"the broker ended the connection: {describe(reason, properties)}")
    if by_broker:
        return ConnectionLost(f"the broker ended the connection: {describe(reason, properties)}")
    if reason.value == _KEEP_ALIVE_TIMEOUT:
        return ConnectionLost("the broker does not answer pings")
    if reason.value == _PROTOCOL_ERROR:
        return ConnectionLost("we closed the connection to the broker: it sent a malformed packet")
    return ClosedByBroker("the broker closed the connection")
