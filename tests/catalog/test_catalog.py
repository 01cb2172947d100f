"""The catalog folder: what loads, what is refused and where, and how changes come into force."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pointgate import Catalog, CatalogError, Validator
from pointgate.catalog import Loading
from pointgate.file_states import signature
from pointgate.service.catalog_watcher import CatalogWatcher
from pointgate.service.metrics import Metrics
from tests.support.paths import CATALOG as CASES
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


MODEL = {"measurepoints": {"temp": {"dataType": "DOUBLE"}}}
PRODUCT = "[products.pk]\nmodel = 'model.json'\ndevices = 'devices.txt'\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalog with one product that is right."""
    (tmp_path / "model.json").write_text(json.dumps(MODEL))
    (tmp_path / "devices.txt").write_text("device1\ndevice2\n")
    (tmp_path / "catalog.toml").write_text(PRODUCT)
    return tmp_path


def problems(folder: Path) -> list[tuple[str, str, str]]:
    with pytest.raises(CatalogError) as caught:
        Catalog.load(folder)
    found = [(p.file, p.location, p.reason) for p in caught.value.problems]
    return [(os.path.relpath(file, folder), location, reason) for file, location, reason in found]


def document_problems(folder: Path, text: str) -> list[tuple[str, str]]:
    (folder / "catalog.toml").write_text(text)
    found = problems(folder)
    assert {file for file, _, _ in found} == {"catalog.toml"}
    return [(location, reason) for _, location, reason in found]


def test_the_catalog_of_the_contract_cases_loads() -> None:
    catalog = Catalog.load(CASES)
    assert "protocol" in catalog.products
    assert len(catalog.products["protocol"].model) == 3
    assert "device1" in catalog.products["protocol"].devices
    assert "dev,comma" in catalog.products["types"].devices
    found = {(Path(one.file).name, one.location, one.reason[-43:]) for one in catalog.warnings}
    words = "expected letters, digits and - _ . :"
    assert {name for name, _, reason in found if reason.endswith(words)} == {
        "export.txt",
        "types.csv",
        "lenient.jsonl",
    }
    assert len(found) == len(catalog.warnings) == 6


def test_a_file_that_several_products_name_is_read_and_compiled_once(folder: Path) -> None:
    same = PRODUCT.replace("pk", "other").replace("model.json", "./model.json")
    (folder / "catalog.toml").write_text(PRODUCT + same)
    catalog = Catalog.load(str(folder))
    assert (len(catalog), catalog.models, catalog.devices) == (2, 1, 4)
    assert set(catalog.files) == {folder / "catalog.toml", folder / "model.json"} | {
        folder / "devices.txt"
    }


@pytest.mark.parametrize(
    ("value", "warned"),
    [
        ("946684800", "946684800 is 1970-01-11 22:58 UTC and looks like seconds"),
        ("1700000000", "looks like seconds"),
        ("31535999999", "looks like seconds"),
        ("31536000000", ""),
        ("946684800000", ""),
        ("2000-01-01", ""),
        ("0", ""),
    ],
)
def test_an_earliest_time_in_seconds_is_a_warning(folder: Path, value: str, warned: str) -> None:
    (folder / "catalog.toml").write_text(f"{PRODUCT}time.min = {value}\n")
    found = [one for one in Catalog.load(folder).warnings if one.location == "products.pk.time.min"]
    assert [warned in one.reason for one in found] == ([True] if warned else [])


def test_what_a_model_carries_and_nobody_checks_is_a_warning(folder: Path) -> None:
    points = {
        "a": {"$class": "x.TSLStructMeasurepoint", "struct": {}, "hasQuality": True},
        "b": {"$class": "x.TSLIntMeasurepoint", "required": True},
        "c": {"$class": "x.TSLTextMeasurepoint", "minLength": 3},
    }
    (folder / "model.json").write_text(json.dumps({"thingMeasurepointMap": points}))
    (folder / "catalog.toml").write_text(PRODUCT + PRODUCT.replace("pk", "other"))
    found = [(w.file, w.location, w.reason.split()[0]) for w in Catalog.load(folder).warnings]
    assert found == [
        (str(folder / "model.json"), f"/thingMeasurepointMap/{place}", word)
        for place, word in (
            ("a/hasQuality", "hasQuality"),
            ("b/required", "required"),
            ("c/minLength", "minLength"),
        )
    ]


@pytest.mark.parametrize(
    ("setting", "key", "reason"),
    [
        ("modell = 'x'", "modell", "unknown key, did you mean model"),
        ("time.max_pastt = 1", "time.max_pastt", "unknown key, did you mean max_past"),
        ("time = '1d'", "time", 'expected a table with min, max_past and max_future, got "1d"'),
        ("numbers_as_strings = 'yes'", "numbers_as_strings", 'expected true or false, got "yes"'),
        ("null_points = 'drop'", "null_points", 'expected "reject" or "ignore", got "drop"'),
        ("time.min = 'soon'", "time.min", "expected UTC milliseconds or a date such as"),
        ("time.min = -1", "time.min", "expected UTC milliseconds or a date such as"),
        ("time.min = 1969-12-31", "time.min", "expected UTC milliseconds or a date such as"),
        ("time.min = 10:00:00", "time.min", "expected UTC milliseconds or a date such as"),
        ("unknown_points = true", "unknown_points", 'expected "reject" or "ignore", got true'),
        ("default_device = ''", "default_device", "expected 1 to 128 bytes, no control characters"),
        ("default_device = 'a\\tb'", "default_device", None),
        ("default_device = 1", "default_device", "expected a device key, got 1"),
    ],
)
def test_a_wrong_setting_is_named(folder: Path, setting: str, key: str, reason: str | None) -> None:
    if reason is None:
        setting, reason = 'default_device = "a\\tb"', "no control characters"
    ((location, found),) = document_problems(folder, PRODUCT + setting)
    assert location == f"products.pk.{key}"
    assert reason in found


@pytest.mark.parametrize(
    "value", ["90", "'90'", "'90s'", "'10m'", "'12h'", "'30d'", "0", "253402300799999"]
)
def test_durations(folder: Path, value: str) -> None:
    if value == "'90'":
        reason = 'expected whole milliseconds or "90s", "10m", "12h", "30d", got "90"'
        assert document_problems(folder, f"{PRODUCT}time.max_past = {value}") == [
            ("products.pk.time.max_past", reason)
        ]
        return
    (folder / "catalog.toml").write_text(f"{PRODUCT}time.max_past = {value}")
    assert len(Catalog.load(folder)) == 1


@pytest.mark.parametrize(
    "value", ["-1", "1.5", "'1.5h'", "'-1s'", "'1w'", "'1 s'", "'٣s'", "true", "'99999999999d'"]
)
def test_what_is_no_duration(folder: Path, value: str) -> None:
    ((location, reason),) = document_problems(folder, f"{PRODUCT}time.max_future = {value}")
    assert location == "products.pk.time.max_future"
    assert reason.startswith("expected whole milliseconds or ")


@pytest.mark.parametrize(
    "value",
    [
        "946684800000",
        "'2000-01-01'",
        "2000-01-01",
        "'2000-01-01 00:00:00'",
        "'2000-01-01T00:00:00Z'",
        "2000-01-01T02:00:00+02:00",
    ],
)
def test_the_earliest_time_is_milliseconds_or_a_date(folder: Path, value: str) -> None:
    (folder / "catalog.toml").write_text(f"{PRODUCT}time.min = {value}")
    validator = Validator(Catalog.load(folder))

    def code(time: int) -> int:
        entry = f'{{"deviceKey":"device1","measurepoints":{{"temp":1}},"time":{time}}}'
        method = "integration.measurepoint.post"
        payload = f'{{"version":"1","method":"{method}","params":[{entry}]}}'.encode()
        (report,) = validator.validate(["sys/pk/integration/measurepoint/post"], [payload])
        return report.code

    assert [code(946_684_799_999), code(946_684_800_000)] == [1204, 200]


def test_every_mistake_of_every_file_is_reported(folder: Path) -> None:
    (folder / "model.json").write_text("[")
    (folder / "devices.jsonl").write_text('{"deviceKey":"a"}\nb\n')
    (folder / "catalog.toml").write_text(
        PRODUCT.replace("devices.txt", "devices.jsonl")
        + "[products.'no key']\nmodel = 'gone.json'\ndevices = 'devices.xml'\n"
        + "[products.c]\nmodel = 'gone.json'\ndevices = 'also-gone.csv'\nwhat = 1\n"
        + "[products.d]\nmodel = 'gone.json'\ndevices = 'also-gone.csv'\n"
        + "[products.e]\n[extra]\n"
    )
    found = problems(folder)
    assert [(file, location) for file, location, _ in found] == [
        ("catalog.toml", 'products."no key"'),
        ("catalog.toml", 'products."no key".devices'),
        ("catalog.toml", "products.c.what"),
        ("catalog.toml", "products.e.model"),
        ("catalog.toml", "products.e.devices"),
        ("catalog.toml", "extra"),
        ("model.json", found[6][1]),
        ("devices.jsonl", "line 2"),
        ("gone.json", ""),
        ("also-gone.csv", ""),
    ]
    assert found[3][2] == "expected the path of a model file, got nothing"
    assert found[-1][2] == "no such file"


def test_a_catalog_without_products_is_refused_as_a_file_cut_short_would_be(folder: Path) -> None:
    for text in ("", "[products]", "products = 1"):
        ((location, reason),) = document_problems(folder, text)
        assert location == "products"
        assert reason.startswith("expected at least one [products.<product key>] table")


def test_what_is_not_a_catalog_folder(tmp_path: Path) -> None:
    assert problems(tmp_path / "gone")[0][2].endswith("got nothing: no such folder")
    assert problems(tmp_path) == [("catalog.toml", "", "no such file")]
    (tmp_path / "file").touch()
    assert problems(tmp_path / "file")[0][2] == "expected a folder with a catalog.toml, got a file"


def test_a_pipe_in_place_of_a_file_does_not_hang(folder: Path) -> None:
    (folder / "model.json").unlink()
    os.mkfifo(folder / "model.json")
    assert problems(folder) == [
        ("model.json", "", "expected a file, got a device, a pipe or a socket")
    ]


ODD_FILES = [
    ("loop", "cannot be read: too many levels of symbolic links"),
    ("a\\u0000b", "cannot be read: embedded null byte"),
    ("x" * 300, "cannot be read: file name too long"),
    ("model.json/x", "cannot be read: not a directory"),
]


@pytest.mark.parametrize(("name", "reason"), ODD_FILES)
def test_a_path_that_leads_nowhere_is_a_problem(folder: Path, name: str, reason: str) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "catalog.toml").write_text(
        f'[products.pk]\nmodel = "{name}"\ndevices = "{name}.txt"\n'
    )
    name = name.replace("\\u0000", "\0")
    assert problems(folder) == [(name, "", reason), (f"{name}.txt", "", reason)]


def test_a_folder_that_cannot_be_looked_at_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (
        ("loop", "too many levels of symbolic links"),
        ("x" * 300, "file name too long"),
        ("a\0b", "embedded null byte"),
    ):
        expected = f"expected a folder with a catalog.toml, got nothing: {reason}"
        with pytest.raises(CatalogError) as caught:
            Catalog.load(tmp_path / name)
        assert caught.value.reason == expected


def test_an_integer_of_any_length_is_a_problem(folder: Path) -> None:
    number = "9" * 5_000
    reason = "expected integers of at most 4300 digits, got more"
    assert document_problems(folder, f"{PRODUCT}time.max_past = {number}") == [("", reason)]
    ((_, reason),) = document_problems(folder, f"{PRODUCT}time.max_past = 0x{number}")
    assert reason.endswith("got an integer of more than 64 digits")


def test_a_byte_order_mark_is_passed_over(folder: Path) -> None:
    (folder / "catalog.toml").write_text(PRODUCT, "utf-8-sig")
    assert len(Catalog.load(folder)) == 1


def test_what_is_legal_and_hardly_meant_is_a_warning(folder: Path) -> None:
    (folder / "catalog.toml").write_text(PRODUCT + "default_device = 'device3'\n")
    (warning,) = Catalog.load(folder).warnings
    assert warning.location == "products.pk.default_device"
    (folder / "catalog.toml").write_text(PRODUCT)
    (folder / "devices.txt").write_text("\n")
    (warning,) = Catalog.load(folder).warnings
    assert "the device table is empty" in warning.reason


def rewrite(path: Path, text: str) -> None:
    """Replace a file in one step, as a careful editor does."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


class Watched:
    """A watcher at work, and what it has brought into force."""

    def __init__(self, folder: Path, *, start: Catalog | None) -> None:
        self.metrics = Metrics()
        self.thread = threading.get_ident()
        self.changes: asyncio.Queue[Catalog] = asyncio.Queue()
        self.watcher = CatalogWatcher(
            folder, self._take, self.metrics, catalog=start, poll_seconds=0.01
        )

    def _take(self, catalog: Catalog) -> None:
        assert threading.get_ident() == self.thread
        self.changes.put_nowait(catalog)

    async def change(self) -> Catalog:
        async with asyncio.timeout(PATIENCE):
            return await self.changes.get()

    async def failures(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.metrics.reloads_failed < count:  # noqa: ASYNC110 - a plain count, no event
                await asyncio.sleep(0.005)


@asynccontextmanager
async def watching(folder: Path, *, start: Catalog | None) -> AsyncIterator[Watched]:
    watched = Watched(folder, start=start)
    task = asyncio.create_task(watched.watcher.run())
    yield watched
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_change_of_any_file_comes_into_force(folder: Path) -> None:
    async with watching(folder, start=Catalog.load(folder)) as watched:
        rewrite(folder / "devices.txt", "device1\ndevice2\ndevice3\n")
        assert (await watched.change()).devices == 3
        model = {"measurepoints": {**MODEL["measurepoints"], "more": {"dataType": "INT"}}}
        rewrite(folder / "model.json", json.dumps(model))
        assert len((await watched.change()).products["pk"].model) == 2
        rewrite(folder / "catalog.toml", PRODUCT + PRODUCT.replace("pk", "pk2"))
        assert len(await watched.change()) == 2
        assert watched.metrics.reloads_succeeded == 3
        assert (watched.metrics.products, watched.metrics.models) == (2, 1)
        assert watched.metrics.devices == 6
        assert watched.metrics.catalog_loaded_at > 1_700_000_000


async def test_a_change_between_load_and_watch_is_not_missed(folder: Path) -> None:
    start = Catalog.load(folder)
    rewrite(folder / "devices.txt", "device2\ndevice3\n")
    async with watching(folder, start=start) as watched:
        assert "device3" in (await watched.change()).products["pk"].devices


async def test_without_a_start_the_first_look_loads(folder: Path) -> None:
    async with watching(folder, start=None) as watched:
        assert len(await watched.change()) == 1


async def test_a_mistake_keeps_the_last_good_one_and_is_said_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pointgate.catalog")
    async with watching(folder, start=Catalog.load(folder)) as watched:
        for count in (1, 2):
            rewrite(folder / "catalog.toml", "[products.pk" + " " * count)
            await watched.failures(count)
        (folder / "catalog.toml").unlink()
        await watched.failures(3)
        assert watched.changes.empty()
        rewrite(folder / "catalog.toml", PRODUCT)
        await watched.change()
        rewrite(folder / "catalog.toml", "[products.pk")
        await watched.failures(4)
    refused = [r.message for r in caplog.records if "not TOML" in r.message]
    assert len(refused) <= 3  # the two texts differ in the column, if in anything
    assert sum("no such file" in r.message for r in caplog.records) == 1
    assert watched.metrics.reloads_succeeded == 1


async def test_no_path_however_odd_ends_the_watch(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    async with watching(folder, start=Catalog.load(folder)) as watched:
        for count, (name, _) in enumerate(ODD_FILES, start=1):
            rewrite(
                folder / "catalog.toml",
                PRODUCT + PRODUCT.replace("pk", "p" * 9).replace("'model.json'", f'"{name}"'),
            )
            await watched.failures(count)
        rewrite(folder / "catalog.toml", f"[products.pk]\nmodel = {'1' * 5_000}\n")
        await watched.failures(len(ODD_FILES) + 1)
        assert watched.changes.empty()
        rewrite(folder / "catalog.toml", PRODUCT)
        await watched.change()


async def test_whatever_a_load_raises_is_a_failed_reload(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = Loading.run

    def fail(_self: Loading, _cls: type[Catalog]) -> Catalog | None:
        raise MemoryError("no room")

    async with watching(folder, start=Catalog.load(folder)) as watched:
        monkeypatch.setattr(Loading, "run", fail)
        watched.watcher.request_reload()
        await watched.failures(1)
        monkeypatch.setattr(Loading, "run", run)
        watched.watcher.request_reload()
        await watched.change()
    assert f"{folder}: cannot be loaded: MemoryError('no room')" in caplog.text


async def test_the_same_mistake_after_a_touch_is_counted_and_logged_for_a_request_alone(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(folder / "model.json", "[")
    async with watching(folder, start=None) as watched:
        await watched.failures(1)
        rewrite(folder / "devices.txt", "device1\n")
        await watched.failures(2)
        assert caplog.text.count("last valid one stays") == 1
        watched.watcher.request_reload()
        await watched.failures(3)
    assert caplog.text.count("last valid one stays") == 2


async def test_a_requested_reload_does_not_wait_for_a_change(folder: Path) -> None:
    async with watching(folder, start=Catalog.load(folder)) as watched:
        watched.watcher.request_reload()
        assert len(await watched.change()) == 1


async def test_files_swapped_by_a_symbolic_link_are_seen(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "model.json").write_text(json.dumps(MODEL))
        (tmp_path / version / "devices.txt").write_text(f"{version}\n")
        (tmp_path / version / "catalog.toml").write_text(PRODUCT)
    (tmp_path / "now").symlink_to("v1")
    async with watching(tmp_path / "now", start=Catalog.load(tmp_path / "now")) as watched:
        (tmp_path / "next").symlink_to("v2")
        (tmp_path / "next").replace(tmp_path / "now")
        assert "v2" in (await watched.change()).products["pk"].devices


async def test_a_load_whose_files_changed_meanwhile_is_repeated(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Loading.run
    loads: list[int] = []

    def write_meanwhile(self: Loading, cls: type[Catalog]) -> Catalog | None:
        catalog = run(self, cls)
        loads.append(0)
        if len(loads) == 1:
            rewrite(folder / "devices.txt", "device1\ndevice2\ndevice3\n")
        return catalog

    monkeypatch.setattr(Loading, "run", write_meanwhile)
    async with watching(folder, start=None) as watched:
        assert (await watched.change()).devices == 3
        assert len(loads) == 2
        assert watched.metrics.reloads_succeeded == 1


async def test_a_file_that_never_stands_still_is_loaded_all_the_same(folder: Path) -> None:
    async with watching(folder, start=Catalog.load(folder)) as watched:
        stop = asyncio.Event()

        async def write() -> None:
            count = 0
            while not stop.is_set():
                count += 1
                rewrite(folder / "devices.txt", "device1\n" * count + "device2\ndevice3\n")
                await asyncio.sleep(0.001)

        writer = asyncio.create_task(write())
        assert (await watched.change()).devices == 3
        stop.set()
        await writer


async def test_the_loop_turns_while_a_catalog_loads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Loading.run
    turned = threading.Event()

    def wait(self: Loading, cls: type[Catalog]) -> Catalog | None:
        assert turned.wait(PATIENCE)
        return run(self, cls)

    monkeypatch.setattr(Loading, "run", wait)
    async with watching(folder, start=None) as watched:
        asyncio.get_running_loop().call_later(0.05, turned.set)
        assert len(await watched.change()) == 1


def many(folder: Path, count: int) -> None:
    """Products of their own files, and one model that the odd ones share."""
    tables = []
    for number in range(count):
        model = "shared.json" if number % 2 else f"{number}.json"
        (folder / model).write_text(json.dumps(MODEL))
        (folder / f"{number}.txt").write_text(f"device-{number}\n")
        tables.append(f"[products.p{number}]\nmodel = '{model}'\ndevices = '{number}.txt'\n")
    (folder / "catalog.toml").write_text("".join(tables))


def test_a_later_load_shares_what_has_not_changed(folder: Path) -> None:
    many(folder, 10)
    first = Catalog.load(folder)
    (folder / "3.txt").write_text("device-3\nmore\n")
    loading = Loading(folder, former=first)
    second = loading.run(Catalog)
    assert second is not None
    assert loading.read == set()  # without a look there is no change
    loading = Loading(folder, former=first, seen={path: signature(path) for path in first.files})
    second = loading.run(Catalog)
    assert second is not None
    assert loading.read == {folder / "3.txt"}
    assert second == Catalog.load(folder) != first
    for key, product in first.products.items():
        assert (second.product(key) is product) == (key != "p3")
    assert second.products["p3"].model is first.products["p3"].model
    assert second.devices == first.devices + 1


def test_a_later_load_of_another_document_shares_files_and_tables(folder: Path) -> None:
    many(folder, 10)
    first = Catalog.load(folder)
    document = folder / "catalog.toml"
    tables = document.read_text().replace("devices = '5.txt'", "devices = '5.txt'\nmax_shrink = 1")
    document.write_text(tables.replace("[products.p9]", "[products.q9]"))
    loading = Loading(folder, former=first)
    second = loading.run(Catalog)
    assert second is not None
    assert loading.read == {document}
    assert set(second.products) == {*(f"p{number}" for number in range(9)), "q9"}
    assert second.products["p4"] is first.products["p4"]
    assert second.products["q9"].devices is first.products["p9"].devices
    assert second.sources["p5"].max_shrink == 1
    assert second == Catalog.load(folder)


def test_warnings_and_mistakes_are_those_of_a_first_load(folder: Path) -> None:
    many(folder, 10)
    (folder / "2.txt").write_text("inv 2\n")
    first = Catalog.load(folder)
    (folder / "4.txt").write_text("")
    (folder / "6.txt").write_text("inv 6\n")
    seen = {path: signature(path) for path in first.files}
    second = Loading(folder, former=first, seen=seen).run(Catalog)
    assert second is not None
    assert set(second.warnings) == set(Catalog.load(folder).warnings)
    assert len(second.warnings) == 3
    (folder / "2.txt").write_text("inv-2\n")
    (folder / "4.txt").write_text("device-4\n")
    (folder / "shared.json").write_text("[")
    loading = Loading(folder, former=second, seen={path: signature(path) for path in second.files})
    assert loading.run(Catalog) is None
    with pytest.raises(CatalogError) as caught:
        Catalog.load(folder)
    assert loading.problems == list(caught.value.problems)
    (folder / "shared.json").write_text(json.dumps(MODEL))
    loading = Loading(folder, former=second, seen={path: signature(path) for path in second.files})
    third = loading.run(Catalog)
    assert third is not None
    assert [one.file for one in third.warnings] == [str(folder / "6.txt")]


def test_a_link_to_the_same_file_is_another_path_to_it(folder: Path) -> None:
    (folder / "other.txt").symlink_to("devices.txt")
    text = PRODUCT + PRODUCT.replace("pk", "pk2").replace("devices.txt", "other.txt")
    (folder / "catalog.toml").write_text(text)
    first = Catalog.load(folder)
    assert first.products["pk"].devices is first.products["pk2"].devices
    rewrite(folder / "other.txt", "device9\n")  # no link any more
    seen = {path: signature(path) for path in first.files}
    second = Loading(folder, former=first, seen=seen).run(Catalog)
    assert second is not None
    assert second.products["pk"] is first.products["pk"]
    assert "device9" in second.products["pk2"].devices
