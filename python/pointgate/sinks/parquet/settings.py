"""`[[sinks]]` with `type = "parquet"`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from pointgate.sinks.delta.settings import LOG_FOLDER
from pointgate.sinks.object_stores import ObjectStoreSettings, ObjectUrl, Place
from pointgate.sinks.settings import ON_CONFLICT, LocalOutput, OnConflict
from pointgate.toml.values import AnyPath, Bytes, Seconds, bytes_words, seconds_words

if TYPE_CHECKING:
    from collections.abc import Collection

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


class ParquetSettings(ObjectStoreSettings):
    """A folder of Parquet files, or a prefix in an object store with such objects."""

    type: Literal["parquet"] = "parquet"
    path: Place = Field(
        default=Path("points"),
        description="a folder, or a url such as s3://bucket/points",
        validate_default=True,
    )
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
        description=f"{seconds_words(_LEAST_KEEP, _LONGEST_KEEP)}, at least a day",
    )
    dimensions: AnyPath | None = Field(default=None, description="a folder outside of path")
    grow: bool = Field(
        default=True, description="true, or false for files that are never replaced by longer ones"
    )

    @property
    def extra(self) -> str:  # noqa: D102 - see the base class
        return "objects"

    @property
    def folder(self) -> Path:
        """The folder, where `path` is one."""
        assert isinstance(self.path, Path)  # noqa: S101 - what has a url has another sink
        return self.path

    @property
    def output(self) -> LocalOutput | None:  # noqa: D102 - see the base class
        if isinstance(self.path, ObjectUrl):
            return None
        inner = [self.path / OWN_FOLDER]
        if self.dimensions is not None:
            inner.append(self.dimensions)
        return LocalOutput(self.path, "folder", inner=tuple(inner))

    @property
    def dimensions_folder(self) -> Path | None:
        """The folder that is set, or `dimensions` beside the points; None if those are in it."""
        if isinstance(self.path, ObjectUrl):
            return None
        if self.dimensions is not None:
            return self.dimensions
        path = self.path.absolute()
        beside = path.parent / "dimensions"
        return None if beside == path else beside

    @property
    def mistake(self) -> str:
        """Why settings contradict each other, or the folder cannot be written as it is."""
        if isinstance(self.path, ObjectUrl):
            if self.dimensions is not None:
                return f"dimensions are not written to object stores: got them for {self.path}"
            return ""
        for key in ("writer", "storage_options", "secret_files"):
            if getattr(self, key) != type(self).model_fields[key].get_default(
                call_default_factory=True
            ):
                return f"{key} is only for a path such as s3://bucket/points, got {self.path}"
        if self.dimensions is not None:
            path, place = Path(os.path.realpath(self.path)), Path(os.path.realpath(self.dimensions))
            if path in (place, *place.parents):
                return (
                    f"expected dimensions outside of {self.path}, where readers look for points, "
                    f"got {self.dimensions}"
                )
        names = []
        with suppress(OSError), os.scandir(self.path) as entries:  # which is examined elsewhere
            names = [entry.name for entry in entries if entry.is_dir()]
        return layout_mistake(str(self.path), names, self.partition)


def layout_mistake(path: str, folders: Collection[str], partition: Partition) -> str:
    """Why points cannot be added to a dataset with these folders; empty if they can."""
    found = {name.partition("=")[0] + "=" for name in folders}
    if LOG_FOLDER in folders:
        return f'{path} is a Delta Lake table: expected another folder, or type = "delta"'
    if FORMER_PREFIX in found:
        return (
            f"{path} has the layout of a former version: stop whatever writes to it and "
            f"run pointgate compact {path}"
        )
    for other, prefix in PREFIXES.items():
        if prefix in found and other != partition:
            return f'{path} has folders {prefix}…: expected partition = "{other}"'
    return ""
