"""`pointgate validate`: bulk validation of archived requests, on all cores.

Verdicts are those of the service. A summary goes to stdout, rejected requests and accepted points
to the files of `--rejects` and `--out`; stderr shows a progress bar if it is a terminal.

Exit status 0 if all requests are accepted, 1 if some are rejected, 2 if an input cannot be read. A
damaged input is validated up to the damage, and the other inputs completely.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, Self

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
from pointgate.bulk.jobs import RunOptions
from pointgate.bulk.judge import judging, load_catalog
from pointgate.bulk.pool import Pool, WorkerLostError, cores
from pointgate.bulk.report import RejectsWriter, Totals
from pointgate.bulk.streams import MARGIN_BYTES
from pointgate.cli.options import (
    CatalogOption,
    ConfigOrDefaultOption,
    ProcessesOption,
    catalog_or_exit,
    path_option,
    settings_for_catalog,
)
from pointgate.diagnostics import did_you_mean, os_reason
from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.terminal import Status, print_json, printable, say, unicode_text
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

    from pointgate.bulk.dataset_writer import PointsWriter
    from pointgate.catalog import Catalog

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
RejectsOption = Annotated[
    Path | None,
    path_option(metavar="FILE", help="Write rejected requests to this file, as JSON lines."),
]
AllFaultsOption = Annotated[
    bool, typer.Option("--all-faults", help="Describe every fault in --rejects, up to 100.")
]
OutOption = Annotated[
    Path | None,
    path_option(metavar="FOLDER", help="Write accepted points to this folder, as Parquet."),
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


def validate(
    files: FilesArgument,
    *,
    product: ProductOption = None,
    topics: TopicsOption = False,
    config: ConfigOrDefaultOption = None,
    catalog: CatalogOption = None,
    one_per_file: OnePerFileOption = None,
    rejects: RejectsOption = None,
    all_faults: AllFaultsOption = False,
    out: OutOption = None,
    now_ms: NowOption = None,
    processes: ProcessesOption = None,
    as_json: JsonOption = False,
) -> NoReturn:
    """Validate archived requests in files, folders and archives."""
    if (product is None) != topics:
        raise typer.BadParameter("expected either --product or --topics")
    if topics and one_per_file:
        raise typer.BadParameter("expected lines with --topics, got --one-per-file")
    if all_faults and rejects is None:
        raise typer.BadParameter("--all-faults: expected --rejects FILE with it")
    settings = settings_for_catalog(config, catalog)
    options = RunOptions(
        catalog=catalog or settings.catalog.path,
        payload_bytes=settings.limits.payload_bytes,
        now_ms=time.time_ns() // 1_000_000 if now_ms is None else now_ms,
        topic=None if product is None else request_topic(product),
        describes=rejects is not None,
        collects=out is not None,
        all_faults=all_faults,
    )
    _check_product(product, catalog_or_exit(options.catalog, load_catalog))
    _check_paths(files, {"--rejects": rejects, "--out": out})
    whole = False if topics else one_per_file
    inputs = Inputs(files, keep=options.payload_bytes + MARGIN_BYTES, whole=whole)
    started = time.perf_counter()
    totals = _run_or_exit(inputs, options, rejects=rejects, out=out, processes=processes)
    seconds = time.perf_counter() - started
    if as_json:
        print_json(_document(totals, inputs.files, seconds))
    else:
        _print(totals, inputs.files, seconds)
    for name, reason in sorted(totals.problems.items()):
        say(f"{name}: {reason}")
    if totals.problems:
        sys.exit(Status.USAGE)
    sys.exit(Status.FINDINGS if totals.faults else Status.DONE)


def _check_product(product: str | None, catalog: Catalog) -> None:
    """Reject a product that is not in the catalog: all its requests would be rejected."""
    if product is not None and product not in catalog.products:
        near = did_you_mean(product, catalog.products)
        raise typer.BadParameter(
            f"--product: the catalog has no product {printable(product)}{near}"
        )


def _check_paths(inputs: Sequence[str], outputs: Mapping[str, Path | None]) -> None:
    """Reject inputs that cannot be opened, and outputs that are inside an input."""
    for name, reason in unusable(inputs):
        raise typer.BadParameter(f"{printable(name)}: {reason}")
    for option, path in outputs.items():
        for name in inputs if path else ():
            if name != STDIN and path and path.resolve().is_relative_to(Path(name).resolve()):
                raise typer.BadParameter(
                    f"{option}: expected a path outside of the inputs, got {printable(str(path))}"
                )


def _run_or_exit(
    inputs: Inputs,
    options: RunOptions,
    *,
    rejects: Path | None,
    out: Path | None,
    processes: int | None,
) -> Totals:
    try:
        return _run(inputs, options, rejects=rejects, out=out, processes=processes or cores())
    except WorkerLostError as error:
        say(str(error))
        sys.exit(Status.SOFTWARE)
    except (SinkUnavailableError, SinkRefusedError) as error:
        say(f"--out: {error}")
        sys.exit(Status.OUTPUT)


def _run(
    inputs: Inputs, options: RunOptions, *, rejects: Path | None, out: Path | None, processes: int
) -> Totals:
    """Validate all inputs, with a progress bar; write rejected requests and accepted points."""
    totals = Totals()
    with ExitStack() as stack:
        # The pool first, because it forks, which is safe only while there is one thread.
        pool = stack.enter_context(Pool(judging, options, processes=processes))
        writer = RejectsWriter(stack.enter_context(_opened(rejects))) if rejects else None
        points = stack.enter_context(_points_writer(out)) if out else None
        bar = stack.enter_context(_Bar(inputs))
        arrived_us = options.now_ms * 1000
        for job, result in pool.run(inputs.jobs()):
            totals.add(result)
            if writer:
                writer.write(job, result)
            if points:
                points.add(result.table, arrived_us=arrived_us)
            arrived_us += result.arrivals
            bar.show(job.stored, totals)
    totals.problems.update(inputs.problems)
    return totals


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("wb", buffering=_BUFFER_BYTES)
    except OSError as error:
        raise typer.BadParameter(
            f"--rejects: {printable(str(path))}: {os_reason(error)}"
        ) from error


def _points_writer(folder: Path) -> PointsWriter:
    from pointgate.bulk.dataset_writer import PointsWriter  # noqa: PLC0415 - threads: not before a fork

    return PointsWriter(folder)


class _Bar:
    """The progress bar, if stderr is a terminal."""

    def __init__(self, inputs: Inputs) -> None:
        self._progress = Progress(
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[requests]:,} requests, {task.fields[rejected]:,} rejected"),
            console=Console(stderr=True),
            auto_refresh=False,  # no thread of its own
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=sys.stderr is None or not sys.stderr.isatty(),
        )
        total = None if self._progress.disable else inputs.size()
        self._task = self._progress.add_task("", total=total, requests=0, rejected=0)
        self._drawn = 0.0
        self._done = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, stored: int, totals: Totals) -> None:
        """Add so many bytes of the inputs."""
        self._done += stored
        now = time.monotonic()
        if not self._progress.disable and now - self._drawn >= _REDRAW_SECONDS:
            self._drawn = now
            self._progress.update(
                self._task,
                completed=self._done,
                requests=totals.requests,
                rejected=totals.rejected,
                refresh=True,
            )


def _print(totals: Totals, files: int, seconds: float) -> None:
    """Print the summary as text."""
    lines = [("requests", totals.requests, ""), ("accepted", totals.accepted, _share(totals))]
    lines += [("rejected", totals.rejected, "")]
    lines += [(f"  {code} {reason}", count, "") for (code, reason), count in totals.by_count()]
    lines += [("points", totals.points, ""), ("bytes", totals.size, ""), ("files", files, "")]
    for name, count, note in lines:
        typer.echo(f"{name:<22}{count:>17,}{note}")
    rate = totals.requests / seconds, totals.size / seconds / 1e6
    typer.echo(f"{'seconds':<22}{seconds:>17,.2f}   {rate[0]:,.0f} requests/s, {rate[1]:,.0f} MB/s")


def _share(totals: Totals) -> str:
    # Rounded down, so that 100 % means all of them.
    return f"   {totals.accepted * 1000 // totals.requests / 10:.1f} %" if totals.requests else ""


def _document(totals: Totals, files: int, seconds: float) -> dict[str, object]:
    return {
        "requests": totals.requests,
        "accepted": totals.accepted,
        "rejected": totals.rejected,
        "faults": [
            {"code": code, "reason": reason, "requests": count}
            for (code, reason), count in totals.by_count()
        ],
        "points": totals.points,
        "bytes": totals.size,
        "files": files,
        "seconds": round(seconds, 6),
        "problems": [
            {"file": unicode_text(name), "reason": reason}
            for name, reason in sorted(totals.problems.items())
        ],
    }
