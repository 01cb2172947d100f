"""What a catalog was made of, so that a later load can share what has not changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pointgate import _core
    from pointgate.catalog_settings import ProductSettings
    from pointgate.errors import Problem

DOCUMENT: Final = "catalog.toml"


@dataclass(frozen=True, slots=True)
class DeviceSource:
    """The source of a product's device table.

    Attributes:
        path: The device file.
        max_shrink: The limit in percent by which the table may shrink at a reload; None for that in
            the service's settings.
    """

    path: Path
    max_shrink: int | None


@dataclass(frozen=True, slots=True)
class Contents:
    """What a catalog was made of. Later loads share it; nothing in it changes.

    Attributes:
        tables: The tables of `catalog.toml` by product key, as they were read.
        settings: The same, validated.
        compiled: Models and device tables by their `Compiled.key`.
        users: By file, the keys of the products that use it.
        warnings: By product key or by the key of a compiled file.
    """

    tables: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, ProductSettings] = field(default_factory=dict)
    compiled: Mapping[object, _core.Model | _core.Devices] = field(default_factory=dict)
    users: Mapping[Path, set[str]] = field(default_factory=dict)
    warnings: Mapping[object, tuple[Problem, ...]] = field(default_factory=dict)
