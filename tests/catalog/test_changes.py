"""Device tables that change: files of changes, their positions, and what is shared."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointgate import Catalog, CatalogError, Devices, DocumentError
from pointgate.catalog import Loading
from pointgate.device_changes import FileChanges
from pointgate.file_states import signature

if TYPE_CHECKING:
    from pathlib import Path

PRODUCT = "[products.pk]\nmodel = 'model.json'\ndevices = 'devices.txt'\nchanges = 'pk.changes'\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.json").write_text(json.dumps({"measurepoints": {"t": {"dataType": "INT"}}}))
    (tmp_path / "devices.txt").write_text("a\nb\nc\n")
    (tmp_path / "catalog.toml").write_text(PRODUCT)
    return tmp_path


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def again(folder: Path, former: Catalog) -> tuple[Loading, Catalog | None]:
    seen = {path: signature(path) for path in former.files}
    loading = Loading(folder, former=former, seen=seen)
    return loading, loading.run(Catalog)


def keys(catalog: Catalog | None) -> set[str]:
    assert catalog is not None
    return {key for key in "abcdefgh" if key in catalog.products["pk"].devices}


@given(st.lists(st.tuples(st.sampled_from("+-"), st.sampled_from("abcdefgh")), max_size=30))
def test_a_table_with_changes_is_a_set(changes: list[tuple[str, str]]) -> None:
    devices, expected = Devices(["a", "b", "c"]), {"a", "b", "c"}
    for sign, key in changes:
        (expected.add if sign == "+" else expected.discard)(key)
        devices = devices.with_lines(f"{sign}{key}\n".encode())
    assert {key for key in "abcdefgh" if key in devices} == expected
    assert len(devices) == len(expected)
    assert devices == Devices(sorted(expected)) == devices.folded()
    assert hash(devices) == hash(Devices(sorted(expected)))
    text = "".join(f"{sign}{key}\n" for sign, key in changes)
    assert devices == Devices(["a", "b", "c"]).with_lines(text.encode())


def test_a_catalog_with_changes_shares_the_others(folder: Path) -> None:
    (folder / "other.txt").write_text("x\n")
    other = PRODUCT.replace("pk]", "other]").replace("devices.txt", "other.txt")
    (folder / "catalog.toml").write_text(PRODUCT + other.replace("changes = 'pk.changes'\n", ""))
    before = Catalog.load(folder)
    after = before.with_changes("pk", added=["d"], removed=["a", "zz"])
    assert (keys(before), keys(after)) == ({"a", "b", "c"}, {"b", "c", "d"})
    assert after.products["other"] is before.products["other"]
    assert (before.devices, after.devices) == (4, 4)
    with pytest.raises(KeyError):
        before.with_changes("none", added=["d"])
    with pytest.raises(DocumentError, match="expected a deviceKey of 1 to 128 bytes"):
        before.with_changes("pk", added=[""])


def test_appended_lines_are_applied_from_the_position_on(folder: Path) -> None:
    file = folder / "pk.changes"
    catalog = Catalog.load(folder)
    assert keys(catalog) == {"a", "b", "c"}  # no file: no changes yet
    for text, expected, lines in (
        ("+d\n-a\n", "bcd", 2),
        ("# plant 2\n\n+a\n+e\n-d\n", "abce", 5),
        ("-e", "abce", 0),  # a line that is being written
        ("\n+f", "abc", 1),
        ("g\n", "abc", 1),  # it was "fg"
    ):
        append(file, text)
        former = catalog
        loading, newer = again(folder, former)
        assert newer is not None
        catalog = newer
        assert keys(catalog) == set(expected), text
        assert (loading.changes, loading.read) == (lines, set())
        if not lines:
            assert catalog.products["pk"] is former.products["pk"]
    assert "fg" in catalog.products["pk"].devices
    assert catalog == Catalog.load(folder)


def test_a_line_with_a_mistake_is_named_and_the_last_good_table_stays(folder: Path) -> None:
    file = folder / "pk.changes"
    file.write_text("+d\n")
    before = Catalog.load(folder)
    append(file, "+e\nf\n")
    loading, newer = again(folder, before)
    assert newer is None
    (problem,) = loading.problems
    assert str(problem) == f'{file}: line 3: expected + or - and a deviceKey, got "f"'
    with pytest.raises(CatalogError, match="line 3"):
        Catalog.load(folder)
    file.with_suffix(".new").write_text("+d\n+e\n+f\n")
    file.with_suffix(".new").replace(file)
    assert keys(again(folder, before)[1]) == set("abcdef")


@pytest.mark.parametrize("way", ["replaced", "cut", "rewritten", "removed"])
def test_a_file_that_is_another_one_is_applied_to_the_base(folder: Path, way: str) -> None:
    file = folder / "pk.changes"
    file.write_text("+d\n-a\n+e\n")
    before = Catalog.load(folder)
    if way == "replaced":
        file.with_suffix(".new").write_text("+d\n-a\n+e\n+f\n-d\n")
        file.with_suffix(".new").replace(file)
        expected = "bcef"
    elif way == "cut":
        os.truncate(file, 3)
        expected = "abcd"
    elif way == "rewritten":
        file.write_text("+g\n-b\n+h\n-a\n")
        expected = "cgh"
    else:
        file.unlink()
        expected = "abc"
    assert keys(again(folder, before)[1]) == set(expected)


def test_a_rewrite_that_keeps_the_end_is_another_file(folder: Path) -> None:
    file = folder / "pk.changes"
    end = "".join(f"+x{number:03}\n" for number in range(200))
    file.write_text("+d\n" + end)
    before = Catalog.load(folder)
    assert keys(before) == set("abcd")
    with file.open("r+") as opened:
        opened.write("-a\n")
    append(file, "+h\n")
    assert keys(again(folder, before)[1]) == set("bch")


def test_a_rewrite_behind_the_begin_of_a_long_file_is_another_file(folder: Path) -> None:
    file = folder / "pk.changes"
    file.write_text("#" * (3 * 1024 * 1024) + "\n+d\n" + "#" * 1000 + "\n")
    before = Catalog.load(folder)
    with file.open("r+") as opened:
        opened.seek(3 * 1024 * 1024 + 1)
        opened.write("-a\n")
    append(file, "+h\n")
    assert keys(again(folder, before)[1]) == set("bch")


@pytest.mark.parametrize("text", ["+d\r+e\r", "+d\n+e\r+f\r", "+d\r+e"])
def test_lines_without_line_feeds_are_a_mistake(folder: Path, text: str) -> None:
    (folder / "pk.changes").write_text(text, newline="")
    with pytest.raises(CatalogError, match="expected a line feed behind each line, got a carriage"):
        Catalog.load(folder)


def test_a_line_that_is_being_written_may_end_with_a_carriage_return(folder: Path) -> None:
    (folder / "pk.changes").write_text("+d\r\n+e\r", newline="")
    assert keys(Catalog.load(folder)) == set("abcd")


def test_a_new_snapshot_is_read_with_all_changes(folder: Path) -> None:
    file = folder / "pk.changes"
    file.write_text("+d\n-a\n")
    before = Catalog.load(folder)
    (folder / "devices.txt").write_text("b\nc\nd\ne\n")
    newer = again(folder, before)[1]
    assert keys(newer) == set("bcde")
    assert newer is not None
    file.write_text("")
    assert keys(again(folder, newer)[1]) == set("bcde")


def test_a_folded_table_keeps_its_position(folder: Path) -> None:
    file = folder / "pk.changes"
    file.write_text("+d\n-a\n")
    first = Catalog.load(folder)
    ((key, followed),) = first.contents.followed.items()
    folded = {key: (followed.devices, followed.devices.folded())}
    append(file, "+e\n-d\n")
    second = again(folder, first)[1]
    assert second is not None
    third = second.with_folded(folded)
    assert (keys(third), third.products["pk"].devices.changed) == (set("bce"), 2)
    append(file, "+f\n")
    loading, fourth = again(folder, third)
    assert (keys(fourth), loading.changes) == (set("bcef"), 1)
    # The base is not in memory any more: it is read again when it is needed.
    os.truncate(file, 3)
    assert fourth is not None
    assert keys(again(folder, fourth)[1]) == set("abcd")
    # A fold of a table that was replaced meanwhile changes nothing.
    (folder / "devices.txt").write_text("h\n")
    fifth = again(folder, fourth)[1]
    assert fifth is not None
    assert fifth.with_folded(folded) == fifth


def test_products_can_share_both_files_or_only_the_table(folder: Path) -> None:
    file = folder / "pk.changes"
    file.write_text("+d\n")
    both = PRODUCT.replace("pk]", "pk2]")
    alone = PRODUCT.replace("pk]", "pk3]").replace("changes = 'pk.changes'\n", "")
    (folder / "catalog.toml").write_text(PRODUCT + both + alone)
    catalog = Catalog.load(folder)
    append(file, "+e\n")
    loading, newer = again(folder, catalog)
    assert newer is not None
    assert loading.changes == 1
    assert newer.products["pk"].devices is newer.products["pk2"].devices
    assert (keys(newer), len(newer.products["pk3"].devices)) == (set("abcde"), 3)


def test_a_setting_that_is_no_file_of_changes_is_refused(folder: Path) -> None:
    (folder / "catalog.toml").write_text(PRODUCT.replace("pk.changes", "pk.txt"))
    with pytest.raises(CatalogError, match=r"expected a file that ends in \.changes"):
        Catalog.load(folder)
    (folder / "pk.changes").mkdir()
    (folder / "catalog.toml").write_text(PRODUCT)
    with pytest.raises(CatalogError, match="cannot be read"):
        Catalog.load(folder)


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.changes")
    with pytest.raises(IsADirectoryError):
        FileChanges(tmp_path / "x.changes").changes(None)


def test_a_position_says_what_follows_it(tmp_path: Path) -> None:
    source = FileChanges(tmp_path / "x.changes")
    first = source.changes(None)
    assert first is not None
    assert first.lines == b""
    append(tmp_path / "x.changes", "+a\n+b")
    second = source.changes(first.position)
    assert second is not None
    assert (second.lines, second.first_line, second.position.line) == (b"+a\n", 1, 2)
    append(tmp_path / "x.changes", "\n")
    third = source.changes(second.position)
    assert third is not None
    assert (third.lines, third.first_line) == (b"+b\n", 2)
    assert third.position.tail == b"+a\n+b\n"
    (tmp_path / "x.changes").unlink()
    assert source.changes(third.position) is None
