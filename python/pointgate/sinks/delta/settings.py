"""`[[sinks]]` with `type = "delta"`."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from pointgate.sinks.object_stores import ObjectStoreSettings, ObjectUrl, Place
from pointgate.sinks.settings import ON_CONFLICT, LocalOutput, OnConflict
from pointgate.toml.values import Seconds, seconds_words

LOG_FOLDER: Final = "_delta_log"
"""Inside a table: its log, by which a Delta Lake table is known."""

_LONGEST_AGE: Final = 86_400


class DeltaSettings(ObjectStoreSettings):
    """A Delta Lake table in a folder or in an object store."""

    type: Literal["delta"]
    path: Place = Field(description="a folder, or a url such as s3://bucket/points")
    on_conflict: OnConflict = Field(default="update", description=ON_CONFLICT)
    rotate_age: Seconds = Field(
        default=60, ge=0, le=_LONGEST_AGE, description=seconds_words(0, _LONGEST_AGE)
    )

    @property
    def output(self) -> LocalOutput | None:  # noqa: D102 - see the base class
        return None if isinstance(self.path, ObjectUrl) else LocalOutput(self.path, "folder")
