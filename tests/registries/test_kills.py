"""A service that is killed while it writes the copy of a registry: the next one loads the copy.

POINTGATE_REGISTRY_KILLS=100 for more of them (`make crash`).
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Final, Self

import pytest

from pointgate.catalog import Catalog
from pointgate.registries.device_copy import CURRENT
from tests.support.patience import PATIENCE
from tests.support.ports import unused_port
from tests.support.processes import Service
from tests.support.registries import keys_of, write_catalog
from tests.support.registry_server import RegistryServer

if TYPE_CHECKING:
    from pathlib import Path

KILLS: Final = int(os.environ.get("POINTGATE_REGISTRY_KILLS", "6"))
DEVICES: Final = 2_000
CHANGES_AT_ONCE: Final = 40


class Fleet:
    """A registry whose devices change all the time.

    Attributes:
        states: Every set of devices that it ever had, and after how many changes.
    """

    def __init__(self, server: RegistryServer, draw: random.Random) -> None:
        server.keys = [f"device-{number}" for number in range(DEVICES)]
        self.states = {frozenset(server.keys): 0}
        self._server, self._draw = server, draw
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._change)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _change(self) -> None:
        number = DEVICES
        while not self._ends.wait(0.02):
            gone = self._draw.sample(self._server.keys, CHANGES_AT_ONCE)
            lines = [f"-{key}" for key in gone]
            for _ in gone:
                lines.append(f"+device-{number}")
                number += 1
            keys = set(self._server.keys)
            for line in lines:  # a reader may see any of these
                (keys.add if line[0] == "+" else keys.discard)(line[1:])
                self.states[frozenset(keys)] = len(self.states)
            self._server.change(*lines)
            if self._draw.random() < 0.02:
                self._server.first = len(self._server.log)  # a snapshot is needed


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_copy_is_a_state_of_its_registry_whenever_the_service_is_killed(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(24)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it with a failure
    draw = random.Random(seed)  # noqa: S311 - to be had again
    copy = tmp_path / "registry/fleet"
    catalog = write_catalog(tmp_path / "catalog", copy, "pk")
    seen: list[int] = []
    with RegistryServer() as server, Fleet(server, draw) as fleet:
        section = (
            '[[registries]]\nname = "fleet"\ntype = "http"\nproduct = "pk"\npoll = 50\n'
            f'url = "{server.url("/devices")}"\nchanges_url = "{server.url("/changes")}"'
        )
        nobody = unused_port()  # no broker: the registry is followed all the same
        begun = time.monotonic()
        for _ in range(KILLS):
            with Service(tmp_path, nobody, section, catalog=catalog) as service:
                service.wait_for("metrics on")
                while not (copy / CURRENT).exists():  # the first one is given the time for it
                    assert time.monotonic() < begun + PATIENCE
                    time.sleep(0.01)
                time.sleep(draw.random() * 1.5)
                service.end(signal.SIGKILL)
            assert Catalog.load(catalog).warnings == ()
            state = fleet.states.get(frozenset(keys_of(catalog)))
            assert state is not None, "a set of devices that the registry never had"
            seen.append(state)
    assert seen == sorted(seen)
    assert len(set(seen)) > KILLS // 2
