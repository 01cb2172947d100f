"""Memory of the service while a sink is stalled: `make soak MINUTES=10`.

    python -m benches.soak --minutes 10

The only sink writes to a pipe without a reader, so that it blocks in a write.

    small      requests of the protocol page's size in a closed loop, for the whole time; the spool
               has room for all of them
    large      requests of `--payload-bytes`, which consist almost only of points, until the spool
               and the in-flight window are full; then no more requests for a while

Each case has its own service. `base` is the idle memory, `peak` the maximum, `slope` the growth
over the second half of the time. The exit status is 1 if the peak exceeds base + `WINDOW`, or if
the slope exceeds `SLOPE` and the run was long enough to distinguish it from noise.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.paths import CATALOG
from tests.support.processes import Broker, Sender, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB: Final = 1024 * 1024
IN_FLIGHT_BYTES: Final = 64 * MIB
"""The default of `limits.in_flight_bytes`."""

WINDOW: Final = 2 * IN_FLIGHT_BYTES / MIB + 150
"""MiB over base: twice the in-flight window, because requests are read while replies wait for the
broker; and the points that are queued, being written, and being read for the sink."""

SLOPE: Final = 10.0
"""MiB an hour."""

LEAST_MINUTES: Final = 10.0
"""The least time in which a slope is distinguishable from the steps of the allocator: those of the
first five minutes are two MiB together."""

ENTRY: Final = '{"deviceKey":"device1","measurepoints":{"temp":%.3f,"Power":%d}}'


@dataclass(frozen=True)
class Figures:
    """The figures of one service; memory in MiB, the slope in MiB an hour."""

    case: str
    seconds: float
    answered: int
    spooled_points: int
    base: float
    peak: float
    end: float
    slope: float

    @property
    def within(self) -> bool:
        """Whether the peak is within the window."""
        return self.peak <= self.base + WINDOW

    @property
    def flat(self) -> bool:
        """Whether the memory does not grow; true if the run was too short to tell."""
        return self.seconds < LEAST_MINUTES * 60 or self.slope <= SLOPE


def memory(service: Service, name: str = "VmRSS") -> float:
    """The memory of a service, in MiB; `name` is that of a line in /proc/…/status."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{service.pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


@contextmanager
def stopped_sink(folder: Path, spool_bytes: int) -> Iterator[tuple[Broker, Service]]:
    """A broker, and a service whose sink is stalled."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(folder))
        service = Service(
            folder,
            broker.port,
            *("[spool]", f'path = "{folder}/spool"', f"max_bytes = {spool_bytes}"),
            *("[[sinks]]", 'type = "ndjson"', 'path = "-"'),
            ack="spool",
            stdout=subprocess.PIPE,
        )
        stack.enter_context(service)
        yield broker, service.ready()
        # Not terminated gracefully: graceful shutdown is not specified for a stalled sink.


class Watch:
    """Samples a service's memory once a second."""

    def __init__(self, case: str, service: Service) -> None:
        self._case = case
        self._service = service
        self._base = memory(service)
        self._begun = time.monotonic()
        self._seen: list[tuple[float, float]] = []

    def until(self, done: Callable[[], object]) -> None:
        """Sample until a condition is true."""
        while not done():
            self._seen.append((time.monotonic() - self._begun, memory(self._service)))
            time.sleep(1.0)

    def figures(self) -> Figures:
        """The figures so far."""
        half = self._seen[len(self._seen) // 2 :]
        slope = statistics.linear_regression(*zip(*half, strict=True)).slope if half[2:] else 0.0
        metric = self._service.metric
        return Figures(
            case=self._case,
            seconds=round(time.monotonic() - self._begun, 1),
            answered=int(metric('pointgate_requests_total{code="200"}')),
            spooled_points=int(metric("pointgate_spool_points_total")),
            base=round(self._base, 1),
            peak=round(memory(self._service, "VmHWM"), 1),
            end=round(memory(self._service), 1),
            slope=round(slope * 3600, 2),
        )


def small(seconds: float, folder: Path) -> Figures:
    """Small requests at full speed, which the spool stores."""
    with stopped_sink(folder, spool_bytes=2**40) as (broker, service):
        watch = Watch("small", service)
        command = [sys.executable, "-m", "pointgate", "bench", "send", "--json", "--window", "1000"]
        command += ["--url", f"mqtt://127.0.0.1:{broker.port}"]
        command += ["--catalog", str(CATALOG), "--product", "protocol"]
        sending = subprocess.Popen(
            [*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True
        )
        watch.until(lambda: sending.poll() is not None)
        answers = json.loads(sending.communicate()[0])
        figures = watch.figures()
        assert answers["accepted"] == answers["requests"] == figures.answered
    return figures


def request(size: int) -> bytes:
    """A request of about `size` bytes, which consists almost only of points."""
    chance = random.Random(1)
    values = ((chance.uniform(0, 100), chance.randrange(100)) for _ in range(size // len(ENTRY)))
    entries = ",".join(ENTRY % each for each in values)
    text = f'{{"version":"1.0","params":[{entries}],"method":"integration.measurepoint.post"}}'
    return text.encode()


def large(seconds: float, folder: Path, *, payload_bytes: int) -> Figures:
    """Large requests, until the spool and the in-flight window are full (backpressure)."""
    payload = request(payload_bytes)
    with stopped_sink(folder, spool_bytes=MIB) as (broker, service):
        watch = Watch("large", service)
        end = time.monotonic() + seconds
        with Sender(broker.port) as sender:
            # More than the in-flight window and the spool together.
            for _ in range(4 * IN_FLIGHT_BYTES // len(payload)):
                sender.send(payload).wait_for_publish(30)
            watch.until(lambda: time.monotonic() > end)
        assert service.readiness() == (
            503,
            "the spool is full: sink ndjson lags behind\n",
        )
        return watch.figures()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="of small requests")
    parser.add_argument("--large-minutes", type=float, default=1)
    parser.add_argument("--payload-bytes", type=int, default=8_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    good = True
    for case in ("large", "small"):
        with tempfile.TemporaryDirectory() as name:
            if case == "small":
                figures = small(options.minutes * 60, Path(name))
            else:
                figures = large(
                    options.large_minutes * 60, Path(name), payload_bytes=options.payload_bytes
                )
        good &= figures.within and figures.flat
        if options.json:
            print(json.dumps(asdict(figures)))
            continue
        print(
            "{case}: {answered:,} requests answered, {spooled_points:,} points in the spool after "
            "{seconds:.0f} s; memory {base:.0f} MiB idle, {peak:.0f} at most, {end:.0f} at the "
            "end, {slope:+.1f} MiB an hour over the second half".format(**asdict(figures))
        )
    sys.exit(not good)


if __name__ == "__main__":
    main()
