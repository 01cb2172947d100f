"""Examines the sinks: each is opened as the service would, and closed.

What the service creates at its start is then there: a folder, a schema, tables. A sink in a folder
is not opened while a service runs, which has it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import os_reason
from pointgate.doctor.findings import Findings
from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.sinks.registry import build

if TYPE_CHECKING:
    from pointgate.config import Settings

_OPEN_SECONDS: Final = 30.0


async def examine_sinks(settings: Settings, *, running: bool) -> Findings:
    """Open and close each sink.

    Args:
        settings: The settings, which `check` accepts.
        running: Whether a service runs with them.
    """
    found = Findings("sinks")
    if settings.store.ack == "verdict":
        found.skip('store.ack = "verdict" stores nothing')
        return found
    for one, (sink, _) in zip(settings.sinks, build(settings.sinks), strict=True):
        if running and one.output is not None:
            found.skip(f"{one.name}: a running service has {one.output.path}")
            continue
        started = time.perf_counter()
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await sink.open()
            found.ok(f"{one.name}: opened in {time.perf_counter() - started:.2f} s")
        except TimeoutError:
            found.fail(f"{one.name}: no answer within {_OPEN_SECONDS:.0f} s")
        except (SinkUnavailableError, SinkRefusedError) as error:
            found.fail(f"{one.name}: {error}")
        except OSError as error:
            found.fail(f"{one.name}: {os_reason(error)}")
        finally:
            await sink.close()
    return found
