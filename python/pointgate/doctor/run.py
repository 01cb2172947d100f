"""The examination: machine, sources, registries, sinks, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointgate.doctor.broker import examine_broker
from pointgate.doctor.machine import examine_machine
from pointgate.doctor.registries import examine_registries
from pointgate.doctor.sinks import examine_sinks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pointgate.config import Settings
    from pointgate.doctor.findings import Finding


async def examine(settings: Settings, *, product: str, running: bool) -> AsyncIterator[Finding]:
    """Examine what a service with these settings needs; findings come as they are made.

    Args:
        settings: The settings, which `check` accepts.
        product: A product of the catalog.
        running: Whether a service runs with them.
    """
    for findings in examine_machine(settings):
        for finding in findings:
            yield finding
    if settings.uses_mqtt:
        for finding in await examine_broker(settings, product=product):
            yield finding
    if settings.uses_kafka:
        from pointgate.doctor.kafka import examine_kafka  # noqa: PLC0415 - an extra

        for finding in await examine_kafka(settings):
            yield finding
    for finding in await examine_registries(settings):
        yield finding
    for finding in await examine_sinks(settings, running=running):
        yield finding
