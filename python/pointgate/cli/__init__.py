"""The command `pointgate`: one file a command.

    serve    judge what a broker brings
    check    find every mistake in the configuration, the models and the device tables
    explain  judge one payload and show why
    demo     see all of it at work, without any preparation

Data goes to stdout, talk to stderr. Exit status: 0 done, 1 findings, 2 wrong usage, 74 the output
cannot be written, 78 bad configuration, 130 and 143 stopped by a signal before it was ready.
"""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line. The entry point of the script `pointgate`."""
    # Before the imports, which take longest: an interrupt is no traceback, and as process 1 of a
    # container, a signal without a handler is ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    from pointgate.cli.commands import run  # noqa: PLC0415

    run()
