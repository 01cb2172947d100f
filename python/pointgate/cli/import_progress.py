"""The progress bar of `pointgate import`, on stderr if that is a terminal."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

_REDRAW_SECONDS: Final = 0.2


class ProgressBar:
    """Shows the phase, its share that is done, and its rate."""

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
