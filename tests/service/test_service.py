"""How the service begins: signals first."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from pointgate.config import (
    CatalogSettings,
    MetricsSettings,
    MqttSettings,
    Settings,
    StoreSettings,
)
from pointgate.config.quarantine import QuarantineSettings
from pointgate.service import serve as service
from pointgate.service.preflight import Prepared, prepare
from tests.support.paths import CATALOG

if TYPE_CHECKING:
    import pytest


async def test_a_signal_at_the_very_beginning_stops_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def first(settings: Settings) -> Prepared:
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGTERM)
        return prepare(settings)

    monkeypatch.setattr(service, "prepare", first)
    settings = Settings(
        catalog=CatalogSettings(path=CATALOG),
        metrics=MetricsSettings(listen="127.0.0.1:0"),
        mqtt=MqttSettings(url="mqtt://127.0.0.1:1", client_id="me"),
        store=StoreSettings(ack="verdict"),
        quarantine=QuarantineSettings(enabled=False),  # its default folder would be here
    )
    assert await service.serve(settings) == 128 + signal.SIGTERM
