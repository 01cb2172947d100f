"""`[[sinks]]` with `type = "postgres"`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pointgate.postgres.urls import not_both, postgres_url
from pointgate.sinks.settings import ON_CONFLICT, OnConflict, SinkSettings
from pointgate.toml.values import ReadableFile, Secret, secret_text


class PostgresSettings(SinkSettings):
    """A PostgreSQL or TimescaleDB database."""

    type: Literal["postgres"]
    url: Annotated[str, AfterValidator(postgres_url)] = Field(
        description="postgresql://user@host:port/database"
    )
    password: Secret | None = Field(default=None, description="a password, in the environment only")
    password_file: Annotated[ReadableFile, AfterValidator(not_both)] | None = Field(
        default=None, description="a file whose first line is the password"
    )
    schema_name: str = Field(
        default="pointgate",
        alias="schema",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        description="a schema's name: 1 to 63 of A-Z, a-z, 0-9 and _, no digit first",
    )
    on_conflict: OnConflict = Field(default="update", description=ON_CONFLICT)

    @property
    def remote_place(self) -> tuple[str, str]:  # noqa: D102 - see the base class
        return self.url, self.schema_name

    def password_text(self) -> str | None:
        """The password, from the environment or read from its file.

        Raises:
            ConfigError: The file cannot be read, or is not text.
        """
        return secret_text(self.password, self.password_file, f"sinks.{self.name}.password_file")
