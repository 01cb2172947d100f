"""What a tap costs the gate: CPU time for a request, detached and attached, in turn in one process.

    python -m benches.bench_tap --rounds 15
    python -m benches.bench_tap --service [--ack verdict]     # a whole one, at full speed

The gate judges, counts and settles prepared bursts of the protocol page's example, nothing else, so
a tap's share is larger here than in a service, which reads, stores and replies besides. Each round
runs every variant for the same number of requests; printed are the medians, and those against the
gate without taps in the same round. A reader takes the lines, as a connection would. The clock of
the taps is the CPU time of the thread, so that a second is one of a core that nobody shares.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

from benches.bench_echo import CATALOG, SETTINGS, cpu_seconds, free_port, start
from benches.bench_front_end import PAYLOAD, TOPIC, StandIn
from pointgate import Catalog, Validator
from pointgate._core import Burst, Counters
from pointgate.service import taps
from pointgate.service.gate import Gate
from pointgate.service.taps import Taps
from pointgate.store.none import NullStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

_BURST: Final = 128
_BURSTS: Final = 64

VARIANTS: Final[dict[str, Sequence[str] | None]] = {
    "no taps": None,
    "detached": [],
    "attached, 100/s": ["rate=100"],
    "attached, 100/s, whole payloads": ["rate=100&payload=1"],
    "attached, a reason that no request has": ["reason=range"],
    "attached, a device that no request has": ["device=inverter1"],
    "attached, 10,000/s": ["rate=10000"],
    "four, 10,000/s, whole payloads": ["rate=10000&payload=1"] * 4,
}


class Connection:
    """Hands over prepared bursts, again and again."""

    def __init__(self, bursts: Sequence[Burst], count: int) -> None:
        self._bursts = bursts
        self._left = count
        self.settled = 0

    async def receive(self) -> Burst | None:
        """The next burst."""
        await asyncio.sleep(0)  # as a source does that waits for its socket
        if not self._left:
            return None
        self._left -= 1
        return self._bursts[self._left % len(self._bursts)]

    async def settle(self, burst: Burst, *, more: bool = False) -> None:  # noqa: ARG002
        """Count a burst."""
        self.settled += len(burst)


async def run(queries: Sequence[str] | None, bursts: Sequence[Burst], count: int) -> float:
    """Microseconds of CPU time for a request."""
    all_taps = None if queries is None else Taps()
    readers = []
    for query in queries or ():
        assert all_taps is not None
        readers.append(asyncio.create_task(read(all_taps.attach(query).lines())))
    validator = Validator(Catalog.load(CATALOG))
    gate = Gate(validator=validator, store=NullStore(), counters=Counters(), taps=all_taps)
    connection = Connection(bursts, count)
    began = time.thread_time()
    await gate.run(connection)
    seconds = time.thread_time() - began
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    return seconds / connection.settled * 1e6


def in_service(rounds: int, seconds: float, ack: str) -> None:
    """Measure a service in turn without a tap, and with one that a client reads."""
    options = argparse.Namespace(qos=1, protocol=5, block=128, window=896, rate=0.0)
    queries = ["", *(f"/tap?{one}" for one in ("rate=100", "rate=10000&payload=1"))]
    found: dict[str, list[float]] = {query: [] for query in queries}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stand_in = StandIn(options)
        settings = SETTINGS.format(
            broker=stand_in.port, metrics=free_port(), catalog=CATALOG, protocol=5, ack=ack
        )
        # Of the service's bytes the stand-in expects replies alone, and no pings.
        settings = settings.replace("[mqtt]", "[mqtt]\nkeepalive = 3600")
        (folder / "pointgate.toml").write_text(settings)
        command = [sys.executable, "-m", "pointgate", "serve", "-c", str(folder / "pointgate.toml")]
        service = start(stack, folder / "service.log", *command)
        stand_in.accept()
        stand_in.run(1)
        for _ in range(rounds):
            for query in queries:
                with attached(folder / "admin.sock", query):
                    before = cpu_seconds(service)
                    requests = stand_in.run(seconds)["requests"]
                    found[query].append((cpu_seconds(service) - before) / requests * 1e6)
    for query, values in found.items():
        shares = [value / other - 1 for value, other in zip(values, found[""], strict=True)]
        print(
            f"{query or 'detached':40} {statistics.median(values):7.3f} µs "
            f"{statistics.median(shares):+7.1%}"
        )


@contextmanager
def attached(path: Path, query: str) -> Iterator[None]:
    """A client that reads a tap as fast as it can; none if there is no query."""
    if not query:
        yield
        return
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(f"GET {query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        reader = threading.Thread(
            target=lambda: [None for _ in iter(lambda: client.recv(65536), b"")]
        )
        reader.start()
        try:
            yield
        finally:
            client.shutdown(socket.SHUT_RDWR)
            reader.join()


async def read(lines: AsyncGenerator[bytes, None]) -> None:
    """Take the lines of a tap until cancelled."""
    async for _ in lines:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--service", action="store_true", help="measure a whole service")
    parser.add_argument("--seconds", type=float, default=3, help="of a round of a service")
    parser.add_argument("--ack", choices=("verdict", "spool"), default="spool", help="of a service")
    parser.add_argument("--bursts", type=int, default=15000, help="bursts of a round")
    options = parser.parse_args()
    if options.service:
        in_service(options.rounds, options.seconds, options.ack)
        return
    logging.disable()
    taps.time = SimpleNamespace(monotonic=time.thread_time, thread_time=time.thread_time)  # type: ignore[assignment,attr-defined]
    bursts = [
        Burst.of([TOPIC] * _BURST, [(PAYLOAD % number).encode() for number in range(_BURST)])
        for _ in range(_BURSTS)
    ]
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(options.rounds):
        for name, queries in VARIANTS.items():
            found[name].append(asyncio.run(run(queries, bursts, options.bursts)))
    base = found["no taps"]
    for name, values in found.items():
        shares = [value / other - 1 for value, other in zip(values, base, strict=True)]
        print(f"{name:40} {statistics.median(values):7.3f} µs {statistics.median(shares):+7.1%}")


if __name__ == "__main__":
    main()
