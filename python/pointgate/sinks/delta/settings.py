"""`[[sinks]]` with `type = "delta"`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from pointgate.diagnostics import shown
from pointgate.sinks.settings import NAME, ON_CONFLICT, LocalOutput, OnConflict, SinkSettings
from pointgate.toml.values import (
    ReadableFile,
    Seconds,
    control_character,
    first_line,
    relative_path,
    seconds_words,
)

_SCHEMES: Final = ("s3", "s3a", "gs", "az", "abfs", "abfss")
"""Those of object stores that put a file only if it is not there, which a commit needs."""

_SECRET: Final = re.compile(
    r"secret|token|password|account_key|access_key$|sas|service_account_key"
)

_LONGEST_AGE: Final = 86_400


def _place(value: str, info: ValidationInfo) -> str:
    """A url of an object store, or a path, relative to the file's folder."""
    scheme, separator, rest = value.partition("://")
    if not separator:
        if not value:
            raise ValueError('expected a path or a url, got ""')
        return str(relative_path(Path(value), info))
    known = ", ".join(f"{name}://" for name in _SCHEMES)
    if scheme not in _SCHEMES:
        raise ValueError(f"expected a path or a url with {known}, got {shown(value)}")
    if (
        not rest.strip("/")
        or control_character(value)
        or "@" in rest.partition("/")[0].partition(":")[2]
    ):
        raise ValueError(f"expected a url such as {scheme}://bucket/points, got {shown(value)}")
    return value.rstrip("/")


def _no_secrets(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if _SECRET.search(name.lower()):
            raise ValueError(f"expected no secret here, got {name}: use secret_files")
    return value


class DeltaSettings(SinkSettings):
    """A Delta Lake table in a folder or in an object store."""

    type: Literal["delta"]
    path: Annotated[str, AfterValidator(_place)] = Field(
        description="a folder, or a url such as s3://bucket/points"
    )
    on_conflict: OnConflict = Field(default="update", description=ON_CONFLICT)
    writer: str = Field(
        default="live",
        pattern=f"^{NAME}$",
        description="1 to 32 of a-z, 0-9 and _, a letter first: one of its own for each service",
    )
    rotate_age: Seconds = Field(
        default=60, ge=0, le=_LONGEST_AGE, description=seconds_words(0, _LONGEST_AGE)
    )
    storage_options: Annotated[dict[str, str], AfterValidator(_no_secrets)] = Field(
        default_factory=dict, description="a table of texts: options of the object store"
    )
    secret_files: dict[str, ReadableFile] = Field(
        default_factory=dict, description="a table: an option, and a file with its value"
    )

    @property
    def output(self) -> LocalOutput | None:  # noqa: D102 - see the base class
        return None if "://" in self.path else LocalOutput(Path(self.path), "folder")

    def options(self) -> dict[str, str]:
        """The options of the object store, with secrets read again from their files.

        Raises:
            ConfigError: A file cannot be read, or is not text.
        """
        key = f"sinks.{self.name}.secret_files"
        secrets = {name: first_line(file, key) for name, file in self.secret_files.items()}
        return self.storage_options | secrets
