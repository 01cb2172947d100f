"""A pool of worker processes, which returns results in the order of the jobs.

    a worker is free:          send it the next job
    a worker sent a result:    buffer it until all previous results were returned

Each worker has its own pipe, and exits when the other end is closed, however the main process
ended. A file range is sent while the worker is busy with another one, so that it is never idle.
Larger jobs are sent only to an idle worker: if both sides wrote to full pipes, they would deadlock.
The columns of a table go through the pipe as they are, behind the pickled rest of a result (pickle
protocol 5, out-of-band buffers): pickled with it, they would be copied twice more.

Invariants: at most `_AHEAD` jobs for each worker are under way or buffered (the in-flight window);
a worker that dies ends the run, with an error that names the signal or the status.

It does not know what is in a job.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
from collections import deque
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Self, TypeVar, cast

from pointgate.bulk.jobs import FileRange
from pointgate.errors import PointgateError
from pointgate.garbage_collection import collect_seldom
from pointgate.left_out import leave_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

J = TypeVar("J")
OptionsT = TypeVar("OptionsT")
R = TypeVar("R")

_AHEAD: Final = 4

_END_SECONDS: Final = 2.0
"""The timeout after which a worker is killed; a job takes milliseconds."""


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class WorkerLostError(PointgateError):
    """A worker process died with a job: killed by the OOM killer, or by a bug."""


class Pool(Generic[J, R]):
    """Worker processes with the same options.

    Args:
        make: Called in each worker with the options; returns what runs a job there.
        options: The options. Load the catalog before, so that the workers share its memory.
        processes: The number of workers.
    """

    def __init__(
        self, make: Callable[[OptionsT], Callable[[J], R]], options: OptionsT, *, processes: int
    ) -> None:
        method = _start_method()
        context = multiprocessing.get_context(method)
        if method == "spawn":
            # Otherwise the first worker starts it, which unblocks the signals (Python 3.11).
            resource_tracker.ensure_running()
        self._workers: list[_Worker] = []
        self._window = processes * _AHEAD
        # Workers ignore the SIGTERM with which multiprocessing ends them at exit, and it would wait
        # for them. Handlers registered later run first, so they are killed before that.
        atexit.register(_kill, self._workers)
        for _ in range(processes):
            self._workers.append(_Worker(context, make, options, self._workers))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; may be called again."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(_END_SECONDS)
        _kill(self._workers)
        atexit.unregister(_kill)

    def run(self, jobs: Iterator[J]) -> Iterator[tuple[J, R]]:
        """Run all jobs; yields each with its result, in order.

        Args:
            jobs: The jobs, which are consumed as workers become free.

        Raises:
            WorkerLostError: A worker died.
        """
        begun: deque[tuple[int, J]] = deque()
        results: dict[int, R] = {}
        number = 0
        upcoming = next(jobs, None)
        while upcoming is not None or begun:
            while upcoming is not None and len(begun) < self._window:
                worker = self._free(upcoming)
                if worker is None:
                    break
                worker.send(number, upcoming)
                begun.append((number, upcoming))
                number += 1
                upcoming = next(jobs, None)
            for worker in self._ready():
                done, result = worker.receive()
                results[done] = result
            while begun and begun[0][0] in results:
                done, job = begun.popleft()
                yield job, results.pop(done)

    def _free(self, job: J) -> _Worker | None:
        """The worker with the fewest jobs, if it can be sent this job now."""
        worker = min(self._workers, key=lambda worker: worker.jobs)
        return worker if worker.jobs < (2 if isinstance(job, FileRange) else 1) else None

    def _ready(self) -> Sequence[_Worker]:
        """Wait for workers that have sent a result, or have died."""
        busy = {worker.connection: worker for worker in self._workers if worker.jobs}
        return [busy[cast("Connection", one)] for one in wait(list(busy))] if busy else []


class _Worker:
    """A worker process, as seen from the main process."""

    def __init__(
        self,
        context: BaseContext,
        make: Callable[[Any], Callable[[Any], Any]],
        options: object,
        others: Sequence[_Worker],
    ) -> None:
        self.jobs = 0
        self.connection, theirs = context.Pipe()
        # A forked worker inherits the pipes of the others. It closes them: while they are open, the
        # others would not see that the main process has closed its end.
        is_fork = context.get_start_method() == "fork"
        inherited = [self.connection, *(one.connection for one in others)] if is_fork else []
        self.process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_work, args=(theirs, inherited, make, options), name="judge", daemon=True
        )
        with _signals_blocked():  # until the worker ignores them
            self.process.start()
        theirs.close()

    def send(self, number: int, job: object) -> None:
        try:
            self.connection.send((number, job))
        except OSError:
            self._lose()
        self.jobs += 1

    def receive(self) -> tuple[int, Any]:
        try:
            number, result = _receive(self.connection)
        except (EOFError, OSError):
            self._lose()
        self.jobs -= 1
        return number, result

    def _lose(self) -> NoReturn:
        self.process.join(_END_SECONDS)
        status = self.process.exitcode or 0
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        raise WorkerLostError(f"a worker process was ended {how}") from None


def _kill(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.kill()


def _work(
    connection: Connection,
    inherited: Sequence[Connection],
    make: Callable[[Any], Callable[[Any], Any]],
    options: object,
) -> None:
    """Run jobs until the main process closes the pipe or ends."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group; the main process decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    for one in inherited:
        one.close()
    leave_out()  # a process that was spawned has not passed the entry point of the command line
    try:
        run = make(options)
        collect_seldom()
        while True:
            try:
                number, job = connection.recv()
            except OSError:  # the main process was ended while it was sending one
                return
            _send(connection, (number, run(job)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _send(connection: Connection, message: object) -> None:
    columns: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(message, protocol=5, buffer_callback=columns.append)
    views = [column.raw() for column in columns]
    connection.send((pickled, [len(view) for view in views]))
    for view in views:
        rest = view
        while rest:
            rest = rest[os.write(connection.fileno(), rest) :]


def _receive(connection: Connection) -> Any:
    pickled, sizes = connection.recv()
    columns = [bytearray(size) for size in sizes]
    for column in columns:
        rest = memoryview(column)
        while rest:
            read = os.readv(connection.fileno(), [rest])
            if not read:
                raise EOFError
            rest = rest[read:]
    return pickle.loads(pickled, buffers=columns)  # noqa: S301 - as `Connection.recv` does


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the signals, here and in processes that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start_method() -> str:
    """The start method: fork, which shares the catalog's memory, if that is safe; else spawn.

    After a fork of a process with several threads, a lock may be held that no thread releases.
    """
    tasks = Path("/proc/self/task")
    alone = tasks.is_dir() and len(list(tasks.iterdir())) == 1
    return "fork" if alone else "spawn"
