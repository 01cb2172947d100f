"""`pointgate check`: every mistake in the configuration, the models and the device tables.

For an editor, a commit hook or a pipeline: it connects to nothing, and finds on a laptop what
`serve` would refuse on the server. Findings are the data of this command, so they go to stdout.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pointgate.catalog import Catalog
from pointgate.cli.talk import (
    SHOWN_PROBLEMS,
    ConfigOption,
    Status,
    print_json,
    printable,
    say,
    unicode_text,
)
from pointgate.config import load_settings
from pointgate.errors import CatalogError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.errors import Problem


def check(
    config: ConfigOption = Path("pointgate.toml"),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> NoReturn:
    """Find every mistake in configuration and catalog."""
    catalog: Catalog | None = None
    problems: list[Problem] = []
    try:
        catalog = Catalog.load(load_settings(config, os.environ).catalog.path)
    except (ConfigError, CatalogError) as error:
        problems = error.problems
    warnings = catalog.warnings if catalog else ()
    if as_json:
        print_json(_document(catalog, problems, warnings))
    else:
        _print(catalog, problems, warnings)
    sys.exit(Status.FINDINGS if problems else Status.DONE)


def _print(
    catalog: Catalog | None, problems: Sequence[Problem], warnings: Sequence[Problem]
) -> None:
    for problem in problems[:SHOWN_PROBLEMS]:
        typer.echo(printable(str(problem)))
    for warning in warnings:
        typer.echo(f"warning: {printable(str(warning))}")
    if catalog is None:
        say(f"{_count(len(problems), 'problem')} found")
        return
    for key, product in sorted(catalog.products.items()):
        points, devices = len(product.model), len(product.devices)
        typer.echo(f"{key}: {_count(points, 'point')}, {_count(devices, 'device')}")
    say(
        f"{_count(len(catalog), 'product')}, {_count(catalog.models, 'model')}, "
        f"{_count(catalog.devices, 'device')}: no problems found"
    )


def _document(
    catalog: Catalog | None, problems: Sequence[Problem], warnings: Sequence[Problem]
) -> dict[str, object]:
    products = catalog.products if catalog else {}
    return {
        "ok": not problems,
        "problems": [_fields(problem) for problem in problems],
        "warnings": [_fields(warning) for warning in warnings],
        "products": {
            key: {"points": len(product.model), "devices": len(product.devices)}
            for key, product in sorted(products.items())
        },
    }


def _fields(problem: Problem) -> dict[str, str]:
    return {name: unicode_text(value) for name, value in asdict(problem).items()}


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
