"""`pointgate demo`: runs a broker, the service and simulated senders, without any setup.

This file has the options; the demo is in `pointgate.demo`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path  # noqa: TC003 - read by typer
from typing import Annotated, NoReturn

import typer


def demo(
    *,
    seconds: Annotated[
        float | None,
        typer.Option(metavar="N", min=0.0, help="Stop after this time."),
    ] = None,
    rate: Annotated[
        float, typer.Option(metavar="R", min=0.1, max=5000, help="Requests a second.")
    ] = 100.0,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep all files in this new or empty folder."),
    ] = None,
) -> NoReturn:
    """Run a broker, the service and simulated senders; no setup."""
    from pointgate.demo.run import run  # noqa: PLC0415 - no other command needs it

    sys.exit(asyncio.run(run(seconds=seconds, rate=rate, keep=keep)))
