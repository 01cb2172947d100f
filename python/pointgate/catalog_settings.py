"""What `catalog.toml` may say (contract 6.4)."""

from __future__ import annotations

import datetime as dt
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from pointgate.diagnostics import shown
from pointgate.quantities import DURATIONS, milliseconds_of
from pointgate.toml.document import Document
from pointgate.toml.values import SHARE_WORDS, Share

if TYPE_CHECKING:
    from pointgate._core import Devices

_DEVICE_KEY_BYTES: Final = 128

LATEST_INSTANT: Final = 253_402_300_799_999
"""The last time that a point can have (contract 3.5), UTC milliseconds."""

_LONGEST_WINDOW: Final = LATEST_INSTANT
"""The whole range of a point's time, in milliseconds."""


def _device_file(value: str) -> str:
    if Path(value).suffix.lower() not in {".txt", ".csv", ".jsonl"}:
        raise ValueError(f"expected a file that ends in .txt, .csv or .jsonl, got {shown(value)}")
    return value


def _change_file(value: str) -> str:
    if Path(value).suffix.lower() != ".changes":
        raise ValueError(f"expected a file that ends in .changes, got {shown(value)}")
    return value


def _or_registry(value: str | None, info: ValidationInfo) -> str | None:
    has_registry = info.data.get("registry") is not None
    if value is not None:
        if has_registry:
            raise ValueError("expected either this or registry, got both")
        return _device_file(value)
    if not has_registry:
        raise ValueError("expected the path of a device file, or registry, got nothing")
    return None


def _of_a_file(value: str, info: ValidationInfo) -> str:
    if info.data.get("registry") is not None:
        raise ValueError("not allowed beside registry, which has changes of its own")
    return value


def _of_a_registry(value: str, info: ValidationInfo) -> str:
    if value == "recheck" and info.data.get("registry") is None:
        raise ValueError('expected registry with "recheck", got none')
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


INSTANT_WORDS: Final = 'UTC milliseconds or a date such as "2000-01-01"'


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


YEAR_1971: Final = 31_536_000_000
"""Milliseconds; earlier times are probably seconds (contract 3.5)."""

Instant = Annotated[int, BeforeValidator(_instant), Field(ge=0, le=LATEST_INSTANT)]


class _TimeSettings(Document):
    min: Instant | None = Field(default=None, description=INSTANT_WORDS)
    max_past: _Window | None = Field(default=None, description=_WINDOW_WORDS)
    max_future: _Window | None = Field(default=None, description=_WINDOW_WORDS)

    @property
    def is_moving(self) -> bool:
        """Whether verdicts depend on the present."""
        return self.max_past is not None or self.max_future is not None


class ProductSettings(Document):
    """A `[products.KEY]` table."""

    model: str = Field(min_length=1, description="the path of a model file")
    registry: str | None = Field(
        default=None, min_length=1, description="the folder of a registry's copy"
    )
    devices: Annotated[str | None, AfterValidator(_or_registry)] = Field(
        default=None, description="the path of a device file", validate_default=True
    )
    changes: Annotated[str, AfterValidator(_change_file), AfterValidator(_of_a_file)] | None = (
        Field(default=None, description="the path of a file of changes")
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
    on_unknown: Annotated[Literal["reject", "recheck"], AfterValidator(_of_a_registry)] = Field(
        default="reject", description='"reject" or "recheck"'
    )
    mode: Literal["enforce", "lenient", "shadow"] = Field(
        default="enforce", description='"enforce", "lenient" or "shadow"'
    )
    time: _TimeSettings = Field(
        default=_TimeSettings(), description="a table with min, max_past and max_future"
    )

    def warnings(self, devices: Devices) -> list[tuple[str, str]]:
        """What is valid and probably a mistake: the key behind the product's, and the reason."""
        found = []
        if not len(devices):
            found.append(("", "the device table is empty: all entries are rejected with 1257"))
        earliest = self.time.min
        if earliest is not None and 0 < earliest < YEAR_1971:
            instant = dt.datetime.fromtimestamp(earliest / 1000, dt.UTC)
            reason = f"{earliest} is {instant:%Y-%m-%d %H:%M} UTC and looks like seconds, expected"
            found.append((".time.min", f"{reason} {INSTANT_WORDS}"))
        default = self.default_device
        if default is not None and default not in devices:
            reason = (
                f"{shown(default)} is not in the device table: entries without a key are rejected"
            )
            found.append((".default_device", reason))
        return found


class CatalogDocument(Document):
    """The whole file."""

    version: str = Field(
        default="", max_length=64, description="a text of at most 64 characters, such as a revision"
    )
    products: dict[str, ProductSettings] = Field(
        min_length=1, description="at least one [products.<product key>] table"
    )
