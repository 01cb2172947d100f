"""One run of the demo: everything started in order, shown, and stopped in the opposite order.

    folder ─► broker ─► service ─► plants ─► the view, once a second, until Ctrl-C or the time is up

Invariants: what was started is stopped, whatever goes wrong; nothing stays behind in the temporary
folder; the user's own POINTGATE_ variables do not reach the demo's service.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import aiomqtt
from rich.live import Live

from pointgate.demo import view
from pointgate.demo.broker import (
    HOST,
    Broker,
    DemoError,
    end_of,
    free_port,
    local_broker,
    process,
)
from pointgate.demo.figures import Figures, get, parse
from pointgate.demo.fleet import Fleet, Tally
from pointgate.demo.plants import PLANTS
from pointgate.terminal import Status, console, say
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from importlib.resources.abc import Traversable

_READY_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.05
_VIEW_SECONDS: Final = 1.0

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

_NOTHING: Final = Figures(0, 0, 0, {}, {}, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Stage:
    """Where things are."""

    folder: Path
    broker: Broker
    metrics_port: int


async def run(*, seconds: float | None, rate: float) -> int:
    """Run the demo.

    Args:
        seconds: When to stop by itself; never when absent.
        rate: Requests a second.

    Returns:
        The exit status.
    """
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
    _copy(resources.files("pointgate.demo") / "catalog", folder / "catalog")
    _copy(resources.files("pointgate.demo") / "example.json", folder / "example.json")
    tally = Tally()
    async with local_broker(folder) as broker, _service(folder, broker, stop) as stage:
        if stop.is_set():
            return
        show = _Show(stage, tally)
        show.begin()
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(Fleet(broker, rate=rate, tally=tally).run(stop), name="fleet")
                tasks.create_task(show.run(stop), name="view")
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await stop.wait()
                stop.set()
        except* aiomqtt.MqttError:
            failure = DemoError("the broker is gone")
        except* (DemoError, OSError) as group:
            failure = group.exceptions[0]
        if failure:
            raise failure
        await show.end()


@asynccontextmanager
async def _service(folder: Path, broker: Broker, stop: asyncio.Event) -> AsyncIterator[_Stage]:
    """The real service, in a process of its own, ready for requests."""
    stage = _Stage(folder, broker, free_port())
    config = folder / "pointgate.toml"
    config.write_text(
        _SETTINGS.format(host=HOST, port=broker.port, metrics_port=stage.metrics_port)
    )
    environ = {key: value for key, value in os.environ.items() if not key.startswith("POINTGATE_")}
    command = [sys.executable, "-P", "-m", "pointgate", "serve", "--config", str(config)]
    log = folder / "service.log"
    async with process(command, log=log, environ=environ) as running:
        deadline = time.monotonic() + _READY_SECONDS
        while not stop.is_set() and await get(stage.metrics_port, "/readyz") is None:
            if running.returncode is not None or time.monotonic() > deadline:
                raise DemoError(f"the service is not ready; its log ends with\n{end_of(log)}")
            await asyncio.sleep(_LOOK_SECONDS)
        yield stage


class _Show:
    """What the person sees, from the first line to the last."""

    def __init__(self, stage: _Stage, tally: Tally) -> None:
        self._stage = stage
        self._tally = tally
        self._console = console()
        self._started = time.monotonic()
        self._moment = view.Moment(0.0, _NOTHING, _NOTHING, 0.0)
        self._told: object = None
        self._notice = ""

    def begin(self) -> None:
        """Say what there is to see and to try."""
        stage = self._stage
        example = stage.folder / "example.json"
        connect = f"-h {HOST} -p {stage.broker.port_4}"
        topic = request_topic("example")
        plants = ", ".join(plant.name for plant in PLANTS)
        self._console.print(f"""\
{len(PLANTS)} plants ({plants}) post what their devices measured while they were offline,
to {stage.broker.name} on {HOST}:{stage.broker.port}. pointgate judges every request against \
the product's thing model and
device table, and answers. Some requests have a mistake in them.

Post the protocol page's own example, from another terminal:
  mosquitto_sub {connect} -t {topic}_reply &
  mosquitto_pub {connect} -t {topic} -f {example}
Spoil it, and have it explained:
  {_command()} explain {example} --product example --catalog {stage.folder / "catalog"}
Change a model or a device table, in force within two seconds:
  {stage.folder / "catalog"}
See what Prometheus sees:
  curl http://{HOST}:{stage.metrics_port}/metrics
Ctrl-C ends the demo.
""")

    async def run(self, stop: asyncio.Event) -> None:
        """Show what happens, once a second, until asked to stop."""
        live = Live(console=self._console, auto_refresh=False)
        if self._console.is_terminal:
            live.start()
        try:
            while not stop.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_VIEW_SECONDS):
                        await stop.wait()
                if stop.is_set():
                    break
                await self._look()
                if self._console.is_terminal:
                    shown = view.table(self._moment, self._tally, self._notice)
                    live.update(shown, refresh=True)
                else:
                    self._print_lines()
        finally:
            live.stop()

    def _print_lines(self) -> None:
        self._console.print(view.line(self._moment, self._tally))
        if self._tally.notes and self._tally.notes[-1] is not self._told:
            self._told = self._tally.notes[-1]
            self._console.print(view.explanation(self._tally.notes[-1]))

    async def _look(self) -> None:
        page = await get(self._stage.metrics_port, "/metrics")
        if page is None:
            ends_with = end_of(self._stage.folder / "service.log")
            raise DemoError(f"the service is gone; its log ends with\n{ends_with}")
        elapsed = time.monotonic() - self._started
        before = self._moment
        now = parse(page)
        self._moment = view.Moment(elapsed, now, before.now, elapsed - before.elapsed)
        if now.reloads > before.now.reloads:
            self._notice = ""
        if now.reloads_failed > before.now.reloads_failed:
            log = self._stage.folder / "service.log"
            problem = log.read_text(errors="replace").rpartition("pointgate.catalog: ")[2]
            self._notice = f"catalog refused, the last good one stays: {problem.strip()}"

    async def end(self) -> None:
        """Say what came of it all."""
        await asyncio.sleep(_VIEW_SECONDS)  # the page of metrics is rendered once a second
        await self._look()
        self._console.print(view.summary(self._moment, self._tally))


def _command() -> str:
    """How to call us from another terminal, where nothing of ours need be on the PATH."""
    called = Path(sys.argv[0])
    if called.name == "pointgate":
        return shlex.quote(str(called.absolute()))
    return f"{shlex.quote(sys.executable)} -m pointgate"


def _copy(source: Traversable, target: Path) -> None:
    """Copy package data, which need not be files, to a folder where it can be edited."""
    if source.is_dir():
        target.mkdir()
        for child in source.iterdir():
            _copy(child, target / child.name)
    else:
        target.write_bytes(source.read_bytes())
