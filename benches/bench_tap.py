"""What a tap costs the gate: CPU time for a request, detached and attached, in turn in one process.

    python -m benches.bench_tap --rounds 15

The gate judges, counts and settles prepared bursts of the protocol page's example, nothing else, so
a tap's share is larger here than in a service, which reads, stores and replies besides. Each round
runs every variant for the same number of requests; printed are the medians, and those against the
gate without taps in the same round. A reader takes the lines, as a connection would.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import time
from typing import TYPE_CHECKING, Final

from benches.bench_echo import CATALOG
from benches.bench_front_end import PAYLOAD, TOPIC
from pointgate import Catalog, Validator
from pointgate._core import Burst, Counters
from pointgate.service.gate import Gate
from pointgate.service.taps import Taps
from pointgate.store.none import NullStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

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

    async def settle(self, burst: Burst) -> None:
        """Count a burst."""
        self.settled += len(burst)


async def run(queries: Sequence[str] | None, bursts: Sequence[Burst], count: int) -> float:
    """Microseconds of CPU time for a request."""
    taps = None if queries is None else Taps()
    readers = []
    for query in queries or ():
        assert taps is not None
        readers.append(asyncio.create_task(read(taps.attach(query).lines())))
    validator = Validator(Catalog.load(CATALOG))
    gate = Gate(validator=validator, store=NullStore(), counters=Counters(), taps=taps)
    connection = Connection(bursts, count)
    began = time.thread_time()
    await gate.run(connection)
    seconds = time.thread_time() - began
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    return seconds / connection.settled * 1e6


async def read(lines: AsyncGenerator[bytes, None]) -> None:
    """Take the lines of a tap until cancelled."""
    async for _ in lines:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--bursts", type=int, default=15000, help="bursts of a round")
    options = parser.parse_args()
    logging.disable()
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
