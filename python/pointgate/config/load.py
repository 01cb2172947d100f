"""Reads a file and the environment into `Settings`, or reports all mistakes in them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Final, get_args

from pointgate import failpoint
from pointgate.catalog_settings import ProductSettings
from pointgate.config.settings import Settings
from pointgate.diagnostics import did_you_mean, shown
from pointgate.errors import ConfigError, Problem
from pointgate.registries.kinds import REGISTRIES
from pointgate.registries.settings import FOLDER
from pointgate.sinks.registry import SINKS
from pointgate.toml.document import Document, check, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pointgate.registries.kinds import RegistryKind
    from pointgate.sinks.registry import SinkKind

_PREFIX: Final = "POINTGATE_"

_LISTS: Final[dict[str, Mapping[str, SinkKind | RegistryKind]]] = {
    "sinks": SINKS,
    "registries": REGISTRIES,
}
"""The lists of named tables, and the kinds of each."""

_SECRETS: Final = ("password", "token")

_VERBATIM: Final = {"client_id", "username", "share_group", "group"}
"""Names that the broker compares byte by byte: they are not trimmed, but rejected if they have
control characters, or blanks at their ends."""

_OWNERS: Final = 3
"""Of the tables that have a misplaced key so many are named."""

_NEAR: Final = 0.9
"""The least similarity to a setting at which an unknown variable causes a warning."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the document.

    Attributes:
        location: Its name in problems: `mqtt`, `sinks[0]`.
        variable: The prefix of its variables: `MQTT`, `SINKS__PARQUET`.
        model: Its model.
        content: Its keys and values; the environment overwrites them.
    """

    location: str
    variable: str
    model: type[Document]
    content: dict[str, Any]


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read the settings from a file and from the environment.

    Args:
        path: The TOML file.
        environ: The environment; only names such as `POINTGATE_MQTT__URL` are read.

    Raises:
        ConfigError: A setting is wrong; `problems` has all mistakes.
    """
    document, problems = read_toml(path)
    file = str(path)
    given = document.pop("sinks", None)
    named: list[_Table] = []
    for section, value in (
        ("sinks", given or [{"type": "parquet"}]),
        ("registries", document.pop("registries", [])),
    ):
        found_tables, mistakes = _named_tables(section, value, file)
        named += found_tables
        problems += mistakes
    tables = [*_sections(document), *named]
    problems += _refuse_secrets(tables, file)
    sources, mistakes = _overlay(tables, environ)
    problems += mistakes
    found: list[Problem] = []
    checked = check(Settings, document, file=file, base=path.parent)
    if not isinstance(checked, Settings):
        found += checked
    lists: dict[str, list[Document]] = {section: [] for section in _LISTS}
    for table in named:
        one = check(table.model, table.content, file=file, base=path.parent)
        if isinstance(one, list):
            found += [
                Problem(file, f"{table.location}.{each.location}", each.reason) for each in one
            ]
        else:
            lists[table.location.partition("[")[0]].append(one)
    problems += [
        Problem(sources.get(one.location, one.file), one.location, _misplaced(one)) for one in found
    ]
    if isinstance(checked, Settings) and not problems:
        copies = checked.spool.path.absolute().parent / FOLDER
        lists["registries"] = [
            one.model_copy(update={"path": getattr(one, "path", None) or copies})
            for one in lists["registries"]
        ]
        settings = checked.model_copy(
            update={section: tuple(several) for section, several in lists.items()}
        )
        if not (problems := _contradictions(settings, file, given=bool(given))):
            return settings
    # `from None`: a chained validation error would carry the values that must not be shown.
    raise ConfigError(problems) from None


def _sections(document: dict[str, Any]) -> list[_Table]:
    """The sections; missing ones are added as empty tables."""
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


def _named_tables(section: str, value: object, file: str) -> tuple[list[_Table], list[Problem]]:
    """The tables `[[sinks]]` or `[[registries]]` of known types, and the problems of the others."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        reason = f"expected tables, [[{section}]], got {shown(value)}"
        return [], [Problem(file, section, reason)]
    tables, problems, kinds = [], [], _LISTS[section]
    for index, content in enumerate(value):
        kind = content.get("type")
        found = kinds.get(kind) if isinstance(kind, str) else None
        location = f"{section}[{index}]"
        if found is None:
            known = " or ".join(shown(name) for name in kinds)
            got = shown(kind) if "type" in content else "nothing"
            problems.append(Problem(file, f"{location}.type", f"expected {known}, got {got}"))
            continue
        name = content.get("name") or kind
        variable = f"{section}__{name}".upper()
        tables.append(_Table(location, variable, found.settings, content))
    names = Counter(table.variable for table in tables)
    for table in tables:
        if names[table.variable] > 1:
            name = shown(table.variable.partition("__")[2].lower())
            reason = f"expected a unique name, got {name}, which another {_singular(section)} has"
            problems.append(Problem(file, f"{table.location}.name", reason))
    return tables, problems


def _singular(section: str) -> str:
    return {"sinks": "sink", "registries": "registry"}[section]


def _owners(problem: Problem) -> str:
    """Which tables have a key that is unknown where it is: their header may be a comment."""
    key = problem.location.rpartition(".")[2]
    models = {f"[{name}]": _model(name) for name in Settings.model_fields}
    models |= {
        f"[[{section}]] with type {shown(name)}": kind.settings
        for section, kinds in _LISTS.items()
        for name, kind in kinds.items()
    }
    models["[products.KEY] of catalog.toml"] = ProductSettings
    owners = [name for name, model in models.items() if model and key in _keys(model)]
    more = " and others" if len(owners) > _OWNERS else ""
    return f"; it is a key of {', '.join(owners[:_OWNERS])}{more}" if owners else ""


def _misplaced(problem: Problem) -> str:
    """The reason of a problem; that of an unknown key names the tables that have it."""
    unknown, _, _ = problem.reason.partition(", did you mean ")
    if unknown != "unknown key":
        return problem.reason
    if problem.location == "products":
        return "unknown key; products are in the catalog.toml of catalog.path"
    owners = _owners(problem)
    return unknown + owners if owners else problem.reason


def _refuse_secrets(tables: Sequence[_Table], file: str) -> list[Problem]:
    """Remove secrets from the tables, with a better problem than `unknown key`."""
    problems = []
    for table in tables:
        for secret in filter(partial(_has_secret, table.model), _SECRETS):
            if table.content.pop(secret, None) is not None:
                reason = (
                    f"expected no secret in this file, got one: use {_PREFIX}{table.variable}__"
                    f"{secret.upper()} or {table.location}.{secret}_file"
                )
                problems.append(Problem(file, f"{table.location}.{secret}", reason))
    return problems


def _has_secret(model: type[Document], name: str) -> bool:
    field = model.model_fields.get(name)
    return field is not None and "SecretStr" in repr(field.annotation)


def _overlay(
    tables: Sequence[_Table], environ: Mapping[str, str]
) -> tuple[dict[str, str], list[Problem]]:
    """Overwrite the settings of the file with those of the environment.

    Returns:
        The variable of each key that one has set, and the problems.
    """
    variables = {
        f"{_PREFIX}{table.variable}__{key}".upper(): (table, key)
        for table in tables
        for key in _keys(table.model)
        if key not in {"type", "name"}
    }
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    for name in sorted(filter(_is_ours, environ)):
        if name not in variables:
            problems.append(Problem(name, "", _unknown(name, tables, variables)))
            continue
        table, key = variables[name]
        location = f"{table.location}.{key}"
        sources[location] = name
        if _is_text(key, environ[name]):
            table.content[key] = _typed(table.model, key, _trimmed(key, environ[name]))
        else:
            problems.append(Problem(name, location, "expected UTF-8, got other bytes"))
    return sources, problems


def _unknown(name: str, tables: Sequence[_Table], variables: Iterable[str]) -> str:
    """The problem of an unknown variable. Suggestions are from the same section or sink."""
    section = name.upper().removeprefix(_PREFIX).rpartition("__")[0]
    for list_ in _LISTS:
        prefix = f"{list_.upper()}__"
        if section.startswith(prefix) and all(section != table.variable for table in tables):
            those = [table.variable for table in tables if table.variable.startswith(prefix)]
            names = ", ".join(one.removeprefix(prefix).lower() for one in those) or "none"
            called = shown(section.removeprefix(prefix).lower())
            kind = _singular(list_)
            return f"unknown setting, no {kind} is called {called}; there are: {names}"
    expected = f"unknown setting, expected {_PREFIX}<SECTION>__<KEY>"
    for table in tables:
        if section == table.variable:
            # Without their common prefix, which would make any two similar.
            keys = [key.upper() for key in _keys(table.model) if key not in {"type", "name"}]
            near = get_close_matches(name.upper().rpartition("__")[2], keys, n=1)
            return expected + "".join(f", did you mean {_PREFIX}{section}__{key}" for key in near)
    own = [one for one in variables if one.startswith(f"{_PREFIX}{section}__")]
    return expected + did_you_mean(name.upper(), own or variables)


def stray_variables(environ: Mapping[str, str]) -> list[Problem]:
    """Warnings for variables that are similar to a setting, and ignored.

    Other variables that begin with `POINTGATE_` are legitimate: container images set them, and
    Kubernetes does for each service called `pointgate…`.
    """
    settings = {
        f"{_PREFIX}{section}_{key}".upper(): f"{_PREFIX}{section}__{key}".upper()
        for section in Settings.model_fields
        if (model := _model(section)) is not None
        for key in _keys(model)
    }
    problems = []
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or _is_ours(name) or name == failpoint.VARIABLE:
            continue
        for near in get_close_matches(name, settings, n=1, cutoff=_NEAR):
            reason = f"ignored, not a setting; did you mean {settings[near]}"
            problems.append(Problem(name, "", reason))
    return problems


def _is_ours(name: str) -> bool:
    """Whether a variable is treated as a setting."""
    return name.startswith(_PREFIX) and "__" in name


def _is_text(key: str, value: str) -> bool:
    """Whether a variable is valid: UTF-8, except for paths."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return _is_path(key)
    return True


def _is_path(key: str) -> bool:
    return key == "path" or key.endswith("_file")


def _trimmed(key: str, text: str) -> str:
    """The value of a variable without a byte-order mark and white space around it."""
    if key in _VERBATIM:
        return text
    text = text.removeprefix("\ufeff").rstrip("\r\n")
    return text if key in _SECRETS or _is_path(key) else text.strip()


def _keys(model: type[Document]) -> dict[str, Any]:
    """The annotation of each key."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _typed(model: type[Document], key: str, text: str) -> bool | int | str:
    """Convert a variable to the type of its setting; the model rejects what does not convert."""
    annotation = _keys(model)[key]
    if annotation is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    choices = (annotation, *get_args(annotation))
    values = (value for choice in choices for value in (choice, *get_args(choice)))
    is_number = any(value is int or isinstance(value, int) for value in values)
    return int(text) if is_number and re.fullmatch(r"[+-]?[0-9]{1,19}", text) else text


def _contradictions(settings: Settings, file: str, *, given: bool) -> list[Problem]:
    """Settings that are valid, but not together."""
    if settings.store.ack == "verdict" and given:
        reason = 'not allowed with store.ack = "verdict", which stores nothing'
        return [Problem(file, "sinks", reason)]
    if settings.store.ack == "sink" and not any(sink.required for sink in settings.sinks):
        reason = '"sink" needs at least one sink with required = true, got none'
        return [Problem(file, "store.ack", reason)]
    return (
        settings.kafka.contradictions(file)
        or _without_spool(settings, file)
        or _transactions(settings, file)
        or _loops(settings, file)
    )


def _transactions(settings: Settings, file: str) -> list[Problem]:
    """What is not allowed with `kafka.exactly_once`: everything goes over its connection."""
    if not settings.kafka.exactly_once:
        return []
    if settings.store.ack != "kafka":
        reason = f'true needs store.ack = "kafka", got "{settings.store.ack}"'
        return [Problem(file, "kafka.exactly_once", reason)]
    level = settings.kafka.options.get("isolation.level", "read_committed")
    if level != "read_committed":
        reason = f'expected isolation.level "read_committed" for exactly_once, got {shown(level)}'
        return [Problem(file, "kafka.options", reason)]
    cluster = ("servers", "username", "password", "password_file", "options")
    return [
        Problem(file, f"sinks.{sink.name}.{key}", "expected that of [kafka], for exactly_once")
        for sink in settings.sinks
        for key in cluster
        if getattr(sink, key) != getattr(settings.kafka, key)
    ]


def _loops(settings: Settings, file: str) -> list[Problem]:
    """Kafka sinks that write to where the service reads, or writes its replies."""
    kafka, problems = settings.kafka, []
    servers = _servers(kafka.servers)
    for sink in settings.sinks:
        topic = getattr(sink, "topic", None)
        if topic is None or servers.isdisjoint(_servers(getattr(sink, "servers", None))):
            continue
        if source := kafka.source_of(topic):
            reason = f"expected a topic that is not in kafka.topics, got {shown(topic)}"
            if source != topic:
                reason += f", which {shown(source)} matches"
        elif topic == kafka.replies:
            reason = f"expected another topic than kafka.replies, got {shown(topic)}"
        else:
            continue
        problems.append(Problem(file, f"sinks.{sink.name}.topic", reason))
    return problems


def _servers(text: str | None) -> set[str]:
    return {one.strip().lower() for one in (text or "").split(",") if one.strip()}


def _without_spool(settings: Settings, file: str) -> list[Problem]:
    """Settings that are not allowed where a Kafka topic has the place of the spool."""
    ack = settings.store.ack
    if ack == "kafka" and settings.uses_mqtt:
        reason = '"kafka" needs a Kafka consumer group as the only source, got a broker'
        return [Problem(file, "store.ack", reason)]
    others = [sink.name for sink in settings.sinks if sink.kind != "kafka"]
    if ack == "kafka" and others:
        reason = f'"kafka" needs sinks of type "kafka" only, got {others[0]}'
        return [Problem(file, "store.ack", reason)]
    optional = [sink.name for sink in settings.sinks if not sink.required]
    if optional and ack in {"sink", "kafka"} and not settings.uses_spool:
        reason = (
            "false is not allowed without a spool, whose place the Kafka topic has with "
            f'store.ack = "{ack}": {optional[0]}'
        )
        return [Problem(file, "sinks.required", reason)]
    return []
