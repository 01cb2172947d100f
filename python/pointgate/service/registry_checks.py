"""Checks that the registries of the settings and the products of the catalog fit together.

Each is valid by itself: a product names the folder of a copy, and a registry writes one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pointgate.catalog import Catalog
from pointgate.diagnostics import did_you_mean
from pointgate.errors import CatalogError, Problem
from pointgate.registries.device_copy import CURRENT
from pointgate.toml.document import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pointgate.catalog_settings import ProductSettings
    from pointgate.config import Settings
    from pointgate.registries.settings import RegistrySettings


def mismatches(
    registries: Sequence[RegistrySettings], catalog: Catalog
) -> tuple[list[Problem], list[Problem]]:
    """What does not fit together.

    Returns:
        Problems, with which the service does not start, and warnings.
    """
    settings, document = catalog.contents.settings, catalog.document
    writers = {os.path.realpath(one.folder): one for one in registries}
    folders = {
        name: document.parent / name
        for name in {one.registry for one in settings.values()}
        if name is not None
    }
    writer_of = {name: writers.get(os.path.realpath(path)) for name, path in folders.items()}
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for key, product in settings.items():
        if product.registry is None:
            continue
        writer = writer_of[product.registry]
        if writer is not None:
            found, reasons = warnings, [*_misunderstood(key, product, writer)]
        else:
            folder = folders[product.registry]
            is_there = (folder / CURRENT).exists()
            found = warnings if is_there else problems
            reasons = [("registry", _unwritten(folder, writers, is_there=is_there))]
        found += [
            Problem(str(document), dotted(("products", key, name)), reason)
            for name, reason in reasons
        ]
    return problems, warnings


def check_before_copies(settings: Settings) -> None:
    """Find mistakes in a catalog some copies of which are missing, without waiting for these.

    Raises:
        CatalogError: It has some.
    """
    if all((one.folder / CURRENT).exists() for one in settings.registries):
        return  # then loading it finds them
    catalog = Catalog.load(settings.catalog.path, tests=True, without_copies=True)
    problems, _ = mismatches(settings.registries, catalog)
    if problems:
        raise CatalogError(problems)


def _unwritten(folder: Path, writers: dict[str, RegistrySettings], *, is_there: bool) -> str:
    """Why a copy that no registry writes is a mistake."""
    if is_there:
        return f"no registry in [[registries]] writes {folder}: its devices never change"
    names = {one.name: path for path, one in writers.items()}
    near = did_you_mean(folder.name, names)
    known = ", ".join(sorted(writers)) or "none: there is no [[registries]] in the settings"
    return f"expected the folder of a registry ({known}), got {folder}{near}"


def _misunderstood(
    key: str, product: ProductSettings, writer: RegistrySettings
) -> Iterator[tuple[str, str]]:
    if writer.product not in {None, key}:
        devices = f"the devices of product {writer.product}"
        reason = f"registry {writer.name} has {devices}: every device of this product is unknown"
        yield "registry", reason
    if product.on_unknown == "recheck" and not writer.answers:
        asked = f"registry {writer.name} cannot be asked for one device"
        yield "on_unknown", f"{asked}: unknown devices are rejected at once"
