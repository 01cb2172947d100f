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
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pointgate.bulk.inputs import Inputs
from pointgate.bulk.jobs import RunOptions
from pointgate.bulk.judge import judging, load_catalog
from pointgate.bulk.pool import Pool, WorkerLostError, cores
from pointgate.bulk.report import DescribedRequests, Totals
from pointgate.bulk.streams import MARGIN_BYTES
from pointgate.cli.allocators import keep_freed_memory
from pointgate.cli.archives import (
    FilesArgument,
    InputsBar,
    JsonOption,
    NowOption,
    OnePerFileOption,
    ProductOption,
    TopicsOption,
    check_paths,
    check_product,
    check_where_requests_end,
    open_output,
)
from pointgate.cli.options import (
    CatalogOption,
    ConfigOrDefaultOption,
    OutOption,
    ProcessesOption,
    catalog_or_exit,
    exit_with_problems,
    path_option,
    settings_for_catalog,
)
from pointgate.errors import ConfigError
from pointgate.garbage_collection import collect_seldom
from pointgate.sinks.base import SinkRefusedError, SinkUnavailableError
from pointgate.terminal import Status, print_json, say, unicode_text
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from pointgate.bulk.dataset_writer import PointsWriter
    from pointgate.catalog import Catalog
    from pointgate.sinks.parquet.settings import ParquetSettings


RejectsOption = Annotated[
    Path | None,
    path_option(metavar="FILE", help="Write rejected requests to this file, as JSON lines."),
]
AllFaultsOption = Annotated[
    bool, typer.Option("--all-faults", help="Describe every fault in --rejects, up to 100.")
]


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
    whole = check_where_requests_end(product=product, topics=topics, one_per_file=one_per_file)
    if all_faults and rejects is None:
        raise typer.BadParameter("--all-faults: expected --rejects FILE with it")
    if out is not None:
        keep_freed_memory()  # before pyarrow is imported
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
    loaded = catalog_or_exit(options.catalog, load_catalog)
    check_product(product, loaded.products)
    check_paths(files, {"--rejects": rejects, "--out": out.path if out else None})
    inputs = Inputs(files, keep=options.payload_bytes + MARGIN_BYTES, whole=whole)
    started = time.perf_counter()
    totals = _run_or_exit(inputs, options, rejects=rejects, out=out, processes=processes)
    if out is not None:
        _write_dimensions(out, loaded)
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


def _run_or_exit(
    inputs: Inputs,
    options: RunOptions,
    *,
    rejects: Path | None,
    out: ParquetSettings | None,
    processes: int | None,
) -> Totals:
    try:
        return _run(inputs, options, rejects=rejects, out=out, processes=processes or cores())
    except WorkerLostError as error:
        say(str(error))
        sys.exit(Status.SOFTWARE)
    except ConfigError as error:
        exit_with_problems(error.problems)
    except (SinkUnavailableError, SinkRefusedError) as error:
        say(f"--out: {error}")
        sys.exit(Status.OUTPUT)


def _run(
    inputs: Inputs,
    options: RunOptions,
    *,
    rejects: Path | None,
    out: ParquetSettings | None,
    processes: int,
) -> Totals:
    """Validate all inputs, with a progress bar; write rejected requests and accepted points."""
    totals = Totals()
    with ExitStack() as stack:
        # The pool first, because it forks, which is safe only while there is one thread.
        pool = stack.enter_context(Pool(judging, options, processes=processes))
        described = DescribedRequests()
        file = stack.enter_context(open_output("--rejects", rejects)) if rejects else None
        points = stack.enter_context(_points_writer(out)) if out else None
        bar = stack.enter_context(InputsBar(inputs, found="rejected"))
        collect_seldom()
        arrived_us = options.now_ms * 1000
        for job, result in pool.run(inputs.jobs()):
            totals.add(result)
            if file:
                file.writelines(b"%b\n" % one for one in described.of(job, result))
            if points and result.table is not None:
                points.add(result.table, arrived_us=arrived_us)
            arrived_us += result.arrivals
            bar.show(job.stored, requests=totals.requests, found=totals.rejected)
    totals.problems.update(inputs.problems)
    return totals


def _points_writer(out: ParquetSettings) -> PointsWriter:
    from pointgate.bulk.dataset_writer import PointsWriter  # noqa: PLC0415 - threads: not before a fork

    return PointsWriter(out)


def _write_dimensions(out: ParquetSettings, catalog: Catalog) -> None:
    """Write the tables that describe the points, beside them."""
    from pointgate.sinks.parquet.dimensions import try_write  # noqa: PLC0415 - not before a fork

    folder = out.dimensions_folder
    if folder is not None and (reason := try_write(folder, catalog)[1]):
        say(f"{folder}: dimensions not written: {reason}")


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
