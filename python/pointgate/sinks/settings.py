"""The settings that all sinks have in common; the others are in the folder of each sink.

Each table `[[sinks]]` has a name, by default its type. Metrics, log lines and environment variables
use that name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from pointgate.toml.document import Document

if TYPE_CHECKING:
    from pathlib import Path

OnConflict = Literal["update", "ignore"]
"""Which of several values of one point is kept: the last or the first."""

ON_CONFLICT: Final = '"update" (the last value wins) or "ignore" (the first one stays)'

NAME: Final = r"[a-z][a-z0-9_]{0,31}"


@dataclass(frozen=True, slots=True)
class LocalOutput:
    """The local path that a sink writes to, for checks before it is opened.

    Attributes:
        path: A file, a folder with all its contents, or the name of a stream.
        kind: Which of these it is.
        inner: Folders below it that the sink writes to, too.
    """

    path: Path
    kind: Literal["file", "folder", "stream"]
    inner: tuple[Path, ...] = ()


class SinkSettings(Document):
    """The settings of every sink; a subclass adds `type`, one literal, and its own."""

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
        """The `type` in the table."""
        return str(getattr(self, "type"))  # noqa: B009 - each subclass has a literal of its own

    @property
    def extra(self) -> str:
        """The extra of the package with what this sink needs."""
        return self.kind

    @property
    def output(self) -> LocalOutput | None:
        """The local path that it writes to; None without one."""
        return None

    @property
    def remote_place(self) -> tuple[str, str]:
        """A server, and the place there that it writes to; empty without one."""
        return "", ""

    @property
    def shown_place(self) -> str:
        """Where it writes, as people call it."""
        return str(self.output.path) if self.output else " ".join(self.remote_place)

    @property
    def dimensions_folder(self) -> Path | None:
        """Where tables that describe the points are written; None without any."""
        return None

    @property
    def mistake(self) -> str:
        """Why what it finds there cannot be used; empty when it can."""
        return ""

    def model_post_init(self, _context: Any, /) -> None:  # noqa: D102 - pydantic's
        if not self.name:
            object.__setattr__(self, "name", self.kind)
