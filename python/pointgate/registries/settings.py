"""The settings that all registries have in common; the others are in the folder of each kind.

Each table `[[registries]]` has a name, by default its type. Metrics, log lines, environment
variables and the folder of the copy use that name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from pointgate.quantities import DURATIONS, milliseconds_of
from pointgate.sinks.settings import NAME
from pointgate.toml.document import Document
from pointgate.toml.values import AnyPath, Bytes, bytes_words
from pointgate.topics import product_key

FOLDER: Final = "registry"
"""The folder of copies, beside that of the spool, which the service can write to."""

_LEAST_BYTES: Final = 2**20
_MOST_BYTES: Final = 2**32
"""A device table ends at 4 GiB."""


def _product(value: str) -> str:
    return product_key(value)


class RegistrySettings(Document):
    """The settings of every registry; a subclass adds `type`, one literal, and its own."""

    name: str = Field(
        default="",
        pattern=f"^({NAME})?$",
        description="1 to 32 of a-z, 0-9 and _, a letter first",
    )
    product: Annotated[str, AfterValidator(_product)] | None = Field(
        default=None, description="the product of all its devices"
    )
    path: AnyPath | None = Field(
        default=None, description="a folder, in which the copy is a folder of the registry's name"
    )
    poll: Annotated[int, BeforeValidator(milliseconds_of)] = Field(
        default=500, ge=50, le=86_400_000, description=f"50 or more milliseconds or {DURATIONS}"
    )
    max_bytes: Bytes = Field(
        default=2**30,
        ge=_LEAST_BYTES,
        le=_MOST_BYTES,
        description=bytes_words(_LEAST_BYTES, _MOST_BYTES),
    )

    @property
    def kind(self) -> str:
        """The `type` in the table."""
        return str(getattr(self, "type"))  # noqa: B009 - each subclass has a literal of its own

    @property
    def extra(self) -> str:
        """The extra of the package with what this registry needs; empty if that is none."""
        return self.kind

    @property
    def folder(self) -> Path:
        """The folder of the copy, which a product of the catalog names."""
        return (self.path or Path(FOLDER)) / self.name

    @property
    def answers(self) -> bool:
        """Whether it can be asked for some devices (`base.Answers`)."""
        return False

    @property
    def identity(self) -> str:
        """What is copied: a copy of something else is not used."""
        names = {"type", "product", *self.identifying}
        document = self.model_dump(mode="json", include=names)
        return json.dumps(document, sort_keys=True)

    @property
    def identifying(self) -> frozenset[str]:
        """The settings of a kind that say what is copied."""
        return frozenset()

    def warnings(self) -> list[str]:
        """Settings that are valid and probably mistakes."""
        return []

    def model_post_init(self, _context: Any, /) -> None:  # noqa: D102 - pydantic's
        if not self.name:
            object.__setattr__(self, "name", self.kind)
