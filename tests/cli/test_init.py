"""`pointgate init` and `pointgate schema`: what they write is complete, valid and never old."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pointgate.catalog import Catalog
from pointgate.catalog_settings import ProductSettings
from pointgate.cli.commands import app
from pointgate.cli.epilogs import EPILOGS
from pointgate.config import Settings, load_settings
from pointgate.config.schema import settings_schema
from pointgate.config.template import starting_configuration
from pointgate.errors import ConfigError
from pointgate.registries.kinds import REGISTRIES
from pointgate.sinks.registry import SINKS
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pointgate", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr
    return done


def test_what_init_writes_passes_check_and_its_request_is_accepted(tmp_path: Path) -> None:
    done = run("init", "--product", "007", cwd=tmp_path)
    assert (done.returncode, done.stdout.count("wrote ")) == (0, 7)
    checked = run("check", cwd=tmp_path).stdout
    assert checked == "007: 3 points, 2 devices\n2 catalog tests passed\n"
    assert run("explain", "example.json", "--product", "007", cwd=tmp_path).returncode == 0
    schema = json.loads((tmp_path / "pointgate.schema.json").read_text("utf-8"))
    assert schema == json.loads(run("schema", cwd=tmp_path).stdout)


@pytest.mark.parametrize("there", ["pointgate.toml", "catalog/devices/example.txt", "example.json"])
def test_init_overwrites_nothing_and_then_writes_nothing(tmp_path: Path, there: str) -> None:
    path = tmp_path / "new" / there
    path.parent.mkdir(parents=True)
    path.symlink_to("nowhere")  # a link to a missing file counts, too
    done = run("init", "new", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"new/{there} exists; nothing was written\n"
    assert [one for one in (tmp_path / "new").rglob("*") if one.is_file()] == []


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--product", "a/b"], 2, "--product: expected a product key, 1 to 64 of A-Z"),
        (["s3://bucket"], 2, "expected a path on this machine"),
        (["file"], 74, "cannot be written"),
        (["/proc/nowhere"], 74, "/proc/nowhere: cannot be written: no such file or directory"),
    ],
)
def test_init_with_wrong_input(
    tmp_path: Path, arguments: list[str], status: int, says: str
) -> None:
    (tmp_path / "file").touch()
    done = run("init", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr


def _uncommented(text: str) -> str:
    """The file with every default in force."""
    text = re.sub(r"^# (\[.*\]|[a-z_]+ = (?!…).*)$", r"\1", text, flags=re.MULTILINE)
    others = r"^\[\[(sinks|registries)\]\]\ntype = \"(?!parquet).*?(?=\n\n)"
    return re.sub(others, "", text, flags=re.DOTALL | re.MULTILINE)


def test_the_written_configuration_is_the_default_one(tmp_path: Path) -> None:
    path = tmp_path / "pointgate.toml"
    path.touch()
    empty = load_settings(path, {})
    for text in (starting_configuration(), _uncommented(starting_configuration())):
        path.write_text(text, "utf-8")
        assert load_settings(path, {}) == empty
    assert "keepalive = 15" in text.splitlines()[8:30] or "\nkeepalive = 15" in text


def test_the_written_configuration_has_every_key() -> None:
    text = starting_configuration()
    models = [field.annotation for field in Settings.model_fields.values()]
    models = [one for one in models if hasattr(one, "model_fields")]
    models += [kind.settings for kind in SINKS.values()]
    models += [kind.settings for kind in REGISTRIES.values()]
    for model in models:
        for key, field in model.model_fields.items():  # type: ignore[union-attr]
            found = re.search(rf"^(# )?{field.alias or key} = ", text, re.MULTILINE)
            assert (found is None) == (key in {"password", "token"}), key


def test_the_written_catalog_names_every_product_setting(tmp_path: Path) -> None:
    run("init", cwd=tmp_path)
    document = tmp_path / "catalog" / "catalog.toml"
    text = document.read_text("utf-8")
    keys = [*ProductSettings.model_fields, "time.min", "time.max_past", "time.max_future"]
    for key in (one for one in keys if one != "time"):
        assert re.search(rf"^(# )?{re.escape(key)} = ", text, re.MULTILINE), key
    document.write_text(re.sub(r"^# ([a-z_.]+ = (?!…))", r"\1", text, flags=re.MULTILINE), "utf-8")
    assert Catalog.load(tmp_path / "catalog").warnings == ()


VALID = [
    "",
    '[quarantine]\npath = "a"\nproducts = "all"\nmax_age = "30d"',
    '[quarantine]\npath = "a"\nproducts = ["x"]\nmax_age = 30',
    '[store]\nmax_delay = "5ms"',
    '[catalog]\nmax_shrink = "20%"',
    '[[sinks]]\ntype = "parquet"\nkeep = "400d"\nrotate_bytes = "8MiB"',
    '[[sinks]]\ntype = "postgres"\nurl = "postgresql://u@h/d"',
    '[[sinks]]\ntype = "ndjson"\npath = "-"\n[[sinks]]\ntype = "parquet"',
    '[mqtt]\nprotocol = "auto"\nreply_qos = 1',
    '[[registries]]\ntype = "http"\nurl = "https://h/d"\npoll = "2s"\nmax_bytes = "2GiB"',
    '[[registries]]\ntype = "postgres"\nurl = "postgresql://u@h/d"\ntable = "t"\nproduct = "p"',
]
INVALID = [
    "[mqqt]",
    '[mqtt]\nurll = "x"',
    '[mqtt]\nusername = "u"\npassword = "x"',
    "[mqtt]\nprotocol = 6",
    '[store]\nmax_delay = "5x"',
    "[store]\nmax_delay = 1001",
    "[catalog]\nmax_shrink = 101",
    '[[sinks]]\ntype = "parq"',
    '[[sinks]]\npath = "x"',
    '[[sinks]]\ntype = "parquet"\nurl = "x"',
    '[[registries]]\ntype = "http"',
    '[[registries]]\ntype = "ldap"\nurl = "https://h/d"',
    '[[registries]]\ntype = "http"\nurl = "https://h/d"\ntoken = "x"',
    '[[registries]]\ntype = "http"\nurl = "https://h/d"\ntable = "t"',
    "[limits]\npayload_bytes = 0",
    "[limits]\nin_flight_requests = true",
]


def _errors(text: str) -> list[Any]:
    validator = jsonschema_rs.validator_for(settings_schema())
    return list(validator.iter_errors(tomllib.loads(text)))


@pytest.mark.parametrize("text", VALID)
def test_the_schema_accepts_what_load_accepts(tmp_path: Path, text: str) -> None:
    (tmp_path / "pointgate.toml").write_text(text, "utf-8")
    load_settings(tmp_path / "pointgate.toml", {})
    assert not _errors(text)


@pytest.mark.parametrize("text", INVALID)
def test_the_schema_rejects_what_load_rejects(tmp_path: Path, text: str) -> None:
    (tmp_path / "pointgate.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigError):
        load_settings(tmp_path / "pointgate.toml", {})
    assert _errors(text)


def test_the_schema_accepts_the_files_that_are_shipped() -> None:
    shipped = (ROOT / "deploy/pointgate.toml").read_text("utf-8")
    for text in (starting_configuration(), _uncommented(starting_configuration()), shipped):
        assert not _errors(text)


@pytest.mark.parametrize("command", sorted(get_command(app).commands))  # type: ignore[attr-defined]
def test_help_of_a_command_has_examples_and_exit_statuses(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert command in EPILOGS
    long, short = (CliRunner().invoke(app, [command, option]) for option in ("--help", "-h"))
    assert long.stdout == short.stdout
    assert f"  Examples:\n    pointgate {command}" in long.stdout
    assert "\n  Exit status:\n    0        " in long.stdout
    assert not [line for line in long.stdout.splitlines() if len(line) > 80]
