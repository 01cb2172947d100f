"""The drain: order, retries, halving, progress, sinks that lag; and what waits for sinks."""

from __future__ import annotations

import asyncio
import json
import re
from array import array
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from pointgate.config import Settings, SpoolSettings, StoreSettings
from pointgate.errors import ConfigError
from pointgate.service.metrics import Metrics
from pointgate.service.pipeline import open_store
from pointgate.sinks import registry as builder
from pointgate.sinks.base import CommitsEachWrite, SinkRefusedError, SinkUnavailableError
from pointgate.sinks.dead_letters import DeadLetters
from pointgate.sinks.drain import Drain
from pointgate.sinks.ndjson.settings import NdjsonSettings
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.sinks.postgres.settings import PostgresSettings
from pointgate.sinks.statistics import SinkStatistics
from pointgate.store.durable import SinkStore, SpoolStore
from pointgate.store.spool.batch import COUNTS
from pointgate.store.spool.spool import Spool, open_spool
from pointgate.store.spool.statistics import SpoolStatistics
from tests.support.patience import PATIENCE
from tests.support.points import counts, points, values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence


class FakeSink(CommitsEachWrite):
    """Takes what it is told to take."""

    def __init__(self, name: str = "main") -> None:
        self.name = name
        self.got: list[float] = []
        self.sequences: list[int] = []
        self.opened = self.closed = 0
        self.errors: list[Exception] = []  # for the next calls
        self.hates: set[float] = set()
        self.go = asyncio.Event()
        self.go.set()

    def newest(self) -> int:
        return 0

    async def open(self) -> None:
        self.opened += 1
        if self.errors:
            raise self.errors.pop(0)

    async def write(self, points: pa.Table, *, sequence: int) -> None:
        await self.go.wait()
        if self.errors:
            raise self.errors.pop(0)
        if self.hates & set(values(points)):
            raise SinkRefusedError("no place for it")
        self.got += values(points)
        self.sequences.append(sequence)

    async def close(self) -> None:
        self.closed += 1


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - threads and other tasks change it
            await asyncio.sleep(0.005)


async def keep(spool: Spool, *numbers: float) -> int:
    """Keep a request of one point for each number; returns the last one's number."""
    async with asyncio.timeout(PATIENCE):
        last = await spool.append(counts(*[1] * len(numbers)), [points(*numbers)])
    assert last is not None
    return last


class World:
    """A spool, sinks, and a drain that can run between them."""

    def __init__(self, folder: Path, spool: Spool, sinks: Sequence[tuple[FakeSink, bool]]) -> None:
        self.spool = spool
        self.statistics = {sink.name: SinkStatistics() for sink, _ in sinks}
        self.refused = folder / "refused"
        self.drain = Drain(
            spool,
            sinks,
            statistics=self.statistics,
            dead_letters=DeadLetters(self.refused, max_bytes=2**20),
            replies_wait=True,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.drain.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def world(
    folder: Path, *sinks: FakeSink, optional: Sequence[FakeSink] = (), max_bytes: int = 2**30
) -> AsyncIterator[World]:
    lanes = [(sink, True) for sink in sinks] + [(sink, False) for sink in optional]
    async with open_spool(
        folder,
        max_bytes=max_bytes,
        sinks={sink.name: required for sink, required in lanes},
        statistics=SpoolStatistics(),
    ) as spool:
        yield World(folder, spool, lanes)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointgate.sinks.retry._FIRST_WAIT", 0.001)
    monkeypatch.setattr("pointgate.sinks.retry._LONGEST_WAIT", 0.002)


async def test_the_time_of_a_commit_is_that_of_calls_that_return(tmp_path: Path) -> None:
    sink = FakeSink()
    sink.errors = [SinkUnavailableError("away")] * 2  # of open, and of the first write
    async with world(tmp_path, sink) as here, here.running():
        for number in range(3):
            await keep(here.spool, float(number))
            await until(lambda: len(sink.got) == number + 1)  # noqa: B023
        statistics = here.statistics["main"]
        await until(lambda: statistics.points == 3)
        read = statistics.commits.read()
        assert read["buckets"][-1] == len(sink.sequences)
        assert 0 < read["sum"] < PATIENCE
        assert statistics.failures == 2


async def test_every_sink_gets_everything_in_order(tmp_path: Path) -> None:
    sinks = FakeSink("one"), FakeSink("two")
    async with world(tmp_path, *sinks) as here, here.running():
        for number in range(30):
            await keep(here.spool, float(number))
        await until(lambda: all(len(sink.got) == 30 for sink in sinks))
        for sink in sinks:
            assert sink.got == [float(number) for number in range(30)]
            assert sink.sequences == sorted(set(sink.sequences))
            assert here.statistics[sink.name].points == 30
    assert [sink.closed for sink in sinks] == [1, 1]


async def test_a_sink_that_is_away_is_tried_again_and_holds_up_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away, well = FakeSink("away"), FakeSink("well")
    away.errors = [SinkUnavailableError("no connection")] * 5 + [KeyError("our mistake")]
    away.go.clear()
    async with world(tmp_path, away, well) as here, here.running():
        await keep(here.spool, 1.0)
        await until(lambda: well.got)
        await until(lambda: not away.errors)
        assert away.got == []
        here.drain.update_lag()
        statistics = here.statistics["away"]
        assert (statistics.lag_requests, statistics.lag_points) == (1, 1)
        assert statistics.oldest
        away.go.set()
        await until(lambda: away.got == [1.0])
        await until(lambda: statistics.oldest is None)
        here.drain.update_lag()
        assert (statistics.failures, statistics.lag_requests, statistics.lag_points) == (6, 0, 0)
        assert here.drain.trouble == ""
    assert caplog.text.count("retrying") == 1


async def test_a_request_that_a_sink_can_never_take_is_set_aside_alone(tmp_path: Path) -> None:
    sink = FakeSink()
    sink.hates = {3.0, 8.0}
    async with world(tmp_path, sink) as here:
        last = await keep(here.spool, *(float(number) for number in range(10)))
        async with here.running():
            await until(lambda: len(sink.got) == 8)
            await keep(here.spool, 10.0)
            await until(lambda: sink.got[-1] == 10.0)
    assert sink.got == [float(n) for n in range(11) if n not in sink.hates]
    assert sink.sequences == sorted(set(sink.sequences))
    assert here.statistics["main"].refused == 2
    assert here.statistics["main"].points == 9
    kept = sorted((here.refused / "main").glob("*.arrow"))
    assert [path.stem for path in kept] == [f"{last - 6:016}", f"{last - 1:016}"]
    assert [values(pa.ipc.open_file(path).read_all()) for path in kept] == [[3.0], [8.0]]
    about = json.loads(kept[0].with_suffix(".json").read_bytes())
    assert (about["reason"], about["products"]) == ("no place for it", ["pk"])


async def test_a_request_is_never_cut(tmp_path: Path) -> None:
    sink = FakeSink()
    sink.hates = {2.0}
    async with world(tmp_path, sink) as here:
        await here.spool.append(counts(2, 3), [points(1.0, 2.0), points(3.0, 4.0, 5.0)])
        async with here.running():
            await until(lambda: sink.got)
    assert sink.got == [3.0, 4.0, 5.0]
    (kept,) = (here.refused / "main").glob("*.arrow")
    assert values(pa.ipc.open_file(kept).read_all()) == [1.0, 2.0]


async def test_a_sink_whose_refused_points_have_no_room_stands_still(tmp_path: Path) -> None:
    sink = FakeSink()
    sink.hates = {1.0}
    async with world(tmp_path, sink) as here:
        here.drain._dead_letters = DeadLetters(here.refused, max_bytes=1)
        here.refused.joinpath("main").mkdir(parents=True)
        there = here.refused / "main" / "there"
        there.write_bytes(b"xx")
        async with here.running():
            await keep(here.spool, 1.0)
            await until(lambda: "1 bytes of dead letters" in here.drain.trouble)
            there.unlink()
            await until(lambda: here.statistics["main"].refused)


async def test_a_restart_goes_on_where_the_sink_was(tmp_path: Path) -> None:
    sink = FakeSink()
    async with world(tmp_path, sink) as here:
        await keep(here.spool, 1.0)
        async with here.running():
            await until(lambda: sink.got)
        await keep(here.spool, 2.0)
    async with world(tmp_path, sink) as here:
        here.drain.update_lag()
        assert here.statistics["main"].lag_requests == 1
        async with here.running():
            await until(lambda: len(sink.got) == 2)
    assert sink.got == [1.0, 2.0]
    assert sink.opened == 2


async def test_a_sink_that_is_not_required_may_lose_points_and_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    needed, extra = FakeSink("needed"), FakeSink("extra")
    extra.go.clear()
    async with (
        world(tmp_path, needed, optional=[extra], max_bytes=8 * 4096) as here,
        here.running(),
    ):
        for number in range(40):
            await keep(here.spool, float(number))
        await until(lambda: len(needed.got) == 40)
        extra.go.set()
        await until(lambda: extra.got and extra.got[-1] == 39.0)
        dropped = here.statistics["extra"].dropped
        assert dropped + len(extra.got) == 40
        assert dropped > 20
        assert here.statistics["needed"].dropped == 0
    assert re.search(r"sink extra: \d+ points lost so far: it is not required", caplog.text)


async def test_the_end_waits_for_sinks_but_not_for_ever(tmp_path: Path) -> None:
    sink = FakeSink()
    sink.go.clear()
    async with world(tmp_path, sink) as here, here.running():
        await keep(here.spool, 1.0)
        await here.drain.finish(0.01)
        assert sink.got == []
        sink.go.set()
        await here.drain.finish(PATIENCE)
        assert sink.got == [1.0]


async def test_points_come_together_while_a_sink_keeps_up(tmp_path: Path) -> None:
    sink = FakeSink()
    async with world(tmp_path, sink) as here:
        here.drain._linger = 60.0
        async with here.running():
            await keep(here.spool, 0.0)
            await until(lambda: sink.got)
            for number in range(1, 10):
                await keep(here.spool, float(number))
            assert sink.sequences[1:] == []
            await here.drain.finish(PATIENCE)
            assert len(sink.sequences) == 2
            assert len(sink.got) == 10


def _counts(*numbers: int) -> bytes:
    return array(COUNTS, numbers).tobytes()


async def test_with_ack_spool_a_request_is_kept_when_it_is_on_disk(tmp_path: Path) -> None:
    async with world(tmp_path, FakeSink()) as here:  # whose drain does not even run
        store = SpoolStore(here.spool)
        assert await store.append(_counts(), []) == ()
        assert await store.append(_counts(2, 1), [points(1.0, 2.0, 3.0)]) == ()
        portion = await here.spool.read(here.spool.progress["main"], points=100, size=2**20)
        assert list(portion.counts) == [2, 1]
        assert list(await store.append(_counts(2), [points(1.0)])) == [0]  # our own mistake


async def test_with_ack_sink_a_request_is_kept_when_every_required_sink_has_it(
    tmp_path: Path,
) -> None:
    sinks = FakeSink("one"), FakeSink("two")
    extra = FakeSink("extra")
    extra.go.clear()
    sinks[1].go.clear()
    sinks[1].hates = {2.0}
    async with world(tmp_path, *sinks, optional=[extra]) as here, here.running():
        store = SinkStore(here.spool, here.drain)
        first = asyncio.ensure_future(store.append(_counts(1), [points(1.0)]))
        second = asyncio.ensure_future(store.append(_counts(1, 1), [points(2.0, 3.0)]))
        await until(lambda: len(sinks[0].got) == 3)
        assert not first.done()
        assert not second.done()
        sinks[1].go.set()
        assert not await first
        assert list(await second) == [0]  # which is not answered: that sink will never have it
        assert sinks[1].got == [1.0, 3.0]
        sinks[1].errors = [SinkUnavailableError("gone")] * 10**6
        third = asyncio.ensure_future(store.append(_counts(1), [points(4.0)]))
        await until(lambda: store.trouble == "sink two: gone")
        assert not third.done()
        sinks[1].errors.clear()
        assert not await third
        await until(lambda: store.trouble == "")


@pytest.mark.parametrize("earlier", [(1.0,), (1.0, 2.0), (1.0, 2.0, 3.0), (2.0, 9.0, 1.0)])
@pytest.mark.parametrize("later", [1, 2, 5])
async def test_what_a_sink_refuses_of_an_earlier_life_is_no_later_request(
    tmp_path: Path, earlier: tuple[float, ...], later: int
) -> None:
    async with world(tmp_path, FakeSink()) as here:  # which dies before the sinks have anything
        await keep(here.spool, *earlier)
    sink = FakeSink()
    sink.hates = {1.0, 2.0, 3.0, 50.0}
    async with world(tmp_path, sink) as here, here.running():
        store = SinkStore(here.spool, here.drain)
        numbers = [10.0 + number for number in range(later)]
        async with asyncio.timeout(PATIENCE):
            assert not await store.append(_counts(*[1] * later), [points(*numbers)])
            assert list(await store.append(_counts(1, 1), [points(50.0, 51.0)])) == [0]
        assert sink.got == [*(one for one in earlier if one not in sink.hates), *numbers, 51.0]


async def test_the_settings_say_what_is_opened(tmp_path: Path) -> None:
    spool = SpoolSettings(path=tmp_path / "spool")
    sinks = (ParquetSettings(path=tmp_path / "points"),)
    for ack in ("spool", "sink", "verdict"):
        metrics = Metrics(ack=ack)
        settings = Settings(store=StoreSettings(ack=ack), spool=spool, sinks=sinks)
        async with open_store(settings, metrics, builder.build(settings.sinks)) as pipeline:
            assert pipeline.store.ack == ack
            assert pipeline.store.collects == (ack != "verdict")
            assert list(metrics.sinks) == ([] if ack == "verdict" else ["parquet"])
            metrics.render()
            await pipeline.finish(0.0)


def test_a_sink_whose_package_is_missing_names_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(_settings: object, _writer: str) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(builder, "_build", missing)
    settings = PostgresSettings(type="postgres", url="postgresql://db/x")
    with pytest.raises(ConfigError) as caught:
        builder.build([settings])
    assert str(caught.value) == (
        "sinks.postgres: needs the package psycopg: pip install 'pointgate[postgres]'"
    )


@pytest.mark.parametrize(
    "settings",
    [
        ParquetSettings(),
        NdjsonSettings(type="ndjson", path=Path("-")),
        PostgresSettings(type="postgres", url="postgresql://db/x", name="db"),
    ],
)
def test_every_kind_of_sink_can_be_built(settings: Any) -> None:
    ((sink, required),) = builder.build([settings])
    assert (sink.name, required) == (settings.name, True)
