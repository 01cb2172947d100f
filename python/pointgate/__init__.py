"""The gate that every IoT measurement point passes on its way into a platform.

A request, as a device or an edge gateway posts it over MQTT, is judged against its product's thing
model and device table in one pass over its bytes, in Rust:

    from pointgate import Catalog, Validator

    catalog = Catalog.load("catalog/")
    validator = Validator(catalog)
    (report,) = validator.validate([topic], [payload])
    report.code, report.points, report.reply, report.fault

A request that is not right is never an exception: it is a `Report` with a `Fault`. The exceptions
are for what a person has to mend (`ConfigError`, `CatalogError`) and for a broker that is gone
(`ConnectionLost`). The service around it, `pointgate serve`, is built from the same parts.
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
    # Its imports take ten times as long as all others here. The command line must be able to
    # handle signals before them.
    if name == "Catalog":
        from pointgate.catalog import Catalog  # noqa: PLC0415

        globals()[name] = Catalog
        return Catalog
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if build_profile == "debug":
    warnings.warn(
        "this is a debug build of pointgate._core, some thirty times slower than a release build",
        RuntimeWarning,
        stacklevel=2,
    )
