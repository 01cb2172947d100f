"""The documentation says what is so: examples run, settings, metrics and reasons are named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointgate import _core
from pointgate.catalog import Catalog
from pointgate.config import Settings
from pointgate.service.metrics import Metrics
from pointgate.sinks.registry import SINKS
from tests.support.paths import ROOT

if TYPE_CHECKING:
    import pytest

README: Final = (ROOT / "README.md").read_text("utf-8")
REFERENCE: Final = (ROOT / "docs" / "reference.md").read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_nothing_is_left_to_be_filled_in() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    assert not [page.name for page in pages if "@@" in page.read_text("utf-8")]


def test_python_in_the_readme_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = _blocks("python")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own example


def test_console_session_in_the_readme_prints_what_it_shows() -> None:
    (session,) = _blocks("console")
    command, expected = re.split(r"(?<=catalog)\n", session.removeprefix("$ "), maxsplit=1)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env=os.environ | {"PATH": path, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert expected.endswith("\n…\n")  # cut, and says so
    assert done.stdout.startswith(expected.removesuffix("…\n"))


def test_reference_names_every_setting() -> None:
    for section, field in Settings.model_fields.items():
        for key in getattr(field.annotation, "model_fields", {}):
            assert f"`{section}.{key}`" in REFERENCE
    for model in (kind.settings for kind in SINKS.values()):
        for key, field in model.model_fields.items():
            assert f"`sinks.{field.alias or key}`" in REFERENCE


def test_reference_names_every_metric_reason_and_code() -> None:
    metrics = Metrics(ack="verdict")
    for family in metrics.collect():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        assert f"`{family.name}{suffix}" in REFERENCE
    for reason in _core.reasons:
        assert f"`{reason}`" in REFERENCE
    for code in _core.codes[1:]:
        assert f"| {code} |" in REFERENCE


def test_demo_catalog_loads() -> None:
    assert len(Catalog.load(ROOT / "python/pointgate/demo/catalog")) == 4


def test_the_page_of_brokers_names_the_version_and_the_limits_that_are_tested() -> None:
    page = (ROOT / "docs/brokers.md").read_text("utf-8")
    pom = (ROOT / "tests/brokers/hivemq/pom.xml").read_text("utf-8")
    (version,) = re.findall(r"<version>(\d{4}\.\d+)</version>", pom)
    assert f"HiveMQ CE {version}" in page
    shipped = (ROOT / "deploy/mosquitto/mosquitto.conf").read_text("utf-8")
    (packet,) = re.findall(r"^max_packet_size (\d+)$", shipped, re.MULTILINE)
    assert f"<max-packet-size>{packet}</max-packet-size>" in page
