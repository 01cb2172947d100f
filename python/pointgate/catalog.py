"""The catalog: a folder of models and device tables, loaded as one snapshot.

`Catalog.load` reads `catalog.toml` and all files that it names (contract 6.4) into one immutable
snapshot, or raises `CatalogError` with all mistakes in all files. A file that several products name
is read and compiled once.

Invariants: a snapshot is immutable, and only replaced as a whole; a file that is being written is
read again until it is consistent.

It does not validate requests and does not know the rules of a model: `_core` does.
`service/catalog_watcher.py` hot-reloads the catalog of a running service.
"""

from __future__ import annotations

import datetime as dt
import stat
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar, cast

from pydantic import AfterValidator, BeforeValidator, Field

from pointgate import _core
from pointgate.diagnostics import os_reason, shown
from pointgate.errors import CatalogError, DocumentError, Problem
from pointgate.quantities import DURATIONS, milliseconds_of
from pointgate.toml.document import Document, check, dotted, read_file, read_toml
from pointgate.toml.values import SHARE_WORDS, Share
from pointgate.topics import product_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Signature = tuple[int, int, int, int] | None
    """The state of a file, for change detection: inode, size, mtime and ctime. `rsync -t` can set
    mtime back, but not ctime. None if the file is missing."""

_DOCUMENT: Final = "catalog.toml"

_DEVICE_KEY_BYTES: Final = 128

_LONGEST_WINDOW: Final = 253_402_300_799_999
"""The whole range of a point's time (contract 3.5), in milliseconds."""

T = TypeVar("T", _core.Model, _core.Devices)


def _device_file(value: str) -> str:
    if Path(value).suffix.lower() not in {".txt", ".csv", ".jsonl"}:
        raise ValueError(f"expected a file that ends in .txt, .csv or .jsonl, got {shown(value)}")
    return value


def _device_key(value: str) -> str:
    has_control = any(unicodedata.category(character) == "Cc" for character in value)
    if has_control or not 1 <= len(value.encode()) <= _DEVICE_KEY_BYTES:
        raise ValueError(
            f"expected 1 to {_DEVICE_KEY_BYTES} bytes, no control characters, got {shown(value)}"
        )
    return value


_Window = Annotated[int, BeforeValidator(milliseconds_of), Field(ge=0, le=_LONGEST_WINDOW)]
_WINDOW_WORDS: Final = f"whole milliseconds or {DURATIONS}"


_INSTANT_WORDS: Final = 'UTC milliseconds or a date such as "2000-01-01"'


def _instant(value: object) -> object:
    """The milliseconds of a date, UTC; the type rejects other values, which are unchanged."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = dt.datetime.fromisoformat(value)
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    if not isinstance(value, dt.datetime):
        return value
    instant = value.replace(tzinfo=value.tzinfo or dt.UTC)
    return (instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)


_YEAR_1971: Final = 31_536_000_000
"""Milliseconds; earlier times are probably seconds (contract 3.5)."""

_Instant = Annotated[int, BeforeValidator(_instant), Field(ge=0, le=_LONGEST_WINDOW)]


class _TimeSettings(Document):
    min: _Instant | None = Field(default=None, description=_INSTANT_WORDS)
    max_past: _Window | None = Field(default=None, description=_WINDOW_WORDS)
    max_future: _Window | None = Field(default=None, description=_WINDOW_WORDS)


class _ProductSettings(Document):
    model: str = Field(min_length=1, description="the path of a model file")
    devices: Annotated[str, AfterValidator(_device_file)] = Field(
        description="the path of a device file"
    )
    max_shrink: Share | None = Field(default=None, description=SHARE_WORDS)
    default_device: Annotated[str, AfterValidator(_device_key)] | None = Field(
        default=None, description="a device key"
    )
    numbers_as_strings: bool = Field(default=False, description="true or false")
    null_points: Literal["reject", "ignore"] = Field(
        default="reject", description='"reject" or "ignore"'
    )
    unknown_points: Literal["reject", "ignore"] | None = Field(
        default=None, description='"reject" or "ignore"'
    )
    time: _TimeSettings = Field(
        default=_TimeSettings(), description="a table with min, max_past and max_future"
    )


class _CatalogDocument(Document):
    products: dict[str, _ProductSettings] = Field(
        min_length=1, description="at least one [products.<product key>] table"
    )


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


class Catalog(_core.Catalog):
    """An immutable snapshot of every product's model, device table and settings.

    Attributes:
        warnings: Valid settings that are probably mistakes.
        files: The files it was loaded from, with their state before they were read.
        sources: The source of each product's device table.
        document: The path of its `catalog.toml`.
    """

    document: Path = Path(_DOCUMENT)
    warnings: tuple[Problem, ...] = ()
    files: Mapping[Path, Signature] = {}
    sources: Mapping[str, DeviceSource] = {}

    @classmethod
    def load(cls, path: str | Path) -> Catalog:
        """Load a catalog folder (contract 6.4).

        Args:
            path: The folder with the `catalog.toml`.

        Raises:
            CatalogError: A file in it is invalid; `problems` has all mistakes.
        """
        loading = Loading(Path(path))
        catalog = loading.run(cls)
        if catalog is None:
            raise CatalogError(loading.problems)
        return catalog


class Loading:
    """One attempt to load a folder."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[Path, Signature] = {}
        self.problems: list[Problem] = []
        self._folder = folder
        self._document = folder / _DOCUMENT
        self._warnings: list[Problem] = []
        self._compiled: dict[tuple[type, Path], object] = {}

    def run(self, cls: type[Catalog]) -> Catalog | None:
        """Load all files; None, with `problems`, if one is invalid."""
        settings = self._settings()
        products = {key: self._product(key, product) for key, product in settings.items()}
        if self.problems:
            return None
        catalog = cls({key: product for key, product in products.items() if product is not None})
        catalog.warnings = tuple(self._warnings)
        catalog.document = self._document
        catalog.files = self.files
        catalog.sources = {
            key: DeviceSource(self._folder / product.devices, product.max_shrink)
            for key, product in settings.items()
        }
        return catalog

    def _settings(self) -> dict[str, _ProductSettings]:
        self._sign(self._document)
        found = _not_a_folder(self._folder)
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
        checked = check(_CatalogDocument, document, file=str(self._document))
        if isinstance(checked, _CatalogDocument):
            return checked.products
        self.problems += checked
        return self._valid_products(tables)

    def _valid_products(self, tables: object) -> dict[str, _ProductSettings]:
        """The products that are valid by themselves, so that their files are checked, too."""
        valid = {}
        for key, table in tables.items() if isinstance(tables, dict) else ():
            if isinstance(table, dict):
                checked = check(_ProductSettings, table, file=str(self._document))
                if isinstance(checked, _ProductSettings):
                    valid[key] = checked
        return valid

    def _product(self, key: str, settings: _ProductSettings) -> _core.Product | None:
        model = self._compile(
            _core.Model, settings.model, lambda data, _: _core.Model.compile(data)
        )
        devices = self._compile(_core.Devices, settings.devices, _parse_devices)
        if model is None or devices is None:
            return None
        location = dotted(("products", key))
        if not len(devices):
            self._warn(location, "the device table is empty: all entries are rejected with 1257")
        earliest = settings.time.min
        if earliest is not None and 0 < earliest < _YEAR_1971:
            instant = dt.datetime.fromtimestamp(earliest / 1000, dt.UTC)
            reason = f"{earliest} is {instant:%Y-%m-%d %H:%M} UTC and looks like seconds, expected"
            self._warn(f"{location}.time.min", f"{reason} {_INSTANT_WORDS}")
        default = settings.default_device
        if default is not None and default not in devices:
            reason = (
                f"{shown(default)} is not in the device table: entries without a key are rejected"
            )
            self._warn(f"{location}.default_device", reason)
        try:
            return _core.Product(
                model,
                devices,
                default_device=default,
                numbers_as_strings=settings.numbers_as_strings,
                null_points=settings.null_points,
                unknown_points=settings.unknown_points,
                time_min=settings.time.min,
                time_max_past=settings.time.max_past,
                time_max_future=settings.time.max_future,
            )
        except ValueError as error:
            self._refuse(location, str(error))
            return None

    def _compile(self, kind: type[T], name: str, build: Callable[[bytes, Path], T]) -> T | None:
        """Read and compile a file, once even if several products name it."""
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
            built = build(data, path)
        except DocumentError as error:
            self.problems += [Problem(str(path), *problem) for problem in error.problems]
            return None
        if isinstance(built, _core.Devices | _core.Model):
            self._warnings += [Problem(str(path), *warning) for warning in built.warnings]
        return built

    def _sign(self, path: Path) -> None:
        self.files[path] = signature(path)

    def _refuse(self, location: str, reason: str) -> None:
        self.problems.append(Problem(str(self._document), location, reason))

    def _warn(self, location: str, reason: str) -> None:
        self._warnings.append(Problem(str(self._document), location, reason))


def _parse_devices(data: bytes, path: Path) -> _core.Devices:
    form = cast("Literal['txt', 'csv', 'jsonl']", path.suffix.lower().removeprefix("."))
    return _core.Devices.parse(data, form)


def _not_a_folder(path: Path) -> str:
    """What was found instead of a folder; empty if it is one."""
    try:
        return "" if stat.S_ISDIR(path.stat().st_mode) else "a file"
    except FileNotFoundError:
        return "nothing: no such folder"
    except (OSError, ValueError) as error:
        return f"nothing: {os_reason(error)}"


def _destination(path: Path) -> Path:
    """The path with symbolic links resolved; the path itself if it cannot be: reading it fails."""
    try:
        return path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # RuntimeError: a loop of symbolic links
        return path


def signature(path: Path) -> Signature:
    """The state of a file, which differs after each change."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
