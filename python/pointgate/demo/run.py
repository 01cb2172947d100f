"""A run of the demo: starts all parts in order, shows them, and stops them in reverse order.

    folder ─► broker ─► service ─► plants ─► view, once a second, until Ctrl-C or the timeout

Invariants: all parts are stopped and the temporary folder is removed, after any error; variables
`POINTGATE_…` of the user do not reach the demo's service.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import aiomqtt
from rich.live import Live

from pointgate.demo import view
from pointgate.demo.broker import HOST, DemoError, end_of, free_port, local_broker, process, until
from pointgate.demo.fleet import Tally, run_fleet
from pointgate.demo.plants import PLANTS
from pointgate.terminal import Status, console, say
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
[store]
ack = "verdict"
"""

_GREETING: Final = """\
{count} plants ({plants}) post what their devices measured while they were offline,
to mosquitto on {host}:{port}. pointgate validates every request against the product's thing \
model and
device table, and replies. Some requests contain a mistake.

Post the protocol page's example, from another terminal:
  mosquitto_sub -h {host} -p {port} -t {topic}_reply &
  mosquitto_pub -h {host} -p {port} -t {topic} -f {folder}/example.json
Edit the example, and let pointgate explain what is wrong:
  {command} explain {folder}/example.json --product example --catalog {folder}/catalog
Edit a model or a device table, which is reloaded within two seconds:
  {folder}/catalog
Read the metrics as Prometheus does:
  curl http://{host}:{metrics_port}/metrics
Ctrl-C ends the demo.
"""


async def run(*, seconds: float | None, rate: float) -> int:
    """Run the demo for some seconds, or until Ctrl-C; returns the exit status."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        with TemporaryDirectory(prefix="pointgate-demo-") as name:
            await _play(Path(name), stop, seconds=seconds, rate=rate)
    except DemoError as error:
        for line in str(error).splitlines():
            say(line)
        return Status.FINDINGS
    return Status.DONE


async def _play(folder: Path, stop: asyncio.Event, *, seconds: float | None, rate: float) -> None:
    package = Path(__file__).parent
    shutil.copytree(package / "catalog", folder / "catalog")
    shutil.copy(package / "example.json", folder)
    tally = Tally()
    async with local_broker(folder) as port, _service(folder, port, stop) as metrics_port:
        if stop.is_set():
            return
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


@asynccontextmanager
async def _service(folder: Path, port: int, stop: asyncio.Event) -> AsyncIterator[int]:
    """Run the service in its own process, until it is ready; yields the port of its metrics."""
    metrics_port, config = free_port(), folder / "pointgate.toml"
    config.write_text(_SETTINGS.format(host=HOST, port=port, metrics_port=metrics_port))
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
        self._console.print(_GREETING.format(**values, command=_command(), folder=folder))

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
