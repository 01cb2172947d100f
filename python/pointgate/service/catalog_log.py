"""The log lines about a catalog that becomes active."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pointgate.catalog import Catalog

_NAMED_PRODUCTS: Final = 20

_log = logging.getLogger(__name__)


def log_warnings(catalog: Catalog) -> None:
    """Log the warnings of a catalog that becomes active, and which products are not enforced."""
    for warning in catalog.warnings:
        _log.warning("catalog: %s", warning)
    if not_enforced := catalog.not_enforced:
        some = [f"{key} ({mode})" for key, mode in sorted(not_enforced.items())[:_NAMED_PRODUCTS]]
        more = f" and {len(not_enforced) - len(some)} more" if len(not_enforced) > len(some) else ""
        _log.warning(
            "products not enforced: %d of %d: %s%s; faulty points are answered 200 and not stored",
            len(not_enforced),
            len(catalog),
            ", ".join(some),
            more,
        )


def log_modes(former: Catalog | None, catalog: Catalog) -> None:
    """Log the products whose mode a reload changes."""
    before, after = former.not_enforced if former else {}, catalog.not_enforced
    keys = before.keys() | after.keys()
    changed = sorted(key for key in keys if before.get(key) != after.get(key))
    for key in changed[:_NAMED_PRODUCTS]:
        modes = before.get(key, "enforce"), after.get(key, "enforce")
        _log.info("product %s: mode %s, was %s", key, modes[1], modes[0])
