"""The catalog folder: products, settings, models and device tables (contract 6.4)."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.oracle.models import Model, parse_model

if TYPE_CHECKING:
    from pathlib import Path

MAX_DEVICE_KEY_BYTES: Final = 128

_DURATION: Final = re.compile(r"([0-9]+)([smhd])")
_MILLISECONDS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class CatalogError(Exception):
    """A catalog folder that cannot be used; a model's own faults are `ModelError`."""


@dataclass(frozen=True)
class Product:
    """One product: its model, its device table, its settings."""

    model: Model
    devices: frozenset[str]
    default_device: str | None
    numbers_as_strings: bool
    ignore_null_points: bool
    ignore_unknown_points: bool
    min_ms: int | None
    max_past_ms: int | None
    max_future_ms: int | None
    mode: str


@dataclass(frozen=True)
class Catalog:
    """Products by product key."""

    products: dict[str, Product]


def load_catalog(folder: Path) -> Catalog:
    """Read a catalog folder.

    Raises:
        CatalogError: when a setting or a device file is not understood.
        ModelError: when a model is not.
    """
    tables = tomllib.loads((folder / "catalog.toml").read_text("utf-8"))["products"]
    return Catalog({key: _product(folder, table) for key, table in tables.items()})


def _product(folder: Path, table: dict[str, Any]) -> Product:
    model = parse_model((folder / table["model"]).read_bytes())
    # The product's own setting goes before the switch that stands in the model (6.1).
    unknown_points = table.get("unknown_points", "ignore" if model.allow_additional else "reject")
    if unknown_points not in {"ignore", "reject"}:
        raise CatalogError(f"unknown_points: {unknown_points!r}")
    time = table.get("time", {})
    return Product(
        model=model,
        devices=_devices(folder / table["devices"]),
        default_device=table.get("default_device"),
        numbers_as_strings=table.get("numbers_as_strings", False),
        ignore_null_points=table.get("null_points", "reject") == "ignore",
        ignore_unknown_points=unknown_points == "ignore",
        min_ms=time.get("min"),
        max_past_ms=_duration(time.get("max_past")),
        max_future_ms=_duration(time.get("max_future")),
        mode=table.get("mode", "enforce"),
    )


def _duration(setting: int | str | None) -> int | None:
    """Return milliseconds, from a whole number of them or from text such as "30d"."""
    if setting is None or isinstance(setting, int):
        return setting
    found = _DURATION.fullmatch(setting)
    if found is None:
        raise CatalogError(f"not a duration: {setting!r}")
    return int(found[1]) * _MILLISECONDS[found[2]]


def _devices(path: Path) -> frozenset[str]:
    text = path.read_bytes().decode("utf-8")
    lines = [line for line in text.replace("\r", "").split("\n") if line]
    if path.suffix == ".txt":
        keys = lines
    elif path.suffix == ".csv":
        keys = [row["deviceKey"] for row in csv.DictReader(lines)]
    else:
        keys = [json.loads(line)["deviceKey"] for line in lines]
    for key in keys:
        is_control = any(ord(character) < ord(" ") or ord(character) == 0x7F for character in key)
        if is_control or not 1 <= len(key.encode("utf-8")) <= MAX_DEVICE_KEY_BYTES:
            raise CatalogError(f"{path.name}: not a device key: {key!r}")
    return frozenset(keys)
