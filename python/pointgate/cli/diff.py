"""`pointgate diff OLD NEW TRAFFIC…`: which requests a new catalog would judge differently.

Each request is judged by both catalogs as the service would, from archives, from the quarantine, or
from a running service: `pointgate tap --json --payload --seconds 60 | pointgate diff OLD NEW -`.
The answer is how many requests change their verdict, by code and reason, with examples. Nothing is
posted, stored or changed.

Exit status 0 if no verdict changes, 1 if some do, 2 if an input cannot be read.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import orjson
import typer

from pointgate.bulk.differ import Differ, DiffOptions, DiffResult, DiffTotals, Verdict, comparing
from pointgate.bulk.inputs import Inputs
from pointgate.bulk.judge import load_catalog
from pointgate.bulk.pool import Pool, WorkerLostError, cores
from pointgate.bulk.report import DescribedRequests
from pointgate.bulk.streams import MARGIN_BYTES
from pointgate.cli.archives import (
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
    ConfigOrDefaultOption,
    ProcessesOption,
    catalog_or_exit,
    local_path_option,
    path_option,
    settings_or_exit,
)
from pointgate.cli.quarantine_filter import quarantine_or_exit
from pointgate.codes import Code
from pointgate.config import Settings
from pointgate.diagnostics import numbered
from pointgate.fault_document import utc_text
from pointgate.quarantine.database import Filter
from pointgate.terminal import Status, print_json, printable, say, unicode_text
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Write = Callable[[Iterable[bytes]], None]
    """Writes changed requests to the file of `--changed`, if there is one."""


def _catalog(which: str) -> Any:
    return typer.Argument(
        metavar=which, help=f"The folder of the {which.lower()} catalog.", parser=local_path_option
    )


def diff(
    old: Annotated[Path, _catalog("OLD")],
    new: Annotated[Path, _catalog("NEW")],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="TRAFFIC...", help="Files, folders of files, or - for stdin."),
    ] = None,
    *,
    product: ProductOption = None,
    topics: TopicsOption = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Judge the requests in the quarantine.")
    ] = False,
    config: ConfigOrDefaultOption = None,
    one_per_file: OnePerFileOption = None,
    changed: Annotated[
        Path | None,
        path_option(metavar="FILE", help="Write all changed requests there, as JSON lines."),
    ] = None,
    examples: Annotated[
        int, typer.Option(metavar="N", min=0, max=3, help="Examples of each change.")
    ] = 1,
    now_ms: NowOption = None,
    processes: ProcessesOption = None,
    as_json: JsonOption = False,
) -> NoReturn:
    """Show which requests a new catalog would judge differently."""
    if quarantine == bool(files):
        raise typer.BadParameter("expected either TRAFFIC or --quarantine")
    if quarantine and (product or topics):
        raise typer.BadParameter("expected no --product and no --topics with --quarantine")
    # Without a topic from outside each line has its own, as those of `pointgate tap` have.
    described = not (quarantine or product or topics)
    if described and one_per_file:
        raise typer.BadParameter("expected --product with --one-per-file")
    needed = config or (Path("pointgate.toml") if quarantine else None)
    settings = settings_or_exit(needed) if needed else Settings()
    options = DiffOptions(
        catalog=old,
        new=new,
        payload_bytes=settings.limits.payload_bytes,
        now_ms=time.time_ns() // 1_000_000 if now_ms is None else now_ms,
        topic=None if product is None else request_topic(product),
        describes=changed is not None,
        described=described,
    )
    known = {key for one in (old, new) for key in catalog_or_exit(one, load_catalog).products}
    totals = DiffTotals(examples)
    started = time.perf_counter()
    if quarantine:
        _judge_quarantine(settings, options, totals, changed)
    else:
        check_product(product, known)
        check_paths(files or (), {"--changed": changed})
        lines = topics or described
        whole = check_where_requests_end(product=product, topics=lines, one_per_file=one_per_file)
        inputs = Inputs(files or (), keep=options.payload_bytes + MARGIN_BYTES, whole=whole)
        try:
            _judge_inputs(inputs, options, totals, changed, processes or cores())
        except WorkerLostError as error:
            say(str(error))
            sys.exit(Status.SOFTWARE)
    seconds = time.perf_counter() - started
    if as_json:
        print_json(_document(totals, seconds))
    else:
        _print(totals, seconds)
    for name, reason in sorted(totals.problems.items()):
        say(f"{name}: {reason}")
    if totals.problems:
        sys.exit(Status.USAGE)
    sys.exit(Status.FINDINGS if totals.changes else Status.DONE)


def _judge_inputs(
    inputs: Inputs, options: DiffOptions, totals: DiffTotals, changed: Path | None, processes: int
) -> None:
    """Judge archived requests on all cores, with a progress bar."""
    with ExitStack() as stack:
        # The pool first, because it forks, which is safe only while there is one thread.
        pool = stack.enter_context(Pool(comparing, options, processes=processes))
        write = _writer(stack, changed)
        bar = stack.enter_context(InputsBar(inputs, found="changed"))
        requests = DescribedRequests()
        for job, result in pool.run(inputs.jobs()):
            described = [*requests.of(job, result)]
            totals.add(result, described)
            write(described)
            bar.show(job.stored, requests=totals.requests, found=totals.changed)
    totals.problems.update(inputs.problems)


def _judge_quarantine(
    settings: Settings, options: DiffOptions, totals: DiffTotals, changed: Path | None
) -> None:
    """Judge each request in the quarantine as if it arrived when it did."""
    differ = Differ(options)
    without_payload = deleted = 0
    with quarantine_or_exit(settings) as quarantine, ExitStack() as stack:
        write = _writer(stack, changed)
        for number in quarantine.numbers(Filter()) if quarantine else ():
            request = quarantine.get(number, payload=True) if quarantine else None
            if request is None:
                deleted += 1
                continue
            if request.payload is None:
                without_payload += 1
                continue
            result = DiffResult()
            differ.compare_burst(
                [request.topic],
                [request.payload],
                0,
                result,
                now_ms=request.received_us // 1000,
            )
            place = {"number": number, "received": utc_text(request.received_us)}
            described = [orjson.dumps(place)[:-1] + b"," + one for _, one in result.rejects]
            totals.add(result, described)
            write(described)
    if not totals.requests and not without_payload:
        say("no requests in the quarantine")
    elif totals.requests:
        say(
            "note: only requests that were rejected; accepted ones that NEW rejects are found by "
            "pointgate tap --json --payload | pointgate diff OLD NEW -"
        )
    totals.skipped = without_payload + deleted
    if without_payload:
        reason = "the payload was too large to be kept"
        say(f"not judged: {numbered(without_payload, 'request')}: {reason}")
    if deleted:
        say(f"not judged: {numbered(deleted, 'request')}: deleted from the quarantine meanwhile")


def _writer(stack: ExitStack, path: Path | None) -> Write:
    file = stack.enter_context(open_output("--changed", path)) if path else None

    def write(described: Iterable[bytes]) -> None:
        if file:
            file.writelines(b"%b\n" % one for one in described)

    return write


def _print(totals: DiffTotals, seconds: float) -> None:
    """Print the summary as text: totals, then each change with its examples."""
    counts = [("requests", totals.requests), ("changed", totals.changed)]
    if totals.skipped:
        counts.append(("not judged", totals.skipped))
    for name, count in counts:
        typer.echo(f"{name:<12}{count:>15,}")
    rate = totals.requests / seconds
    typer.echo(f"{'seconds':<12}{seconds:>15,.2f}   {rate:,.0f} requests/s")
    for change, count in totals.by_count():
        typer.echo(f"{count:>12,}  {_words(change.old)} -> {_words(change.new)}")
        for example in totals.examples.get(change, ()):
            document = orjson.loads(example)
            place = document.get("file", "quarantine")
            line = document.get("line") or document.get("number")
            where = place if line is None else f"{place}:{line}"
            verdict = document["new" if change.new.code != Code.OK else "old"]
            typer.echo(f"{'':14}{printable(where)}  {printable(verdict['message'])}")


def _words(verdict: Verdict) -> str:
    return "accepted" if verdict.code == Code.OK else f"{verdict.code} {verdict.reason}"


def _document(totals: DiffTotals, seconds: float) -> dict[str, object]:
    return {
        "requests": totals.requests,
        "changed": totals.changed,
        "skipped": totals.skipped,
        "changes": [
            {
                "old": change.old._asdict(),
                "new": change.new._asdict(),
                "requests": count,
                "examples": [*map(orjson.loads, totals.examples.get(change, ()))],
            }
            for change, count in totals.by_count()
        ],
        "seconds": round(seconds, 6),
        "problems": [
            {"file": unicode_text(name), "reason": reason}
            for name, reason in sorted(totals.problems.items())
        ],
    }
