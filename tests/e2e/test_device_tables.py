"""A running service and its device files: nothing that happens to one takes a plant away."""

from __future__ import annotations

import json
import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import CATALOG
from tests.support.processes import Broker, Sender, Service, small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def empty(path: Path) -> None:
    os.truncate(path, 0)


def keep_half(path: Path) -> None:
    path.write_text("device2\n")


def replace_with_blanks(path: Path) -> None:
    newer = path.with_suffix(".new")
    newer.write_text("\n# all gone\n")
    newer.replace(path)


def catalog_of_two(tmp_path: Path) -> Path:
    """A catalog of one product with two devices."""
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    shutil.copy(CATALOG / "models/protocol.json", catalog / "model.json")
    (catalog / "devices.txt").write_text("device1\ndevice2\n")
    (catalog / "catalog.toml").write_text(
        '[products.protocol]\nmodel = "model.json"\ndevices = "devices.txt"\n'
    )
    return catalog


@pytest.mark.parametrize("damage", [empty, keep_half, replace_with_blanks])
def test_a_shrunken_device_file_takes_no_device_away_until_that_is_confirmed(
    tmp_path: Path, broker: Broker, damage: Callable[[Path], None]
) -> None:
    folder = catalog_of_two(tmp_path)
    with (
        Service(tmp_path, broker.port, catalog=folder) as service,
        Sender(broker.port) as sender,
    ):
        service.ready()
        damage(folder / "devices.txt")
        service.wait_for("devices.txt: expected the device table of protocol to shrink by at most")
        service.wait_for("send SIGHUP twice")
        service.wait_for_metric("pointgate_catalog_shrink_refused", 1)
        assert json.loads(sender.ask(small(1)).payload)["code"] == 200
        service.send_signal(signal.SIGHUP)
        service.wait_for("send SIGHUP twice")
        assert json.loads(sender.ask(small(2)).payload)["code"] == 200
        service.send_signal(signal.SIGHUP)
        service.wait_for("catalog loaded")
        assert json.loads(sender.ask(small(3)).payload)["code"] == 1257
        service.wait_for_metric("pointgate_catalog_shrink_refused", 0)


def test_an_empty_device_table_at_the_start_is_in_force_and_told(
    tmp_path: Path, broker: Broker
) -> None:
    folder = catalog_of_two(tmp_path)
    empty(folder / "devices.txt")
    with (
        Service(tmp_path, broker.port, catalog=folder) as service,
        Sender(broker.port) as sender,
    ):
        service.wait_for("products.protocol: the device table is empty")
        service.ready()
        service.wait_for_metric("pointgate_catalog_products_without_devices", 1)
        assert json.loads(sender.ask(small(1)).payload)["code"] == 1257
