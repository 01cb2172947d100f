"""Every kind of registry: `type` in `[[registries]]`, its settings, the module that makes it.

A new kind is a folder with `settings.py` and `source.py`, and a line in `REGISTRIES`. Its module is
imported only when such a registry is made, so that its dependencies are needed only then.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from pointgate.errors import ConfigError, Problem
from pointgate.extras import missing
from pointgate.registries.http.settings import HttpRegistrySettings
from pointgate.registries.kafka.settings import KafkaRegistrySettings
from pointgate.registries.postgres.settings import PostgresRegistrySettings

if TYPE_CHECKING:
    from pointgate.registries.base import Registry
    from pointgate.registries.settings import RegistrySettings


@dataclass(frozen=True, slots=True)
class RegistryKind:
    """A kind of registry.

    Attributes:
        settings: The model of its table in the configuration.
        module: The module whose `build(settings)` makes a `Registry`.
    """

    settings: type[RegistrySettings]
    module: str


REGISTRIES: Final[dict[str, RegistryKind]] = {
    "postgres": RegistryKind(PostgresRegistrySettings, "pointgate.registries.postgres.source"),
    "http": RegistryKind(HttpRegistrySettings, "pointgate.registries.http.source"),
    "kafka": RegistryKind(KafkaRegistrySettings, "pointgate.registries.kafka.source"),
}


def build(settings: RegistrySettings) -> Registry:
    """Make a registry; nothing is opened yet.

    Raises:
        ConfigError: A package for it is not installed, or a setting or secret cannot be used.
    """
    location = f"registries.{settings.name}"
    try:
        module = importlib.import_module(REGISTRIES[settings.kind].module)
        return cast("Registry", module.build(settings))
    except ImportError as error:
        problem = Problem("", location, missing(error, settings.extra))
        raise ConfigError([problem]) from error
    except ValueError as error:
        raise ConfigError([Problem("", location, str(error))]) from error
