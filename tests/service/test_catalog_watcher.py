"""Reloads: a device table that shrinks is refused, and no change of a file is overlooked."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from pointgate import Catalog
from pointgate.config import load_settings
from pointgate.errors import ConfigError
from pointgate.service.catalog_watcher import CatalogWatcher
from pointgate.service.metrics import Metrics
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

PRODUCT = "[products.pk]\nmodel = 'model.json'\ndevices = 'devices.txt'\n"
OTHER = PRODUCT.replace("pk", "other").replace("devices.txt", "other.txt")


def keys(count: int, first: int = 0) -> str:
    return "".join(f"inv-{number}\n" for number in range(first, first + count))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two products of ten devices each."""
    (tmp_path / "model.json").write_text(
        json.dumps({"measurepoints": {"temp": {"dataType": "INT"}}})
    )
    (tmp_path / "devices.txt").write_text(keys(10))
    (tmp_path / "other.txt").write_text(keys(10))
    (tmp_path / "catalog.toml").write_text(PRODUCT + OTHER)
    return tmp_path


class Watched:
    """A watcher at work, and what it has brought into force."""

    def __init__(self, folder: Path, max_shrink: int) -> None:
        self.metrics = Metrics()
        self.catalog = Catalog.load(folder)
        self.watcher = CatalogWatcher(
            folder,
            self._take,
            self.metrics,
            catalog=self.catalog,
            max_shrink=max_shrink,
            poll_seconds=0.01,
        )

    def _take(self, catalog: Catalog) -> None:
        self.catalog = catalog

    @property
    def devices(self) -> int:
        return len(self.catalog.products["pk"].devices)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():  # noqa: ASYNC110 - plain values, no event
                await asyncio.sleep(0.005)

    async def reloads(self, count: int) -> None:
        await self.until(lambda: self.metrics.reloads_succeeded >= count)

    async def refusals(self, count: int) -> None:
        await self.until(lambda: self.metrics.reloads_failed >= count)


@asynccontextmanager
async def watching(folder: Path, *, max_shrink: int = 20) -> AsyncIterator[Watched]:
    watched = Watched(folder, max_shrink)
    task = asyncio.create_task(watched.watcher.run())
    yield watched
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def leave_a_comment(path: Path) -> None:
    path.write_text("# nothing yet\n")


def replace_with_blanks(path: Path) -> None:
    path.with_suffix(".new").write_text("\n \n\n")
    path.with_suffix(".new").replace(path)


def lose_three(path: Path) -> None:
    path.write_text(keys(7))


@pytest.mark.parametrize(
    "damage", [truncate, cut_in_half, leave_a_comment, replace_with_blanks, lose_three]
)
async def test_a_table_that_shrinks_too_far_is_refused(
    folder: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(folder) as watched:
        damage(folder / "devices.txt")
        await watched.refusals(1)
        assert (watched.devices, watched.metrics.shrink_refused) == (10, 1)
        assert "expected the device table of pk to shrink" in watched.watcher.refused
        (folder / "devices.txt").write_text(keys(10))
        await watched.reloads(1)
        assert watched.metrics.shrink_refused == 0
        assert not watched.watcher.refused
    text = caplog.text
    assert f"{folder / 'devices.txt'}: expected the device table of pk to shrink by at most" in text
    assert "where 10 are active" in text
    assert "SIGHUP twice" in text


@pytest.mark.parametrize("name", ["catalog", "catalog/catalog.toml", "catalog/devices.txt"])
async def test_what_goes_away_and_comes_back_is_in_force_again(tmp_path: Path, name: str) -> None:
    """As a share that was not mounted for a while: nothing in it has changed."""
    folder, away = tmp_path / "catalog", tmp_path / "away"
    folder.mkdir()
    (folder / "catalog.toml").write_text(PRODUCT)
    (folder / "model.json").write_text('{"measurepoints":{"temp":{"dataType":"INT"}}}')
    (folder / "devices.txt").write_text(keys(10))
    async with watching(folder) as watched:
        (tmp_path / name).rename(away)
        await watched.until(lambda: bool(watched.watcher.refused))
        away.rename(tmp_path / name)
        await watched.until(lambda: not watched.watcher.refused)
        matched = watched.metrics.catalog_matched_at
        await watched.until(lambda: watched.metrics.catalog_matched_at > matched)
        assert watched.metrics.reloads_succeeded == 1


@pytest.mark.parametrize("left", ["", "\n", "# nothing yet\n", "deviceKey;name\n"])
@pytest.mark.parametrize("suffix", ["csv", "CSV"])
async def test_an_emptied_table_with_columns_shrinks(
    folder: Path, suffix: str, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / f"devices.{suffix}"
    path.write_text("deviceKey\n" + keys(10))
    (folder / "catalog.toml").write_text(PRODUCT.replace("devices.txt", path.name) + OTHER)
    async with watching(folder) as watched:
        path.write_text(left)
        await watched.refusals(1)
        assert (watched.devices, watched.metrics.shrink_refused) == (10, 1)
    assert f"{path}: expected the device table of pk to shrink by at most" in caplog.text
    assert "got 0 keys where 10 are active" in caplog.text


async def test_a_table_may_shrink_by_the_share_and_grow(folder: Path) -> None:
    async with watching(folder) as watched:
        for number, count in enumerate((8, 100, 80), start=1):
            (folder / "devices.txt").write_text(keys(count))
            await watched.reloads(number)
            assert watched.devices == count
        assert watched.metrics.reloads_failed == 0


async def test_the_share_is_a_setting_of_the_service_or_of_the_product(folder: Path) -> None:
    async with watching(folder, max_shrink=50) as watched:
        (folder / "devices.txt").write_text(keys(5))
        await watched.reloads(1)
        (folder / "devices.txt").write_text(keys(2))
        await watched.refusals(1)
        (folder / "catalog.toml").write_text(PRODUCT + "max_shrink = '100%'\n" + OTHER)
        await watched.reloads(2)
        assert watched.devices == 2
        (folder / "devices.txt").write_text("")
        await watched.reloads(3)
        assert watched.devices == 0
        assert watched.metrics.products_without_devices == 1


async def test_two_requests_put_a_small_table_in_force(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointgate.service.catalog_watcher.CONFIRM_SECONDS", 1000.0)
    async with watching(folder) as watched:
        (folder / "devices.txt").write_text("")
        await watched.refusals(1)
        watched.watcher.request_reload()
        await watched.refusals(2)
        assert watched.devices == 10
        assert caplog.text.count("send SIGHUP twice") == 2  # a request gets an answer
        watched.watcher.request_reload()
        await watched.reloads(1)
        assert watched.devices == 0
        # One confirmation is for one reload.
        (folder / "other.txt").write_text("")
        await watched.refusals(3)
    assert "accepted, because SIGHUP was received twice" in caplog.text


async def test_two_requests_far_from_each_other_confirm_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointgate.service.catalog_watcher.CONFIRM_SECONDS", 0.0)
    async with watching(folder) as watched:
        (folder / "devices.txt").write_text("")
        for count in (1, 2, 3):
            watched.watcher.request_reload()
            await watched.refusals(count)
        assert watched.devices == 10


async def test_a_product_that_goes_with_its_devices_is_refused(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(folder) as watched:
        (folder / "catalog.toml").write_text(PRODUCT)  # cut before the second product
        await watched.refusals(1)
        assert len(watched.catalog) == 2
        watched.watcher.request_reload()
        watched.watcher.request_reload()
        await watched.reloads(1)
        assert len(watched.catalog) == 1
    gone = f"{folder / 'catalog.toml'}: products.other: product removed: its 10 device keys"
    assert gone in caplog.text


async def test_the_same_refusal_is_logged_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "pointgate.service.catalog_watcher")
    async with watching(folder) as watched:
        for count in (1, 2, 3):
            (folder / "devices.txt").write_text("\n" * count)
            await watched.refusals(count)
    assert sum("last valid one stays" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("catalog.toml", "x", "expected"),
        ("model.json", "{", "model.json"),
        ("devices.txt", "x" * 200, "got 200 bytes"),
    ],
)
async def test_each_request_gets_the_reason_again(
    folder: Path, name: str, text: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "pointgate.service.catalog_watcher")
    async with watching(folder) as watched:
        (folder / name).write_text(text)
        await watched.refusals(1)
        for count in (2, 3):
            watched.watcher.request_reload()
            await watched.refusals(count)
    assert sum("last valid one stays" in record.message for record in caplog.records) == 3
    lines = [record.message for record in caplog.records if reason in record.message]
    assert len(lines) >= 3


def keep_times(path: Path, change: Callable[[Path], None]) -> None:
    """What `rsync -t --inplace` and reproducible builds do."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def overwrite(path: Path) -> None:
    data = path.read_bytes().replace(b"inv-9", b"new-9").replace(b"INT", b"BOL")
    with path.open("r+b") as file:
        file.write(data)


def map_and_write(path: Path) -> None:
    import mmap  # noqa: PLC0415 - here alone

    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        place = memory.find(b"inv-9")
        memory[place : place + 5] = b"new-9"
        memory.flush()


def move_a_twin_there(path: Path) -> None:
    twin = path.with_suffix(".twin")
    twin.write_bytes(path.read_bytes().replace(b"inv-9", b"new-9"))
    twin.replace(path)


@pytest.mark.parametrize("change", [overwrite, map_and_write, move_a_twin_there])
async def test_a_change_that_keeps_size_and_time_is_seen(
    folder: Path, change: Callable[[Path], None]
) -> None:
    async with watching(folder) as watched:
        await asyncio.sleep(0.05)  # the clock of files ticks
        keep_times(folder / "devices.txt", change)
        await watched.reloads(1)
        assert "new-9" in watched.catalog.products["pk"].devices


async def test_a_file_that_is_written_in_place_waits_until_it_is_whole(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "devices.txt"
    async with watching(folder) as watched:
        lines = keys(30).splitlines(keepends=True)
        with path.open("w") as file:
            # Each look finds another size, far longer than a replaced file is waited for.
            while watched.metrics.reloads_failed == 0:
                for line in lines[:20]:
                    file.write(line)
                    file.flush()
                    await asyncio.sleep(0.002)
                assert watched.metrics.reloads_succeeded == 0
            file.writelines(lines)
        await watched.reloads(1)
        assert watched.devices == 30
    assert "expected a file that is written and then left alone" in caplog.text


@pytest.mark.parametrize(
    ("value", "share"), [("20", 20), ('"35%"', 35), ('"5 %"', 5), ("0", 0), ("100", 100)]
)
def test_shares_are_percent(tmp_path: Path, value: str, share: int) -> None:
    (tmp_path / "pointgate.toml").write_text(f"[catalog]\nmax_shrink = {value}\n")
    assert load_settings(tmp_path / "pointgate.toml", {}).catalog.max_shrink == share
    environment = {"POINTGATE_CATALOG__MAX_SHRINK": value.strip('"')}
    (tmp_path / "pointgate.toml").write_text("")
    assert load_settings(tmp_path / "pointgate.toml", environment).catalog.max_shrink == share


@pytest.mark.parametrize("value", ["101", "-1", "0.2", '"20"', '"a fifth"', "true"])
def test_what_is_no_share(tmp_path: Path, value: str) -> None:
    (tmp_path / "pointgate.toml").write_text(f"[catalog]\nmax_shrink = {value}\n")
    with pytest.raises(ConfigError, match="expected percent, 0 to 100") as caught:
        load_settings(tmp_path / "pointgate.toml", {})
    assert caught.value.key == "catalog.max_shrink"


def follow_changes(folder: Path) -> Path:
    (folder / "catalog.toml").write_text(PRODUCT + "changes = 'pk.changes'\n" + OTHER)
    (folder / "pk.changes").write_text("")
    return folder / "pk.changes"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


async def test_appended_changes_are_in_force_without_waiting_for_an_end(folder: Path) -> None:
    file = follow_changes(folder)
    async with watching(folder) as watched:
        for number in range(20):
            append(file, f"+new-{number}\n-inv-{number % 10}\n")
            await watched.until(
                lambda: f"new-{number}" in watched.catalog.products["pk"].devices  # noqa: B023
            )
        # Ten of ten devices were removed, each by a line of its own: no sign of a truncated file.
        assert watched.devices == 20
        assert watched.metrics.reloads_failed == 0
        assert (watched.metrics.catalog_changes, watched.metrics.overlay_devices) == (40, 30)
        assert watched.metrics.devices == 30


async def test_a_bad_change_leaves_the_last_good_table_and_its_age_grows(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = follow_changes(folder)
    async with watching(folder) as watched:
        append(file, "+good\n")
        await watched.reloads(1)
        append(file, "bad\n+later\n")
        await watched.refusals(1)
        matched = watched.metrics.catalog_matched_at
        await asyncio.sleep(0.1)
        assert watched.metrics.catalog_matched_at == matched
        assert watched.devices == 11
        file.write_text("+good\n+later\n")
        await watched.reloads(2)
        assert watched.devices == 12
        await watched.until(lambda: watched.metrics.catalog_matched_at > matched)
    assert f"{file}: line 2: expected + or - and a deviceKey" in caplog.text


async def test_a_lost_file_of_changes_is_refused_as_a_table_that_shrinks(folder: Path) -> None:
    file = follow_changes(folder)
    async with watching(folder) as watched:
        append(file, "".join(f"+new-{number}\n" for number in range(10)))
        await watched.reloads(1)
        file.unlink()
        await watched.refusals(1)
        assert watched.devices == 20


async def test_lines_that_remove_unknown_devices_permit_no_table_to_shrink(folder: Path) -> None:
    file = follow_changes(folder)
    async with watching(folder) as watched:
        append(file, "".join(f"-nobody-{number}\n" for number in range(10)))
        (folder / "devices.txt").write_text("inv-0\n")
        await watched.refusals(1)
        assert watched.devices == 10


async def test_a_new_table_may_lack_what_the_lines_remove(folder: Path) -> None:
    file = follow_changes(folder)
    async with watching(folder) as watched:
        # A long history, so that the new file has fewer lines that remove something.
        append(file, "".join(f"+x-{number}\n-x-{number}\n" for number in range(20)))
        await watched.reloads(1)
        shorter, newer = folder / "devices.new", folder / "pk.new"
        shorter.write_text("inv-8\ninv-9\n")
        newer.write_text("".join(f"-inv-{number}\n" for number in range(8)))
        newer.replace(file)
        shorter.replace(folder / "devices.txt")
        await watched.until(lambda: watched.devices == 2)
        assert watched.metrics.shrink_refused == 0


async def test_a_grown_overlay_is_folded_beside_the_service(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointgate.followed_devices._FOLD_KEYS", 5)
    file = follow_changes(folder)
    async with watching(folder) as watched:
        append(file, "".join(f"+new-{number}\n" for number in range(20)))
        await watched.reloads(1)
        await watched.until(lambda: watched.metrics.overlay_devices == 0)
        assert watched.devices == 30
        assert watched.catalog.products["pk"].devices.changed == 0
        append(file, "+one\n")
        await watched.reloads(2)
        assert (watched.devices, watched.metrics.overlay_devices) == (31, 1)
