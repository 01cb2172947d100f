"""`explain --all` and `validate --all-faults`: every fault, the first is the verdict's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cli.test_cli import run
from tests.support.paths import CATALOG as CASES

if TYPE_CHECKING:
    from pathlib import Path

PAYLOAD = (
    '{"id":"1","version":"1.0","method":"integration.measurepoint.post","params":'
    '[{"deviceKey":"no","measurepoints":{"temp":"x","tmep":1}}]}\n'
)
POINTERS = ["/params/0/deviceKey"] + [
    f"/params/0/measurepoints/{name}" for name in ("temp", "tmep")
]


def test_explain_shows_every_fault(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(PAYLOAD)
    command = ("explain", file, "--product", "protocol", "--catalog", CASES, "--all")
    done = run(*command)
    assert done.returncode == 1
    assert "further faults: 2\n  line 1, column " in done.stdout
    document = json.loads(run(*command, "--json").stdout)
    assert [fault["pointer"] for fault in document["faults"]] == POINTERS
    assert document["faults"][0] == document["fault"]
    assert document["more"] is False


def test_validate_describes_every_fault(tmp_path: Path) -> None:
    file, rejects = tmp_path / "one.jsonl", tmp_path / "rejects.jsonl"
    file.write_text(PAYLOAD * 2)
    command = ("validate", file, "--product", "protocol", "--catalog", CASES, "--all-faults")
    assert run(*command).returncode == 2
    assert run(*command, "--rejects", rejects).returncode == 1
    for line in rejects.read_text().splitlines():
        document = json.loads(line)
        assert [fault["pointer"] for fault in document["faults"]] == POINTERS
        assert document["pointer"] == POINTERS[0]
