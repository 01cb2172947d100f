"""The command `pointgate`: one file a command.

    serve    judge what a broker brings
    check    find every mistake in the configuration, the models and the device tables
    explain  judge one payload and show why
    demo     see all of it at work, without any preparation

Data goes to stdout, talk to stderr. Exit status: 0 done, 1 findings, 2 wrong usage, 78 bad
configuration, 130 and 143 stopped by a signal before it was ready.
"""

from __future__ import annotations

from typing import Annotated

import typer

from pointgate import __version__
from pointgate.cli.check import check
from pointgate.cli.demo import demo
from pointgate.cli.explain import explain
from pointgate.cli.serve import serve

__all__ = ["main"]

# Plain help: it is read in logs, pipes and narrow windows as often as on a wide terminal.
_app = typer.Typer(
    name="pointgate",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

for _command in (serve, check, explain, demo):
    _app.command()(_command)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"pointgate {__version__}")
        raise typer.Exit


@_app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """The gate that every IoT measurement point passes on its way into a platform."""


def main() -> None:
    """Run the command line. The entry point of the script `pointgate`."""
    _app(prog_name="pointgate")
