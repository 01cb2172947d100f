"""Imports in this process and as a process, and what is stored by them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CATALOG: Final = ROOT / "python/pointgate/demo/catalog"


def configure(folder: Path, *sinks: str) -> Path:
    """A configuration with sinks in a folder."""
    config = folder / "pointgate.toml"
    tables = [f'[[sinks]]\ntype = "{sink}"\npath = "{_path(sink)}"\n' for sink in sinks]
    config.write_text(f'[catalog]\npath = "{CATALOG}"\n' + "".join(tables))
    return config


def _path(sink: str) -> str:
    return "points.ndjson" if sink == "ndjson" else "points"


def command(*arguments: object) -> list[str]:
    """The command line of an import."""
    return [sys.executable, "-m", "pointgate", "import", *map(str, arguments)]


def run(
    *arguments: object, cwd: Path, data: bytes | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Import in a process of its own."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"} | environ,
        input=data,
        stdin=None if data is not None else subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def stored(file: Path) -> list[dict[str, Any]]:
    """The lines of a sink of JSON lines."""
    return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def points(file: Path) -> dict[tuple[str, str, int], float]:
    """The same by key; each key must be there once."""
    lines = stored(file)
    found = {(one["device"], one["identifier"], one["time"]): one["value"] for one in lines}
    assert len(found) == len(lines), "a point is there twice"
    return found


def rejected(folder: Path) -> list[dict[str, Any]]:
    """What the state of an import says of rejected points."""
    return [json.loads(line) for line in (folder / "rejects.ndjson").read_bytes().splitlines()]
