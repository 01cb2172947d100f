"""Why there is no connection, or no longer: what aiomqtt, paho and sockets report, in words.

Each function makes the exception that says who ended it and whether another try can help: a
`BrokerRefused` needs a person, a `SessionTakenOver` must not be fought.

It raises nothing.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from pointgate.errors import ConnectionLost, SessionTakenOver
from pointgate.mqtt.base import BrokerRefused, ClosedByBroker
from pointgate.mqtt.frames import MalformedPacketError

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

_PROTOCOL_ERROR: Final = 0x82
_KEEP_ALIVE_TIMEOUT: Final = 0x8D
_TAKEN_OVER: Final = 0x8E
_NOT_LET_IN: Final = {0x85, 0x86, 0x87, 0x8A, 0x8C}
"""Reasons in CONNACK that another try does not change; paho translates those of 3.1.1 into them."""


def not_connected(error: BaseException) -> ConnectionLost:
    """What aiomqtt raised instead of connecting."""
    cause = error.__context__ if isinstance(error.__context__, OSError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = f"the broker's certificate is not accepted: {cause.verify_message}"
    else:
        reason = getattr(cause, "strerror", None) or str(cause) or str(error)
    return ConnectionLost(f"cannot connect: {reason}")


def refused(reason: ReasonCode) -> ConnectionLost:
    """The CONNACK of a broker that does not let us in."""
    if reason.value in _NOT_LET_IN:
        return BrokerRefused(f"the broker does not let this client in: {reason}")
    return ConnectionLost(f"the broker cannot take this client now: {reason}")


def broken(error: Exception) -> ConnectionLost:
    """An exception while reading or writing."""
    if isinstance(error, MalformedPacketError):
        return ConnectionLost(f"we closed the connection: {error}")
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return ClosedByBroker(f"the connection broke: {error.strerror or error}")
    if isinstance(error, OSError):
        return ConnectionLost(f"the connection broke: {error.strerror or error}")
    return ConnectionLost(f"we closed the connection: internal error: {error!r}")


def ended(reason: ReasonCode, *, by_broker: bool, client_id: str) -> ConnectionLost:
    """What paho tells: a DISCONNECT of the broker, or its own view of an end without one."""
    if by_broker and reason.value == _TAKEN_OVER:
        return SessionTakenOver(f"another client connected as {client_id}")
    if by_broker:
        return ConnectionLost(f"the broker ended the connection: {reason}")
    if reason.value == _KEEP_ALIVE_TIMEOUT:
        return ConnectionLost("the broker does not answer pings")
    if reason.value == _PROTOCOL_ERROR:
        return ConnectionLost(
            "we closed the connection to the broker: it sent a packet that cannot be understood"
        )
    return ClosedByBroker("the broker closed the connection")
