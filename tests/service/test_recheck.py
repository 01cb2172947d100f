"""Asking a registry before a 1257: who is asked, how often, and what happens without an answer."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pointgate import Catalog, CatalogError, Validator
from pointgate._core import Burst
from pointgate.registries.base import RegistryUnavailableError
from pointgate.service import recheck as module
from pointgate.service.catalog_watcher import CatalogWatcher
from pointgate.service.metrics import Metrics
from pointgate.service.recheck import Asker, Recheck
from tests.support.following import following, until
from tests.support.patience import PATIENCE
from tests.support.registries import FakeRegistry, FakeSettings, keys_of, write_catalog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from pointgate.registries.statistics import RegistryStatistics


class Answering(FakeRegistry):
    """A registry that can be asked."""

    def __init__(self, *keys: str) -> None:
        super().__init__(*keys)
        self.questions: list[list[str]] = []
        self.slow = threading.Event()
        self.slow.set()

    def present(self, keys: Sequence[str]) -> set[str]:
        self.questions.append(list(keys))
        self.slow.wait(PATIENCE)
        if self.fails:
            raise RegistryUnavailableError(self.fails)
        return self.keys & set(keys)

    def sever(self) -> None:
        self.slow.set()
        super().sever()


class Running:
    """A catalog that follows a registry, and what asks it.

    Attributes:
        registry: What is asked. Its changes are not followed.
        recheck: Asks it.
        validator: The judge.
    """

    def __init__(
        self, registry: Answering, recheck: Recheck, validator: Validator, folder: Path
    ) -> None:
        self.registry, self.recheck, self.validator = registry, recheck, validator
        self.folder = folder
        self.statistics: RegistryStatistics

    async def post(self, *requests: Sequence[str], product: str = "pk") -> list[int]:
        """The codes of requests with these devices, as the gate judges them."""
        payloads = [
            json.dumps(
                {
                    "version": "1.0",
                    "method": "integration.measurepoint.post",
                    "params": [{"deviceKey": key, "measurepoints": {"t": 1}} for key in keys],
                }
            ).encode()
            for keys in requests
        ]
        topics = [f"sys/{product}/integration/measurepoint/post"] * len(payloads)
        burst = Burst.of(topics, payloads)
        self.validator.judge_burst(burst, 0)
        if await self.recheck(burst):
            self.validator.judge_burst(burst, 0)
        return [report.code for report in burst.reports if report]


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    # A busy machine is no reason for a 1257 here; the limits have a test of their own.
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 20.0)
    monkeypatch.setattr(module, "_LOADED_SECONDS", 20.0)
    settings = FakeSettings(name="fleet", product="pk", path=tmp_path / "registry", poll=50)
    folder = write_catalog(tmp_path / "catalog", settings.folder, "pk")
    document = folder / "catalog.toml"
    document.write_text(document.read_text() + 'on_unknown = "recheck"\n')
    followed, asked = FakeRegistry("a"), Answering("a")
    async with following(settings, followed) as (follower, statistics):
        await until(follower.matched.is_set)
        catalog = Catalog.load(folder)
        validator = Validator(catalog)
        asker = Asker(settings, asked, follower, statistics)
        recheck = Recheck(validator, {str(settings.folder): asker})

        def swap(newer: Catalog) -> None:
            validator.catalog = newer
            recheck.update()

        watcher = CatalogWatcher(folder, swap, Metrics(), catalog=catalog)
        recheck.look_now = watcher.look_now
        watching = asyncio.create_task(watcher.run())
        made = Running(asked, recheck, validator, folder)
        made.statistics = statistics
        try:
            yield made
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            recheck.close()


async def test_a_device_that_the_registry_knows_is_accepted(running: Running) -> None:
    running.registry.keys |= {"b", "c", "d"}
    assert await running.post(["a"], ["b", "x"], ["c", "a", "d"], ["a"]) == [200, 1257, 200, 200]
    # One question for the whole burst.
    assert [sorted(one) for one in running.registry.questions] == [["b", "c", "d", "x"]]
    assert keys_of(running.folder) == {"a", "b", "c", "d"}
    assert running.statistics.rechecked == {"present": 3, "absent": 1, "unanswered": 0}
    assert await running.post(["b"]) == [200]
    assert len(running.registry.questions) == 1


async def test_an_unknown_key_is_not_asked_for_again_at_once(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ABSENT_SECONDS", 0.3)
    assert await running.post(["x"]) == await running.post(["x"]) == [1257]
    assert len(running.registry.questions) == 1
    running.registry.keys.add("x")
    await asyncio.sleep(0.35)
    assert await running.post(["x"]) == [200]


async def test_remembered_keys_are_bounded(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ABSENT_KEYS", 10)
    for number in range(30):
        assert await running.post([f"x{number}"]) == [1257]
    (asker,) = running.recheck._askers.values()
    assert len(asker._absent) == 10


async def test_keys_a_second_are_bounded(running: Running) -> None:
    running.registry.keys.add("known")
    many = [[f"x{number}"] for number in range(1_500)]
    assert set(await running.post(*many)) == {1257}
    asked = sum(map(len, running.registry.questions))
    assert 1_000 <= asked < 1_400
    assert running.statistics.rechecked["unanswered"] == 1_500 - asked


async def test_a_registry_that_is_away_costs_one_question(running: Running) -> None:
    running.registry.fails = "connection refused"
    running.registry.keys.add("b")
    assert await running.post(["b"]) == await running.post(["b"]) == [1257]
    assert len(running.registry.questions) == 1


async def test_a_registry_that_hangs_holds_a_burst_for_a_moment(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.1)
    running.registry.slow.clear()
    running.registry.keys.add("b")
    started = time.monotonic()
    assert await running.post(["b"]) == [1257]
    assert time.monotonic() - started < 10
    assert await running.post(["b"]) == [1257]
    assert len(running.registry.questions) == 1
    running.registry.slow.set()  # the answer comes late, and is used
    await until(lambda: "b" in keys_of(running.folder))


async def test_other_products_and_faults_ask_nothing(running: Running) -> None:
    assert await running.post(["b"], product="none") == [1257]
    burst = Burst.of(["sys/pk/integration/measurepoint/post"] * 2, [b"", b"{"])
    running.validator.judge_burst(burst, 0)
    assert not await running.recheck(burst)
    document = running.folder / "catalog.toml"
    before = running.validator.catalog
    document.write_text(document.read_text().replace('"recheck"', '"reject"'))
    await until(lambda: running.validator.catalog is not before)
    assert await running.post(["b"]) == [1257]
    assert running.registry.questions == []


async def test_of_a_long_request_the_first_unknown_device_is_asked_for(running: Running) -> None:
    running.registry.keys |= {f"k{number:05}" for number in range(3_000)}
    assert await running.post([f"k{number:05}" for number in range(3_000)]) == [1257]
    assert [len(one) for one in running.registry.questions] == [1]


def test_the_setting_needs_a_registry(tmp_path: Path) -> None:
    folder = write_catalog(tmp_path, tmp_path / "registry", "pk")
    (folder / "devices.txt").write_text("a\n")
    (folder / "catalog.toml").write_text(
        '[products.pk]\nmodel = "model.json"\ndevices = "devices.txt"\non_unknown = "recheck"\n'
    )
    with pytest.raises(CatalogError, match='expected registry with "recheck", got none'):
        Catalog.load(folder)
