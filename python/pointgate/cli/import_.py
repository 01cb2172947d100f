"""`pointgate import`: history from CSV, Parquet, NDJSON or archived requests into the sinks.

Each point is judged as the service would, and written by the sinks of the configuration or posted
to the service through the broker. The state beside the output has the progress: the same command
continues after any interruption.

Exit status 0 when everything is imported, 1 when something was rejected, 2 when an input cannot be
read, 74 when a sink, the broker or the service is unavailable, 75 when another process imports with
the same state, 78 for a configuration or a mapping that cannot be used.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, NoReturn

import typer

from pointgate.bulk.pool import Pool, WorkerLostError, cores
from pointgate.cli.import_arguments import (
    Choice,
    check_state,
    memory_of,
    plan_of,
    post_options,
    sinks_of,
)
from pointgate.cli.import_progress import ProgressBar
from pointgate.cli.import_report import examples
from pointgate.cli.options import (
    CatalogOption,
    ConfigOrDefaultOption,
    OutOption,
    ProcessesOption,
    exit_with_problems,
    path_option,
    settings_for_catalog,
)
from pointgate.diagnostics import numbered, os_reason
from pointgate.errors import ConfigError
from pointgate.garbage_collection import collect_seldom
from pointgate.sinks.base import SinkUnavailableError
from pointgate.terminal import Status, print_json, printable, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pointgate.importing.coverage import Coverage
    from pointgate.importing.plan import Plan
    from pointgate.importing.posting import PostOptions
    from pointgate.importing.reading import Block, BlockResult
    from pointgate.importing.session import Import
    from pointgate.sinks.parquet.settings import ParquetSettings
    from pointgate.sinks.settings import SinkSettings

_LARGE: Final = 16 * 2**20
"""Bytes of inputs, as they are on the disk."""

_PARQUET_SHARE: Final = 8
"""How many times larger the same rows are as text."""

_CONTINUES: Final = "the same command continues, and stores nothing twice"


def import_(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILES...", help="Files, folders, glob patterns, or - for stdin."),
    ] = None,
    *,
    mapping: Annotated[
        Path | None, path_option(metavar="FILE", help="The mapping file: what the columns mean.")
    ] = None,
    product: Annotated[
        str | None, typer.Option(metavar="PK", help="The product of archived requests.")
    ] = None,
    config: ConfigOrDefaultOption = None,
    catalog: CatalogOption = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A sink of the configuration; default: all of them."),
    ] = None,
    out: OutOption = None,
    post: Annotated[
        bool, typer.Option("--post", help="Post to the service through the broker, instead.")
    ] = False,
    wait: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="With --post: give up after this time without a reply, such as 90s or 10m.",
        ),
    ] = "5m",
    state: Annotated[
        Path | None, path_option(metavar="FOLDER", help="The folder that holds the progress.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Only files that match this glob pattern."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="No files that match this glob pattern."),
    ] = None,
    rejects: Annotated[
        Path | None,
        path_option(metavar="FILE", help="Write rejected points to this file, as JSON lines."),
    ] = None,
    coverage: Annotated[
        Path | None,
        path_option(metavar="FILE.svg", help="Draw the days that each device has points of."),
    ] = None,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="The memory for sorting, such as 512MiB.")
    ] = "256MiB",
    processes: ProcessesOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate and report; write nothing.")
    ] = False,
    sample: Annotated[
        Path | None, path_option(metavar="FILE", help="Propose a mapping for this CSV file.")
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
    if bool(out) + bool(sink) + post > 1:
        raise typer.BadParameter("expected either --out or --sink or --post, got several of them")
    if out and isinstance(out.path, Path) and out.path.exists() and not out.path.is_dir():
        text = printable(str(out.path))
        raise typer.BadParameter(f"--out: expected a folder, got the file {text}")
    _check_outputs({"--rejects": rejects, "--coverage": coverage})
    check_state(state)
    settings = settings_for_catalog(config, catalog if out or dry_run else None)
    options = post_options(settings, config, wait) if post else None
    sinks = [] if dry_run or post else sinks_of(settings, out, sink or [], config)
    chosen = Choice(files, mapping, product, catalog, include or [], exclude or [])
    plan = plan_of(chosen, settings, memory_of(memory))
    begun = time.perf_counter()
    with ExitStack() as stack:
        folder = _state_path(stack, state, out, config, dry_run=dry_run)
        found = _run(
            stack, folder, plan, _Destination(sinks, None if dry_run else options), processes
        )
        seconds = time.perf_counter() - begun
        if found.had_ended:
            say(
                f"no input is new: this is the report of the import that had ended before, "
                f"whose state is in {folder}"
            )
        if rejects is not None:
            _write(lambda: shutil.copyfile(found.rejects, rejects), "--rejects")
        _report(found, plan, mapping, coverage, seconds, as_json=as_json)
        for line in examples(found.rejects, found.state.rejects_before):
            say(line)
        if found.rejected and rejects is None:
            place = "--rejects FILE has" if dry_run else f"{printable(str(found.rejects))} has"
            say(f"{place} the rejected points, each with its line and the reason")
        _exit(found)


def _check_outputs(files: Mapping[str, Path | None]) -> None:
    """Reject a file of results that cannot be written."""
    for option, file in files.items():
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            text = printable(str(file))
            raise typer.BadParameter(
                f"{option}: expected a file in a folder that exists, got {text}"
            )


class _Destination(NamedTuple):
    """Where accepted points go.

    Attributes:
        sinks: The sinks; none for a trial.
        post: How to post instead.
    """

    sinks: Sequence[SinkSettings]
    post: PostOptions | None


def _propose(sample: Path, product: str) -> NoReturn:
    from pointgate.bulk.streams import DamagedError  # noqa: PLC0415 - others need none of it
    from pointgate.importing.records import TableError  # noqa: PLC0415 - as above
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
    except (TableError, DamagedError) as error:
        say(f"{sample}: {error}")
        sys.exit(Status.USAGE)
    sys.exit(Status.DONE)


def _state_path(
    stack: ExitStack,
    state: Path | None,
    out: ParquetSettings | None,
    config: Path | None,
    *,
    dry_run: bool,
) -> Path:
    """Where the state is: beside the output; of a trial, where it is removed."""
    if dry_run:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointgate-import-")))
    if state is not None:
        return state
    if out is not None:
        beside = out.path if isinstance(out.path, Path) else Path(re.sub(r"\W+", "-", out.path))
        return beside.with_name(f"{beside.name}.import")
    return (config or Path("pointgate.toml")).with_name("import-state")


def _pool(stack: ExitStack, plan: Plan, processes: int | None) -> Pool[Block, BlockResult] | None:
    from pointgate.importing.reading import reading  # noqa: PLC0415 - as above

    options = plan.reading
    packed = _PARQUET_SHARE if plan.mapping and plan.mapping.format == "parquet" else 1
    count = processes or (cores() if _is_large(plan.names, _LARGE // packed) else 1)
    if options is None or count == 1:
        return None
    return stack.enter_context(Pool(reading, options, processes=count))


def _is_large(names: Sequence[str], least: int) -> bool:
    """Whether starting processes, which takes a second, is worth it."""
    from pointgate.importing.inputs import STDIN, expand  # noqa: PLC0415 - as above

    size = 0
    for name in expand(names, {}):
        with suppress(OSError):
            size += _LARGE if name == STDIN else Path(name).stat().st_size
        if size >= least:
            return True
    return False


def _run(
    stack: ExitStack,
    path: Path,
    plan: Plan,
    destination: _Destination,
    processes: int | None,
) -> Import:
    from pointgate.importing.posting import PostingError  # noqa: PLC0415 - as above
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
        bar = stack.enter_context(ProgressBar())
        found = Import(plan, folder, bar.show, pool)
        collect_seldom()
        found.run(destination.sinks, destination.post, say)
    except ConfigError as error:
        exit_with_problems(error.problems)
    except StateBusyError as error:
        say(str(error))
        sys.exit(Status.TEMPORARY)
    except StateError as error:
        say(str(error))
        sys.exit(Status.USAGE)
    except WorkerLostError as error:
        say(f"{error}; {_CONTINUES}")
        sys.exit(Status.SOFTWARE)
    except (SinkUnavailableError, PostingError) as error:
        say(f"{error}; {_CONTINUES}")
        sys.exit(Status.OUTPUT)
    except MemoryError:
        say(f"out of memory: expected a smaller --memory, or a machine with more; {_CONTINUES}")
        sys.exit(Status.OUTPUT)
    except OSError as error:
        say(f"{error.filename or path}: {os_reason(error)}; {_CONTINUES}")
        sys.exit(Status.OUTPUT)
    except SystemExit:
        say(f"stopped; {_CONTINUES}")
        raise
    return found


def _report(
    found: Import,
    plan: Plan,
    mapping: Path | None,
    picture: Path | None,
    seconds: float,
    *,
    as_json: bool,
) -> None:
    from pointgate.importing.picture import svg  # noqa: PLC0415 - as above
    from pointgate.importing.report import document, lines, unused_names  # noqa: PLC0415 - as above

    coverage: Coverage = found.coverage
    if picture is not None:
        _write(lambda: picture.write_text(svg(coverage), "utf-8"), "--coverage")
    if as_json:
        print_json(document(found, seconds))
    else:
        for line in lines(found, seconds):
            typer.echo(line)
    if coverage.points < found.state.points:
        say(
            f"the devices and series are those of {numbered(coverage.points, 'point')}: what was "
            "stored before is not known any more"
        )
    for name, reason in sorted(found.problems.items()):
        say(f"{name}: {reason}")
    for line in unused_names(found.state, plan.mapping):
        say(f"{mapping}: {line}")


def _write(write: Callable[[], object], option: str) -> None:
    try:
        write()
    except OSError as error:
        say(f"{option}: {error.filename}: {os_reason(error)}")
        sys.exit(Status.OUTPUT)


def _exit(found: Import) -> NoReturn:
    if found.problems:
        sys.exit(Status.USAGE)
    sys.exit(Status.FINDINGS if found.rejected else Status.DONE)
