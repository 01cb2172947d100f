"""The state behind /livez and /readyz."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointgate.terminal import printable

if TYPE_CHECKING:
    from pointgate.quarantine.writer import Quarantine
    from pointgate.service.catalog_watcher import CatalogWatcher
    from pointgate.sources.base import Source
    from pointgate.store.base import Store


class Health:
    """The state behind /livez and /readyz."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.store: Store | None = None
        self.catalog: CatalogWatcher | None = None
        self.quarantine: Quarantine | None = None
        self.starting = "catalog not loaded"  # what the start waits for
        self.draining = False

    def wait_for(self, trouble: str) -> None:
        """Set what the start waits for."""
        self.starting = trouble

    def live(self) -> bool:
        """Always True: a response proves that the event loop works."""
        return True

    def ready(self) -> tuple[bool, str]:
        """Whether requests are received and answered; and why not, or what falls short."""
        if self.draining:
            return False, "draining"
        if not self.sources:
            return False, self.starting
        trouble = "\n".join(source.trouble for source in self.sources if source.trouble)
        trouble = trouble or (self.store.trouble if self.store else "")
        shortfalls = [one for source in self.sources for one in source.shortfalls]
        if self.catalog is not None and self.catalog.refused:
            shortfalls.append(self.catalog.refused)
        if self.quarantine is not None and self.quarantine.trouble:
            shortfalls.append(self.quarantine.trouble)
        return not trouble, trouble or "\n".join(map(printable, shortfalls))
