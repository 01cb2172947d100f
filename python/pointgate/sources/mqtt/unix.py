"""Connects paho to a Unix socket with a timeout.

paho's own method leaks the socket if the connection fails, and blocks indefinitely if the broker
hangs and its accept queue is full.

    connect_by(client, timeout=10.0)        # before it connects

`tests/sources/mqtt/test_paho.py` checks the private method that is replaced.
"""

from __future__ import annotations

import socket
from typing import Any


def connect_by(client: Any, *, timeout: float) -> None:
    """Replace a paho client's method for Unix sockets; other transports are not affected."""

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
