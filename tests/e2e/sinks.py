"""Services with one sink: a file, which always works, or a pipe that a test reads as it likes."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

from tests.e2e.ledger import readings, whole_lines
from tests.support.processes import Service

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Broker


def service(
    folder: Path,
    broker: Broker,
    *mqtt: str,
    sink: str,
    spool: Path | None = None,
    max_bytes: int = 2**30,
    ack: str = "spool",
    **options: Any,
) -> Service:
    """A service that stores.

    Args:
        folder: Where its files are.
        broker: Its broker.
        mqtt: Lines for the `[mqtt]` section.
        sink: The path of its only sink, which writes lines.
        spool: Where its spool is, if not in the folder.
        max_bytes: The spool's bound.
        ack: What a 200 promises.
        options: What else `Service` takes.
    """
    lines = (
        *("[spool]", f'path = "{spool or folder / "spool"}"', f"max_bytes = {max_bytes}"),
        *("[[sinks]]", 'type = "ndjson"', f'path = "{sink}"'),
    )
    return Service(folder, broker.port, *mqtt, *lines, ack=ack, **options)


PIPE_BYTES: Final = 4096
"""The pipe holds next to nothing of what is not read."""

READING_BYTES: Final = 250
"""What the points of a reading take, about."""


class Tap:
    """Standard output of one service after another: a sink that takes as much as is read.

    Args:
        pause: Seconds to wait after each piece of 4 KiB.
        running: Whether anything is read at all; else not before `open`.
    """

    def __init__(self, *, pause: float = 0.0, running: bool = True) -> None:
        self._running = threading.Event()
        if running:
            self._running.set()
        self._pause = pause
        self._texts: list[bytearray] = []
        self._threads: list[threading.Thread] = []

    def service(self, folder: Path, broker: Broker, *mqtt: str, **options: Any) -> Service:
        """A service that writes to it; the next one may come when this one has ended."""
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        text = bytearray()
        thread = threading.Thread(target=self._read, args=(reader, text))
        thread.start()
        self._texts.append(text)
        self._threads.append(thread)
        try:
            return service(folder, broker, *mqtt, sink="-", stdout=writer, **options)
        finally:
            os.close(writer)

    def open(self) -> None:
        """Let everything come."""
        self._pause = 0.0
        self._running.set()

    def points(self) -> list[dict[str, Any]]:
        """The points that have come."""
        return [point for text in self._texts for point in whole_lines(text.decode())]

    def stored(self) -> dict[int, list[int]]:
        """The readings that have come."""
        return readings(self.points())

    def _read(self, reader: int, text: bytearray) -> None:
        self._running.wait()
        while data := os.read(reader, 4096):
            text += data
            time.sleep(self._pause)
        os.close(reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        for thread in self._threads:
            thread.join()
