"""Following a registry: what happens when it is away, hangs, or has forgotten the position."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import pytest

from pointgate import Catalog
from pointgate.service.catalog_watcher import CatalogWatcher
from pointgate.service.metrics import Metrics
from pointgate.service.registry_list import await_copies, follow_registries
from tests.support.following import following, until
from tests.support.registries import FakeRegistry, FakeSettings, keys_of, write_catalog

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.registries.settings import RegistrySettings


@pytest.fixture
def settings(tmp_path: Path) -> RegistrySettings:
    return FakeSettings(name="fleet", product="pk", path=tmp_path / "registry", poll=50)


@pytest.fixture
def catalog(tmp_path: Path, settings: RegistrySettings) -> Path:
    return write_catalog(tmp_path / "catalog", settings.folder, "pk")


async def test_changes_and_snapshots_are_followed(
    settings: RegistrySettings, catalog: Path
) -> None:
    registry = FakeRegistry("a", "b")
    async with following(settings, registry) as (follower, statistics):
        await until(follower.matched.is_set)
        assert keys_of(catalog) == {"a", "b"}
        registry.change("+c", "-a")
        await until(lambda: keys_of(catalog) == {"b", "c"})
        await until(lambda: statistics.changes == 2)
        assert registry.snapshots == 1
        registry.log += ["+x", "-x"]
        registry.keys = {"d"}
        registry.first = 4  # the changes before were deleted
        registry.woken.set()
        await until(lambda: keys_of(catalog) == {"d"})
        await until(lambda: registry.snapshots == statistics.snapshots == 2)
    await until(lambda: registry.closed == 1)


async def test_a_registry_that_is_away_is_asked_again(
    settings: RegistrySettings, catalog: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = FakeRegistry("a")
    async with following(settings, registry) as (follower, statistics):
        await until(follower.matched.is_set)
        at = statistics.matched_at
        registry.fails = "no route to host"
        await until(lambda: statistics.failures >= 2)
        assert follower.trouble == "no route to host"
        assert keys_of(catalog) == {"a"}
        away = time.time()
        registry.fails = ""
        registry.change("+b")
        await until(lambda: keys_of(catalog) == {"a", "b"})
        await until(lambda: not follower.trouble)
        assert statistics.matched_at > away > at
    said = [record.message for record in caplog.records]
    expected = "registry fleet cannot be read, the last copy stays active: no route to host"
    assert said.count(expected) == 1


async def test_a_call_without_progress_is_ended(settings: RegistrySettings, catalog: Path) -> None:
    registry = FakeRegistry("a")
    async with following(settings, registry, answer_seconds=0.2) as (follower, statistics):
        await until(follower.matched.is_set)
        registry.hangs.clear()
        await until(lambda: bool(statistics.failures))
        registry.change("+b")
        await until(lambda: keys_of(catalog) == {"a", "b"})


async def test_a_bug_of_a_registry_does_not_end_the_service(
    settings: RegistrySettings, catalog: Path
) -> None:
    registry = FakeRegistry("a")
    async with following(settings, registry) as (follower, _):
        await until(follower.matched.is_set)
        registry.first = "x"  # type: ignore[assignment] # the bug
        await until(lambda: "internal error: TypeError" in follower.trouble)
        registry.first = 0
        registry.change("+b")
        await until(lambda: keys_of(catalog) == {"a", "b"})


async def test_a_start_without_a_copy_waits_for_the_registry(
    settings: RegistrySettings, catalog: Path
) -> None:
    registry = FakeRegistry("a")
    registry.fails = "connection refused"
    metrics = Metrics()
    said: list[str] = []
    async with follow_registries([(settings, registry)], metrics) as followers:
        waiting = asyncio.create_task(await_copies(followers, said.append, start_seconds=0))
        await until(lambda: "registry fleet: connection refused" in said)
        await until(lambda: metrics.registries["fleet"].failures > 1)
        assert not waiting.done()
        assert b'pointgate_registry_age_seconds{registry="fleet"}' not in metrics.render()[0]
        registry.fails = ""
        await asyncio.wait_for(waiting, 30)
        assert keys_of(catalog) == {"a"}
        assert b'pointgate_registry_age_seconds{registry="fleet"} ' in metrics.render()[0]


async def test_a_start_with_a_copy_goes_on_without_the_registry(
    settings: RegistrySettings, catalog: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = FakeRegistry("a")
    async with following(settings, registry) as (follower, _):
        await until(follower.matched.is_set)
    await until(lambda: registry.closed == 1)
    registry.fails = "connection refused"
    registry.change("+b")
    caplog.set_level(logging.WARNING)
    metrics = Metrics()
    async with follow_registries([(settings, registry)], metrics) as followers:
        await asyncio.wait_for(await_copies(followers, lambda _: None, start_seconds=0.3), 30)
        assert keys_of(catalog) == {"a"}
        assert "starting with the copy of" in caplog.text
        registry.fails = ""
        await until(lambda: keys_of(catalog) == {"a", "b"})
        assert registry.snapshots == 1


async def test_the_limit_of_shrinking_holds_for_a_snapshot_and_not_for_changes(
    settings: RegistrySettings, catalog: Path
) -> None:
    registry = FakeRegistry(*map(str, range(100)))
    metrics = Metrics()
    active: list[Catalog] = []
    async with following(settings, registry) as (follower, _):
        await until(follower.matched.is_set)
        watcher = CatalogWatcher(
            catalog, active.append, metrics, catalog=Catalog.load(catalog), poll_seconds=0.05
        )
        watching = asyncio.create_task(watcher.run())
        registry.change(*(f"-{number}" for number in range(50)))
        await until(lambda: bool(active) and active[-1].devices == 50)
        registry.keys = {"98", "99"}
        registry.first = 1_000
        registry.log += [""] * 1_000
        registry.log[50:] = ["+99"] * 1_000
        registry.woken.set()
        await until(lambda: metrics.shrink_refused == 1)
        assert active[-1].devices == 50
        assert keys_of(catalog) == {"98", "99"}
        watcher.request_reload()
        watcher.request_reload()
        await until(lambda: active[-1].devices == 2)
        watching.cancel()
        await asyncio.wait({watching})


async def test_one_change_of_a_large_table_is_in_force_within_a_second(
    settings: RegistrySettings, catalog: Path
) -> None:
    registry = FakeRegistry(*(f"plant-{number:07}" for number in range(300_000)))
    active: list[Catalog] = []
    async with following(settings, registry) as (follower, _):
        await until(follower.matched.is_set)
        watcher = CatalogWatcher(
            catalog,
            active.append,
            Metrics(),
            catalog=await asyncio.to_thread(Catalog.load, catalog),
        )
        watching = asyncio.create_task(watcher.run())
        await until(lambda: watcher._files._is_armed)
        delays = []
        for number in range(3):
            started = time.monotonic()
            registry.change(f"+new-{number}")
            await until(
                lambda key=f"new-{number}": (
                    bool(active)  # type: ignore[misc] # a default
                    and key in active[-1].products["pk"].devices
                )
            )
            delays.append(time.monotonic() - started)
            await asyncio.sleep(0.6)
        watching.cancel()
        await asyncio.wait({watching})
    assert min(delays) < 1.0, delays
