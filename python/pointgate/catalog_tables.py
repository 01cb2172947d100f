"""Validates the products of `catalog.toml`; those whose tables are as before are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pointgate.catalog_settings import CatalogDocument, ProductSettings
from pointgate.toml.document import check

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.catalog_contents import Contents
    from pointgate.errors import Problem

_TABLES_AT_ONCE: Final = 50
"""Tables that are validated in one call, which holds the interpreter lock: half a millisecond."""


class ProductTables:
    """The document, being validated.

    Args:
        file: Its path, for mistakes.
        old: What the catalog before was made of.
        document: The document.

    Attributes:
        problems: All mistakes.
    """

    def __init__(self, file: Path, old: Contents, document: dict[str, Any]) -> None:
        self.problems: list[Problem] = []
        self._file = str(file)
        self._old = old
        self._document = document

    def settings(self) -> dict[str, ProductSettings]:
        """The products' settings; those whose tables are as before are shared."""
        document, tables = self._document, self._document.get("products")
        if not isinstance(tables, dict) or not tables:
            self._check(document)
            return {}
        old = self._old
        known = {key for key in old.settings if tables.get(key) == old.tables.get(key)}
        unknown = [key for key in tables if key not in known]
        others = {name: value for name, value in document.items() if name != "products"}
        valid: dict[str, ProductSettings] = {}
        for start in range(0, len(unknown), _TABLES_AT_ONCE):
            some = {key: tables[key] for key in unknown[start : start + _TABLES_AT_ONCE]}
            valid |= self._check({**others, "products": some})
            others = {}  # their mistakes are reported once
        if others:
            self._check(
                {**others, "products": {key: tables[key] for key in tables if key in known}}
            )
        return {
            key: old.settings[key] if key in known else valid[key]
            for key in tables
            if key in known or key in valid
        }

    def _check(self, document: dict[str, Any]) -> dict[str, ProductSettings]:
        """The products that are valid by themselves, so that their files are checked, too."""
        checked = check(CatalogDocument, document, file=self._file)
        if isinstance(checked, CatalogDocument):
            return checked.products
        self.problems += checked
        valid = {}
        tables = document.get("products")
        for key, table in tables.items() if isinstance(tables, dict) else ():
            if isinstance(table, dict):
                one = check(ProductSettings, table, file=self._file)
                if isinstance(one, ProductSettings):
                    valid[key] = one
        return valid
