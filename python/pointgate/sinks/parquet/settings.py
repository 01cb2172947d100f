"""`[[sinks]]` with `type = "parquet"`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from pointgate.sinks.settings import ON_CONFLICT, LocalOutput, OnConflict, SinkSettings
from pointgate.toml.values import AnyPath

OWN_FOLDER: Final = ".pointgate"
"""Inside the dataset: locks and temporary files. Readers skip names with a leading dot."""


class ParquetSettings(SinkSettings):
    """A folder of Parquet files."""

    type: Literal["parquet"] = "parquet"
    path: AnyPath = Field(default=Path("points"), description="a folder", validate_default=True)
    on_conflict: OnConflict = Field(default="update", description=ON_CONFLICT)

    @property
    def output(self) -> LocalOutput:  # noqa: D102 - see the base class
        return LocalOutput(self.path, "folder", inner=(self.path / OWN_FOLDER,))
