"""`docs/importing.md` does what it says: its commands run in order and print what it shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from pointgate.importing.mapping import Mapping, load_mapping
from tests.support.imports import CATALOG
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (ROOT / "docs/importing.md").read_text("utf-8")


def steps() -> Iterator[tuple[str, str]]:
    """Each command of the page, and what it prints, where the page shows it."""
    found = re.findall(r"^```(sh|text)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for number, (kind, text) in enumerate(found):
        following = found[number + 1] if number + 1 < len(found) else ("", "")
        if kind == "sh":
            yield text, following[1] if following[0] == "text" else ""


def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    shutil.copytree(CATALOG, tmp_path / "catalog")
    names = tmp_path / "bin"
    names.mkdir()
    (names / "pointgate").write_text(f'#!/bin/sh\nexec {sys.executable} -m pointgate "$@"\n')
    (names / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for one in names.iterdir():
        one.chmod(0o755)
    environ = os.environ | {"PATH": f"{names}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}
    outputs = []
    for command, shown in steps():
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in {0, 1}, done.stderr
        assert done.stdout.startswith(shown), command
        outputs.append(done.stdout)
    assert outputs[-1].splitlines()[13] == "30. 12:00 " + "█" * 20
    assert (tmp_path / "coverage.svg").read_text("utf-8").startswith("<svg")


def test_the_example_of_a_wide_file_is_a_mapping(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "mapping.toml").write_text(example, "utf-8")
    assert load_mapping(tmp_path / "mapping.toml").wide


def test_every_key_of_a_mapping_is_on_the_page() -> None:
    for section, field in Mapping.model_fields.items():
        assert re.search(rf"`\[?{section}\b", PAGE), section
        for key in getattr(field.annotation, "model_fields", {}):
            assert re.search(rf"`({section}\.)?{key}`", PAGE), f"{section}.{key}"
