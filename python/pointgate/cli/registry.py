"""`pointgate registry sql`: the SQL that makes the table of changes of a registry in PostgreSQL.

    pointgate registry sql fleet | psql …

It connects to nothing. Secrets are not in it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pointgate.cli.options import ConfigOption, settings_or_exit
from pointgate.registries.postgres.schema import schema_sql
from pointgate.registries.postgres.settings import PostgresRegistrySettings
from pointgate.terminal import Status, say

registry = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, add_completion=False, name="registry"
)


@registry.callback()
def _registry() -> None:
    """Prepare a database of devices."""


@registry.command("sql")
def sql(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The registry; default: the only one.")
    ] = None,
    config: ConfigOption = Path("pointgate.toml"),
) -> None:
    """Print the SQL that makes the table of changes of a registry in PostgreSQL."""
    those = [
        one
        for one in settings_or_exit(config).registries
        if isinstance(one, PostgresRegistrySettings) and name in {None, one.name}
    ]
    if len(those) != 1:
        wanted = "one registry of type postgres" if name is None else f"a registry called {name}"
        say(f"expected {wanted} in {config}, got {len(those) or 'none'}")
        sys.exit(Status.USAGE)
    typer.echo(schema_sql(those[0]), nl=False)
