"""`pointgate serve`: builds the parts from the settings, and sees to their beginning and end.

    prepare ─► HTTP (alive, not ready) ─► spool ─► catalog
            ─► sinks, link, catalog watcher ─► signal ─► drain

SIGTERM and SIGINT drain: nothing new is read, what has arrived is answered and acknowledged, the
broker gets a DISCONNECT and keeps our session; the sinks get what is in the spool as far as there
is time, the rest after the next start. A second signal ends the process at once; nothing answered
is lost by that, nothing unanswered either, at QoS 1. What hangs, on a disk or a sink that does not
answer, is left behind after `LONGEST_END` seconds: that, too, is no worse than a crash, which loses
nothing. SIGHUP reloads the catalog; a second one soon after confirms device tables that shrank.

The service manager is told what /readyz says (`supervisor.py`).

Invariants: every task belongs to the TaskGroup, or to a part of the start; a catalog that cannot
be used ends the start, later it is refused; a configuration is refused by `preparation.py`, which
`pointgate check` calls, too.

It decides nothing about requests (`gate.py`) or connections (`link.py`).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from pointgate import failpoint
from pointgate._core import Validator
from pointgate.catalog import Catalog
from pointgate.quarantine.writer import Quarantine
from pointgate.service.catalog_watcher import CatalogWatcher, log_warnings
from pointgate.service.gate import Gate
from pointgate.service.http import serve_http
from pointgate.service.metrics import Metrics
from pointgate.service.pipeline import open_store
from pointgate.service.preflight import prepare
from pointgate.service.systemd import Supervisor
from pointgate.sources.admission import Admission
from pointgate.sources.mqtt.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from pointgate.config import Settings
    from pointgate.service.pipeline import Pipeline
    from pointgate.store.base import Store

LONGEST_END: Final = 9.0
"""Seconds from a signal to the end, whatever hangs: under the usual ten of whoever waits for it."""

_DRAIN: Final = 5.0
"""Seconds to answer what has arrived."""

_THREADS: Final = 6
"""For what blocks: files of the catalog, dead letters, names to be looked up."""

_FINISH: Final = 2.0
"""Seconds for the sinks to get what is in the spool, while the broker gets its farewell."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Health:
    """What /livez and /readyz ask."""

    def __init__(self) -> None:
        self.link: Session | None = None
        self.store: Store | None = None
        self.starting = "catalog not loaded"  # what the start waits for
        self.draining = False

    def wait_for(self, trouble: str) -> None:
        """The start waits for something."""
        self.starting = trouble

    def live(self) -> bool:
        """Always: whoever gets an answer from the event loop has reached a working one."""
        return True

    def ready(self) -> tuple[bool, str]:
        """Whether requests sent now are answered, and why not, or with what shortfalls."""
        if self.draining:
            return False, "draining"
        if self.link is None:
            return False, self.starting
        trouble = self.link.trouble or (self.store.trouble if self.store else "")
        return not trouble, trouble or "\n".join(self.link.shortfalls)


class Stop:
    """The wish to stop.

    Attributes:
        signal: The signal that brought it, None if something else did.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._asked = asyncio.Event()

    def ask(self, number: signal.Signals | None = None) -> None:
        """Let the service drain and end."""
        self.signal = number
        self._asked.set()

    async def wait(self) -> None:
        """Return when asked."""
        await self._asked.wait()


async def serve(
    settings: Settings, *, stop: Stop | None = None, leave: Callable[[int], object] | None = None
) -> int:
    """Run the service until it is asked to stop.

    Args:
        settings: All of them.
        stop: How a program asks; then signals are the program's own affair.
        leave: How to end the process with an exit status, at once. It is called on another thread,
            also after this has returned, if the process is still there `LONGEST_END` seconds after
            a signal: threads that hang keep an interpreter from ending.

    Returns:
        The exit status: 0, or 130 and 143 for a signal that came before the service was ever ready.

    Raises:
        ConfigError: The address for metrics, the spool, a sink or a file for TLS cannot be used.
        CatalogError: The catalog cannot be used.
        TemporaryFailure: The address or the spool is in use.
    """
    if warning := failpoint.warning():
        _log.warning(warning)
    _start_threads(asyncio.get_running_loop())
    health = Health()
    with _Signals(stop, health, leave) as signals:  # first, so that no signal finds nobody
        prepared = await _unless_stopped(asyncio.to_thread(prepare, settings), signals.stop)
        if prepared is None:
            return signals.status
        for problem in prepared.warnings:
            _log.warning("%s", problem)
        metrics = Metrics(ack=settings.store.ack)
        address = settings.metrics
        async with serve_http(address.host, address.port, metrics=metrics, health=health) as port:
            _log.info("metrics on http://%s:%d/metrics", address.shown_host, port)
            async with AsyncExitStack() as stack:
                supervisor = Supervisor()
                supervisor.tell("READY=1")
                telling = asyncio.create_task(
                    supervisor.run(lambda: health.ready()[1]), name="service manager"
                )
                stack.callback(telling.cancel)
                opening = stack.enter_async_context(
                    open_store(settings, metrics, prepared.sinks, troubled=health.wait_for)
                )
                pipeline = await _unless_stopped(opening, signals.stop)
                if pipeline is None:
                    return signals.status
                health.wait_for("catalog not loaded")
                quarantine = await stack.enter_async_context(_open_quarantine(settings, metrics))
                store = health.store = pipeline.store
                if quarantine is not None:
                    pipeline.arrivals.advance(quarantine.newest)
                level = logging.WARNING if store.ack == "verdict" else logging.INFO
                _log.log(level, 'store.ack = "%s": %s', store.ack, store.promise)
                loading = asyncio.to_thread(Catalog.load, settings.catalog.path)
                catalog = await _unless_stopped(loading, signals.stop)
                if catalog is not None:
                    metrics.record_catalog(catalog)
                    log_warnings(catalog)
                    for problem in settings.quarantine.warnings(catalog.products):
                        _log.warning("%s", problem)
                    await _run(
                        settings,
                        catalog,
                        pipeline=pipeline,
                        quarantine=quarantine,
                        metrics=metrics,
                        health=health,
                        signals=signals,
                    )
        return signals.status


def _start_threads(loop: asyncio.AbstractEventLoop) -> None:
    """Start the threads of `asyncio.to_thread` now: later there may be no memory for a stack."""
    workers = ThreadPoolExecutor(_THREADS, thread_name_prefix="worker")
    started = threading.Barrier(_THREADS + 1)
    for _ in range(_THREADS):
        workers.submit(started.wait)  # each waits for all, so that each gets a thread
    started.wait()
    loop.set_default_executor(workers)


@asynccontextmanager
async def _open_quarantine(
    settings: Settings, metrics: Metrics
) -> AsyncIterator[Quarantine | None]:
    """Open what keeps rejected requests, if the settings ask for it, and close it at the end."""
    if settings.quarantine.path is None:
        yield None
        return
    # In a thread: another program may hold the file for some seconds.
    quarantine = await asyncio.to_thread(Quarantine, settings.quarantine)
    metrics.quarantine = quarantine
    try:
        yield quarantine
    finally:
        await asyncio.to_thread(quarantine.close)


async def _unless_stopped(call: Coroutine[Any, Any, T], stop: Stop) -> T | None:
    """What a call returns; None if asked to stop meanwhile."""
    calling = asyncio.create_task(call, name="start")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({calling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return await calling if calling.done() else None
    finally:
        calling.cancel()
        stopping.cancel()


async def _run(
    settings: Settings,
    catalog: Catalog,
    *,
    pipeline: Pipeline,
    quarantine: Quarantine | None,
    metrics: Metrics,
    health: Health,
    signals: _Signals,
) -> None:
    """Serve until asked to stop, then drain."""
    validator = Validator(
        catalog,
        payload_bytes=settings.limits.payload_bytes,
        reply_detail=settings.reply.detail,
    )
    admission = Admission(settings.limits)
    gate = Gate(
        admission=admission,
        validator=validator,
        store=pipeline.store,
        counters=metrics.counters,
        quarantine=quarantine,
        arrivals=pipeline.arrivals,
    )
    link = health.link = Session(settings, gate=gate, statistics=metrics.mqtt, admission=admission)

    def swap(newer: Catalog) -> None:
        validator.catalog = newer

    watcher = CatalogWatcher(
        settings.catalog.path,
        swap,
        metrics,
        catalog=catalog,
        max_shrink=settings.catalog.max_shrink,
    )
    signals.reload = watcher.request_reload
    try:
        async with asyncio.TaskGroup() as tasks:
            linking = tasks.create_task(link.run(), name="link")
            watching = tasks.create_task(watcher.run(), name="catalog watcher")
            draining = tasks.create_task(pipeline.run(), name="drain")
            await signals.stop.wait()
            health.draining = True
            watching.cancel()
            link.drain()
            # A connection that is only being made has nothing to drain.
            await asyncio.wait({linking}, timeout=_DRAIN if link.connected else 0)
            if link.connected:
                _log.warning("not drained in %.0f s: what is unanswered comes again", _DRAIN)
            linking.cancel()
            await pipeline.finish(_FINISH)
            draining.cancel()
    finally:
        gate.close()
    _log.info("stopped")


class _Signals:
    """SIGTERM and SIGINT ask to stop, the second time they end the process; SIGHUP reloads.

    Args:
        stop: What to set; if it is given, no signal is handled.
        health: What knows whether the service was ever ready.
        leave: See `serve`.

    Attributes:
        stop: What is set.
        reload: What SIGHUP calls; until it is set, SIGHUP does nothing.
    """

    def __init__(
        self, stop: Stop | None, health: Health, leave: Callable[[int], object] | None
    ) -> None:
        self.stop = stop or Stop()
        self.reload: Callable[[], None] = lambda: None
        self._health = health
        self._leave = leave
        self._handled = () if stop else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in self._handled:
            self._before[number] = signal.getsignal(number)
            loop.add_signal_handler(number, self._take, number)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number, before in self._before.items():
            # False where `_take` has done so: the next signal ends the process. asyncio would
            # leave Python's own handler of SIGINT, and with it a traceback.
            if loop.remove_signal_handler(number):
                signal.signal(number, before)

    @property
    def status(self) -> int:
        """The exit status, as `serve` returns it."""
        number, link = self.stop.signal, self._health.link
        was_ready = link is not None and link.was_ready
        return 0 if was_ready or number is None else 128 + number

    def _take(self, number: signal.Signals) -> None:
        if number == signal.SIGHUP:
            _log.info("SIGHUP: loading the catalog again")
            self.reload()
            return
        loop = asyncio.get_running_loop()
        for other in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(other)
            signal.signal(other, signal.SIG_DFL)
        _log.info("%s: draining; once more ends at once", number.name)
        self.stop.ask(number)
        if self._leave is not None:
            last = threading.Timer(LONGEST_END, self._give_up, (self._leave,))
            last.daemon = True
            last.start()

    def _give_up(self, leave: Callable[[int], object]) -> None:
        _log.warning("not ended in %.0f s: leaving behind what does not answer", LONGEST_END)
        leave(self.status)
