"""A loaded catalog, and what it was made of, so that a later one can share what has not changed.

Invariant: a snapshot is immutable, and only replaced as a whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointgate import _core

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

    from pointgate.catalog_settings import ProductSettings
    from pointgate.errors import Problem
    from pointgate.file_states import Signature
    from pointgate.followed_devices import Followed

    FollowedKey = tuple[object, Path]

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
        followed: Device tables with changes, by the key of their base and the file of changes.
        follows: By product, the key in `followed`.
        digests: By `Compiled.key` a digest of the file, and that of `catalog.toml`.
        version: The `version` in `catalog.toml`.
    """

    tables: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, ProductSettings] = field(default_factory=dict)
    compiled: Mapping[object, _core.Model | _core.Devices] = field(default_factory=dict)
    users: Mapping[Path, set[str]] = field(default_factory=dict)
    warnings: Mapping[object, tuple[Problem, ...]] = field(default_factory=dict)
    followed: Mapping[FollowedKey, Followed] = field(default_factory=dict)
    follows: Mapping[str, FollowedKey] = field(default_factory=dict)
    digests: Mapping[object, int] = field(default_factory=dict)
    version: str = ""

    @property
    def digest(self) -> str:
        """A digest of `catalog.toml` and of all files that it names, except files of changes.

        A sum, so that it costs little after a load that has read one file of ten thousand.
        """
        return f"{sum(self.digests.values()) % 2**64:016x}" if self.digests else ""

    def removed(self, product: str) -> int:
        """Number of active devices of a product that lines of its file of changes have removed.

        Those lines are the ones that the load of this catalog has applied.
        """
        key = self.follows.get(product)
        return self.followed[key].removed if key is not None and key in self.followed else 0


def digest_of(parts: Iterable[bytes]) -> int:
    """64 bits of the SHA-256 of some bytes, one after the other, for `Contents.digests`."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest()[:8], "big")


def digest_of_tables(tables: Mapping[str, object]) -> int:
    """The digest of the tables of `catalog.toml`."""
    return digest_of(repr(table).encode() for table in tables.items())


@dataclass(slots=True)
class Parts:
    """What is being collected; becomes `Contents`."""

    tables: dict[str, object]
    settings: dict[str, ProductSettings]
    compiled: dict[object, _core.Model | _core.Devices]
    users: dict[Path, set[str]]
    warnings: dict[object, tuple[Problem, ...]]
    followed: dict[FollowedKey, Followed]
    follows: dict[str, FollowedKey]
    digests: dict[object, int]
    version: str = ""


class Snapshot(_core.Catalog):
    """An immutable snapshot of every product's model, device table and settings.

    Attributes:
        warnings: Valid settings that are probably mistakes.
        files: The files it was loaded from, with their state before they were read.
        sources: The source of each product's device table.
        document: The path of its `catalog.toml`.
        contents: What later loads share.
        tests: Files of catalog tests that it has passed, and their folder.
        test_count: How many tests these are.
    """

    document: Path = Path(DOCUMENT)
    warnings: tuple[Problem, ...] = ()
    files: Mapping[Path, Signature] = {}
    sources: Mapping[str, DeviceSource] = {}
    contents: Contents = Contents()
    tests: frozenset[Path] = frozenset()
    test_count: int = 0

    def with_changes(
        self, product: str, *, added: Sequence[str] = (), removed: Sequence[str] = ()
    ) -> Self:
        """The catalog after some changes of a device table; everything else is shared.

        Args:
            product: The product's key.
            added: Keys that are devices from then on.
            removed: Keys that are not, applied first.

        Raises:
            KeyError: There is no such product.
            DocumentError: No device can have such a key.
        """
        before = self.products[product]
        devices = before.devices.with_changes(added=added, removed=removed)
        return self._replaced({product: before.with_devices(devices)}, Contents())

    def with_folded(
        self, folded: Mapping[FollowedKey, tuple[_core.Devices, _core.Devices]]
    ) -> Self:
        """The catalog with new bases for device tables that follow changes.

        Args:
            folded: An earlier version of each table, and the same one folded.
        """
        followed, compiled = dict(self.contents.followed), dict(self.contents.compiled)
        for key, (original, table) in folded.items():
            one = followed.get(key)
            devices = one.devices.rebased(table, original) if one else None
            if one and devices:
                followed[key] = replace(one, devices=devices)
                compiled.pop(key[0], None)  # it would keep the former base in memory
        contents = replace(self.contents, followed=followed, compiled=compiled)
        products = {}
        for name, key in contents.follows.items():
            product, one = self.product(name), followed.get(key)
            if product and one and one.devices is not product.devices:
                products[name] = product.with_devices(one.devices)
        return self._replaced(products, contents)

    def _replaced(self, products: Mapping[str, _core.Product], contents: Contents) -> Self:
        newer = type(self)(products, base=self)
        newer.document, newer.warnings = self.document, self.warnings
        newer.files, newer.sources = self.files, self.sources
        newer.contents = contents
        newer.tests, newer.test_count = self.tests, self.test_count
        _ = newer.devices  # counts them now, not on the event loop
        return newer
