"""Large messages: what they take of memory, of the interpreter and of the event loop."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import string
import subprocess
import sys
import threading
import time
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pytest

from benches.corpus import SHAPES, stream
from benches.peers.judge import validator as judge_of
from pointgate import _core
from pointgate.service.gate import LOOP_BYTES, Gate
from pointgate.store.durable import SpoolStore
from pointgate.store.none import NullStore
from pointgate.store.spool.spool import open_spool
from pointgate.store.spool.statistics import SpoolStatistics
from tests.support.collected import entry, one_product, request, topic
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pointgate import Validator
    from pointgate.store.base import Store

LONGEST_GAP: Final = 0.05
TRIES: Final = 5
"""Of a time: whatever else the machine does meanwhile disturbs one or two, not all."""

POINT_BYTES: Final = 56
ENTRY_BYTES: Final = 48
"""What collected points take at most at any time; texts and names twice while they grow."""
SLACK_BYTES: Final = 1 << 20
"""What the first use of a library takes, and what an allocator rounds up."""

LETTERS: Final = string.ascii_letters


@cache
def large() -> tuple[Validator, str, bytes]:
    """The judge, the topic and the payload of 10,000 entries with 20 points each."""
    corpus = stream("XL")
    [payload] = corpus.payloads
    return judge_of(corpus.product), corpus.product.topic, payload


def letters() -> Validator:
    """A judge of points with the shortest names, half of them texts."""
    points = {letter: {"dataType": "INT"} for letter in LETTERS}
    points |= {f"{letter}t": {"dataType": "STRING"} for letter in LETTERS}
    return one_product({"measurepoints": points}, [f"d{n}" for n in range(10_000)])


def payload_of(kind: str) -> bytes:
    """Messages of some megabytes: ordinary, and with the most points, entries or text a byte."""
    if kind == "ordinary":
        return large()[2]
    points, count = {
        "dense": (",".join(f'"{letter}":1' for letter in LETTERS), 10_000),
        "one point an entry": ('"a":1', 50_000),
        "no points": ("", 50_000),
        "texts": (",".join(f'"{letter}t":"{letter * 500}"' for letter in LETTERS), 200),
    }[kind]
    one = "{" + f'"deviceKey":"d%d","measurepoints":{{{points}}}' + "}"
    return request(f"[{','.join(one % (n % 10_000) for n in range(count))}]")


def measure(kind: str, path: str) -> None:
    """Print what a message takes besides itself; runs in a process of its own."""
    payload = Path(path).read_bytes()
    if kind == "ordinary":
        product = SHAPES["XL"].product
        judge, on = judge_of(product), product.topic
    else:
        judge, on = letters(), topic("pk")
    pa.table(judge.collect([on], [b"{"])[1])
    gc.collect()
    before = _begin()
    (report,) = judge.validate([on], [payload])
    judging = _most() - before
    assert report.fault is None, report.fault.message
    before = _begin()
    (report,), points = judge.collect([on], [payload])
    collecting = _most() - before
    table = pa.table(points)
    reading = _most() - before
    assert table.num_rows == len(points) == report.points
    texts = [_text_bytes(table[name]) for name in ("value_text", "value_json", "device")]
    found = {"judging": judging, "collecting": collecting, "reading": reading}
    sys.stdout.write(json.dumps(found | {"points": len(points), "texts": sum(texts)}))


def _text_bytes(column: pa.ChunkedArray) -> int:
    texts = [getattr(chunk, "dictionary", chunk) for chunk in column.chunks]
    return sum(text.buffers()[-1].size for text in texts)


def _begin() -> int:
    """Forget the most memory there ever was; returns what there is."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return _status("VmRSS")


def _most() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    [kibibytes] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kibibytes) * 1024


@pytest.mark.parametrize(
    ("kind", "entries"),
    [
        ("ordinary", 10_000),
        ("dense", 10_000),
        ("one point an entry", 50_000),
        ("no points", 50_000),
        ("texts", 200),
    ],
)
def test_memory_stays_within_what_is_promised(kind: str, entries: int, tmp_path: Path) -> None:
    payload = payload_of(kind)
    assert payload.count(b'"deviceKey"') == entries
    (tmp_path / "payload").write_bytes(payload)
    root = ROOT
    payload_file = str(tmp_path / "payload")
    program = f"from tests.judge.test_large import measure; measure({kind!r}, {payload_file!r})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    most = max(found["collecting"], found["reading"])
    assert found["judging"] <= 0.1 * len(payload)
    promised = POINT_BYTES * found["points"] + ENTRY_BYTES * entries + 2 * found["texts"]
    assert most <= promised + SLACK_BYTES
    if kind == "ordinary":
        assert most <= 2.5 * len(payload)


@contextmanager
def _ticks() -> Iterator[Callable[[], int]]:
    """Another thread that counts whenever it gets the interpreter; gives how far it is.

    Nobody takes the interpreter from a thread that works in Python, so that it counts only while
    this one has given it up.
    """
    count, done = 0, False

    def tick() -> None:
        nonlocal count
        while not done:
            count += 1
            time.sleep(0)

    thread = threading.Thread(target=tick)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)
    thread.start()
    try:
        yield lambda: count
    finally:
        done = True
        sys.setswitchinterval(interval)
        thread.join()


def _ticks_while(work: Callable[[], object]) -> int:
    with _ticks() as count:
        for _ in range(TRIES):
            before = count()
            work()
            if ticks := count() - before:
                return ticks
    return 0


def test_other_threads_run_while_a_large_message_is_judged() -> None:
    judge, on, payload = large()
    topics, payloads = [on] * 5, [payload] * 5
    assert _ticks_while(lambda: judge.validate(topics, payloads)) > 0
    assert _ticks_while(lambda: judge.collect(topics, payloads)) > 0


def test_other_threads_run_while_many_points_are_exported() -> None:
    judge, on, payload = large()
    bursts = [judge.collect([on] * 3, [payload] * 3)[1] for _ in range(TRIES)]
    assert _ticks_while(lambda: bursts.pop().__arrow_c_stream__()) > 0


def test_a_small_burst_keeps_the_interpreter() -> None:
    """Taking it back would cost more than the work; and so the tests above can fail."""
    judge = letters()
    payload = request(entry('"a":1', "d1"))
    few, points = 1000, judge.collect([topic("pk")], [payload])[1]
    assert len(payload) * few < 200_000
    assert _ticks_while(lambda: judge.validate([topic("pk")] * few, [payload] * few)) == 0
    assert _ticks_while(points.__arrow_c_stream__) == 0


class _Connection:
    """Hands over bursts, then drains."""

    def __init__(self, bursts: list[_core.Burst]) -> None:
        self._bursts = bursts
        self.settled = 0
        self.replies: list[bytes | None] = []

    async def receive(self) -> _core.Burst | None:
        return self._bursts.pop(0) if self._bursts else None

    async def settle(self, burst: _core.Burst, *, more: bool = False) -> None:  # noqa: ARG002
        self.settled += len(burst)
        self.replies += burst.replies


@asynccontextmanager
async def _verdict(_folder: Path) -> AsyncIterator[Store]:
    yield NullStore()


@asynccontextmanager
async def _spool(folder: Path) -> AsyncIterator[Store]:
    sinks, statistics = {"main": True}, SpoolStatistics()
    async with open_spool(folder, max_bytes=2**30, sinks=sinks, statistics=statistics) as spool:
        yield SpoolStore(spool)


def _waited() -> dict[Path, int]:
    """How long each thread of ours has waited for a processor that others had, in nanoseconds."""
    found = {}
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            found[file] = int(file.read_text("ascii").split()[1])
    return found


async def _longest_gap(work: asyncio.Task[None]) -> float:
    """The longest time between two turns of the loop, without what a busy machine makes of it."""
    longest, last, waited = 0.0, time.perf_counter(), _waited()
    while not work.done():
        await asyncio.sleep(0)
        now, waits = time.perf_counter(), _waited()
        others = sum(wait - waited.get(file, 0) for file, wait in waits.items()) / 1e9
        longest = max(longest, now - last - others)
        last, waited = now, waits
    await work
    return longest


@pytest.mark.parametrize("store", [_verdict, _spool])
async def test_large_messages_never_hold_the_loop(
    store: Callable[[Path], AbstractAsyncContextManager[Store]], tmp_path: Path
) -> None:
    judge, on, payload = large()
    of_the_loop = stream("M").payloads[0]
    several = [of_the_loop] * (LOOP_BYTES // len(of_the_loop))
    bursts = [[payload], several, [payload, payload, *several], several, [payload]]
    longest = math.inf
    for _ in range(TRIES):
        connection = _Connection([_core.Burst.of([on] * len(one), one) for one in bursts])
        counters = _core.Counters()
        async with store(tmp_path) as kept:
            gate = Gate(validator=judge, store=kept, counters=counters)
            longest = min(longest, await _longest_gap(asyncio.create_task(gate.run(connection))))
            gate.close()
        assert all(reply and b'"code":200' in reply for reply in connection.replies)
        assert connection.settled == sum(map(len, bursts))
        if longest < LONGEST_GAP:
            break
    assert longest < LONGEST_GAP
