"""The terminal: exit statuses, results on stdout, diagnostics on stderr.

Invariants: control characters in text from a file or a payload are escaped; diagnostics that
cannot be written are dropped, without an error.
"""

from __future__ import annotations

import errno
import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TextIO

import orjson
import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.errors import Problem

SHOWN_PROBLEMS: Final = 100
"""The limit on printed problems: a device table can have a million wrong lines."""

_NARROWEST: Final = 40
"""Cells. On a terminal that reports fewer, or none at all, lines may be wider than it is."""


class Status(IntEnum):
    """Exit statuses (contract 9); from 64 on as in sysexits.h."""

    DONE = 0
    FINDINGS = 1
    USAGE = 2
    SOFTWARE = 70
    OUTPUT = 74
    TEMPORARY = 75
    CONFIGURATION = 78
    CLOSED_PIPE = 141


def say(text: str) -> None:
    """Print a line of diagnostics on stderr."""
    try:
        typer.echo(printable(text), err=True)
    except OSError:
        discard(sys.stderr)


def say_problems(problems: Sequence[Problem]) -> None:
    """Print problems on stderr, one on each line, up to a limit."""
    for problem in problems[:SHOWN_PROBLEMS]:
        say(str(problem))
    if len(problems) > SHOWN_PROBLEMS:
        say(f"and {len(problems) - SHOWN_PROBLEMS} more")


def printable(text: str) -> str:
    """The text with control characters and unprintable characters escaped."""
    if text.isprintable():
        return text
    text = unicode_text(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def discard(stream: TextIO) -> None:
    """Redirect a stream to /dev/null, so that flushing it at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Stdout(Console):
    def on_broken_pipe(self) -> None:
        # Not rich's SystemExit, which in a task would end the event loop before its other tasks.
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console() -> Console:
    """The console for a command's results, as plain text on stdout."""
    stdout = _Stdout(highlight=False, markup=False, soft_wrap=True)
    if stdout.width < _NARROWEST:  # noqa: PLR1730 - a width that is set ignores later resizes
        stdout.width = _NARROWEST
    return stdout


def print_json(document: object) -> None:
    """Print a result as indented JSON."""
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def unicode_text(text: str) -> str:
    """An argument or a file name as valid Unicode: bytes that are not UTF-8 are escaped."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
