"""Notifies the service manager: sd_notify(3), over the datagram socket in `NOTIFY_SOCKET`.

    READY=1       the process is live: /livez responds; readiness follows as STATUS
    STATUS=…      the text of /readyz, whenever it changes
    WATCHDOG=1    twice in each `WATCHDOG_USEC`: the event loop works
    STOPPING=1    a shutdown was requested
    RELOADING=1   SIGHUP was received, with MONOTONIC_USEC; READY=1 once the catalog was loaded or
                  refused. So `Type=notify-reload` of systemd 253 works, too

Without `NOTIFY_SOCKET` in the environment nothing is sent. Failed sends are ignored.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LOOK: Final = 1.0
"""Seconds between two checks of the status."""


class Notifier:
    """Sends notifications to the service manager, if there is one.

    Args:
        environ: The environment of the process.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # An abstract socket is written with @ in place of its first byte, a NUL.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watched = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval = environ.get("WATCHDOG_USEC", "")
        self._watchdog = int(interval) / 2e6 if watched and interval.isdigit() else 0.0

    def notify(self, *states: str) -> None:
        """Send states, such as `READY=1`."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0.0)  # never block
            sender.sendto("\n".join(states).encode(), self._address)

    def reloading(self) -> None:
        """A reload was requested; `READY=1` has to follow."""
        # systemd compares the instant with that of its signal, on CLOCK_MONOTONIC.
        self.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    async def run(self, status: Callable[[], str]) -> None:
        """Send the status when it changes, and the watchdog's heartbeat, until cancelled.

        Args:
            status: What the service waits for; empty when it is ready.
        """
        if not self._address:
            return
        sent: str | None = None
        pause = min(_LOOK, self._watchdog) if self._watchdog else _LOOK
        while True:
            states = ["WATCHDOG=1"] if self._watchdog else []
            now = status()
            if now != sent:
                states.append(f"STATUS={now or 'requests are being received'}")
                sent = now
            if states:
                self.notify(*states)
            await asyncio.sleep(pause)
