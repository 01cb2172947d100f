"""Every kind of sink: `type` in `[[sinks]]`, its settings, and the module that makes it.

A new kind is a folder with `settings.py` and `sink.py`, and a line in `SINKS`. Its module is
imported only when such a sink is made, so that its dependencies are needed only then.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from pointgate.errors import ConfigError, Problem
from pointgate.extras import missing
from pointgate.sinks.base import LIVE
from pointgate.sinks.delta.settings import DeltaSettings
from pointgate.sinks.kafka.settings import KafkaSinkSettings
from pointgate.sinks.ndjson.settings import NdjsonSettings
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.sinks.postgres.settings import PostgresSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.sinks.base import Sink
    from pointgate.sinks.settings import SinkSettings


@dataclass(frozen=True, slots=True)
class SinkKind:
    """A kind of sink.

    Attributes:
        settings: The model of its table in the configuration.
        module: The module whose `build(settings, writer)` makes a `Sink`.
    """

    settings: type[SinkSettings]
    module: str


SINKS: Final[dict[str, SinkKind]] = {
    "parquet": SinkKind(ParquetSettings, "pointgate.sinks.parquet.sink"),
    "postgres": SinkKind(PostgresSettings, "pointgate.sinks.postgres.sink"),
    "delta": SinkKind(DeltaSettings, "pointgate.sinks.delta.sink"),
    "kafka": SinkKind(KafkaSinkSettings, "pointgate.sinks.kafka.sink"),
    "ndjson": SinkKind(NdjsonSettings, "pointgate.sinks.ndjson.sink"),
}


def build(settings: Sequence[SinkSettings], *, writer: str = LIVE) -> list[tuple[Sink, bool]]:
    """Make the sinks; nothing is opened yet.

    Args:
        settings: Their settings.
        writer: Whose sequences they will be told (see `base.LIVE`).

    Returns:
        Each sink, and whether it is required.

    Raises:
        ConfigError: A package for one is not installed, or its password cannot be read.
    """
    sinks: list[tuple[Sink, bool]] = []
    problems: list[Problem] = []
    for one in settings:
        try:
            sinks.append((_build(one, writer), one.required))
        except ConfigError as error:
            problems += error.problems
        except ImportError as error:
            problems.append(Problem("", f"sinks.{one.name}", missing(error, one.extra)))
        except ValueError as error:
            problems.append(Problem("", f"sinks.{one.name}", str(error)))
    if problems:
        raise ConfigError(problems)
    return sinks


def _build(settings: SinkSettings, writer: str) -> Sink:
    module = importlib.import_module(SINKS[settings.kind].module)
    return cast("Sink", module.build(settings, writer))
