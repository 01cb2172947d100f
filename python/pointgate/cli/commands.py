"""The list of commands, and the handling of output errors.

Invariants: an output error never ends in a traceback: text that a stream cannot encode is escaped,
a closed pipe ends the command silently with 141, the status of a program that SIGPIPE ended; a full
disk ends it with one line and 74.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pointgate import __version__
from pointgate.cli.bench import app as bench
from pointgate.cli.check import check
from pointgate.cli.compact import compact
from pointgate.cli.demo import demo
from pointgate.cli.diff import diff
from pointgate.cli.doctor import doctor
from pointgate.cli.epilogs import EPILOGS
from pointgate.cli.explain import explain
from pointgate.cli.import_ import import_
from pointgate.cli.init import init, schema
from pointgate.cli.leave import leave
from pointgate.cli.registry import registry
from pointgate.cli.rejects import rejects
from pointgate.cli.replay import replay
from pointgate.cli.serve import serve
from pointgate.cli.tap import tap
from pointgate.cli.top import top
from pointgate.cli.validate import validate
from pointgate.diagnostics import os_reason
from pointgate.terminal import Status, discard, say

if TYPE_CHECKING:
    from collections.abc import Callable

_CANNOT_WRITE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of the output. Other system errors are handled where they occur, or are bugs."""

# Plain help, because it is often read in logs, pipes and narrow windows.
app = typer.Typer(
    name="pointgate",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "init": init,
    "check": check,
    "serve": serve,
    "doctor": doctor,
    "leave": leave,
    "explain": explain,
    "validate": validate,
    "diff": diff,
    "import": import_,
    "replay": replay,
    "top": top,
    "tap": tap,
    "compact": compact,
    "demo": demo,
    "schema": schema,
}

for _name, _command in _COMMANDS.items():
    app.command(_name, epilog=EPILOGS[_name])(_command)
app.add_typer(bench, name="bench", epilog=EPILOGS["bench"])
app.add_typer(rejects, name="rejects", epilog=EPILOGS["rejects"])
app.add_typer(registry, name="registry", epilog=EPILOGS["registry"])


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"pointgate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Validates and stores measurement points that IoT devices post over MQTT."""


def run() -> None:
    """Run the command in the arguments."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None if it was closed at the start
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
    try:
        app(prog_name="pointgate")
    except SystemExit as end:
        cause = end.__context__  # typer exits with 1, as for findings
        if end.code == 1 and isinstance(cause, OSError) and cause.errno == errno.EPIPE:
            sys.exit(Status.CLOSED_PIPE)
        raise
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        say(f"cannot write: {os_reason(error)}")
        discard(sys.stdout)
        sys.exit(Status.OUTPUT)
