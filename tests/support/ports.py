"""Ports for servers of tests.

They are below those that the system gives to clients: else a client that tries to reach one that
is not open could be given that very port, and keep the server from it. Each of pytest's workers has
a range of its own: two servers that start at the same time never choose the same one.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
from typing import Final

_PORTS: Final = (10_000, 32_000)
_RANGES: Final = 20
_given: set[int] = set()


def unused_port() -> int:
    """A port of 127.0.0.1 that nobody has, and that is not given a second time."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _RANGES
    ports = range(*_PORTS)[worker::_RANGES]
    while True:
        port = random.SystemRandom().choice(ports)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port
