"""What the commands that read archived requests share: options, checks, the progress bar.

Archives are files, folders and compressed files of requests; see `bulk/inputs.py`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from pointgate.bulk.inputs import STDIN, Inputs, unusable
from pointgate.diagnostics import did_you_mean, os_reason
from pointgate.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import IO

_REDRAW_SECONDS: Final = 0.1
_BUFFER_BYTES: Final = 1_048_576

FilesArgument = Annotated[
    list[str],
    typer.Argument(metavar="FILES...", help="Files, folders of files, or - for stdin."),
]
ProductOption = Annotated[
    str | None, typer.Option(metavar="PK", help="The product key all were posted to.")
]
TopicsOption = Annotated[
    bool,
    typer.Option(
        "--topics", help="Each line begins with its topic and a space (mosquitto_sub -v)."
    ),
]
OnePerFileOption = Annotated[
    bool | None,
    typer.Option(
        "--one-per-file/--one-per-line",
        help="Where requests end; default: detected by the content.",
    ),
]
NowOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        max=253_402_300_799_999,
        help="When the first request arrived, UTC milliseconds; default now.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def check_where_requests_end(
    *, product: str | None, topics: bool, one_per_file: bool | None
) -> bool | None:
    """Whether a file is one request; None if its content decides.

    Raises:
        typer.BadParameter: The options contradict each other.
    """
    if (product is None) != topics:
        raise typer.BadParameter("expected either --product or --topics")
    if topics and one_per_file:
        raise typer.BadParameter("expected lines with --topics, got --one-per-file")
    return False if topics else one_per_file


def check_product(product: str | None, known: Collection[str]) -> None:
    """Reject a product that is in no catalog: all its requests would be rejected."""
    if product is not None and product not in known:
        near = did_you_mean(product, known)
        raise typer.BadParameter(
            f"--product: the catalog has no product {printable(product)}{near}"
        )


def check_paths(inputs: Sequence[str], outputs: Mapping[str, Path | None]) -> None:
    """Reject inputs that cannot be opened, and outputs that are inside an input."""
    for name, reason in unusable(inputs):
        raise typer.BadParameter(f"{printable(name)}: {reason}")
    for option, path in outputs.items():
        for name in inputs if path else ():
            if name != STDIN and path and path.resolve().is_relative_to(Path(name).resolve()):
                raise typer.BadParameter(
                    f"{option}: expected a path outside of the inputs, got {printable(str(path))}"
                )


def open_output(option: str, path: Path) -> IO[bytes]:
    """Open the file of an option for writing; it is replaced.

    Raises:
        typer.BadParameter: It cannot be opened.
    """
    try:
        return path.open("wb", buffering=_BUFFER_BYTES)
    except OSError as error:
        reason = os_reason(error)
        raise typer.BadParameter(f"{option}: {printable(str(path))}: {reason}") from error


class InputsBar:
    """The progress bar, if stderr is a terminal.

    Args:
        inputs: What is read.
        found: What is counted besides requests: `rejected`.
    """

    def __init__(self, inputs: Inputs, *, found: str) -> None:
        self._progress = Progress(
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn(f"{{task.fields[requests]:,}} requests, {{task.fields[found]:,}} {found}"),
            console=Console(stderr=True),
            auto_refresh=False,  # no thread of its own
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=sys.stderr is None or not sys.stderr.isatty(),
        )
        total = None if self._progress.disable else inputs.size()
        self._task = self._progress.add_task("", total=total, requests=0, found=0)
        self._drawn = 0.0
        self._done = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, stored: int, *, requests: int, found: int) -> None:
        """Add bytes of the inputs, and set the totals."""
        self._done += stored
        now = time.monotonic()
        if not self._progress.disable and now - self._drawn >= _REDRAW_SECONDS:
            self._drawn = now
            self._progress.update(
                self._task,
                completed=self._done,
                requests=requests,
                found=found,
                refresh=True,
            )
