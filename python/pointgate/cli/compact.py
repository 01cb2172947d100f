"""`pointgate compact`: merges the files of a dataset, and removes duplicate points.

Of a Delta table: `sinks/delta/compaction.py`. What follows is about plain Parquet.

A service never merges files by itself. After this command each day or month is one file, or several
large ones, with one point for each key: the one that was accepted last. It makes a dataset of the
former layout, with a folder for each product, one of today's. It may run beside the service.

A reader may have listed the files that were merged and not opened them yet, so they stay for ten
minutes, in which whoever lists the folder sees their points twice. `--now` deletes them at once,
which is right where nobody reads.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from pointgate.cli.options import local_path_option
from pointgate.diagnostics import numbered
from pointgate.extras import missing
from pointgate.sinks.delta.settings import LOG_FOLDER
from pointgate.terminal import Status, print_json, printable, say, unicode_text

if TYPE_CHECKING:
    from pointgate.sinks.parquet.compaction import Summary


def compact(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="The folder of a parquet or delta sink.", parser=local_path_option
        ),
    ],
    *,
    now: Annotated[
        bool, typer.Option("--now", help="Delete merged files at once: nobody reads the folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> NoReturn:
    """Merge the files of a Parquet dataset or a Delta table, and keep each point once."""
    from pointgate.sinks.parquet.compaction import (  # noqa: PLC0415 - others need no pyarrow
        GRACE,
        compact_all,
        wait,
    )
    from pointgate.sinks.parquet.dataset import Dataset  # noqa: PLC0415 - as above

    if not path.is_dir():
        found = "a file" if path.exists() else "nothing: no such folder"
        say(f"{unicode_text(str(path))}: expected the folder of a parquet sink, got {found}")
        sys.exit(Status.USAGE)
    if (path / LOG_FOLDER).is_dir():
        _compact_delta(path, now=now, as_json=as_json)
    dataset = Dataset(path)
    try:
        if not dataset.exists:
            found = "a folder without any date=… in it"
            say(f"{unicode_text(str(path))}: expected the folder of a parquet sink, got {found}")
            sys.exit(Status.USAGE)
        dataset.create()
        try:
            with dataset.locked("compaction", wait=False):
                pass
        except BlockingIOError:
            say("waiting for another process that is merging files of this dataset")
        with dataset.locked("compaction", wait=True), _bar() as bar:
            task = bar.add_task("")
            summary = compact_all(
                dataset,
                grace=0.0 if now else GRACE,
                progress=lambda size, total: bar.update(task, advance=size, total=total),
            )
            if not now and summary.merged:
                minutes = f"{GRACE / 60:.0f} minutes"
                say(
                    f"merged; waiting {minutes} before the merged files are deleted, because a "
                    "query may have them open; with --now they are deleted at once"
                )
            wait(dataset)
    except PermissionError as error:
        say(f"{unicode_text(str(error.filename))}: permission denied")
        sys.exit(Status.FINDINGS)
    if as_json:
        print_json({**asdict(summary), "problems": [*map(unicode_text, summary.problems)]})
    else:
        _print(summary)
    sys.exit(Status.FINDINGS if summary.problems else Status.DONE)


def _compact_delta(path: Path, *, now: bool, as_json: bool) -> NoReturn:
    try:
        from pointgate.sinks.delta.compaction import (  # noqa: PLC0415 - needs the extra
            RETENTION_HOURS,
            compact_table,
        )
    except ModuleNotFoundError as error:
        say(missing(error, "delta"))
        sys.exit(Status.USAGE)
    try:
        summary = compact_table(path, retention_hours=0 if now else RETENTION_HOURS)
    except Exception as error:  # noqa: BLE001 - the library has no common class for its errors
        say(f"{unicode_text(str(path))}: {' '.join(str(error).split())}")
        sys.exit(Status.FINDINGS)
    if as_json:
        print_json({**asdict(summary), "problems": [*map(unicode_text, summary.problems)]})
    else:
        for problem in summary.problems:
            typer.echo(printable(problem))
        files = f"{numbered(summary.files_before, 'file')} into {summary.files_after:,}"
        typer.echo(f"{numbered(summary.days, 'day')}: {files}")
        removed = f"{numbered(summary.duplicates, 'point')} removed"
        typer.echo(f"{removed}, {numbered(summary.deleted, 'old file')} deleted")
    sys.exit(Status.FINDINGS if summary.problems else Status.DONE)


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("merging"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def _print(summary: Summary) -> None:
    for problem in summary.problems:
        typer.echo(printable(problem))
    files = f"{numbered(summary.files_before, 'file')} into {summary.files_after:,}"
    typer.echo(f"{summary.merged:,} of {summary.folders:,} days or months merged: {files}")
    size = f"{numbered(summary.bytes_before, 'byte')} into {summary.bytes_after:,}"
    points = numbered(summary.points_before, "point")
    typer.echo(f"{size}, {summary.duplicates:,} of {points} removed")
