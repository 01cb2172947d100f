"""From settings to sinks: the only place that knows every kind of them.

A kind is imported when it is used, so that nobody needs what only another one needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointgate.config import NdjsonSettings, ParquetSettings
from pointgate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.config import AnySinkSettings
    from pointgate.sinks.base import Sink


def build(settings: Sequence[AnySinkSettings]) -> list[tuple[Sink, bool]]:
    """Make the sinks; nothing is opened yet.

    Returns:
        Each sink, and whether it is required.

    Raises:
        ConfigError: One needs something that is not installed, or its password cannot be read.
    """
    sinks: list[tuple[Sink, bool]] = []
    problems: list[Problem] = []
    for one in settings:
        try:
            sinks.append((_build(one), one.required))
        except ConfigError as error:
            problems += error.problems
        except ImportError as error:
            if (error.name or "").startswith("pointgate"):
                raise
            # psycopg without a libpq is found, and raises an ImportError of its own.
            module = isinstance(error, ModuleNotFoundError)
            needs = f"the package {error.name}" if module else str(error).partition("\n")[0]
            reason = f"needs {needs}: pip install 'pointgate[{one.type}]'"
            problems.append(Problem("", f"sinks.{one.name}", reason))
        except ValueError as error:
            problems.append(Problem("", f"sinks.{one.name}", str(error)))
    if problems:
        raise ConfigError(problems)
    return sinks


def _build(settings: AnySinkSettings) -> Sink:
    name = settings.name
    if isinstance(settings, ParquetSettings):
        from pointgate.sinks.parquet import ParquetSink  # noqa: PLC0415 - see above

        return ParquetSink(name=name, path=settings.path, on_conflict=settings.on_conflict)
    if isinstance(settings, NdjsonSettings):
        from pointgate.sinks.ndjson import NdjsonSink  # noqa: PLC0415

        return NdjsonSink(name=name, path=settings.file)
    from pointgate.sinks.postgres import PostgresSink  # noqa: PLC0415

    return PostgresSink(
        name=name,
        url=settings.url,
        password=settings.password_text(),
        schema=settings.schema_name,
        on_conflict=settings.on_conflict,
    )
