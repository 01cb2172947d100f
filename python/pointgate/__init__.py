"""Validates and stores measurement points that IoT devices post over MQTT.

A request, which a device or an edge gateway posts, is validated against its product's thing model
and device table, in Rust, in one pass over its bytes:

    from pointgate import Catalog, Validator

    catalog = Catalog.load("catalog/")
    validator = Validator(catalog)
    (report,) = validator.validate([topic], [payload])
    report.code, report.points, report.reply, report.fault

A catalog can also be built in code, such as from a database. Its parts are immutable, so products
can share models and a new catalog can share what has not changed:

    >>> import json
    >>> from pointgate import Catalog, Devices, Model, Product, Validator
    >>> document = {"measurepoints": {"temp": {"dataType": "DOUBLE", "maximum": 150}}}
    >>> model = Model.compile(json.dumps(document).encode())
    >>> devices = Devices(row[0] for row in [("boiler-1",), ("boiler-2",)])
    >>> product = Product(model, devices, unknown_points="ignore")
    >>> validator = Validator(Catalog({"boilers": product}))
    >>> payload = b'''{"id": "1", "version": "1.0", "method": "integration.measurepoint.post",
    ...     "params": [{"deviceKey": "boiler-1", "measurepoints": {"temp": 151}}]}'''
    >>> topic = "sys/boilers/integration/measurepoint/post"
    >>> (report,) = validator.validate([topic], [payload])
    >>> report.code, report.fault.pointer, report.fault.got
    (1204, '/params/0/measurepoints/temp', '151')
    >>> validator.catalog = Catalog({"boilers": Product(model, Devices(["boiler-1"]))})

An invalid request is never an exception: it is a `Report` with a `Fault`. The exceptions are for
what a person has to correct (`ConfigError`, `CatalogError`, and `DocumentError` of a model or of
devices) and for a lost connection to the broker (`ConnectionLost`). Catalogs, reports and faults
can be pickled. The service, `pointgate serve`, is built from the same parts.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from pointgate._core import (
    Devices,
    Fault,
    Model,
    Product,
    Report,
    Validator,
    __version__,
    build_profile,
)
from pointgate.errors import (
    CatalogError,
    ConfigError,
    ConnectionLost,
    DocumentError,
    PointgateError,
    Problem,
)

if TYPE_CHECKING:
    from pointgate.catalog import Catalog

__all__ = [
    "Catalog",
    "CatalogError",
    "ConfigError",
    "ConnectionLost",
    "Devices",
    "DocumentError",
    "Fault",
    "Model",
    "PointgateError",
    "Problem",
    "Product",
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
