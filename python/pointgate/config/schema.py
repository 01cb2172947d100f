"""The JSON schema of `pointgate.toml`, for editors: completion, descriptions, unknown keys.

Taplo and Even Better TOML read it from the first line of the file,
`#:schema ./pointgate.schema.json`. It is made from the models that validate the file, so it has
every key, choice and bound. What these models compute, such as the form of a url, only
`pointgate check` can tell.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from pointgate.config.kafka import alone, listed
from pointgate.config.settings import Settings
from pointgate.kafka.settings import flat
from pointgate.quantities import bytes_of, milliseconds_of, seconds_of
from pointgate.registries.kinds import REGISTRIES
from pointgate.sinks.registry import SINKS
from pointgate.toml.values import percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import core_schema

    from pointgate.registries.kinds import RegistryKind
    from pointgate.sinks.registry import SinkKind

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_TEXTS: Final[dict[object, str]] = {
    milliseconds_of: "^[0-9]{1,15}(ms|s|m|h|d)$",
    seconds_of: "^[0-9]{1,15}(ms|s|m|h|d)$",
    bytes_of: "^[0-9]{1,15}([KkMmGgTt][Ii])?[Bb]$",
    percent: "^[0-9]{1,3} ?%$",
}
"""The texts that a validator converts to a number."""


_OTHERS: Final[dict[object, JsonSchemaValue]] = {
    alone: {"type": "string"},
    listed: {"type": "string"},
    flat: {"type": "object"},
}
"""What else a validator converts."""


class _Generator(GenerateJsonSchema):
    """Adds what a file may have in place of a number, and removes null, which TOML lacks."""

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        number = super().function_before_schema(schema)
        function = schema["function"]["function"]
        if function in _OTHERS:
            return {"anyOf": [number, _OTHERS[function]]}
        pattern = _TEXTS.get(function)
        return {"anyOf": [number, {"type": "string", "pattern": pattern}]} if pattern else number

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        if isinstance(found.get("default", 0), dict | None):  # a section, or nothing
            del found["default"]
        return found


def settings_schema() -> dict[str, Any]:
    """The schema, as a JSON document (draft 2020-12)."""
    sinks, registries = _union(SINKS), _union(REGISTRIES)
    model = create_model(
        "Configuration", __base__=Settings, sinks=(sinks, []), registries=(registries, [])
    )
    schema = model.model_json_schema(schema_generator=_Generator)
    for table in schema["$defs"].values():
        properties = table["properties"]
        for secret in ("password", "token"):  # rejected in the file
            properties.pop(secret, None)
        if "type" in properties:  # selects the kind
            table["required"] = sorted({*table.get("required", ()), "type"})
    return {"$schema": _DIALECT, **schema, "title": "pointgate.toml"}


def _union(kinds: Mapping[str, SinkKind | RegistryKind]) -> Any:
    """A list of tables, each of one of some kinds."""
    either: Any = reduce(or_, (kind.settings for kind in kinds.values()))
    return list[Annotated[either, Field(discriminator="type")]]
