"""`[[registries]]` with `type = "postgres"`."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from pointgate.diagnostics import shown
from pointgate.postgres.urls import not_both, postgres_url
from pointgate.registries.settings import RegistrySettings
from pointgate.toml.values import ReadableFile, Secret, secret_text

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]{0,62}"


def _table(value: str) -> str:
    if not re.fullmatch(rf"({_NAME}\.)?{_NAME}", value):
        raise ValueError(f"expected the name of a table, or schema.table, got {shown(value)}")
    return value


def _qualified(name: str) -> tuple[str, str]:
    schema, _, table = name.rpartition(".")
    return schema or "public", table


def _one_of_both(value: str | None, info: ValidationInfo) -> str | None:
    if (value is None) == (info.data.get("product") is None):
        raise ValueError("expected either this or product, got " + ("both" if value else "neither"))
    return value


Table = Annotated[str, AfterValidator(_table)]


class PostgresRegistrySettings(RegistrySettings):
    """A table of devices in PostgreSQL, with a table of changes that a trigger fills."""

    type: Literal["postgres"]
    url: Annotated[str, AfterValidator(postgres_url)] = Field(
        description="postgresql://user@host:port/database"
    )
    password: Secret | None = Field(default=None, description="a password, in the environment only")
    password_file: Annotated[ReadableFile, AfterValidator(not_both)] | None = Field(
        default=None, description="a file whose first line is the password"
    )
    table: Table = Field(
        description="the table of devices, or schema.table; without a schema public"
    )
    device_column: str = Field(
        default="device_key", pattern=f"^{_NAME}$", description="the column of device keys"
    )
    product_column: Annotated[
        Annotated[str, Field(pattern=f"^{_NAME}$")] | None, AfterValidator(_one_of_both)
    ] = Field(
        default=None,
        validate_default=True,
        description="the column of product keys, of a table with several products",
    )
    changes: Table = Field(
        default="pointgate_device_changes",
        description="the table of changes, or schema.table, as `pointgate registry sql` makes it",
    )

    @property
    def table_name(self) -> tuple[str, str]:
        """The schema and the name of the table of devices."""
        return _qualified(self.table)

    @property
    def changes_name(self) -> tuple[str, str]:
        """The schema and the name of the table of changes."""
        return _qualified(self.changes)

    @property
    def answers(self) -> bool:
        """It can be asked for some devices."""
        return True

    @property
    def identifying(self) -> frozenset[str]:
        """The settings that say what is copied."""
        return frozenset({"table", "device_column", "product_column"})

    def password_text(self) -> str | None:
        """The password, from the environment or read from its file.

        Raises:
            ConfigError: The file cannot be read, or is not text.
        """
        key = f"registries.{self.name}.password_file"
        return secret_text(self.password, self.password_file, key)
