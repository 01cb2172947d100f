"""The text of a starting configuration: every section and key, with its meaning and default.

    # The connection to the broker.
    [mqtt]
    url = "mqtt://127.0.0.1:1883"    # mqtt://host:port, mqtts://… for TLS, …
    # keepalive = 15                 # 1 to 65535 seconds or "90s", "10m", "12h", "30d"

It is made from the models that validate the file, so it has every key. Those that most users set
are in force, with their defaults; the others are comments.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic_core import PydanticUndefined

from pointgate.config.settings import Settings
from pointgate.registries.kinds import REGISTRIES
from pointgate.sinks.registry import SINKS
from pointgate.toml.document import Document

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_WRITTEN: Final = {
    "mqtt": ("url",),
    "catalog": ("path",),
    "metrics": ("listen",),
    "store": ("ack",),
    "spool": ("path",),
    "parquet": ("type", "path"),
}
"""Keys that are in force, by section or kind of sink."""

_COLUMN: Final = 36
"""Where the meaning of a key begins, at least."""

_NOT_IN_FILE: Final = ("password", "token")


def starting_configuration(first_line: str = "") -> str:
    """The text of a `pointgate.toml`.

    Args:
        first_line: A comment before everything else, such as the schema for editors.
    """
    parts = [first_line] if first_line else []
    parts.append(
        "# Settings of pointgate. A line that begins with # shows a default, or a setting that is\n"
        "# not set (…). `pointgate check` finds mistakes."
    )
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Document):
            parts.append(_table(f"[{name}]", field.annotation, _WRITTEN.get(name, ())))
        elif name == "sinks":
            parts += [
                _table("[[sinks]]", kind.settings, _WRITTEN.get(type_, ()), type_)
                for type_, kind in SINKS.items()
            ]
        else:
            parts += [
                _table("[[registries]]", registry.settings, (), type_)
                for type_, registry in REGISTRIES.items()
            ]
    return "\n\n".join(parts) + "\n"


def _table(heading: str, model: type[Document], written: tuple[str, ...], type_: str = "") -> str:
    """The text of a table. That of a list is a comment if none of its keys is in force.

    Args:
        heading: Its name in brackets.
        model: Its model.
        written: The keys that are in force.
        type_: The type of a sink, which is also its default name.
    """
    title = (model.__doc__ or "").partition("\n")[0]
    is_in_force = written or not heading.startswith("[[")
    lines = [f"# {title}", heading if is_in_force else f"# {heading}"]
    fields = {field.alias or key: field for key, field in model.model_fields.items()}
    keys = sorted(fields, key=lambda key: (key != "type", key not in written))
    for key in keys:
        if key not in _NOT_IN_FILE:
            value = _value(fields[key], type_ if key in {"type", "name"} else "")
            line = f"{'' if key in written else '# '}{key} = {value}"
            meaning = fields[key].description
            lines.append(f"{line:<{_COLUMN}} # {meaning}" if meaning else line)
    return "\n".join(lines)


def _value(field: FieldInfo, given: str) -> str:
    """A value, else the default of a key, in TOML."""
    value = given or field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None:
        return "…"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
