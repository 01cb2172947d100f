"""The responses of the metrics port and of the admin socket, by path.

    /metrics, /offenders      rendered at most once a second
    /livez, /readyz
    /tap                      a stream of answered requests, on the admin socket only

It does not know HTTP: `http.py` does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from pointgate.service.content_negotiation import preferred
from pointgate.service.metrics import page_format
from pointgate.service.offenders import OFFENDER_FORMATS, render_offenders
from pointgate.service.taps import TapQueryError, TooManyTapsError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from pointgate.service.metrics import Metrics
    from pointgate.service.taps import Taps

_PAGE_SECONDS: Final = 1.0
"""A page takes 2 ms, and 0.1 ms for each product: with 100 products this limits it to 1 % of a core
(2 cores, 2026-11)."""

_TEXT: Final = "text/plain; charset=utf-8"
_LINES: Final = "application/x-ndjson"


class Health(Protocol):
    """The service's liveness and readiness."""

    def live(self) -> bool:
        """Whether the process works; if not, it should be restarted."""

    def ready(self) -> tuple[bool, str]:
        """Whether requests are received and answered, and why not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, its body and its content type."""

    status: int
    body: bytes
    content_type: str = _TEXT


@dataclass(frozen=True, slots=True)
class Stream:
    """A response without an end: 200, and the parts of its body as they come.

    Attributes:
        parts: Them.
        close: Must be called when no more are read.
        content_type: Its content type.
    """

    parts: AsyncGenerator[bytes, None]
    close: Callable[[], None]
    content_type: str = _LINES


class Pages:
    """The response to each path.

    Args:
        metrics: The metrics of /metrics, and the counters of /offenders.
        health: The source of /livez and /readyz.
        taps: What /tap is made of; None where it is not served.
    """

    def __init__(self, metrics: Metrics, health: Health, taps: Taps | None = None) -> None:
        self._metrics = metrics
        self._health = health
        self._taps = taps
        self._rendered: dict[str, tuple[float, Answer]] = {}

    def answer(self, target: str, accept: str) -> Answer | Stream:
        """The response to a GET of a path with its query, for an Accept header."""
        path, _, query = target.partition("?")
        match path:
            case "/metrics":
                form = page_format(accept)
                return self._page(f"metrics {form}", lambda: self._metrics.render(form))
            case "/offenders":
                form = preferred(accept, OFFENDER_FORMATS)
                counters = self._metrics.counters
                return self._page(f"offenders {form}", lambda: render_offenders(counters, form))
            case "/livez":
                live = self._health.live()
                return Answer(200, b"live\n") if live else Answer(503, b"not live\n")
            case "/readyz":
                ready, reason = self._health.ready()
                return Answer(200 if ready else 503, _line(reason or "ready"))
            case "/tap" if self._taps is not None:
                return _tap(self._taps, query)
            case _:
                tap = ", /tap" if self._taps is not None else ""
                return Answer(404, _line(f"expected /metrics, /offenders{tap}, /livez or /readyz"))

    def _page(self, name: str, render: Callable[[], tuple[bytes, str]]) -> Answer:
        now = asyncio.get_running_loop().time()
        rendered_at, answer = self._rendered.get(name, (-_PAGE_SECONDS, None))
        if answer is None or now - rendered_at >= _PAGE_SECONDS:
            answer = Answer(200, *render())
            self._rendered[name] = (now, answer)
        return answer


def _tap(taps: Taps, query: str) -> Answer | Stream:
    try:
        tap = taps.attach(query)
        return Stream(tap.lines(), partial(taps.detach, tap))
    except TapQueryError as error:
        return Answer(400, _line(str(error)))
    except TooManyTapsError as error:
        return Answer(503, _line(str(error)))


def _line(text: str) -> bytes:
    """A line of text; it may contain a file name that is not UTF-8."""
    return f"{text}\n".encode(errors="backslashreplace")
