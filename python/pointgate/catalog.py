"""The catalog: a folder of models and device tables, loaded whole and watched for changes.

`Catalog.load` reads `catalog.toml` and every file that it names (contract 6.4) into one immutable
snapshot, or raises `CatalogError` with every mistake of every file. A file that several products
name is read and compiled once.

`CatalogWatcher` keeps a running service's snapshot up to date:

    every half second, in a thread:  stat catalog.toml and the files it names
    they differ, and stood still since the last look:  load
    nothing changed meanwhile and everything is right:  swap
    otherwise:  keep the last good snapshot, say once what is wrong, try again at the next change

Invariants: a snapshot is never changed, only replaced, on the event loop's thread; a mistake never
costs the last good snapshot; the event loop never waits for a disk.

It does not judge requests and does not know the rules of a model: `_core` does.
"""

from __future__ import annotations

import asyncio
import logging
import re
import stat
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NoReturn, TypeVar, cast

from pydantic import AfterValidator, BeforeValidator, Field

from pointgate import _core
from pointgate.document import Document, check, dotted, os_reason, read_file, read_toml, shown
from pointgate.errors import CatalogError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pointgate.metrics import Metrics

    Signature = tuple[int, int, int] | None
    """What tells that a file was changed: time of change, size, inode. None when it is missing."""

_log = logging.getLogger(__name__)

_DOCUMENT: Final = "catalog.toml"

_PRODUCT_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEVICE_KEY_BYTES: Final = 128

_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_WINDOW: Final = 253_402_300_799_999
"""The whole range of a point's time (contract 3.5), in milliseconds."""

_POLL_SECONDS: Final = 0.5
"""Two looks and a load: a change is in force within 2 seconds."""

_PATIENCE_POLLS: Final = 10
"""A file that is written without a pause is loaded all the same after this many looks."""

_LOGGED_PROBLEMS: Final = 20

T = TypeVar("T", _core.Model, _core.Devices)


def _duration(value: object) -> object:
    """Milliseconds of `"90s"`; anything else is left for the type to refuse."""
    found = re.fullmatch(r"([0-9]{1,15})([smhd])", value) if isinstance(value, str) else None
    return int(found[1]) * _UNITS[found[2]] if found else value


def _device_file(value: str) -> str:
    if Path(value).suffix not in {".txt", ".csv", ".jsonl"}:
        raise ValueError(f"expected a file that ends in .txt, .csv or .jsonl, got {shown(value)}")
    return value


def _device_key(value: str) -> str:
    has_control = any(unicodedata.category(character) == "Cc" for character in value)
    if has_control or not 1 <= len(value.encode()) <= _DEVICE_KEY_BYTES:
        raise ValueError(
            f"expected 1 to {_DEVICE_KEY_BYTES} bytes, no control characters, got {shown(value)}"
        )
    return value


_Window = Annotated[int, BeforeValidator(_duration), Field(ge=0, le=_LONGEST_WINDOW)]
_WINDOW_WORDS: Final = 'whole milliseconds or "90s", "10m", "12h", "30d"'


class _TimeSettings(Document):
    max_past: _Window | None = Field(default=None, description=_WINDOW_WORDS)
    max_future: _Window | None = Field(default=None, description=_WINDOW_WORDS)


class _ProductSettings(Document):
    model: str = Field(min_length=1, description="the path of a model file")
    devices: Annotated[str, AfterValidator(_device_file)] = Field(
        description="the path of a device file"
    )
    default_device: Annotated[str, AfterValidator(_device_key)] | None = Field(
        default=None, description="a device key"
    )
    numbers_as_strings: bool = Field(default=False, description="true or false")
    unknown_points: Literal["reject", "ignore"] | None = Field(
        default=None, description='"reject" or "ignore"'
    )
    time: _TimeSettings = Field(
        default=_TimeSettings(), description="a table with max_past and max_future"
    )


class _CatalogDocument(Document):
    products: dict[str, _ProductSettings] = Field(
        min_length=1, description="at least one [products.<product key>] table"
    )


class Catalog(_core.Catalog):
    """An immutable snapshot of every product's model, device table and settings.

    Attributes:
        warnings: What is legal and most likely not meant.
        files: The files it was loaded from, as they were just before they were read.
    """

    warnings: tuple[Problem, ...] = ()
    files: Mapping[Path, Signature] = {}

    @classmethod
    def load(cls, path: str | Path) -> Catalog:
        """Load a catalog folder (contract 6.4).

        Args:
            path: The folder that has a `catalog.toml`.

        Raises:
            CatalogError: Something in it cannot be understood; `problems` has every mistake.
        """
        loading = _Loading(Path(path))
        catalog = loading.run(cls)
        if catalog is None:
            raise CatalogError(loading.problems)
        return catalog


class _Loading:
    """One attempt at loading a folder."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[Path, Signature] = {}
        self.problems: list[Problem] = []
        self._folder = folder
        self._document = folder / _DOCUMENT
        self._warnings: list[Problem] = []
        self._compiled: dict[tuple[type, Path], object] = {}

    def run(self, cls: type[Catalog]) -> Catalog | None:
        """Load everything; None, with `problems`, when something is wrong."""
        settings = self._settings()
        products = {key: self._product(key, product) for key, product in settings.items()}
        if self.problems:
            return None
        catalog = cls({key: product for key, product in products.items() if product is not None})
        catalog.warnings = tuple(self._warnings)
        catalog.files = self.files
        return catalog

    def _settings(self) -> dict[str, _ProductSettings]:
        self._sign(self._document)
        instead = _instead_of_a_folder(self._folder)
        if instead:
            reason = f"expected a folder with a catalog.toml, got {instead}"
            self.problems.append(Problem(str(self._folder), "", reason))
            return {}
        document, problems = read_toml(self._document)
        if problems:
            self.problems += problems
            return {}
        tables = document.get("products")
        for key in tables if isinstance(tables, dict) else ():
            if not _PRODUCT_KEY.fullmatch(key):
                reason = "expected a product key of 1 to 64 letters, digits, '_' and '-'"
                self._refuse(dotted(("products", key)), reason)
        checked = check(_CatalogDocument, document, file=str(self._document))
        if isinstance(checked, _CatalogDocument):
            return checked.products
        self.problems += checked
        return self._sound_products(tables)

    def _sound_products(self, tables: object) -> dict[str, _ProductSettings]:
        """Those products that are right by themselves, so that their files are checked, too."""
        sound = {}
        for key, table in tables.items() if isinstance(tables, dict) else ():
            if isinstance(table, dict):
                checked = check(_ProductSettings, table, file=str(self._document))
                if isinstance(checked, _ProductSettings):
                    sound[key] = checked
        return sound

    def _product(self, key: str, settings: _ProductSettings) -> _core.Product | None:
        model = self._compile(
            _core.Model, settings.model, lambda data, _: _core.Model.compile(data)
        )
        devices = self._compile(_core.Devices, settings.devices, _parse_devices)
        if model is None or devices is None:
            return None
        location = dotted(("products", key))
        if not len(devices):
            self._warn(location, "the device table is empty: every entry is refused with 1257")
        default = settings.default_device
        if default is not None and default not in devices:
            reason = (
                f"{shown(default)} is not in the device table: entries without a key are refused"
            )
            self._warn(f"{location}.default_device", reason)
        try:
            return _core.Product(
                model,
                devices,
                default_device=default,
                numbers_as_strings=settings.numbers_as_strings,
                unknown_points=settings.unknown_points,
                time_max_past=settings.time.max_past,
                time_max_future=settings.time.max_future,
            )
        except ValueError as error:
            self._refuse(location, str(error))
            return None

    def _compile(self, kind: type[T], name: str, build: Callable[[bytes, Path], T]) -> T | None:
        """Read a file and build something of it, once however many products name it."""
        path = self._folder / name
        key = (kind, _destination(path))
        if key not in self._compiled:
            self._sign(path)
            self._compiled[key] = self._build(path, build)
        return cast("T | None", self._compiled[key])

    def _build(self, path: Path, build: Callable[[bytes, Path], T]) -> T | None:
        data, reason = read_file(path)
        if reason:
            self.problems.append(Problem(str(path), "", reason))
            return None
        try:
            return build(data, path)
        except _core.DocumentError as error:
            self.problems += [Problem(str(path), *problem) for problem in error.problems]
            return None

    def _sign(self, path: Path) -> None:
        self.files[path] = _signature(path)

    def _refuse(self, location: str, reason: str) -> None:
        self.problems.append(Problem(str(self._document), location, reason))

    def _warn(self, location: str, reason: str) -> None:
        self._warnings.append(Problem(str(self._document), location, reason))


class CatalogWatcher:
    """Replaces a service's catalog when its files change.

    Args:
        path: The catalog folder.
        on_change: Takes each new snapshot, on the event loop's thread.
        metrics: Where reloads are counted and the snapshot's figures are kept.
        catalog: The snapshot in force; without it, the first look loads one.
        poll_seconds: How often to look.
    """

    def __init__(
        self,
        path: str | Path,
        on_change: Callable[[Catalog], None],
        metrics: Metrics,
        *,
        catalog: Catalog | None = None,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._path = Path(path)
        self._on_change = on_change
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._loaded: Mapping[Path, Signature] = catalog.files if catalog else {}
        self._seen: Mapping[Path, Signature] = self._loaded
        self._restless_polls = 0
        self._reported: list[Problem] = []
        self._requested = asyncio.Event()
        if catalog is None:
            self._requested.set()

    def request_reload(self) -> None:
        """Load at once, changed or not. For a signal handler of the event loop."""
        self._requested.set()

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        while True:
            with suppress(TimeoutError):
                # Not `wait_for`: before Python 3.12 it can lose a cancellation.
                async with asyncio.timeout(self._poll_seconds):
                    await self._requested.wait()
            requested = self._requested.is_set()
            self._requested.clear()
            seen = await asyncio.to_thread(_signatures, self._loaded)
            if requested or self._is_due(seen):
                await self._reload()

    def _is_due(self, seen: Mapping[Path, Signature]) -> bool:
        """Whether the files differ from what was loaded, and are not being written right now."""
        stands_still = seen == self._seen
        self._seen = seen
        if seen == self._loaded:
            self._restless_polls = 0
            return False
        self._restless_polls += 1
        return stands_still or self._restless_polls >= _PATIENCE_POLLS

    async def _reload(self) -> None:
        loading = _Loading(self._path)
        try:
            catalog = await asyncio.to_thread(loading.run, Catalog)
        except Exception as error:  # noqa: BLE001 - no file, however odd, ends a running service
            loading.problems.append(Problem(str(self._path), "", f"cannot be loaded: {error!r}"))
            catalog = None
        after = await asyncio.to_thread(_signatures, loading.files)
        self._loaded = loading.files
        self._seen = after
        if after != loading.files and self._restless_polls < _PATIENCE_POLLS:
            return  # what was read is neither the old nor the new: the next look finds it changed
        self._restless_polls = 0
        if catalog is None:
            self._metrics.reloads_failed += 1
            self._report(loading.problems)
            return
        self._reported = []
        self._metrics.record_catalog(catalog)
        self._metrics.reloads_succeeded += 1
        self._on_change(catalog)
        _log.info(
            "catalog loaded: %d products, %d models, %d devices",
            len(catalog),
            catalog.models,
            catalog.devices,
        )
        for warning in catalog.warnings:
            _log.warning("catalog: %s", warning)

    def _report(self, problems: list[Problem]) -> None:
        if problems == self._reported:
            return
        self._reported = problems
        _log.error("catalog not loaded, the last good one stays in force:")
        for problem in problems[:_LOGGED_PROBLEMS]:
            _log.error("  %s", problem)
        if len(problems) > _LOGGED_PROBLEMS:
            _log.error("  and %d more", len(problems) - _LOGGED_PROBLEMS)


def _parse_devices(data: bytes, path: Path) -> _core.Devices:
    form = cast("Literal['txt', 'csv', 'jsonl']", path.suffix.removeprefix("."))
    return _core.Devices.parse(data, form)


def _instead_of_a_folder(path: Path) -> str:
    """What there is in place of a folder; empty when there is one."""
    try:
        return "" if stat.S_ISDIR(path.stat().st_mode) else "a file"
    except FileNotFoundError:
        return "nothing: no such folder"
    except (OSError, ValueError) as error:
        return f"nothing: {os_reason(error)}"


def _destination(path: Path) -> Path:
    """Where a path leads; the path itself when it leads nowhere: reading it will say why."""
    try:
        return path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # RuntimeError: a loop of symbolic links
        return path


def _signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _signatures(paths: Mapping[Path, Signature]) -> dict[Path, Signature]:
    return {path: _signature(path) for path in paths}
