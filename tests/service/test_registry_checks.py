"""`pointgate check`: how the products of the catalog name the copies of registries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pointgate.registries.device_copy import DeviceCopy
from tests.cli.test_cli import run
from tests.support.registries import FakeRegistry, FakeSettings, write_catalog

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY = "[[registries]]\ntype = 'http'\nname = 'fleet'\nurl = 'http://127.0.0.1:9/devices'\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def check(folder: Path, settings: str, registry: str, more: str = "") -> tuple[int, str]:
    write_catalog(folder / "catalog", folder / registry, "pk")
    with (folder / "catalog/catalog.toml").open("a") as file:
        file.write(more)
    (folder / "pointgate.toml").write_text(settings)
    done = run("check", "-c", folder / "pointgate.toml")
    return done.returncode, done.stdout


def copied(folder: Path) -> None:
    """The copy of a registry that some process has made."""
    copy = DeviceCopy(FakeSettings(name="fleet", product="pk", path=folder / "registry"))
    copy.open()
    copy.replace(FakeRegistry("d1", "d2").snapshot(), lambda: None)
    copy.close()


def test_a_registry_of_the_product_fits(folder: Path) -> None:
    status, output = check(folder, f"{REGISTRY}product = 'pk'\n", "registry/fleet")
    assert status == 0
    assert "products.pk.registry" not in output
    assert "warning: " in output  # it has no copy yet
    assert check(folder, REGISTRY, "registry/../registry/fleet")[0] == 0


def test_a_folder_that_no_registry_writes_is_a_problem(folder: Path) -> None:
    status, output = check(folder, REGISTRY, "registry/flete")
    assert status == 1
    assert "products.pk.registry: expected the folder of a registry (" in output
    assert "registry/flete, did you mean fleet\n" in output
    status, output = check(folder, "", "registry/fleet")
    assert status == 1
    assert "none: there is no [[registries]] in the settings" in output


def test_a_copy_of_another_machine_is_used_with_a_warning(folder: Path) -> None:
    copied(folder)
    status, output = check(folder, "", "registry/fleet")
    assert status == 0
    assert "products.pk.registry: no registry in [[registries]] writes " in output
    assert "pk: 1 point, 2 devices" in output


def test_the_registry_of_another_product_is_a_warning(folder: Path) -> None:
    status, output = check(folder, f"{REGISTRY}product = 'other'\n", "registry/fleet")
    assert status == 0
    assert "products.pk.registry: registry fleet has the devices of product other: " in output


def test_a_registry_that_cannot_be_asked_is_a_warning(folder: Path) -> None:
    ask = "on_unknown = 'recheck'\n"
    _, output = check(folder, REGISTRY, "registry/fleet", ask)
    assert "products.pk.on_unknown: registry fleet cannot be asked for one device" in output
    can = f"{REGISTRY}key_url = 'http://127.0.0.1:9/key'\n"
    assert "on_unknown" not in check(folder, can, "registry/fleet", ask)[1]


def test_a_mistake_ends_serve_before_it_waits_for_the_first_copy(folder: Path) -> None:
    settings = f"{REGISTRY}[metrics]\nlisten = '127.0.0.1:0'\n"
    for registry, more, found in (
        ("registry/fleet", "mode = 'no'\n", "products.pk.mode: expected "),
        ("registry/flete", "", "products.pk.registry: expected the folder of a registry ("),
    ):
        assert check(folder, settings, registry, more)[0] == 1
        done = run("serve", "-c", folder / "pointgate.toml")
        assert done.returncode == 78
        assert found in done.stderr
