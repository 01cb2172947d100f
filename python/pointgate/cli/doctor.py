"""`pointgate doctor`: examines what a service needs before it goes live: broker, disk, sinks.

`check` connects to nothing; this command does. It posts requests without entries, creates what the
service would create at its start, and removes its own sessions.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import textwrap
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from pointgate.catalog import Catalog
from pointgate.cli.options import (
    ConfigOption,
    catalog_or_exit,
    exit_with_problems,
    settings_or_exit,
)
from pointgate.errors import ConfigError
from pointgate.terminal import Status, print_json, printable, say, unicode_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pointgate.config import Settings
    from pointgate.doctor.findings import Finding
    from pointgate.errors import Problem

_NARROWEST: Final = 40

_PORT: Final = "metrics.listen"
"""Where `check` notes that a port is in use: a service runs."""


def doctor(
    config: ConfigOption = Path("pointgate.toml"),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> NoReturn:
    """Examine broker, disk and sinks before the service goes live."""
    from pointgate.service.preflight import prepare  # noqa: PLC0415 - others need no pyarrow

    settings = settings_or_exit(config)
    load = partial(Catalog.load, without_copies=True)
    product = min(catalog_or_exit(settings.catalog.path, load).products)
    try:
        notes = prepare(settings).notes
    except ConfigError as error:
        exit_with_problems(error.problems)
    examine_and_exit(settings, product, notes, as_json=as_json)


def examine_and_exit(
    settings: Settings,
    product: str,
    notes: Sequence[Problem],
    *,
    checked: Mapping[str, object] | None = None,
    as_json: bool,
) -> NoReturn:
    """Examine, print what is found, and exit.

    Args:
        settings: The settings, in which `check` finds no problem.
        product: A product of the catalog.
        notes: The notes of `check`.
        checked: The findings of `check`, to be printed in the same JSON object.
        as_json: Whether to print JSON.
    """
    running = any(note.location == _PORT for note in notes)
    found = asyncio.run(_examine(settings, product, running=running, show=not as_json))
    counts = {
        result: sum(one.result == result for one in found) for result in ("problem", "warning")
    }
    if as_json:
        findings = [{key: unicode_text(text) for key, text in asdict(one).items()} for one in found]
        examined = {"ok": not counts["problem"], "running": running, "findings": findings}
        print_json({**(checked or {}), **examined})
    else:
        say(f"problems: {counts['problem']}, warnings: {counts['warning']}")
    sys.exit(Status.FINDINGS if counts["problem"] else Status.DONE)


async def _examine(settings: Settings, product: str, *, running: bool, show: bool) -> list[Finding]:
    from pointgate.doctor.run import examine  # noqa: PLC0415 - as above

    found = []
    async for finding in examine(settings, product=product, running=running):
        found.append(finding)
        if show:
            _print(finding)
    return found


def _print(finding: Finding) -> None:
    """Print a finding, wrapped to the width of a terminal; on one line in a pipe."""
    start = f"{finding.result:<8} {finding.area:<8} "
    width = max(shutil.get_terminal_size().columns, _NARROWEST) if sys.stdout.isatty() else 10_000
    wrap = partial(textwrap.fill, width=width, break_on_hyphens=False)
    blank = " " * len(start)
    typer.echo(wrap(printable(finding.text), initial_indent=start, subsequent_indent=blank))
    if finding.action:
        typer.echo(wrap(f"-> {finding.action}", initial_indent=blank, subsequent_indent=blank))
