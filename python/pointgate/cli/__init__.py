"""The command line: one file for each command, listed in `commands.py`.

Results go to stdout, diagnostics to stderr. Exit status: 0 done, 1 findings, 2 wrong usage, 70 a
worker process died, 74 the output cannot be written, 75 a resource is in use, 78 bad configuration,
130 and 143 stopped by a signal (`serve`: before it was ready), 141 its output was a closed pipe.

A signal never ends in a traceback:

    imports, interpreter exit     exit at once: an exception raised there would be lost, or printed
    a command                     unwind the stack, so that files and processes are closed; a second
                                  signal exits at once
    a command with an event loop  a handler of the loop (`service/serve.py`, `interrupts.py`)
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from pointgate.left_out import leave_out

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Run the command line. The entry point of the script `pointgate`."""
    # Before the imports, which take most of the start. The kernel ignores a signal without a
    # handler for process 1 of a container.
    _handle(_end_at_once)
    leave_out()
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
