"""`pointgate serve` with an ear: it kills whom it is told to, at the place it is told.

    python -m tests.crash.launch none serve -c pointgate.toml
    after-fsync 3 4711        on standard input: SIGKILL to 4711 at the third pass of after-fsync

So the broker or the database can die at the very moment at which the service is somewhere, and the
service itself at a place that is chosen while it runs. Two places are added where the database
commits: `before-commit`, `after-commit`. Instead of `none`: the name of a bug (`planted.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from pointgate import cli, failpoint
from tests.crash import planted

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class _Order:
    place: str
    passes: int
    victim: int


class _Ear:
    """Takes orders, and carries out the last one."""

    def __init__(self) -> None:
        self._order: _Order | None = None
        self._usual = failpoint.hit

    def listen(self) -> None:
        """Take orders for ever."""
        text = b""
        while more := os.read(0, 4096):  # no buffered reader: its lock would outlive the end
            *lines, text = (text + more).split(b"\n")
            for line in lines:
                place, passes, victim = line.decode().split()
                self._order = _Order(place, int(passes), int(victim))

    def hit(self, name: str, before: Callable[[], object] | None = None) -> None:
        """Pass a place (see `failpoint.hit`)."""
        self._usual(name, before)
        order = self._order
        if order is None or order.place != name:
            return
        order.passes -= 1
        if order.passes <= 0:
            self._order = None
            if before is not None:
                before()
            with contextlib.suppress(ProcessLookupError):  # who gave the order waited too long
                os.kill(order.victim, signal.SIGKILL)


def main() -> None:
    """Run as a process."""
    _, bug, *arguments = sys.argv
    if bug != "none":
        planted.BUGS[bug]()
    ear = _Ear()
    commit = psycopg.Connection.commit

    def commit_between(connection: psycopg.Connection) -> None:
        ear.hit("before-commit")
        commit(connection)
        ear.hit("after-commit")

    failpoint.hit = ear.hit
    failpoint.is_active = lambda: True
    setattr(psycopg.Connection, "commit", commit_between)  # noqa: B010 - a method, for mypy
    threading.Thread(target=ear.listen, daemon=True).start()
    sys.argv = ["pointgate", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
