"""Connecting to a Unix socket, in place of paho's own way.

paho leaves the socket open when the connection fails, and waits for ever for a broker that is
frozen with a full queue of connections.

    connect_by(client, timeout=10.0)        # before it connects

`tests/test_mqtt_library.py` pins the method that is replaced.
"""

from __future__ import annotations

import socket
from typing import Any


def connect_by(client: Any, *, timeout: float) -> None:
    """Let a paho client connect to Unix sockets like this; others are not changed."""

    def connect() -> socket.socket:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(timeout)
            connected.connect(client.host)
        except BaseException:
            connected.close()
            raise
        return connected

    client._create_unix_socket_connection = connect  # noqa: SLF001 - there is no other way
