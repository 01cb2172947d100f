"""Validates and stores measurement points that IoT devices post over MQTT.

A request, which a device or an edge gateway posts, is validated against its product's thing model
and device table, in Rust, in one pass over its bytes:

    from pointgate import Catalog, Validator

    catalog = Catalog.load("catalog/")
    validator = Validator(catalog)
    (report,) = validator.validate([topic], [payload])
    report.code, report.points, report.reply, report.fault

An invalid request is not an exception, but a `Report` with a `Fault`. Exceptions are for mistakes
that an operator must correct (`ConfigError`, `CatalogError`), and for a lost connection to the
broker (`ConnectionLost`). The service, `pointgate serve`, uses the same functions.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from pointgate._core import Fault, Report, Validator, __version__, build_profile
from pointgate.errors import CatalogError, ConfigError, ConnectionLost, PointgateError, Problem

if TYPE_CHECKING:
    from pointgate.catalog import Catalog

__all__ = [
    "Catalog",
    "CatalogError",
    "ConfigError",
    "ConnectionLost",
    "Fault",
    "PointgateError",
    "Problem",
    "Report",
    "Validator",
    "__version__",
]


def __getattr__(name: str) -> object:
    # Imported lazily: its imports take ten times as long as all others here, and the command line
    # must handle signals before them.
    if name == "Catalog":
        from pointgate.catalog import Catalog  # noqa: PLC0415

        globals()[name] = Catalog
        return Catalog
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if build_profile == "debug":
    warnings.warn(
        "pointgate._core is a debug build, some thirty times slower than a release build",
        RuntimeWarning,
        stacklevel=2,
    )
