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
from pointgate.registries.kinds import REGISTRIES
from pointgate.service.metrics import Metrics
from pointgate.sinks.registry import SINKS
from tests.support.paths import ROOT

if TYPE_CHECKING:
    import pytest

PACKAGE: Final = ROOT / "python/pointgate"
PAGES: Final = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "deploy/README.md",
]
WIDTH: Final = 100
NAMED_BY_RULE: Final = {
    *(f"cli/{command}.py" for command in ("check", "compact", "demo", "explain", "import_")),
    "cli/init.py",
    "cli/diff.py",
    "cli/doctor.py",
    "cli/leave.py",
    *(f"cli/{command}.py" for command in ("registry", "rejects", "replay", "serve", "validate")),
    *(f"sinks/{kind}/settings.py" for kind in SINKS),
    *(f"registries/{kind}/settings.py" for kind in REGISTRIES),
}
"""Modules that the map of the code does not name one by one."""
README: Final = (ROOT / "README.md").read_text("utf-8")
REFERENCE: Final = (ROOT / "docs" / "reference.md").read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_nothing_is_left_to_be_filled_in() -> None:
    assert not [page.name for page in PAGES if "@@" in page.read_text("utf-8")]


def _is_there(path: str) -> bool:
    """Whether the project, or the Python package in it, has this file or folder."""
    return (ROOT / path).exists() or (PACKAGE / path).exists()


def _named_files(text: str) -> set[str]:
    """Files and folders of the project that a page names.

    A source file is one anywhere. Everything else is one only between backticks and below a folder
    that the project has: `models/x.json` is a file of somebody's catalog.
    """
    text = re.sub(r"https?://\S+", "", text)
    files = set(re.findall(r"(?<![\w/.…-])((?:[\w-]+/)*[\w-]+\.(?:pyi?|rs))\b", text))
    for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text):
        if _is_there(path.split("/")[0]):
            files.add(path)
    return files


def test_files_that_the_documentation_names_exist() -> None:
    folders = (PACKAGE, ROOT / "rust", ROOT / "tests", ROOT / "benches")
    names = {path.name for folder in folders for path in folder.rglob("*.*")}
    for page in PAGES:
        missing = {path for path in _named_files(page.read_text("utf-8")) if not _is_there(path)}
        assert not {path for path in missing if "/" in path or path not in names}, page.name


def test_the_map_names_every_module() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    modules = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("[!_]*.py")}
    assert not {name for name in modules - NAMED_BY_RULE if f"`{name}`" not in page}


def test_files_that_the_code_names_exist() -> None:
    """In docstrings and comments, names in backticks: of a file beside it, or in the project."""
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    names = {path.name for path in [*sources, *(ROOT / "benches").rglob("*.py")]}
    for source in sources:
        for named in re.findall(r"`((?:[\w-]+/)*[\w-]+\.py)`", source.read_text("utf-8")):
            below = (source.parent / named).exists() or _is_there(named)
            assert below or ("/" not in named and named in names), f"{source}: {named}"


def test_links_of_the_documentation_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
            if link.startswith("https://"):
                continue
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor:
                assert anchor in _anchors(target.read_text("utf-8")), f"{page.name}: {link}"


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_prose_of_the_documentation_wraps() -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        prose = [line for line in text.splitlines() if not line.startswith(("|", "    ", "!["))]
        long = [line for line in prose if len(line) > WIDTH]
        assert not long, page.name


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
    for registry in (kind.settings for kind in REGISTRIES.values()):
        for key, field in registry.model_fields.items():
            assert f"`registries.{field.alias or key}`" in REFERENCE


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
