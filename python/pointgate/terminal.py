"""The terminal: exit statuses, results on stdout, diagnostics on stderr.

Invariants: text that came from a file or a payload reaches the terminal with its control
characters escaped; talk that cannot be written changes nothing.
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
"""A device table with a million wrong lines needs no million lines of talk."""

_NARROWEST: Final = 40
"""Cells. In a terminal that claims fewer, or none at all, lines are longer than it is wide."""


class Status(IntEnum):
    """Exit statuses (contract 9). From 64 on they are those of sysexits.h."""

    DONE = 0
    FINDINGS = 1
    USAGE = 2
    SOFTWARE = 70
    OUTPUT = 74
    TEMPORARY = 75
    CONFIGURATION = 78


def say(text: str) -> None:
    """Say something to the person at the terminal, on stderr."""
    try:
        typer.echo(printable(text), err=True)
    except OSError:
        give_up(sys.stderr)


def say_problems(problems: Sequence[Problem]) -> None:
    """Say what has to be mended, a line each."""
    for problem in problems[:SHOWN_PROBLEMS]:
        say(str(problem))
    if len(problems) > SHOWN_PROBLEMS:
        say(f"and {len(problems) - SHOWN_PROBLEMS} more")


def printable(text: str) -> str:
    """The text with whatever a terminal would obey, or cannot show, escaped."""
    if text.isprintable():
        return text
    text = unicode_text(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def give_up(stream: TextIO) -> None:
    """Let nobody try at the very end to write what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Stdout(Console):
    def on_broken_pipe(self) -> None:
        # Not rich's own SystemExit, which in a task ends the event loop before its other tasks.
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console() -> Console:
    """Where a command prints its data, as plain text."""
    stdout = _Stdout(highlight=False, markup=False, soft_wrap=True)
    if stdout.width < _NARROWEST:  # noqa: PLR1730 - a width that is set follows no terminal
        stdout.width = _NARROWEST
    return stdout


def print_json(document: object) -> None:
    """Print data for programs."""
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def unicode_text(text: str) -> str:
    """An argument or a file's name, in which bytes that are not UTF-8 are escaped."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
