"""A run of the demo: starts all parts in order, shows them, and stops them in reverse order.

    folder ─► broker ─► service ─► plants ─► view, once a second, until Ctrl-C or the timeout
    the plants stop, the service writes the rest of its spool and ends ─► what is in the files

Invariants: all parts are stopped, after any error, and a temporary folder is removed; a folder that
the user names stays as it is at the end; variables `POINTGATE_…` of the user do not reach the
demo's service.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import aiomqtt
from rich.live import Live

from pointgate.demo import stored, view
from pointgate.demo.broker import HOST, DemoError, end_of, free_port, local_broker, process, until
from pointgate.demo.fleet import Tally, run_fleet
from pointgate.demo.plants import PLANTS
from pointgate.diagnostics import os_reason
from pointgate.terminal import Status, console, say
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pointgate.demo.fleet import Note

_VIEW_SECONDS: Final = 1.0

_WATCHER: Final = "pointgate.service.catalog_watcher"
"""The logger of the service that reports an invalid catalog."""

_SETTINGS: Final = """\
[mqtt]
url = "mqtt://{host}:{port}"
client_id = "demo-pointgate"
[catalog]
path = "catalog"
[metrics]
listen = "{host}:{metrics_port}"
[[sinks]]
type = "parquet"
rotate_age = {rotate_seconds}
"""

_ROTATE_SECONDS: Final = 2
"""Points are in files after this time, for people who look; a service takes a minute."""


_GREETING: Final = """\
{count} plants ({plants}) post what their devices measured while they were offline,
to mosquitto on {host}:{port}. pointgate validates every request against the product's thing \
model and
device table, stores its points, and replies: 200 means stored. Some requests contain a mistake.

Post the protocol page's example, from another terminal:
  mosquitto_sub -h {host} -p {port} -t {topic}_reply &
  mosquitto_pub -h {host} -p {port} -t {topic} -f {folder}/example.json
Edit the example, and let pointgate explain what is wrong:
  {command} explain {folder}/example.json --product example --catalog {folder}/catalog
Edit a model or a device table, which is reloaded within two seconds:
  {folder}/catalog
Query what is stored, with DuckDB:
  duckdb -c "{query}"
Read the metrics as Prometheus does:
  curl http://{host}:{metrics_port}/metrics
Ctrl-C ends the demo.
"""


async def run(*, seconds: float | None, rate: float, keep: Path | None = None) -> int:
    """Run the demo for some seconds, or until Ctrl-C; returns the exit status.

    Args:
        seconds: How long; None for ever.
        rate: Requests a second.
        keep: A new or empty folder for all files, which stay; else they are removed at the end.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        with _folder(keep) as folder:
            show = await _play(folder, stop, seconds=seconds, rate=rate)
            if show is not None:
                show.stored(keep=keep is not None)
    except DemoError as error:
        for line in str(error).splitlines():
            say(line)
        return Status.FINDINGS
    return Status.DONE


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """The folder of all files: the user's, or a temporary one."""
    if keep is None:
        with TemporaryDirectory(prefix="pointgate-demo-") as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise DemoError(f"--keep: expected a new or an empty folder, got {keep}")
    except OSError as error:
        raise DemoError(f"--keep: cannot use {keep}: {os_reason(error)}") from error
    yield keep.absolute()


async def _play(
    folder: Path, stop: asyncio.Event, *, seconds: float | None, rate: float
) -> _Show | None:
    """Run everything; returns the output, for what is stored, unless it was stopped before."""
    package = Path(__file__).parent
    shutil.copytree(package / "catalog", folder / "catalog")
    shutil.copy(package / "example.json", folder)
    tally = Tally()
    async with local_broker(folder) as port, _service(folder, port, stop) as metrics_port:
        if stop.is_set():
            return None
        show = _Show(folder, tally, port=port, metrics_port=metrics_port)
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(run_fleet(port, stop, rate=rate, tally=tally), name="fleet")
                tasks.create_task(show.run(stop), name="view")
                await _is_set_within(stop, seconds)
                stop.set()
        except* aiomqtt.MqttError:
            failure = DemoError("the broker is gone")
        except* (DemoError, OSError) as group:
            failure = group.exceptions[0]
        if failure:
            raise failure
        await show.end()
    return show


@asynccontextmanager
async def _service(folder: Path, port: int, stop: asyncio.Event) -> AsyncIterator[int]:
    """Run the service in its own process, until it is ready; yields the port of its metrics."""
    metrics_port, config = free_port(), folder / "pointgate.toml"
    config.write_text(
        _SETTINGS.format(
            host=HOST, port=port, metrics_port=metrics_port, rotate_seconds=_ROTATE_SECONDS
        )
    )
    environ = {key: value for key, value in os.environ.items() if not key.startswith("POINTGATE_")}
    command = [sys.executable, "-P", "-m", "pointgate", "serve", "--config", str(config)]
    log = folder / "service.log"
    async with process(command, log=log, environ=environ) as running:

        async def ready() -> bool:
            return stop.is_set() or await _get(metrics_port, "/readyz") is not None

        if not await until(ready, running):
            raise DemoError(f"the service is not ready; its log ends with\n{end_of(log)}")
        yield metrics_port


class _Show:
    """The output of the demo, from the greeting to the summary."""

    def __init__(self, folder: Path, tally: Tally, *, port: int, metrics_port: int) -> None:
        self._points = folder / "points"
        self._log = folder / "service.log"
        self._tally = tally
        self._metrics_port = metrics_port
        self._console = console()
        self._started = time.monotonic()
        self._moment = view.Moment(0.0, {}, {}, 0.0)
        self._printed: Note | None = None
        self._notice = ""
        plants = ", ".join(plant.name for plant in PLANTS)
        values = {"count": len(PLANTS), "plants": plants, "host": HOST, "port": port}
        values |= {"metrics_port": metrics_port, "topic": request_topic("example")}
        values |= {"query": self._query, "command": _command(), "folder": folder}
        self._console.print(_GREETING.format(**values))

    async def run(self, stop: asyncio.Event) -> None:
        """Update the view once a second, until `stop` is set."""
        live = Live(console=self._console, auto_refresh=False)
        if self._console.is_terminal:
            live.start()
        try:
            while not await _is_set_within(stop, _VIEW_SECONDS):
                await self._update()
                if live.is_started:
                    shown = view.table(self._moment, self._tally, self._notice)
                    live.update(shown, refresh=True)
                    continue
                self._console.print(view.line(self._moment, self._tally))
                if self._tally.notes and self._tally.notes[-1] is not self._printed:
                    self._printed = self._tally.notes[-1]
                    self._console.print(f"       {view.explanation(self._printed)}")
        finally:
            live.stop()

    async def _update(self) -> None:
        page = await _get(self._metrics_port, "/metrics")
        if page is None:
            raise DemoError(f"the service is gone; its log ends with\n{end_of(self._log)}")
        elapsed, before = time.monotonic() - self._started, self._moment
        self._moment = view.Moment(elapsed, view.parse(page), before.now, elapsed - before.elapsed)
        if self._moment.rose("catalog_reloads_total", "success"):
            self._notice = ""
        if self._moment.rose("catalog_reloads_total", "failure"):
            problem = self._log.read_text(errors="replace").rpartition(f"{_WATCHER}: ")[2]
            self._notice = f"catalog rejected, the last valid one stays active: {problem.strip()}"

    async def end(self) -> None:
        """Print the summary."""
        await asyncio.sleep(_VIEW_SECONDS)  # the service renders metrics once a second
        await self._update()
        self._console.print(view.summary(self._moment, self._tally))

    def stored(self, *, keep: bool) -> None:
        """Print what is in the files, now that the service has ended.

        Args:
            keep: Whether they stay.
        """
        found = stored.read(self._points, PLANTS[0].product)
        for part in stored.report(found, identifier="activePower"):
            self._console.print(part)
        if keep:
            text = f'the files are in {self._points}; with DuckDB:\n  duckdb -c "{self._query}"'
        else:
            text = "the files are removed now; --keep FOLDER keeps them"
        self._console.print(f"\n{text}")

    @property
    def _query(self) -> str:
        return stored.DUCKDB.format(points=self._points)


async def _is_set_within(event: asyncio.Event, seconds: float | None) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def _get(port: int, path: str) -> str | None:
    return await asyncio.to_thread(view.get, port, path)


def _command() -> str:
    """A command line for pointgate that works in another terminal, without the PATH of this one."""
    called = Path(sys.argv[0])
    if called.name == "pointgate":
        return shlex.quote(str(called.absolute()))
    return f"{shlex.quote(sys.executable)} -m pointgate"
