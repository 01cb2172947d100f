"""The command `pointgate`: one file a command, which `commands.py` lists.

Results go to stdout, diagnostics to stderr. Exit status: 0 done, 1 findings, 2 wrong usage, 74 the
output cannot be written, 75 something is in use now, 78 bad configuration, 130 and 143 stopped by
a signal (`serve`: before it was ready).

A signal is no traceback in any phase:

    imports, end of the interpreter   end at once: nothing is under way, and an exception raised
                                      there would be lost or shown
    a command                         unwind, so that files and processes are closed; a second
                                      signal ends at once
    a command with an event loop      the loop has a handler (`service.py`, `stopping.py`)
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Run the command line. The entry point of the script `pointgate`."""
    # Before the imports, which take longest. As process 1 of a container, a signal without a
    # handler would be ignored.
    _handle(_end_at_once)
    from pointgate.cli.commands import run  # noqa: PLC0415

    _handle(_unwind)
    try:
        run()
    finally:
        _handle(_end_at_once)


def _handle(handler: Callable[[int, object], None]) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


def _end_at_once(number: int, _: object) -> None:
    os._exit(128 + number)


def _unwind(number: int, _: object) -> None:
    _handle(_end_at_once)
    sys.exit(128 + number)
