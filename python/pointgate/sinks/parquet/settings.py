"""`[[sinks]]` with `type = "parquet"`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from pointgate.sinks.settings import ON_CONFLICT, LocalOutput, OnConflict, SinkSettings
from pointgate.toml.values import AnyPath, Bytes, Seconds, bytes_words, seconds_words

OWN_FOLDER: Final = ".pointgate"
"""Inside the dataset: locks and temporary files. Readers skip names with a leading dot."""

Partition = Literal["day", "month"]

PREFIXES: Final[dict[Partition, str]] = {"day": "date=", "month": "month="}
"""How the names of folders begin."""

FORMER_PREFIX: Final = "product="
"""How the names of folders began in the former layout."""

_LONGEST_AGE: Final = 86_400
_LEAST_BYTES: Final = 2**20
_LEAST_KEEP: Final = 86_400
_LONGEST_KEEP: Final = 36_500 * 86_400


class ParquetSettings(SinkSettings):
    """A folder of Parquet files."""

    type: Literal["parquet"] = "parquet"
    path: AnyPath = Field(default=Path("points"), description="a folder", validate_default=True)
    on_conflict: OnConflict = Field(default="update", description=ON_CONFLICT)
    partition: Partition = Field(
        default="day", description='"day" or "month": the UTC time that a folder stands for'
    )
    rotate_age: Seconds = Field(
        default=60, ge=0, le=_LONGEST_AGE, description=seconds_words(0, _LONGEST_AGE)
    )
    rotate_bytes: Bytes = Field(
        default=64 * 2**20, ge=_LEAST_BYTES, le=2**40, description=bytes_words(_LEAST_BYTES, 2**40)
    )
    keep: Seconds | None = Field(
        default=None,
        ge=_LEAST_KEEP,
        le=_LONGEST_KEEP,
        description=seconds_words(_LEAST_KEEP, _LONGEST_KEEP),
    )
    dimensions: AnyPath | None = Field(default=None, description="a folder outside of path")
    grow: bool = Field(
        default=True, description="true, or false for files that are never replaced by longer ones"
    )

    @property
    def output(self) -> LocalOutput:  # noqa: D102 - see the base class
        inner = [self.path / OWN_FOLDER]
        if self.dimensions is not None:
            inner.append(self.dimensions)
        return LocalOutput(self.path, "folder", inner=tuple(inner))

    @property
    def dimensions_folder(self) -> Path | None:
        """The folder that is set, or `dimensions` beside the points; None if those are in it."""
        if self.dimensions is not None:
            return self.dimensions
        path = self.path.absolute()
        beside = path.parent / "dimensions"
        return None if beside == path else beside

    @property
    def mistake(self) -> str:
        """Why the folder cannot be written as it is (see the base class)."""
        if self.dimensions is not None:
            path, place = Path(os.path.realpath(self.path)), Path(os.path.realpath(self.dimensions))
            if path in (place, *place.parents):
                return (
                    f"expected dimensions outside of {self.path}, where readers look for points, "
                    f"got {self.dimensions}"
                )
        found = dict.fromkeys((FORMER_PREFIX, *PREFIXES.values()), False)
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    prefix = entry.name.partition("=")[0] + "="
                    if prefix in found and entry.is_dir():
                        found[prefix] = True
        except OSError:  # which is examined elsewhere
            return ""
        if found[FORMER_PREFIX]:
            return (
                f"{self.path} has the layout of a former version: stop whatever writes to it and "
                f"run pointgate compact {self.path}"
            )
        for partition, prefix in PREFIXES.items():
            if found[prefix] and partition != self.partition:
                return f'{self.path} has folders {prefix}…: expected partition = "{partition}"'
        return ""
