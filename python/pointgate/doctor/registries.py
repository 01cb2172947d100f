"""Examines the registries: of each, some devices are read and its changes are asked for.

Nothing is written, not even the copy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Final

from pointgate.doctor.findings import Findings
from pointgate.errors import ConfigError
from pointgate.registries.base import RegistryUnavailableError
from pointgate.registries.device_lines import DeviceLines
from pointgate.registries.kinds import build

if TYPE_CHECKING:
    from pointgate.config import Settings
    from pointgate.registries.base import Registry
    from pointgate.registries.settings import RegistrySettings

_ANSWER_SECONDS: Final = 30.0


async def examine_registries(settings: Settings) -> Findings:
    """Read some devices of each registry."""
    found = Findings("registry")
    for one in settings.registries:
        try:
            registry = build(one)
        except ConfigError as error:
            found.fail(f"{one.name}: {error.reason}")
            continue
        started = time.perf_counter()
        reading = asyncio.create_task(asyncio.to_thread(_read, one, registry))
        try:
            await asyncio.wait({reading}, timeout=_ANSWER_SECONDS)
            if not reading.done():
                registry.sever()
            refused, has_changes = await reading
        except RegistryUnavailableError as error:
            found.fail(f"{one.name}: {error}", "see docs/registries.md")
            continue
        found.ok(f"{one.name}: read in {time.perf_counter() - started:.2f} s")
        if refused:
            reason = f"{one.name}: some of its keys are left out, such as {refused}"
            found.warn(reason, "a key has 1 to 128 bytes without control characters")
        if not has_changes:
            found.warn(f"{one.name}: its changes are gone at once", "see docs/registries.md")
    return found


def _read(settings: RegistrySettings, registry: Registry) -> tuple[str, bool]:
    """Read the beginning of a snapshot, and what has changed since.

    Returns:
        A key that no device can have, if there is one; and whether there were changes.
    """
    lines = DeviceLines(settings.product)
    try:
        snapshot = registry.snapshot()
        block = next(snapshot.blocks, b"")
        if snapshot.form == "keys":
            lines.keys(block)
        if isinstance(snapshot.blocks, Generator):
            snapshot.blocks.close()
        registry.close()
        # A topic says its position at its end only.
        changes = registry.changes(snapshot.position) if snapshot.position else None
        return lines.example, changes is not None or not snapshot.position
    finally:
        registry.close()
