"""A registry in memory, and what tests read of a copy."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Literal

from pointgate.catalog import Catalog
from pointgate.device_changes import Changes
from pointgate.registries.base import RegistryUnavailableError, Snapshot
from pointgate.registries.settings import RegistrySettings

if TYPE_CHECKING:
    from pathlib import Path


class FakeSettings(RegistrySettings):
    """The settings of a registry in memory."""

    type: Literal["fake"] = "fake"


class FakeRegistry:
    """A registry in memory: a set of keys and a list of changes.

    Attributes:
        keys: The keys.
        log: All changes; a position is a number of them.
        first: The oldest position that is known.
        fails: Why it cannot be read; empty if it can.
        snapshots: How many were read.
    """

    def __init__(self, *keys: str) -> None:
        self.keys = set(keys)
        self.log: list[str] = []
        self.first = 0
        self.fails = ""
        self.snapshots = 0
        self.hangs = threading.Event()
        self.hangs.set()
        self.woken = threading.Event()
        self.closed = 0

    def change(self, *lines: str) -> None:
        """Change it: `+KEY` or `-KEY`."""
        for line in lines:
            (self.keys.add if line[0] == "+" else self.keys.discard)(line[1:])
            self.log.append(line)
        self.woken.set()

    def snapshot(self) -> Snapshot:
        self._answer()
        self.snapshots += 1
        lines = "".join(f"{key}\n" for key in sorted(self.keys)).encode()
        return Snapshot(iter([lines] if lines else []), position=str(len(self.log)))

    def changes(self, position: str | None) -> Changes[str] | None:
        self._answer()
        number = int(position or 0)
        if number < self.first:
            return None
        lines = "".join(f"{line}\n" for line in self.log[number:]).encode()
        return Changes(lines, 1, str(len(self.log)))

    def wait(self, seconds: float) -> None:
        self.woken.wait(seconds)
        self.woken.clear()

    def sever(self) -> None:
        self.hangs.set()
        self.woken.set()

    def close(self) -> None:
        self.closed += 1

    def _answer(self) -> None:
        if not self.hangs.is_set():
            self.hangs.wait()
            raise RegistryUnavailableError("severed")
        if self.fails:
            raise RegistryUnavailableError(self.fails)


def write_catalog(folder: Path, copy: Path, *products: str) -> Path:
    """A catalog whose products have their devices in the copy of a registry."""
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_text(json.dumps({"measurepoints": {"t": {"dataType": "INT"}}}))
    (folder / "catalog.toml").write_text(
        "".join(
            f"[products.{product}]\nmodel = 'model.json'\nregistry = '{copy}'\n"
            for product in products
        )
    )
    return folder


def keys_of(folder: Path, product: str = "pk") -> set[str]:
    """The keys of a product that a new process loads."""
    devices = Catalog.load(folder).products[product].devices
    text: str = devices.__reduce__()[1][0]  # a pickle has them
    return set(text.splitlines())
