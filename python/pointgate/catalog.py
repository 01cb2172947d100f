"""The catalog: a folder of models and device tables, loaded as one immutable snapshot.

It does not validate requests and does not know the rules of a model: `_core` does.
`service/catalog_watcher.py` hot-reloads the catalog of a running service.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pointgate.catalog_contents import DeviceSource, Snapshot
from pointgate.catalog_loading import Loading
from pointgate.errors import CatalogError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Catalog", "DeviceSource", "Loading"]


class Catalog(Snapshot):
    """An immutable snapshot of every product's model, device table and settings."""

    @classmethod
    def load(cls, path: str | Path, *, tests: bool = False, without_copies: bool = False) -> Self:
        """Load a catalog folder (contract 6.4).

        Args:
            path: The folder with the `catalog.toml`.
            tests: Whether to run its catalog tests, too (contract 12).
            without_copies: Whether the copy of a registry may be missing: its tables are empty
                then, with a warning.

        Raises:
            CatalogError: A file in it is invalid, or a test fails; `problems` has all mistakes.
        """
        loading = Loading(Path(path), tests=tests, without_copies=without_copies)
        catalog = loading.run(cls)
        if catalog is None:
            raise CatalogError(loading.problems)
        return catalog
