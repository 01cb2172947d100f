"""Who sends readings, notes what was answered, and compares it with what is stored."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.support.processes import Sender


def reading(number: int, device: str = "device1") -> bytes:
    """A request with a point of its own: two points that belong together."""
    entry = {
        "deviceKey": device,
        "measurepoints": {"temp": number},
        "time": 1_700_000_000_000 + number,
    }
    second = entry | {"time": 1_800_000_000_000 + number}
    request = {
        "id": str(number),
        "version": "1.0",
        "params": [entry, second],
        "method": "integration.measurepoint.post",
    }
    return json.dumps(request).encode()


class Ledger:
    """Sends readings, some of which are wrong, and notes what was answered."""

    def __init__(self, sender: Sender) -> None:
        self.accepted: set[int] = set()
        self.rejected: set[int] = set()
        self._sender = sender
        self._sent = 0

    def send(self, count: int) -> None:
        for number in range(self._sent, self._sent + count):
            self._sender.send(reading(number, "nobody" if number % 5 == 4 else "device1"))
        self._sent += count

    @contextmanager
    def flow(self, pause: float = 0.001) -> Iterator[None]:
        """Send one after the other all the time, whether they are answered or not."""
        stop = threading.Event()

        def load() -> None:
            while not stop.wait(pause):
                self.send(1)

        loading = threading.Thread(target=load)
        loading.start()
        try:
            yield
        finally:
            stop.set()
            loading.join()

    @property
    def waiting(self) -> int:
        """How many requests nobody has answered."""
        return self._sent - len(self.accepted | self.rejected)

    def take(self, count: int) -> None:
        """Take this many first answers; one may come again."""
        until = len(self.accepted | self.rejected) + count
        while len(self.accepted | self.rejected) < until:
            self._note()

    def look(self) -> int:
        """Take the answers that have come; returns how many requests have been accepted."""
        while not self._sender.replies.empty():
            self._note()
        return len(self.accepted)

    def _note(self) -> None:
        answer = json.loads(self._sender.reply().payload)
        codes = {200: self.accepted, 1257: self.rejected}
        codes[answer["code"]].add(int(answer["id"]))

    def check(self, stored: dict[int, list[int]]) -> None:
        """Nothing is lost, nothing is there that was refused, no request by halves."""
        assert self.accepted <= stored.keys()
        assert not self.rejected & stored.keys()
        assert all(
            set(times) == {1_700_000_000_000 + number, 1_800_000_000_000 + number}
            for number, times in stored.items()
        )


def whole_lines(text: str) -> list[dict[str, Any]]:
    """What stands in a sink's lines; the last one may be torn."""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def readings(points: Iterable[dict[str, Any]]) -> dict[int, list[int]]:
    """Each reading, and the times of its points."""
    found: dict[int, list[int]] = {}
    for point in points:
        found.setdefault(int(point["value"]), []).append(point["time"])
    return found


def stored(path: Path) -> dict[int, list[int]]:
    """The readings in a sink's file."""
    return readings(whole_lines(path.read_text())) if path.exists() else {}


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
