"""Options that several commands share, and loading the settings and the catalog."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pointgate.catalog import Catalog
from pointgate.config import Settings, load_settings
from pointgate.errors import CatalogError, ConfigError
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.terminal import Status, say_problems
from pointgate.toml.document import check
from pointgate.toml.values import local_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pointgate.errors import Problem

ProcessesOption = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=1024, help="Worker processes; default: one per core."),
]


def local_path_option(text: str) -> Path:
    """A path of the command line; a url is no path, and would become a folder of that name.

    Raises:
        typer.BadParameter: It is empty or a url.
    """
    try:
        local_path(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return Path(text)


path_option = partial(typer.Option, parser=local_path_option)
"""An option whose value is a path."""


def output_option(text: str) -> ParquetSettings:
    """Where a command writes points as Parquet: a folder, or a url of an object store.

    Raises:
        typer.BadParameter: It is neither.
    """
    found = check(ParquetSettings, {"type": "parquet", "name": "out", "path": text}, file="")
    if isinstance(found, list):
        raise typer.BadParameter(found[0].reason)
    return found


ConfigOption = Annotated[
    Path, path_option("--config", "-c", metavar="FILE", help="The configuration.")
]
ConfigOrDefaultOption = Annotated[
    Path | None,
    path_option(
        "--config", "-c", metavar="FILE", help="The configuration; default pointgate.toml."
    ),
]
SocketOption = Annotated[
    Path | None,
    path_option(
        "--socket", metavar="PATH", help="The admin socket; default: that of the settings."
    ),
]
OutOption = Annotated[
    ParquetSettings | None,
    typer.Option(
        metavar="PATH",
        help="Write accepted points to this folder or url, as Parquet.",
        parser=output_option,
    ),
]
CatalogOption = Annotated[
    Path | None,
    path_option(metavar="FOLDER", help="The catalog; default: that of the configuration."),
]


def settings_or_exit(path: Path, *, instead: str = "") -> Settings:
    """The settings from a file and the environment; exits with 78 if they are invalid.

    Args:
        path: The file.
        instead: The option that makes it unnecessary, for a problem of a file that is missing.
    """
    try:
        return load_settings(path, os.environ)
    except ConfigError as error:
        hint = f"; {instead}" if instead and not path.exists() else ""
        exit_with_problems([replace(one, reason=one.reason + hint) for one in error.problems])


def settings_for_catalog(config: Path | None, catalog: Path | None) -> Settings:
    """The settings of a command that also runs with `--catalog` alone, then with defaults."""
    if catalog and not config:
        return Settings()
    return settings_or_exit(config or Path("pointgate.toml"))


def catalog_or_exit(path: Path, load: Callable[[Path], Catalog] = Catalog.load) -> Catalog:
    """The catalog in a folder; exits with 78 if it is invalid."""
    try:
        return load(path)
    except CatalogError as error:
        exit_with_problems(error.problems)


def exit_with_problems(problems: Sequence[Problem]) -> NoReturn:
    """Print the problems of the configuration, and exit with 78."""
    say_problems(problems)
    sys.exit(Status.CONFIGURATION)
