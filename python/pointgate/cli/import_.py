"""`pointgate import`: history from CSV, Parquet, NDJSON or archived requests into the sinks.

Each point is judged as the service would, and written by the sinks of the configuration. The state
beside the output says how far the import is: the same command continues after any interruption.

Exit status 0 when everything is imported, 1 when something was rejected, 2 when an input cannot be
read, 74 when a sink is unavailable, 75 when another process imports with the same state, 78 for a
configuration or a mapping that cannot be used.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Self

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from pointgate.bulk.pool import Pool, WorkerLostError, cores
from pointgate.cli.options import (
    CatalogOption,
    ConfigOrDefaultOption,
    OutOption,
    ProcessesOption,
    catalog_or_exit,
    exit_with_problems,
    settings_for_catalog,
)
from pointgate.diagnostics import did_you_mean, os_reason
from pointgate.errors import ConfigError, Problem
from pointgate.quantities import SIZES, bytes_of
from pointgate.sinks.base import SinkUnavailableError
from pointgate.terminal import Status, print_json, printable, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointgate.config import Settings
    from pointgate.importing.coverage import Coverage
    from pointgate.importing.plan import Plan
    from pointgate.importing.reading import Block, BlockResult
    from pointgate.importing.session import Import
    from pointgate.importing.state import State
    from pointgate.sinks.parquet.settings import ParquetSettings
    from pointgate.sinks.settings import SinkSettings

_REDRAW_SECONDS = 0.2
_LEAST_MEMORY = 2**20

_LARGE = 16 * 2**20
"""Bytes of inputs, as they are on the disk."""


def import_(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES...", help="Files, folders, patterns, or - for stdin."),
    ] = None,
    *,
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What the columns mean: a mapping file.")
    ] = None,
    product: Annotated[
        str | None, typer.Option(metavar="PK", help="The product of archived requests.")
    ] = None,
    config: ConfigOrDefaultOption = None,
    catalog: CatalogOption = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A sink of the configuration; default all of them."),
    ] = None,
    out: OutOption = None,
    state: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to keep how far the import is.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only files called like this.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="No files called like this.")
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write rejected points there, a JSON line each."),
    ] = None,
    coverage: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw there which days each device has."),
    ] = None,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="How much memory to sort in.")
    ] = "256MiB",
    processes: ProcessesOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Judge and report; write nothing.")
    ] = False,
    sample: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Propose a mapping for a CSV file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> NoReturn:
    """Import history: CSV, Parquet, NDJSON or archived requests, into every sink."""
    if sample is not None:
        _propose(sample, product or "CHANGE-ME")
    if not files:
        raise typer.BadParameter("expected FILES to import, or --sample FILE")
    if (mapping is None) == (product is None):
        raise typer.BadParameter("expected either --mapping, or --product for archived requests")
    if out and sink:
        raise typer.BadParameter("expected either --out or --sink, got both")
    for option, file in (("--rejects", rejects), ("--coverage", coverage)):
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            text = printable(str(file))
            raise typer.BadParameter(
                f"{option}: expected a file in a folder that exists, got {text}"
            )
    settings = settings_for_catalog(config, catalog if out or dry_run else None)
    sinks = [] if dry_run else _sinks(settings, out, sink or [])
    chosen = _Choice(files, mapping, product, catalog, include or [], exclude or [])
    plan = _plan(chosen, settings, _memory(memory))
    begun = time.perf_counter()
    with ExitStack() as stack:
        folder = _state_path(state, out, config)
        if dry_run:  # its state is removed
            trial = tempfile.TemporaryDirectory(prefix="pointgate-import-")
            folder = Path(stack.enter_context(trial))
        found = _run(stack, folder, plan, sinks, processes)
        seconds = time.perf_counter() - begun
        if rejects is not None:
            _write(lambda: shutil.copyfile(found.rejects, rejects), "--rejects")
        _report(found, coverage, seconds, as_json=as_json)
        if found.state.counts.rejected and rejects is None:
            place = "--rejects FILE has" if dry_run else f"{printable(str(found.rejects))} has"
            say(f"{place} the rejected points, each with its line and the reason")
        _exit(found.state)


def _propose(sample: Path, product: str) -> NoReturn:
    from pointgate.importing.records import TableError  # noqa: PLC0415 - others need none of it
    from pointgate.importing.sample import propose  # noqa: PLC0415 - as above

    try:
        if sample.exists() and not sample.is_file():
            raise typer.BadParameter(f"--sample: expected a file, got {printable(str(sample))}")
        with sample.open("rb") as file:
            typer.echo(propose(str(sample), file, product), nl=False)
    except OSError as error:
        raise typer.BadParameter(
            f"--sample: {printable(str(sample))}: {os_reason(error)}"
        ) from None
    except TableError as error:
        say(f"{sample}: {error}")
        sys.exit(Status.USAGE)
    sys.exit(Status.DONE)


def _memory(text: str) -> int:
    value = bytes_of(int(text) if text.isdigit() else text)
    if not isinstance(value, int) or value < _LEAST_MEMORY:
        raise typer.BadParameter(f"--memory: expected at least 1MiB, such as {SIZES}, got {text}")
    return value


def _sinks(
    settings: Settings, out: ParquetSettings | None, names: Sequence[str]
) -> list[SinkSettings]:
    from pointgate.importing.writing import known  # noqa: PLC0415 - pyarrow: as above

    if out is not None:
        return [out]
    try:
        return known(settings.sinks, names)
    except ValueError as error:
        raise typer.BadParameter(printable(str(error))) from None


@dataclass(frozen=True, slots=True)
class _Choice:
    """What the arguments say of the inputs."""

    files: Sequence[str]
    mapping: Path | None
    product: str | None
    catalog: Path | None
    include: Sequence[str]
    exclude: Sequence[str]


def _plan(chosen: _Choice, settings: Settings, memory: int) -> Plan:
    from pointgate.importing.inputs import Filter  # noqa: PLC0415 - as above
    from pointgate.importing.mapping import load_mapping  # noqa: PLC0415 - as above
    from pointgate.importing.plan import (  # noqa: PLC0415 - as above
        Plan,
        digest_of,
        unknown_points,
    )

    found = None
    try:
        found = load_mapping(chosen.mapping) if chosen.mapping else None
    except ConfigError as error:
        exit_with_problems(error.problems)
    loaded = catalog_or_exit(chosen.catalog or settings.catalog.path)
    fixed = chosen.product
    if found:
        value = found.product.value
        fixed = found.product.template.replace("{}", value) if value else None
    if fixed is not None and fixed not in loaded.products:
        near = did_you_mean(fixed, loaded.products)
        if chosen.mapping:
            reason = f"expected a product of the catalog, got {printable(fixed)}{near}"
            exit_with_problems([Problem(str(chosen.mapping), "product", reason)])
        raise typer.BadParameter(f"--product: the catalog has no product {printable(fixed)}{near}")
    if found and fixed is not None:
        problems = unknown_points(found, str(chosen.mapping), fixed, loaded)
        if problems:
            exit_with_problems(problems)
    meaning = found.model_dump_json().encode() if found else f"requests {chosen.product}".encode()
    return Plan(
        names=chosen.files,
        filter=Filter(tuple(chosen.include), tuple(chosen.exclude)),
        mapping=found,
        product=chosen.product,
        digest=digest_of(meaning),
        catalog=loaded,
        payload_bytes=settings.limits.payload_bytes,
        memory=memory,
    )


def _state_path(state: Path | None, out: ParquetSettings | None, config: Path | None) -> Path:
    """Where the state is: beside the output."""
    if state is not None:
        return state
    if out is not None:
        beside = out.path if isinstance(out.path, Path) else Path(re.sub(r"\W+", "-", out.path))
        return beside.with_name(f"{beside.name}.import")
    return (config or Path("pointgate.toml")).with_name("import-state")


def _pool(stack: ExitStack, plan: Plan, processes: int | None) -> Pool[Block, BlockResult] | None:
    from pointgate.importing.reading import reading  # noqa: PLC0415 - as above

    options = plan.reading
    count = processes or (cores() if _is_large(plan.names) else 1)
    if options is None or count == 1:
        return None
    return stack.enter_context(Pool(reading, options, processes=count))


def _is_large(names: Sequence[str]) -> bool:
    """Whether starting processes, which takes a second, is worth it."""
    from pointgate.importing.inputs import STDIN, expand  # noqa: PLC0415 - as above

    size = 0
    for name in expand(names, {}):
        with suppress(OSError):
            size += _LARGE if name == STDIN else Path(name).stat().st_size
        if size >= _LARGE:
            return True
    return False


def _run(
    stack: ExitStack,
    path: Path,
    plan: Plan,
    sinks: Sequence[SinkSettings],
    processes: int | None,
) -> Import:
    from pointgate.importing.session import Import  # noqa: PLC0415 - as above
    from pointgate.importing.state import (  # noqa: PLC0415 - as above
        StateBusyError,
        StateError,
        StateFolder,
    )

    try:
        # The pool first, because it forks, which is safe only while there is one thread.
        pool = _pool(stack, plan, processes)
        folder = StateFolder(path)
        stack.callback(folder.close)
        bar = stack.enter_context(_Bar())
        found = Import(plan, folder, bar.show, pool)
        found.run(sinks)
    except ConfigError as error:
        exit_with_problems(error.problems)
    except StateBusyError as error:
        say(str(error))
        sys.exit(Status.TEMPORARY)
    except StateError as error:
        say(str(error))
        sys.exit(Status.USAGE)
    except WorkerLostError as error:
        say(f"{error}; the same command continues from here")
        sys.exit(Status.SOFTWARE)
    except SinkUnavailableError as error:
        say(f"{error}; the same command continues from here")
        sys.exit(Status.OUTPUT)
    except OSError as error:
        say(f"{error.filename or path}: {os_reason(error)}; the same command continues from here")
        sys.exit(Status.OUTPUT)
    except SystemExit:
        say("stopped; the same command continues from here")
        raise
    return found


def _report(found: Import, picture: Path | None, seconds: float, *, as_json: bool) -> None:
    from pointgate.importing.picture import svg  # noqa: PLC0415 - as above
    from pointgate.importing.report import document, lines  # noqa: PLC0415 - as above

    state: State = found.state
    coverage: Coverage = found.coverage
    if picture is not None:
        _write(lambda: picture.write_text(svg(coverage), "utf-8"), "--coverage")
    if as_json:
        print_json(document(state, coverage, seconds))
    else:
        for line in lines(state, coverage, seconds):
            typer.echo(line)
    for name, reason in sorted(state.problems.items()):
        say(f"{name}: {reason}")


def _write(write: object, option: str) -> None:
    try:
        write()  # type: ignore[operator]
    except OSError as error:
        say(f"{option}: {error.filename}: {os_reason(error)}")
        sys.exit(Status.OUTPUT)


def _exit(state: State) -> NoReturn:
    if state.problems:
        sys.exit(Status.USAGE)
    sys.exit(Status.FINDINGS if state.counts.rejected else Status.DONE)


class _Bar:
    """How far it is, on a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=sys.stderr is None or not sys.stderr.isatty(),
        )
        self._task: TaskID | None = None
        self._phase = ""
        self._drawn = self._begun = 0.0
        self._at = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._progress.stop()

    def show(self, phase: str, done: int, total: int) -> None:
        """Draw, if it is time to."""
        now = time.perf_counter()
        if self._progress.disable or (now - self._drawn < _REDRAW_SECONDS and phase == self._phase):
            return
        if phase != self._phase:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(phase, total=total or None, rate="")
            self._phase, self._begun, self._at = phase, now, done
        assert self._task is not None  # noqa: S101 - of the first phase
        self._drawn = now
        rate = (done - self._at) / max(now - self._begun, 1e-9)
        text = f"{rate / 1e6:,.1f} MB/s" if phase == "reading" else f"{rate:,.0f} points/s"
        self._progress.update(self._task, completed=done, rate=text, refresh=True)
