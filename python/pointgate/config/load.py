"""From a file and the environment to `Settings`, or to every mistake in them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

from pointgate import failpoint
from pointgate.config.settings import Settings
from pointgate.config.sinks import SINK_TYPES
from pointgate.document import Document, check, did_you_mean, read_toml, shown
from pointgate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PREFIX: Final = "POINTGATE_"

_FOREIGN: Final = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_[A-Z]+(_\w+)?)?)")
"""What Kubernetes tells every container about services called `pointgate…`: not settings."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the document.

    Attributes:
        location: What problems call it: `mqtt`, `sinks[0]`.
        variable: What its variables begin with: `MQTT`, `SINKS__PARQUET`.
        model: What it must be.
        content: What it is; the environment is written over it.
    """

    location: str
    variable: str
    model: type[Document]
    content: dict[str, Any]


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read the settings from a file and from the environment.

    Args:
        path: The TOML file.
        environ: The environment; only names that begin with `POINTGATE_` are looked at.

    Raises:
        ConfigError: There are mistakes; `problems` has them all.
    """
    document, problems = read_toml(path)
    file = str(path)
    given = document.pop("sinks", None)
    sinks, mistakes = _sink_tables(given or [{"type": "parquet"}], file)
    problems += mistakes
    tables = [*_sections(document), *sinks]
    problems += _refuse_secrets(tables, file)
    sources, mistakes = _overlay(tables, environ)
    problems += mistakes
    found: list[Problem] = []
    checked = check(Settings, document | {"sinks": ()}, file=file, base=path.parent)
    if not isinstance(checked, Settings):
        found += checked
    sink_settings = []
    for table in sinks:
        sink = check(table.model, table.content, file=file, base=path.parent)
        if isinstance(sink, list):
            found += [Problem(file, f"{table.location}.{one.location}", one.reason) for one in sink]
        else:
            sink_settings.append(sink)
    problems += [
        Problem(sources.get(one.location, one.file), one.location, one.reason) for one in found
    ]
    if isinstance(checked, Settings) and not problems:
        settings = checked.model_copy(update={"sinks": tuple(sink_settings)})
        if not (problems := _contradictions(settings, file, given=bool(given))):
            return settings
    # `from None`: a chained validation error would carry the values that must not be shown.
    raise ConfigError(problems) from None


def _sections(document: dict[str, Any]) -> list[_Table]:
    """The sections; those that are missing are added, empty."""
    tables = []
    for section in Settings.model_fields:
        model = _model(section)
        if model is not None and isinstance(document.setdefault(section, {}), dict):
            tables.append(_Table(section, section.upper(), model, document[section]))
    return tables


def _model(section: str) -> type[Document] | None:
    annotation = Settings.model_fields[section].annotation
    if isinstance(annotation, type) and issubclass(annotation, Document):
        return annotation
    return None


def _sink_tables(value: object, file: str) -> tuple[list[_Table], list[Problem]]:
    """The tables `[[sinks]]` whose types are known, and what is wrong with the others."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        reason = f"expected tables, [[sinks]], got {shown(value)}"
        return [], [Problem(file, "sinks", reason)]
    tables, problems = [], []
    for index, content in enumerate(value):
        kind = content.get("type")
        model = SINK_TYPES.get(kind) if isinstance(kind, str) else None
        location = f"sinks[{index}]"
        if model is None:
            known = " or ".join(shown(name) for name in SINK_TYPES)
            got = shown(kind) if "type" in content else "nothing"
            problems.append(Problem(file, f"{location}.type", f"expected {known}, got {got}"))
            continue
        name = content.get("name") or kind
        tables.append(_Table(location, f"SINKS__{name}".upper(), model, content))
    names = Counter(table.variable for table in tables)
    for table in tables:
        if names[table.variable] > 1:
            name = shown(table.variable.partition("__")[2].lower())
            reason = f"expected a name of its own, got {name}, which another sink has"
            problems.append(Problem(file, f"{table.location}.name", reason))
    return tables, problems


def _refuse_secrets(tables: Sequence[_Table], file: str) -> list[Problem]:
    """Take out of the file what may not stand in it, with a better reason than `unknown key`."""
    problems = []
    for table in tables:
        secret = _holds_secret(table.model)
        if secret and table.content.pop("password", None) is not None:
            reason = (
                "expected no secret in this file, got one: "
                f"use {_PREFIX}{table.variable}__PASSWORD or {table.location}.password_file"
            )
            problems.append(Problem(file, f"{table.location}.password", reason))
    return problems


def _holds_secret(model: type[Document]) -> bool:
    field = model.model_fields.get("password")
    return field is not None and "SecretStr" in repr(field.annotation)


def _overlay(
    tables: Sequence[_Table], environ: Mapping[str, str]
) -> tuple[dict[str, str], list[Problem]]:
    """Write the environment's settings over the file's.

    Returns:
        Which key came from which variable, and the variables that are no settings.
    """
    variables = {
        f"{_PREFIX}{table.variable}__{key}".upper(): (table, key)
        for table in tables
        for key in _keys(table.model)
        if key not in {"type", "name"}
    }
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    for name in sorted(name for name in environ if name.startswith(_PREFIX)):
        if name == failpoint.VARIABLE:
            continue
        if name in variables:
            table, key = variables[name]
            table.content[key] = _typed(table.model, key, environ[name])
            sources[f"{table.location}.{key}"] = name
        elif "__" in name or not _FOREIGN.fullmatch(name.removeprefix(_PREFIX)):
            near = did_you_mean(name, variables)
            reason = f"unknown setting, expected {_PREFIX}<SECTION>__<KEY>{near}"
            problems.append(Problem(name, "", reason))
    return sources, problems


def _keys(model: type[Document]) -> dict[str, Any]:
    """The annotation of each key."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _typed(model: type[Document], key: str, text: str) -> bool | int | str:
    """Read a variable as what the setting is; the check says when it is not."""
    annotation = _keys(model)[key]
    if annotation is bool:
        return {"true": True, "false": False}.get(text, text)
    choices = (annotation, *get_args(annotation))
    values = (value for choice in choices for value in (choice, *get_args(choice)))
    is_number = any(value is int or isinstance(value, int) for value in values)
    return int(text) if is_number and re.fullmatch(r"[+-]?[0-9]{1,19}", text) else text


def _contradictions(settings: Settings, file: str, *, given: bool) -> list[Problem]:
    """What is wrong only because of something else."""
    if settings.store.ack == "verdict" and given:
        reason = 'expected none beside store.ack = "verdict", which stores nothing'
        return [Problem(file, "sinks", reason)]
    if settings.store.ack == "sink" and not any(sink.required for sink in settings.sinks):
        reason = 'expected a sink that is required beside "sink", got none'
        return [Problem(file, "store.ack", reason)]
    return []
