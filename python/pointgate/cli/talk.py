"""What the commands have in common: exit statuses, words on stderr, the settings.

Invariants: text that came from a file or a payload reaches the terminal with its control
characters escaped.
"""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from pointgate.config import Settings, load_settings
from pointgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.errors import Problem

SHOWN_PROBLEMS: Final = 100
"""A device table with a million wrong lines needs no million lines of talk."""

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration.")
]


class Status(IntEnum):
    """Exit statuses (contract 9). 78 is EX_CONFIG of sysexits.h."""

    DONE = 0
    FINDINGS = 1
    USAGE = 2
    CONFIGURATION = 78
    INTERRUPTED = 130
    TERMINATED = 143


def say(text: str) -> None:
    """Say something to the person at the terminal, on stderr."""
    typer.echo(printable(text), err=True)


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
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def settings_or_exit(path: Path) -> Settings:
    """The settings of a file and the environment; ends the command with 78 when there are none."""
    try:
        return load_settings(path, os.environ)
    except ConfigError as error:
        refuse_configuration(error.problems)


def refuse_configuration(problems: Sequence[Problem]) -> NoReturn:
    """End the command because of its configuration."""
    say_problems(problems)
    sys.exit(Status.CONFIGURATION)
