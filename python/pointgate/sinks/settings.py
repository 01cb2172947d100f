"""What the settings of every sink have in common; each sink's own are in its folder.

Each table `[[sinks]]` has a name, its type if none is given, by which metrics, log lines and the
environment call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from pointgate.toml.document import Document

if TYPE_CHECKING:
    from pathlib import Path

OnConflict = Literal["update", "ignore"]
"""Which of several values of one point stays: the last or the first."""

ON_CONFLICT: Final = '"update" (the last value wins) or "ignore" (the first one stays)'

NAME: Final = r"[a-z][a-z0-9_]{0,31}"


@dataclass(frozen=True, slots=True)
class LocalOutput:
    """Where on this machine a sink writes, for checks before it is opened.

    Attributes:
        path: A file, a folder with everything below it, or the name of a stream.
        kind: Which of these.
        inner: Folders below it that it needs, too.
    """

    path: Path
    kind: Literal["file", "folder", "stream"]
    inner: tuple[Path, ...] = ()


class SinkSettings(Document):
    """What every sink has; a subclass adds `type`, one literal, and what only it has."""

    name: str = Field(
        default="",
        pattern=f"^({NAME})?$",
        description="1 to 32 of a-z, 0-9 and _, a letter first",
    )
    required: bool = Field(
        default=True, description="true, or false for a sink that may lose points"
    )

    @property
    def kind(self) -> str:
        """The `type` that the table says."""
        return str(getattr(self, "type"))  # noqa: B009 - each subclass has a literal of its own

    @property
    def output(self) -> LocalOutput | None:
        """Where on this machine it writes; None if it does not."""
        return None

    @property
    def mistake(self) -> str:
        """Why what it finds there cannot be used; empty when it can."""
        return ""

    def model_post_init(self, _context: Any, /) -> None:  # noqa: D102 - pydantic's
        if not self.name:
            object.__setattr__(self, "name", self.kind)
