"""`pointgate leave`: removes a replica from its broker.

It runs after the service was stopped, with its settings: answers what the broker has queued for it,
delivers the spool, and ends the session, so that no queue is left behind.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pointgate.cli.options import ConfigOption, exit_with_problems, settings_or_exit
from pointgate.errors import CatalogError, ConfigError, TemporaryFailure
from pointgate.terminal import Status, say


def leave(
    config: ConfigOption = Path("pointgate.toml"),
    *,
    quiet: Annotated[
        float,
        typer.Option(
            min=0.5, max=3600, help="Seconds without a request after which the queue is empty."
        ),
    ] = 3.0,
    timeout: Annotated[
        float,
        typer.Option(
            min=1.0, max=86_400, help="Seconds to wait for the broker, and for the sinks."
        ),
    ] = 60.0,
) -> NoReturn:
    """End the session of a replica that is removed."""
    from pointgate.service import leave as service  # noqa: PLC0415 - no other command needs it
    from pointgate.service import log_format  # noqa: PLC0415 - as above

    settings = settings_or_exit(config)
    if not settings.uses_mqtt:
        say("expected a broker in [mqtt]: a member of a Kafka group leaves it when it stops")
        sys.exit(Status.USAGE)
    log_format.configure(settings.logging.level, settings.logging.format)
    try:
        found = asyncio.run(service.leave(settings, quiet=quiet, timeout=timeout))
    except (ConfigError, CatalogError) as error:
        exit_with_problems(error.problems)
    except TemporaryFailure as error:
        say(str(error))
        sys.exit(Status.TEMPORARY)
    if not found:
        client_id = settings.mqtt.client_id
        say(f"the broker has no session of {client_id}: is that the mqtt.client_id of the replica?")
        sys.exit(Status.FINDINGS)
    sys.exit(Status.DONE)
