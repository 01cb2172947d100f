"""The copy of a registry on disk: what the catalog loads, and what a crash leaves."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from typing import TYPE_CHECKING

import pytest

from pointgate import Catalog, CatalogError
from pointgate.catalog import Loading
from pointgate.file_states import signature
from pointgate.registries.base import RegistryUnavailableError, Snapshot
from pointgate.registries.device_copy import DeviceCopy, read_current
from pointgate.registries.device_lines import DeviceLines
from tests.support.registries import FakeSettings, keys_of, write_catalog

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.registries.settings import RegistrySettings


@pytest.fixture
def settings(tmp_path: Path) -> RegistrySettings:
    return FakeSettings(name="fleet", product="pk", path=tmp_path / "registry")


def snapshot(*keys: str, position: str = "1") -> Snapshot:
    return Snapshot(iter([f"{key}\n".encode() for key in keys]), position=position)


def opened(settings: RegistrySettings) -> DeviceCopy:
    copy = DeviceCopy(settings)
    copy.open()
    return copy


def replaced(copy: DeviceCopy, snapshot: Snapshot) -> None:
    copy.replace(snapshot, lambda: None)


def test_a_copy_is_what_the_catalog_loads(tmp_path: Path, settings: RegistrySettings) -> None:
    catalog = write_catalog(tmp_path / "catalog", settings.folder, "pk")
    with pytest.raises(CatalogError, match="makes it while the service runs"):
        Catalog.load(catalog)
    assert Catalog.load(catalog, without_copies=True).devices == 0
    copy = opened(settings)
    assert (copy.position, copy.is_usable) == (None, False)
    odd = [' "a" ', "# b", "deviceKey", "1e5", "1e5", "ä/ö"]
    replaced(copy, snapshot(*odd))
    assert keys_of(catalog) == set(odd)
    copy.apply(b"+c\n-# b\n+ d\n", "2")
    assert keys_of(catalog) == {' "a" ', "deviceKey", "1e5", "ä/ö", "c", " d"}
    assert copy.position == "2"


def test_a_loaded_catalog_shares_what_has_not_changed(
    tmp_path: Path, settings: RegistrySettings
) -> None:
    folder = write_catalog(tmp_path / "catalog", settings.folder, "pk", "other")
    copy = opened(settings)
    replaced(copy, snapshot("a", "b"))
    former = Catalog.load(folder)
    for step, lines in enumerate([b"+c\n", b"-a\n", b""]):
        copy.apply(lines, str(step + 2))
        loading = Loading(folder, former=former, seen=states(former))
        newer = loading.run(Catalog)
        assert newer is not None
        assert not loading.read
        assert loading.changes == bool(lines)
        former = newer
    assert former.products["pk"].devices.changed
    replaced(copy, snapshot("a", "e", position="9"))
    loading = Loading(folder, former=former, seen=states(former))
    newer = loading.run(Catalog)
    assert newer is not None
    assert newer == Catalog.load(folder)
    assert newer.products["other"].model is former.products["other"].model
    generation = read_current(settings.folder)
    assert generation is not None
    # Nothing of the former snapshot is watched or kept in memory.
    parents = {path.parent for path in newer.files if path.name.startswith("pk.")}
    assert parents == {generation.folder}
    assert len(newer.contents.compiled) == 2
    replaced(copy, snapshot("e", position="10"))
    replaced(copy, snapshot("e", position="11"))
    assert sum(path.name.isdecimal() for path in settings.folder.iterdir()) == 2


def states(catalog: Catalog) -> dict[Path, tuple[int, int, int, int, int] | None]:
    return {path: signature(path) for path in catalog.files}


def test_a_restart_continues_at_the_position(tmp_path: Path, settings: RegistrySettings) -> None:
    folder = write_catalog(tmp_path / "catalog", settings.folder, "pk")
    copy = opened(settings)
    replaced(copy, snapshot("a"))
    copy.apply(b"+b\n", "2")
    copy.apply(b"", "3")
    copy.close()
    copy = opened(settings)
    assert (copy.position, copy.is_usable) == ("3", True)
    assert copy.matched_at > 0
    copy.apply(b"-a\n", "4")
    assert keys_of(folder) == {"b"}


@pytest.mark.parametrize("torn", ["changes", "journal", "both"])
def test_what_a_crash_leaves_behind_the_position_is_read_again(
    tmp_path: Path, settings: RegistrySettings, torn: str
) -> None:
    folder = write_catalog(tmp_path / "catalog", settings.folder, "pk")
    copy = opened(settings)
    replaced(copy, snapshot("a"))
    copy.apply(b"+b\n", "2")
    copy.close()
    current = read_current(settings.folder)
    assert current is not None
    if torn in {"changes", "both"}:
        with (current.folder / "pk.changes").open("ab") as file:
            file.write(b"+c\n+hal")
    if torn in {"journal", "both"}:
        with (current.folder / "journal").open("ab") as file:
            file.write(b'00000000 {"position": "9", "at": 1, "lengths"')
    copy = opened(settings)
    assert copy.position == "2"
    assert keys_of(folder) == {"a", "b"}
    copy.apply(b"+c\n+half\n", "3")
    copy.close()
    assert opened(settings).position == "3"
    assert keys_of(folder) == {"a", "b", "c", "half"}


def test_lost_changes_need_a_snapshot(settings: RegistrySettings) -> None:
    copy = opened(settings)
    replaced(copy, snapshot("a"))
    copy.apply(b"+b\n", "2")
    copy.close()
    current = read_current(settings.folder)
    assert current is not None
    os.truncate(current.folder / "pk.changes", 0)
    copy = opened(settings)
    assert (copy.position, copy.is_usable) == (None, True)


@pytest.mark.parametrize("place", [0, 7, 8])
def test_changes_that_the_disk_has_changed_need_a_snapshot(
    settings: RegistrySettings, place: int
) -> None:
    copy = opened(settings)
    replaced(copy, snapshot("a"))
    copy.apply(b"+b\n-a\n", "2")
    copy.close()
    copy = opened(settings)
    copy.apply(b"+c\n", "3")
    copy.close()
    current = read_current(settings.folder)
    assert current is not None
    flip(current.folder / "pk.changes", place)
    copy = opened(settings)
    assert (copy.position, copy.is_usable) == (None, True)
    replaced(copy, snapshot("c", position="4"))
    copy.close()
    assert opened(settings).position == "4"


def test_a_copy_of_an_earlier_version_has_no_checksums_and_is_used(
    settings: RegistrySettings,
) -> None:
    copy = opened(settings)
    replaced(copy, snapshot("a"))
    copy.apply(b"+b\n", "2")
    copy.close()
    current = read_current(settings.folder)
    assert current is not None
    document = json.loads((settings.folder / "current").read_bytes())
    del document["checksum"]
    (settings.folder / "current").write_text(json.dumps(document))
    journal = current.folder / "journal"
    lines = [json.loads(line.partition(" ")[2]) for line in journal.read_text().splitlines()]
    for line in lines:
        del line["checksums"]
    texts = [json.dumps(line).encode() for line in lines]
    journal.write_bytes(b"".join(b"%08x %b\n" % (zlib.crc32(text), text) for text in texts))
    copy = opened(settings)
    assert copy.position == "2"
    copy.apply(b"+c\n", "3")
    copy.close()
    assert opened(settings).position == "3"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage", ["emptied", "longer", "changed", "deleted", "no folder", "no journal"]
)
def test_a_snapshot_that_is_not_whole_is_not_used(
    tmp_path: Path, settings: RegistrySettings, damage: str
) -> None:
    copy = opened(settings)
    replaced(copy, snapshot("a"))
    copy.close()
    current = read_current(settings.folder)
    assert current is not None
    keys = current.folder / "pk.keys"
    match damage:
        case "emptied":
            os.truncate(keys, 0)
        case "longer":
            keys.write_bytes(keys.read_bytes() + b"b\n")
        case "changed":
            flip(keys, 0)
        case "deleted":
            keys.unlink()
        case "no folder":
            shutil.rmtree(current.folder)
        case "no journal":
            (current.folder / "journal").unlink()
    with pytest.raises(CatalogError, match="the copy of a registry is damaged: expected a journal"):
        Catalog.load(write_catalog(tmp_path / "catalog", settings.folder, "pk", "other"))
    copy = opened(settings)
    assert (copy.position, copy.is_usable) == (None, False)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[" * 60_000, '{"snapshot":"1"}', '{"snapshot":"../1","form":"keys"}']
)
def test_a_damaged_document_is_named_and_replaced(
    tmp_path: Path, settings: RegistrySettings, text: str
) -> None:
    folder = write_catalog(tmp_path / "catalog", settings.folder, "pk")
    settings.folder.mkdir(parents=True)
    (settings.folder / "current").write_text(text)
    with pytest.raises(CatalogError, match="the copy of a registry is damaged: current: "):
        Catalog.load(folder)
    copy = opened(settings)
    assert not copy.is_usable
    replaced(copy, snapshot("a"))
    assert keys_of(folder) == {"a"}


@pytest.mark.parametrize("removed", ["everything", "lock", "current", "snapshot", "journal"])
def test_a_copy_that_is_removed_meanwhile_is_made_again(
    tmp_path: Path, settings: RegistrySettings, removed: str
) -> None:
    folder = write_catalog(tmp_path / "catalog", settings.folder, "pk")
    copy = opened(settings)
    replaced(copy, snapshot("a"))
    current = read_current(settings.folder)
    assert current is not None
    match removed:
        case "everything":
            shutil.rmtree(settings.folder)
        case "lock" | "current":
            (settings.folder / removed).unlink()
        case "snapshot":
            shutil.rmtree(current.folder)
        case "journal":
            (current.folder / removed).unlink()
    copy.open()
    assert copy.is_usable == (removed == "lock")
    if not copy.is_usable:
        replaced(copy, snapshot("b"))
        assert keys_of(folder) == {"b"}
    with pytest.raises(RegistryUnavailableError, match="another process writes"):
        opened(settings)


def test_a_copy_of_something_else_is_not_used(settings: RegistrySettings) -> None:
    copy = opened(settings)
    replaced(copy, snapshot("a"))
    copy.close()
    other = settings.model_copy(update={"product": "other"})
    assert not opened(other).is_usable


def test_one_process_writes_a_copy(settings: RegistrySettings) -> None:
    copy = opened(settings)
    with pytest.raises(RegistryUnavailableError, match="another process writes"):
        opened(settings)
    copy.close()
    opened(settings)


def test_an_incomplete_snapshot_changes_nothing(tmp_path: Path, settings: RegistrySettings) -> None:
    folder = write_catalog(tmp_path / "catalog", settings.folder, "pk")
    copy = opened(settings)
    replaced(copy, snapshot("a"))

    def cut() -> Snapshot:
        def blocks() -> object:
            yield b"b\n"
            raise RegistryUnavailableError("connection lost")

        return Snapshot(blocks(), position="7")  # type: ignore[arg-type] # a generator of bytes

    with pytest.raises(RegistryUnavailableError, match="connection lost"):
        replaced(copy, cut())
    small = settings.model_copy(update={"max_bytes": 10})
    copy.close()
    copy = opened(small)
    with pytest.raises(RegistryUnavailableError, match="expected at most max_bytes, 10, got more"):
        replaced(copy, snapshot("b" * 20))
    assert copy.position == "1"
    assert keys_of(folder) == {"a"}
    assert sum(path.name.isdecimal() for path in settings.folder.iterdir()) == 1


def test_a_device_file_is_checked_before_it_counts(
    tmp_path: Path, settings: RegistrySettings
) -> None:
    folder = write_catalog(tmp_path / "catalog", settings.folder, "pk")
    copy = opened(settings)
    replaced(copy, Snapshot(iter([b"name;deviceKey\n", b"x;a\n"]), form="csv", position="1"))
    copy.apply(b"+b\n", "2")
    assert keys_of(folder) == {"a", "b"}
    with pytest.raises(RegistryUnavailableError, match="invalid device file: line 1"):
        replaced(copy, Snapshot(iter([b'["a"]\n']), form="jsonl", position="3"))
    assert keys_of(folder) == {"a", "b"}


def test_one_registry_has_the_devices_of_several_products(
    tmp_path: Path, settings: RegistrySettings
) -> None:
    settings = settings.model_copy(update={"product": None})
    folder = write_catalog(tmp_path / "catalog", settings.folder, "pk", "other", "empty")
    copy = opened(settings)
    replaced(copy, snapshot("pk/a", "other/a", "pk/b/c", "bad name/x", "nothing", "other/"))
    assert keys_of(folder) == {"a", "b/c"}
    assert keys_of(folder, "other") == {"a"}
    assert keys_of(folder, "empty") == set()
    assert copy.lines.refused == 3
    copy.apply(b"+empty/z\n-pk/a\n+other/b\n", "2")
    assert keys_of(folder) == {"b/c"}
    assert keys_of(folder, "other") == {"a", "b"}
    assert keys_of(folder, "empty") == {"z"}


def test_keys_that_no_device_can_have_are_left_out() -> None:
    lines = DeviceLines("pk")
    long = "k" * 128
    assert lines.keys(f"a\n\n{long}\n{long}x\n".encode()) == {"pk": f"a\n{long}\n".encode()}
    assert lines.refused == 2
    assert lines.changes("+ü\n-\n+a\tb\n-c\n".encode()) == {"pk": "+ü\n-c\n".encode()}
    assert lines.changes(b"+\xff\n") == {}
    assert (lines.refused, lines.example) == (5, "'+\\ufffd'")
    assert lines.keys(b"") == lines.changes(b"\n") == {}


def test_a_long_history_of_changes_asks_for_a_snapshot(settings: RegistrySettings) -> None:
    copy = opened(settings)
    replaced(copy, snapshot("a"))
    assert not copy.is_to_renew
    copy.apply(b"+b\n" * 6_000_000, "2")
    assert copy.is_to_renew


def test_a_journal_stays_short(settings: RegistrySettings) -> None:
    copy = opened(settings)
    replaced(copy, snapshot("a"))
    current = read_current(settings.folder)
    assert current is not None
    for number in range(40):
        copy.apply(b"+b\n", "p" * 20_000 + str(number))
    assert (current.folder / "journal").stat().st_size < 300_000
    copy.close()
    assert (opened(settings).position or "")[-2:] == "39"
