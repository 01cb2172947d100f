"""Processes that take jobs, and give back their results in the order of the jobs.

    a free process:        send it the next job
    a process has sent:    keep its result until it is the next one's turn

Each process has a pipe of its own, and ends when the other end is gone, however the main process
ended. A span waits in the pipe while another one is worked on, so that nobody is idle; larger jobs
go only to a process that waits for one, since two that write to each other wait for ever.

Invariants: at most `_AHEAD` jobs a process are under way or waiting for their turn; a process that
is lost ends the run, and says which one.

What it does not do: know what a job is.
"""

from __future__ import annotations

import atexit
import multiprocessing
import signal
from collections import deque
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Self, cast

from pointgate.bulk.jobs import Job, Recipe, Result, Span
from pointgate.bulk.judge import Judge
from pointgate.errors import PointgateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

_AHEAD: Final = 4

_END_SECONDS: Final = 2.0
"""A job takes milliseconds; whoever takes longer to end is killed."""


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class ProcessLostError(PointgateError):
    """A process ended in the middle of its work: killed for want of memory, or by a bug."""


class Pool:
    """So many processes that judge by the same recipe.

    Args:
        recipe: How they judge. Load its catalog first, for them to share it.
        processes: How many.
    """

    def __init__(self, recipe: Recipe, *, processes: int) -> None:
        context = multiprocessing.get_context(_start_method())
        self._workers: list[_Worker] = []
        self._window = processes * _AHEAD
        # They ignore SIGTERM, by which multiprocessing would end them before it waits for them. It
        # registered that earlier, so this comes first.
        atexit.register(_kill, self._workers)
        for _ in range(processes):
            self._workers.append(_Worker(context, recipe, self._workers))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(_END_SECONDS)
        _kill(self._workers)
        atexit.unregister(_kill)

    def run(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, Result]]:
        """Have every job done.

        Args:
            jobs: What there is to do; it is taken as processes get free.

        Raises:
            ProcessLostError: A process has ended before its work was done.
        """
        begun: deque[tuple[int, Job]] = deque()
        results: dict[int, Result] = {}
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

    def _free(self, job: Job) -> _Worker | None:
        """The process with the least to do, if it can take a job now."""
        worker = min(self._workers, key=lambda worker: worker.jobs)
        return worker if worker.jobs < (2 if isinstance(job, Span) else 1) else None

    def _ready(self) -> Sequence[_Worker]:
        """Wait for those processes that have sent something, or have ended."""
        busy = {worker.connection: worker for worker in self._workers if worker.jobs}
        return [busy[cast("Connection", one)] for one in wait(list(busy))] if busy else []


class _Worker:
    """One process, as the main process sees it."""

    def __init__(self, context: BaseContext, recipe: Recipe, others: Sequence[_Worker]) -> None:
        self.jobs = 0
        self.connection, theirs = context.Pipe()
        # A forked process has copies of all that is open here: were it to keep them, no other one
        # would see its pipe's end.
        is_fork = context.get_start_method() == "fork"
        inherited = [self.connection, *(one.connection for one in others)] if is_fork else []
        self.process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_work, args=(theirs, inherited, recipe), name="judge", daemon=True
        )
        with _signals_blocked():  # until the process can ignore them
            self.process.start()
        theirs.close()

    def send(self, number: int, job: Job) -> None:
        try:
            self.connection.send((number, job))
        except OSError:
            self._lose()
        self.jobs += 1

    def receive(self) -> tuple[int, Result]:
        try:
            number, result = self.connection.recv()
        except (EOFError, OSError):
            self._lose()
        self.jobs -= 1
        return number, result

    def _lose(self) -> NoReturn:
        self.process.join(_END_SECONDS)
        status = self.process.exitcode or 0
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        raise ProcessLostError(f"a judging process was ended {how}") from None


def _kill(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.kill()


def _work(connection: Connection, inherited: Sequence[Connection], recipe: Recipe) -> None:
    """Do jobs until the main process closes the pipe, or is no more."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # both may come to all; the main process decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    for one in inherited:
        one.close()
    try:
        judge = Judge(recipe)
        while True:
            number, job = connection.recv()
            connection.send((number, judge.run(job)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Let signals wait, here and in processes that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_method() -> str:
    """How to start processes: by a fork, which shares the catalog, wherever that is safe.

    A copy of a process with several threads may find locks that nobody will ever release.
    """
    tasks = Path("/proc/self/task")
    alone = tasks.is_dir() and len(list(tasks.iterdir())) == 1
    return "fork" if alone else "spawn"
