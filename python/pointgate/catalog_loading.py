"""Loads a catalog folder into one snapshot, sharing what has not changed with an earlier one.

`Loading` reads `catalog.toml` and all files that it names (contract 6.4), or collects all mistakes
in all files. A file that several products name is read and compiled once.

    catalog.toml changed   validate the tables that differ, compile the files that differ
    else                   compile the files that differ, make their products anew
    both                   everything else is that of the snapshot before, shared and not copied

So after one changed file of ten thousand products a load takes a hundredth of the first one, and
what the former snapshot alone held is one product: freeing it takes no time either.

Invariants: a file that is being written is read again until it is consistent; one call never holds
the interpreter lock for milliseconds, because requests are answered meanwhile.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, TypeVar, cast

from pointgate import _core
from pointgate.catalog_contents import (
    DOCUMENT,
    Contents,
    DeviceSource,
    Parts,
    Snapshot,
    digest_of,
    digest_of_tables,
)
from pointgate.catalog_registries import (
    NO_COPY,
    TableFiles,
    copied_files,
    forget_table,
    no_devices,
    parse_devices,
    read_copy,
)
from pointgate.catalog_tables import ProductTables
from pointgate.catalog_tests import run_tests, test_files
from pointgate.errors import DocumentError, Problem
from pointgate.file_states import signature
from pointgate.followed_devices import follow
from pointgate.registries.device_copy import CURRENT
from pointgate.toml.document import dotted, not_a_folder, read_file, read_toml
from pointgate.topics import product_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pointgate.catalog_settings import ProductSettings
    from pointgate.file_states import Signature

T = TypeVar("T", _core.Model, _core.Devices)
S = TypeVar("S", bound=Snapshot)


class Loading:
    """One attempt to load a folder.

    Args:
        folder: The folder with the `catalog.toml`.
        former: An earlier snapshot of the same folder, whose unchanged parts are shared.
        seen: The state of files shortly before; other files are looked at when they are needed.
        without_copies: Whether the copy of a registry may be missing.
        tests: Whether the catalog tests are run; a load that applies nothing but lines of files of
            changes does not run them.

    Attributes:
        files: The files that were used, with their state before they were read.
        read: Those that were read, and not shared; without files of changes.
        changes: Number of lines of files of changes that were applied.
        unchanged: Whether the snapshot differs from the former one in the states of files alone.
        problems: All mistakes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        former: Snapshot | None = None,
        seen: Mapping[Path, Signature] | None = None,
        tests: bool = False,
        without_copies: bool = False,
    ) -> None:
        self.files: dict[Path, Signature] = {}
        self.read: set[Path] = set()
        self.changes = 0
        self.unchanged = False
        self.problems: list[Problem] = []
        self._folder = folder
        self._document = folder / DOCUMENT
        self._former = former
        self._old = former.contents if former else Contents()
        self._seen = {} if seen is None else seen
        self._runs_tests = tests
        self._parts = Parts({}, {}, {}, {}, {}, {}, {}, {})
        self._failed: set[object] = set()
        # Later ones this service has written; each is read once, however many products have it.
        self._read_copy = cache(partial(read_copy, examines=former is None))
        self._without_copies, self._lacks_copies = without_copies, False

    def run(self, cls: type[S]) -> S | None:
        """Load all files; None, with `problems`, if one is invalid."""
        former = self._former
        if former is not None and self._sign(self._document) == former.files.get(self._document):
            return self._renew(cls, former)
        settings = self._parts.settings = self._settings()
        products = {key: self._product(key, product) for key, product in settings.items()}
        if self.problems:
            return None
        self._parts.digests[DOCUMENT] = digest_of_tables(self._parts.tables)
        made = cls({key: product for key, product in products.items() if product is not None})
        sources = {
            key: DeviceSource(
                self._folder / (product.registry or product.devices or ""), product.max_shrink
            )
            for key, product in settings.items()
        }
        return self._finish(made, sources)

    def _renew(self, cls: type[S], former: Snapshot) -> S | None:
        """Load what has changed, while `catalog.toml` has not."""
        old, seen = self._old, self._seen
        files = dict(former.files)
        changed = {path for path, state in files.items() if seen.get(path, state) != state}
        affected = {key for path in changed for key in old.users.get(path, ())}
        self._parts = Parts(
            tables=dict(old.tables),
            settings=dict(old.settings),
            compiled=dict(old.compiled),
            users=dict(old.users),
            warnings=dict(old.warnings),
            followed=dict(old.followed),
            follows=dict(old.follows),
            digests=dict(old.digests),
            version=old.version,
        )
        for path in changed:
            self._forget(path, files[path])
        for key in affected & old.follows.keys():
            self._parts.followed.pop(old.follows[key], None)
        self.files = files
        products = {
            key: self._product(key, product)
            for key, product in old.settings.items()
            if key in affected
        }
        if self.problems:
            return None
        renewed = {key: product for key, product in products.items() if product is not None}
        self.unchanged = all(former.product(key) is product for key, product in renewed.items())
        return self._finish(cls(renewed, base=former), former.sources)

    def _forget(self, path: Path, state: Signature) -> None:
        """Drop what was compiled from a file in this state, unless another path leads to it."""
        if any(other != path and one == state for other, one in self._twins(path, state)):
            return
        for kind in (_core.Model, _core.Devices):
            key = (kind, path.suffix.lower(), state)
            self._parts.compiled.pop(key, None)
            self._parts.warnings.pop(key, None)
            self._parts.digests.pop(key, None)

    def _twins(self, path: Path, state: Signature) -> Iterator[tuple[Path, Signature]]:
        former = self._former
        own = 1 if former is None else 1 + len(former.tests)
        if former is not None and len(former.files) > len(self._old.compiled) + own:
            yield from former.files.items()
        yield path, state

    def _finish(self, made: S, sources: Mapping[str, DeviceSource]) -> S | None:
        parts = self._parts
        if self._runs_tests and not self._lacks_copies and not self._test(made):
            return None
        made.warnings = tuple(one for several in parts.warnings.values() for one in several)
        made.document = self._document
        made.files = self.files
        made.sources = sources
        made.contents = Contents(
            parts.tables,
            parts.settings,
            parts.compiled,
            parts.users,
            parts.warnings,
            parts.followed,
            parts.follows,
            parts.digests,
            parts.version,
        )
        _ = made.devices  # counts them now, not on the event loop
        return made

    def _test(self, made: S) -> bool:
        """Run the catalog tests, unless only devices have changed; returns whether all passed."""
        former = self._former
        paths, warnings = test_files(self._folder)
        before = {path: former.files[path] for path in former.tests} if former else {}
        for path in before:
            self.files.pop(path, None)
        states = {path: self._sign(path) for path in paths}
        made.tests = frozenset(states)
        if warnings:
            self._parts.warnings[paths[0]] = warnings
        is_same = states == (before or {paths[0]: None})
        if former is not None and is_same and not self.read:
            made.test_count = former.test_count
            return True
        self.read |= states.keys()
        self.unchanged &= is_same
        moving = {key for key, one in self._parts.settings.items() if one.time.is_moving}
        made.test_count, problems = run_tests(paths, made, moving)
        self.problems += problems
        return not problems

    def _settings(self) -> dict[str, ProductSettings]:
        self._sign(self._document)
        self.read.add(self._document)
        found = not_a_folder(self._folder)
        if found:
            reason = f"expected a folder with a catalog.toml, got {found}"
            self.problems.append(Problem(str(self._folder), "", reason))
            return {}
        document, problems = read_toml(self._document)
        if problems:
            self.problems += problems
            return {}
        tables = document.get("products")
        for key in tables if isinstance(tables, dict) else ():
            try:
                product_key(key)
            except ValueError as error:
                self._refuse(dotted(("products", key)), str(error))
        if isinstance(tables, dict):
            self._parts.tables = tables
        self._parts.version = str(document.get("version", ""))
        checked = ProductTables(self._document, self._old, document)
        settings = checked.settings()
        self.problems += checked.problems
        return settings

    def _product(self, key: str, settings: ProductSettings) -> _core.Product | None:
        model = self._compile(
            key,
            _core.Model,
            self._folder / settings.model,
            lambda data, _: _core.Model.compile(data),
        )
        devices = self._devices(key, settings)
        if model is None or devices is None:
            return None
        if settings is self._old.settings.get(key) and self._former is not None:
            before = self._former.product(key)
            if before is not None and before.model is model and before.devices is devices:
                self._keep(key)
                return before
        self._warn_of(key, settings, devices)
        try:
            return _core.Product(
                model,
                devices,
                default_device=settings.default_device,
                numbers_as_strings=settings.numbers_as_strings,
                null_points=settings.null_points,
                unknown_points=settings.unknown_points,
                time_min=settings.time.min,
                time_max_past=settings.time.max_past,
                time_max_future=settings.time.max_future,
                mode=settings.mode,
            )
        except ValueError as error:
            self._refuse(dotted(("products", key)), str(error))
            return None

    def _warn_of(self, key: str, settings: ProductSettings, devices: _core.Devices) -> None:
        location = dotted(("products", key))
        self._parts.warnings.pop(key, None)
        if found := settings.warnings(devices):
            document = str(self._document)
            self._parts.warnings[key] = tuple(
                Problem(document, f"{location}{place}", reason) for place, reason in found
            )

    def _compile(
        self, product: str, kind: type[T], path: Path, build: Callable[[bytes, Path], T]
    ) -> T | None:
        """A file, read and compiled once even if several products name it."""
        parts = self._parts
        key = self._key(kind, path, self._use(product, path))
        if key in self._failed:
            return None
        if key not in parts.compiled:
            shared = self._old.compiled.get(key)
            if shared is not None:
                parts.compiled[key] = shared
                self._keep(key)
            elif not self._build(key, path, build):
                self._failed.add(key)
                return None
        return cast("T", parts.compiled[key])

    def _devices(self, product: str, settings: ProductSettings) -> _core.Devices | None:
        """The device table of a product, with its changes."""
        files = self._table_files(product, settings)
        if files is None:
            return None
        table, path = files.table, files.changes
        compiled = partial(self._compile, product, _core.Devices, table, parse_devices)
        if path is None:
            self._parts.follows.pop(product, None)
            return compiled()
        state = self._use(product, table)
        key = (self._key(_core.Devices, table, state), path)
        base = no_devices if files.is_optional and state is None else compiled
        state = self._use(product, path)
        self._parts.follows[product] = key
        if key not in self._parts.followed:
            if key in self._failed:
                return None
            active = self._former.product(product) if self._former else None
            before = self._old.followed.get(key)
            found = follow(
                path, state, before, base, active=active and active.devices, exact=files.exact
            )
            if isinstance(found, list):
                self.problems += found
                self._failed.add(key)
                return None
            self._parts.followed[key] = found
            self._keep(key[0])
            self.changes += found.lines
        return self._parts.followed[key].devices

    def _table_files(self, product: str, settings: ProductSettings) -> TableFiles | None:
        """The files of a device table; those of a registry's former snapshot are forgotten."""
        if settings.registry is None:
            changes = None if settings.changes is None else self._folder / settings.changes
            return TableFiles(self._folder / (settings.devices or ""), changes)
        folder = self._folder / settings.registry
        self._use(product, folder / CURRENT)
        copy = self._read_copy(folder)
        if copy == NO_COPY and self._without_copies:
            self._lacks_copies = True
            self._parts.warnings[folder] = (Problem(str(folder), "", NO_COPY),)
            return TableFiles(folder / "none.keys", folder / "none.changes", is_optional=True)
        if isinstance(copy, str):
            if folder not in self._failed:
                self._failed.add(folder)
                self.problems.append(Problem(str(folder), "", copy))
            return None
        files = copied_files(copy, product)
        former = self._parts.follows.get(product)
        if former is not None and former[1] != files.changes:
            forget_table(self._parts, self.files, product, former)
        return files

    def _use(self, product: str, path: Path) -> Signature:
        """Note that a product uses a file; returns its state."""
        self._parts.users.setdefault(path, set()).add(product)
        return self._sign(path)

    @staticmethod
    def _key(kind: type, path: Path, state: Signature) -> tuple[object, ...]:
        # Two paths with the same state are the same file; of a missing one there is only the path.
        return (kind, path.suffix.lower(), state or path)

    def _build(self, key: object, path: Path, build: Callable[[bytes, Path], T]) -> bool:
        self.read.add(path)
        data, reason = read_file(path)
        if reason:
            self.problems.append(Problem(str(path), "", reason))
            return False
        try:
            built = build(data, path)
        except DocumentError as error:
            self.problems += [Problem(str(path), *problem) for problem in error.problems]
            return False
        self._parts.compiled[key] = built
        self._parts.digests[key] = digest_of((path.name.encode(), b"\0", data))
        if built.warnings:
            self._parts.warnings[key] = tuple(Problem(str(path), *one) for one in built.warnings)
        return True

    def _keep(self, key: object) -> None:
        """Keep what the former snapshot has of a product or of a compiled file."""
        if warnings := self._old.warnings.get(key):
            self._parts.warnings[key] = warnings
        if key in self._old.digests:
            self._parts.digests.setdefault(key, self._old.digests[key])

    def _sign(self, path: Path) -> Signature:
        """The state of a file before it is read: the file is never older than that."""
        state = self._seen[path] if path in self._seen else signature(path)
        self.files[path] = state
        return state

    def _refuse(self, location: str, reason: str) -> None:
        self.problems.append(Problem(str(self._document), location, reason))
