"""`pointgate serve`: runs the service.

It reads the settings, configures logging and calls `pointgate.service.serve`.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pointgate import __version__
from pointgate.cli.allocators import keep_freed_memory
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
    log_level: Annotated[
        LogLevel | None, typer.Option(help="The least level to log, instead of logging.level.")
    ] = None,
) -> NoReturn:
    """Run the service, until stopped."""
    keep_freed_memory()  # before pyarrow is imported
    from pointgate.service import log_format  # noqa: PLC0415 - no other command needs it
    from pointgate.service import serve as service  # noqa: PLC0415 - as above

    settings = settings_or_exit(config)
    log_format.configure(log_level or settings.logging.level, settings.logging.format)
    _log.info("pointgate %s", __version__)
    for stray in stray_variables(os.environ):
        _log.warning("%s", stray)
    try:
        status = asyncio.run(service.serve(settings, exit_process=os._exit))
    except (ConfigError, CatalogError) as error:
        exit_with_problems(error.problems)
    except TemporaryFailure as error:
        say(str(error))
        sys.exit(Status.TEMPORARY)
    atexit.register(_end, status)  # the last one registered is the first one called
    sys.exit(status)


def _end(status: int) -> NoReturn:
    """End the process when its threads have ended, without finalizing the interpreter.

    A thread that a library still runs would abort that ("PyGILState_Release … finalizing"), and a
    clean stop would end with SIGABRT.
    """
    logging.shutdown()
    os._exit(status)
