"""`pointgate serve`: builds the components from the settings, starts them and shuts them down.

    prepare ─► HTTP (alive, not ready) ─► spool ─► copies of registries ─► catalog
            ─► sinks, sources, catalog watcher ─► signal ─► drain

SIGTERM and SIGINT start a graceful shutdown: reading stops, received requests are answered and
acknowledged, and the broker gets a DISCONNECT and keeps our session. The sinks write the spool's
points while there is time, and the rest after the next start. A second signal ends the process at
once: no answered request is lost, and at QoS 1 no unanswered one. If a disk or a sink does not
respond, the process exits after `SHUTDOWN_SECONDS` all the same: like a crash, that loses nothing.
SIGHUP reloads the catalog; a second one soon after confirms device tables that shrank.

The service manager hears of the start, of reloads and of the end, and gets the text of /readyz
(`systemd.py`).

Invariants: every task belongs to the TaskGroup, or to a step of the start; an invalid catalog ends
the start, and is refused while running; an invalid configuration is refused by `preflight.py`,
which `pointgate check` calls, too.

It decides nothing about requests (`gate.py`) or connections (`sources/`).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from pointgate import failpoint
from pointgate._core import Validator
from pointgate.catalog import Catalog
from pointgate.garbage_collection import collect_seldom
from pointgate.service.admin_socket import open_taps
from pointgate.service.catalog_log import log_warnings
from pointgate.service.catalog_watcher import CatalogWatcher
from pointgate.service.dimension_writer import DimensionWriter
from pointgate.service.disk_space import DiskSpace
from pointgate.service.gate import Gate
from pointgate.service.health import Health
from pointgate.service.http import serve_http
from pointgate.service.metrics import Metrics
from pointgate.service.pipeline import open_quarantine, open_store
from pointgate.service.preflight import Prepared, prepare
from pointgate.service.recheck import build_recheck
from pointgate.service.registry_checks import check_before_copies, mismatches
from pointgate.service.registry_list import await_copies, follow_registries
from pointgate.service.source_list import build_sources
from pointgate.service.systemd import Notifier
from pointgate.service.worker_threads import start_threads
from pointgate.sources.admission import Admission

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pointgate.config import Settings
    from pointgate.quarantine.writer import Quarantine
    from pointgate.registries.follower import Follower
    from pointgate.service.companion import Companion
    from pointgate.service.pipeline import Pipeline
    from pointgate.service.taps import Taps
    from pointgate.sources.base import Source

SHUTDOWN_SECONDS: Final = 9.0
"""Seconds from a signal to the exit, at most: service managers usually kill after ten."""

_DRAIN_SECONDS: Final = 5.0
"""Seconds to answer the received requests."""

_SINK_SECONDS: Final = 2.0
"""Seconds for the sinks to write the spool's points, while the source disconnects."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Stop:
    """A request to shut down.

    Attributes:
        signal: The signal that requested it; None if a program did.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._requested = asyncio.Event()

    def request(self, number: signal.Signals | None = None) -> None:
        """Start a graceful shutdown."""
        self.signal = number
        self._requested.set()

    async def wait(self) -> None:
        """Return when a shutdown was requested."""
        await self._requested.wait()


async def serve(
    settings: Settings,
    *,
    stop: Stop | None = None,
    exit_process: Callable[[int], object] | None = None,
    companion: Companion | None = None,
) -> int:
    """Run the service until a shutdown is requested.

    Args:
        settings: The settings.
        stop: Requests the shutdown from within a program; then no signal handlers are installed.
        exit_process: Ends the process at once with an exit status. It is called on another thread,
            even after this has returned, if the process still runs `SHUTDOWN_SECONDS` after a
            signal: blocked threads prevent the interpreter from exiting.
        companion: Runs beside the sources, and knows when to stop.

    Returns:
        The exit status: 0, or 130 or 143 for a signal before the service was ever ready.

    Raises:
        ConfigError: The metrics address, the spool, a sink or a TLS file cannot be used.
        CatalogError: The catalog cannot be used.
        TemporaryFailure: The address or the spool is in use.
    """
    if warning := failpoint.warning():
        _log.warning(warning)
    start_threads(asyncio.get_running_loop())
    health = Health()
    with _Signals(stop, health, exit_process) as signals:  # first: no signal arrives unhandled
        prepared = await _unless_stopped(asyncio.to_thread(prepare, settings), signals.stop)
        if prepared is not None:
            for problem in prepared.warnings:
                _log.warning("%s", problem)
            await _start(settings, prepared, health, signals, companion)
        return signals.status


async def _start(
    settings: Settings,
    prepared: Prepared,
    health: Health,
    signals: _Signals,
    companion: Companion | None,
) -> None:
    """Start HTTP, open the store and the quarantine, load the catalog, then run."""
    metrics = Metrics(
        ack=settings.store.ack,
        most_products=settings.metrics.max_products,
        with_mqtt=settings.uses_mqtt,
        with_kafka=settings.uses_kafka,
    )
    address = settings.metrics
    async with serve_http(address.host, address.port, metrics=metrics, health=health) as port:
        _log.info("metrics on http://%s:%d/metrics", address.shown_host, port)
        async with AsyncExitStack() as stack:
            signals.notifier.notify("READY=1")
            metrics.disks = DiskSpace.of(settings)
            for name, work in (
                ("service manager", signals.notifier.run(lambda: health.ready()[1])),
                ("disk space", metrics.disks.run()),
            ):
                stack.callback(asyncio.create_task(work, name=name).cancel)
            opening = stack.enter_async_context(
                open_store(settings, metrics, prepared.sinks, on_retry=health.wait_for)
            )
            pipeline = await _unless_stopped(opening, signals.stop)
            if pipeline is None:
                return
            # After the spool was locked.
            taps = await stack.enter_async_context(open_taps(settings, metrics, health))
            health.wait_for("catalog not loaded")
            quarantine = await stack.enter_async_context(open_quarantine(settings, metrics))
            store = health.store = pipeline.store
            health.quarantine = quarantine
            if quarantine is not None:
                pipeline.arrivals.advance(quarantine.newest)
            level = logging.WARNING if store.ack == "verdict" else logging.INFO
            _log.log(level, 'store.ack = "%s": %s', store.ack, store.promise)
            checking = asyncio.to_thread(check_before_copies, settings)
            await _unless_stopped(checking, signals.stop)
            following = follow_registries(prepared.registries, metrics)
            followers = await stack.enter_async_context(following)
            if not await _unless_stopped(await_copies(followers, health.wait_for), signals.stop):
                return
            loading = asyncio.to_thread(Catalog.load, settings.catalog.path, tests=True)
            catalog = await _unless_stopped(loading, signals.stop)
            if catalog is not None:
                collect_seldom()
                metrics.record_catalog(catalog)
                log_warnings(catalog)
                _, mismatched = mismatches(settings.registries, catalog)
                for problem in (*settings.quarantine.warnings(catalog.products), *mismatched):
                    _log.warning("%s", problem)
                await _run(
                    settings,
                    catalog,
                    followers,
                    pipeline=pipeline,
                    quarantine=quarantine,
                    metrics=metrics,
                    health=health,
                    signals=signals,
                    taps=taps,
                    companion=companion,
                )


async def _unless_stopped(call: Coroutine[Any, Any, T], stop: Stop) -> T | None:
    """The result of a call; None if a shutdown is requested first."""
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
    followers: list[Follower],
    *,
    pipeline: Pipeline,
    quarantine: Quarantine | None,
    metrics: Metrics,
    health: Health,
    signals: _Signals,
    taps: Taps,
    companion: Companion | None,
) -> None:
    """Serve until a shutdown is requested, then drain."""
    limits, reply = settings.limits, settings.reply
    validator = Validator(catalog, payload_bytes=limits.payload_bytes, reply_detail=reply.detail)
    admission = Admission(limits)
    recheck = build_recheck(settings.registries, followers, metrics, validator)
    gate = Gate(
        admission=admission,
        validator=validator,
        store=pipeline.store,
        counters=metrics.counters,
        quarantine=quarantine,
        arrivals=pipeline.arrivals,
        taps=taps,
        recheck=recheck.hook,
    )
    sources = health.sources = build_sources(
        settings,
        gate=gate,
        metrics=metrics,
        admission=admission,
        arrivals=pipeline.arrivals,
        transactions=pipeline.transactions,
    )

    sinks = settings.sinks if pipeline.stores else ()
    folders = [folder for sink in sinks if (folder := sink.dimensions_folder)]
    dimensions = DimensionWriter(folders, catalog)

    def swap(newer: Catalog) -> None:
        validator.catalog = newer
        dimensions.update(newer)
        recheck.update()

    watcher = health.catalog = CatalogWatcher(
        settings.catalog.path,
        swap,
        metrics,
        catalog=catalog,
        max_shrink=settings.catalog.max_shrink,
        on_reload=signals.reloaded,
    )
    signals.reload = watcher.request_reload
    recheck.look_now = watcher.look_now
    sink_seconds = _SINK_SECONDS
    if companion is not None:
        sink_seconds = companion.sink_seconds
        companion.begin(sources)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = {source: tasks.create_task(source.run()) for source in sources}
            watching = tasks.create_task(watcher.run(), name="catalog watcher")
            writing = tasks.create_task(pipeline.run(), name="drain")
            expiring = tasks.create_task(pipeline.expire(), name="retention")
            describing = tasks.create_task(dimensions.run(), name="dimensions")
            if companion is not None:
                tasks.create_task(companion.run(), name="companion")
            await signals.stop.wait()
            health.draining = True
            watching.cancel()
            describing.cancel()
            expiring.cancel()
            await asyncio.gather(*(_drain(source, task) for source, task in running.items()))
            await pipeline.finish(sink_seconds)
            if companion is not None:
                companion.behind = pipeline.behind
            writing.cancel()
    finally:
        gate.close()
        recheck.close()
    _log.info("stopped")


async def _drain(source: Source, running: asyncio.Task[None]) -> None:
    """Answer the received requests, for at most `_DRAIN_SECONDS`, and end the source."""
    source.drain()
    # A connection that is still being opened has nothing to drain.
    await asyncio.wait({running}, timeout=_DRAIN_SECONDS if source.connected else 0)
    if source.connected:
        _log.warning(
            "drain timed out after %.0f s; unanswered requests will be redelivered", _DRAIN_SECONDS
        )
    running.cancel()


class _Signals:
    """SIGTERM and SIGINT request a shutdown, a second one ends the process; SIGHUP reloads.

    Args:
        stop: The shutdown request of a program; if it is given, no signal is handled.
        health: Knows whether the service was ever ready.
        exit_process: See `serve`.

    Attributes:
        stop: The shutdown request.
        notifier: Hears of signals.
        reload: Called on SIGHUP, and calls `reloaded`; until it is set, nothing is reloaded.
    """

    def __init__(
        self, stop: Stop | None, health: Health, exit_process: Callable[[int], object] | None
    ) -> None:
        self.stop = stop or Stop()
        self.notifier = Notifier()
        self.reload: Callable[[], None] = self.reloaded
        self._health = health
        self._exit_process = exit_process
        self._handled = () if stop else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in self._handled:
            self._before[number] = signal.getsignal(number)
            loop.add_signal_handler(number, self._handle, number)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number, before in self._before.items():
            # False if `_handle` has removed it, so that the next signal ends the process. asyncio
            # itself would restore Python's handler of SIGINT, which prints a traceback.
            if loop.remove_signal_handler(number):
                signal.signal(number, before)

    def reloaded(self) -> None:
        """Notify the service manager that a reload has ended."""
        self.notifier.notify("READY=1")

    @property
    def status(self) -> int:
        """The exit status, as `serve` returns it."""
        number = self.stop.signal
        was_ready = any(source.was_ready for source in self._health.sources)
        return 0 if was_ready or number is None else 128 + number

    def _handle(self, number: signal.Signals) -> None:
        if number == signal.SIGHUP:
            _log.info("SIGHUP received, reloading the catalog")
            self.notifier.reloading()
            self.reload()
            return
        loop = asyncio.get_running_loop()
        for other in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(other)
            signal.signal(other, signal.SIG_DFL)
        self.notifier.notify("STOPPING=1", "STATUS=draining")
        _log.info("%s received, draining. Send it again to stop immediately.", number.name)
        self.stop.request(number)
        if self._exit_process is not None:
            last = threading.Timer(SHUTDOWN_SECONDS, self._force_exit, (self._exit_process,))
            last.daemon = True
            last.start()

    def _force_exit(self, exit_process: Callable[[int], object]) -> None:
        _log.warning(
            "shutdown timed out after %.0f s; exiting despite blocked threads", SHUTDOWN_SECONDS
        )
        exit_process(self.status)
