"""The arguments of `pointgate import`, checked: what to read, and where to write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import typer

from pointgate.cli.options import catalog_or_exit, exit_with_problems
from pointgate.diagnostics import did_you_mean
from pointgate.errors import ConfigError, Problem
from pointgate.quantities import DURATIONS, SIZES, bytes_of, seconds_of
from pointgate.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pointgate.config import Settings
    from pointgate.importing.plan import Plan
    from pointgate.importing.posting import PostOptions
    from pointgate.sinks.parquet.settings import ParquetSettings
    from pointgate.sinks.settings import SinkSettings

_LEAST_MEMORY: Final = 2**20
_MQTT_5: Final = 5


def memory_of(text: str) -> int:
    """The bytes of `--memory`."""
    value = bytes_of(int(text) if text.isdigit() else text)
    if not isinstance(value, int) or value < _LEAST_MEMORY:
        raise typer.BadParameter(
            f"--memory: expected at least 1MiB, as a size such as {SIZES}, got {text}"
        )
    return value


def post_options(settings: Settings, config: Path | None, wait: str) -> PostOptions:
    """How `--post` posts."""
    from pointgate.importing.posting import PostOptions  # noqa: PLC0415 - other commands need none

    seconds = seconds_of(int(wait) if wait.isdigit() else wait)
    if not isinstance(seconds, int) or seconds < 1:
        raise typer.BadParameter(f"--wait: expected at least 1s, such as {DURATIONS}, got {wait}")
    if settings.mqtt.level != _MQTT_5:
        reason = "expected 5, got 4: replies are matched by correlation data, which MQTT 5 has"
        file = str(config or "pointgate.toml")
        exit_with_problems([Problem(file, "mqtt.protocol", reason)])
    return PostOptions(settings.mqtt, settings.limits.payload_bytes, float(seconds))


def sinks_of(
    settings: Settings, out: ParquetSettings | None, names: Sequence[str], config: Path | None
) -> list[SinkSettings]:
    """The sinks that are written to; exits with 78 if a folder or file of theirs cannot be."""
    from pointgate.importing.writing import known  # noqa: PLC0415 - as above
    from pointgate.service.path_checks import output_reason  # noqa: PLC0415 - as above

    if out is not None:
        if out.output is not None and (reason := output_reason(out.output)):
            text = printable(str(out.output.path))
            raise typer.BadParameter(f"--out: cannot use {text}: {reason}")
        return [out]
    try:
        chosen = known(settings.sinks, names)
    except ValueError as error:
        raise typer.BadParameter(printable(str(error))) from None
    problems = [
        Problem(
            str(config or "pointgate.toml"),
            f"sinks.{sink.name}.path",
            f"cannot use {sink.output.path}: {reason}",
        )
        for sink in chosen
        if sink.output is not None and (reason := output_reason(sink.output))
    ]
    if problems:
        exit_with_problems(problems)
    return chosen


def check_state(state: Path | None) -> None:
    """Refuse a state folder that cannot be one."""
    from pointgate.service.path_checks import folder_reason  # noqa: PLC0415 - as above

    if state is not None and (reason := folder_reason(state)):
        raise typer.BadParameter(f"--state: cannot use {printable(str(state))}: {reason}")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the arguments say of the inputs."""

    files: Sequence[str]
    mapping: Path | None
    product: str | None
    catalog: Path | None
    include: Sequence[str]
    exclude: Sequence[str]


def plan_of(chosen: Choice, settings: Settings, memory: int) -> Plan:
    """What is to be imported; exits with 78 if the mapping or the catalog is invalid."""
    from pointgate.importing.inputs import Filter, digest  # noqa: PLC0415 - as above
    from pointgate.importing.mapping import load_mapping  # noqa: PLC0415 - as above
    from pointgate.importing.plan import (  # noqa: PLC0415 - as above
        Plan,
        unknown_points,
    )

    found = None
    try:
        found = load_mapping(chosen.mapping) if chosen.mapping else None
    except ConfigError as error:
        exit_with_problems(error.problems)
    loaded = catalog_or_exit(chosen.catalog or settings.catalog.path)
    fixed = chosen.product
    if found:
        value = found.product.value
        fixed = found.product.template.replace("{}", value) if value else None
    if fixed is not None and fixed not in loaded.products:
        near = did_you_mean(fixed, loaded.products)
        if chosen.mapping:
            reason = f"expected a product of the catalog, got {printable(fixed)}{near}"
            exit_with_problems([Problem(str(chosen.mapping), "product", reason)])
        raise typer.BadParameter(f"--product: the catalog has no product {printable(fixed)}{near}")
    if found and fixed is not None:
        problems = unknown_points(found, str(chosen.mapping), fixed, loaded)
        if problems:
            exit_with_problems(problems)
    meaning = found.model_dump_json().encode() if found else f"requests {chosen.product}".encode()
    return Plan(
        names=chosen.files,
        filter=Filter(tuple(chosen.include), tuple(chosen.exclude)),
        mapping=found,
        product=chosen.product,
        digest=digest(meaning),
        catalog=loaded,
        payload_bytes=settings.limits.payload_bytes,
        memory=memory,
    )
