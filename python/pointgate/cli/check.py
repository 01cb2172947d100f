"""`pointgate check`: finds all mistakes in the configuration, the models and the device tables.

For an editor, a commit hook or a CI pipeline, or beside a running service. It runs the preflight of
`serve` (`service/preflight.py`), so that `serve` accepts a configuration that passes. It creates
and changes nothing and does not connect. The findings are its result, so they go to stdout.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pointgate.catalog import Catalog
from pointgate.cli.doctor import examine_and_exit
from pointgate.cli.options import ConfigOption  # noqa: TC001 - typer reads it
from pointgate.config import load_settings, stray_variables
from pointgate.diagnostics import numbered
from pointgate.errors import CatalogError, ConfigError
from pointgate.terminal import SHOWN_PROBLEMS, Status, print_json, printable, say, unicode_text

if TYPE_CHECKING:
    from pointgate.config import Settings
    from pointgate.errors import Problem


def check(
    config: ConfigOption = Path("pointgate.toml"),
    *,
    connect: Annotated[
        bool, typer.Option("--connect", help="Then examine broker, disk and sinks: see doctor.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> NoReturn:
    """Find all mistakes in the configuration and the catalog."""
    found = _find(config)
    if connect and found.settings and found.catalog and not found.problems:
        product = min(found.catalog.products)
        checked = _document(found) if as_json else None
        if checked is None:
            _print(found)
        examine_and_exit(found.settings, product, found.notes, checked=checked, as_json=as_json)
    if as_json:
        print_json(_document(found))
    else:
        _print(found)
    sys.exit(Status.FINDINGS if found.problems else Status.DONE)


@dataclass(slots=True)
class _Findings:
    """The findings.

    Attributes:
        problems: Mistakes with which `serve` does not start.
        warnings: Valid settings that are probably mistakes.
        notes: Resources that are in use now, for example by a running service.
        settings: The settings, if they are valid.
        catalog: The catalog, if it is valid.
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    settings: Settings | None = None
    catalog: Catalog | None = None


def _find(config: Path) -> _Findings:
    from pointgate.service.preflight import prepare  # noqa: PLC0415 - no other command needs it
    from pointgate.service.registry_checks import mismatches  # noqa: PLC0415 - as above

    found = _Findings(warnings=stray_variables(os.environ))
    try:
        settings = found.settings = load_settings(config, os.environ)
    except ConfigError as error:
        found.problems += error.problems
        return found
    try:
        prepared = prepare(settings)
        found.warnings += prepared.warnings
        found.notes += prepared.notes
    except ConfigError as error:
        found.problems += error.problems
    try:
        catalog = found.catalog = Catalog.load(
            settings.catalog.path, tests=True, without_copies=True
        )
        problems, warnings = mismatches(settings.registries, catalog)
        found.problems += problems
        found.warnings += [*catalog.warnings, *warnings]
        found.warnings += settings.quarantine.warnings(found.catalog.products)
    except CatalogError as error:
        found.problems += error.problems
    return found


def _print(found: _Findings) -> None:
    for problem in found.problems[:SHOWN_PROBLEMS]:
        typer.echo(printable(str(problem)))
    for kind, those in ("warning", found.warnings), ("note", found.notes):
        for one in those:
            typer.echo(f"{kind}: {printable(str(one))}")
    if found.problems or found.catalog is None:
        say(f"{numbered(len(found.problems), 'problem')} found")
        return
    catalog = found.catalog
    for key, product in sorted(catalog.products.items()):
        points, devices = len(product.model), len(product.devices)
        mode = "" if product.mode == "enforce" else f", not enforced: {product.mode}"
        typer.echo(f"{key}: {numbered(points, 'point')}, {numbered(devices, 'device')}{mode}")
    if catalog.test_count:
        typer.echo(f"{numbered(catalog.test_count, 'catalog test')} passed")
    if not_enforced := catalog.not_enforced:
        say(f"{numbered(len(not_enforced), 'product')} of {len(catalog):,} not enforced")
    say(
        f"{numbered(len(catalog), 'product')}, {numbered(catalog.models, 'model')}, "
        f"{numbered(catalog.devices, 'device')}: no problems found"
    )


def _document(found: _Findings) -> dict[str, object]:
    products = found.catalog.products if found.catalog else {}
    return {
        "ok": not found.problems,
        "problems": [_fields(problem) for problem in found.problems],
        "warnings": [_fields(warning) for warning in found.warnings],
        "notes": [_fields(note) for note in found.notes],
        "products": {
            key: {
                "points": len(product.model),
                "devices": len(product.devices),
                "mode": product.mode,
            }
            for key, product in sorted(products.items())
        },
        "tests": found.catalog.test_count if found.catalog else None,
    }


def _fields(problem: Problem) -> dict[str, str]:
    return {name: unicode_text(value) for name, value in asdict(problem).items()}
