"""`pointgate serve`: runs the service.

It reads the settings, configures logging and calls `pointgate.service.serve`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pointgate import __version__
from pointgate.cli.options import ConfigOption, exit_with_problems, settings_or_exit
from pointgate.config import stray_variables
from pointgate.errors import CatalogError, ConfigError, TemporaryFailure
from pointgate.terminal import Status, say

_log = logging.getLogger(__name__)


class LogLevel(StrEnum):
    """The least level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def serve(
    config: ConfigOption = Path("pointgate.toml"),
    log_level: Annotated[LogLevel, typer.Option(help="The least level to log.")] = LogLevel.INFO,
) -> NoReturn:
    """Run the service, until stopped."""
    from pointgate.service import serve as service  # noqa: PLC0415 - no other command needs it

    settings = settings_or_exit(config)
    _configure_logging(log_level)
    _log.info("pointgate %s", __version__)
    for stray in stray_variables(os.environ):
        _log.warning("%s", stray)
    try:
        sys.exit(asyncio.run(service.serve(settings, exit_process=os._exit)))
    except (ConfigError, CatalogError) as error:
        exit_with_problems(error.problems)
    except TemporaryFailure as error:
        say(str(error))
        sys.exit(Status.TEMPORARY)


def _configure_logging(level: LogLevel) -> None:
    """Log to stderr, one line for each event, with UTC times."""
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    form.converter = time.gmtime
    form.default_time_format = "%Y-%m-%dT%H:%M:%S"
    form.default_msec_format = "%s.%03dZ"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("pointgate").setLevel(level.value.upper())
