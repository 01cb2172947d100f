"""`[[sinks]]` with `type = "ndjson"`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from pointgate.sinks.settings import LocalOutput, SinkSettings
from pointgate.toml.values import local_path, relative_path

_STDOUT: Final = "-"


def _output(value: Path, info: ValidationInfo) -> Path:
    return value if str(value) == _STDOUT else relative_path(value, info)


class NdjsonSettings(SinkSettings):
    """A file of JSON lines, or standard output."""

    type: Literal["ndjson"]
    path: Annotated[
        Path, Field(strict=False), BeforeValidator(local_path), AfterValidator(_output)
    ] = Field(description='a file, or "-" for standard output')

    @property
    def file(self) -> Path | None:
        """The file; None for standard output."""
        return None if str(self.path) == _STDOUT else self.path

    @property
    def output(self) -> LocalOutput:  # noqa: D102 - see the base class
        return LocalOutput(self.path, "file" if self.file else "stream")
