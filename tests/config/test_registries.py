"""`[[registries]]`: names, secrets, the environment, and what `registry sql` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from pointgate.cli.commands import app
from pointgate.config import load_settings
from pointgate.errors import ConfigError
from pointgate.registries.http.settings import HttpRegistrySettings
from pointgate.registries.postgres.settings import PostgresRegistrySettings

if TYPE_CHECKING:
    from pathlib import Path

HTTP = '[[registries]]\ntype = "http"\nurl = "https://h/d"\n'
POSTGRES = (
    '[[registries]]\ntype = "postgres"\nurl = "postgresql://u@h/d"\ntable = "fleet.devices"\n'
    'product = "pk"\n'
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pointgate.toml"


def problems(file: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_settings(file, environ or {})
    return [f"{one.location}: {one.reason}" for one in raised.value.problems]


def test_registries_and_their_copies(file: Path) -> None:
    file.write_text(f'{HTTP}{POSTGRES}name = "fleet"\n')
    http, postgres = load_settings(file, {}).registries
    assert http.folder == file.parent / "registry/http"
    assert postgres.folder == file.parent / "registry/fleet"
    file.write_text(f'[spool]\npath = "/var/lib/x/spool"\n{HTTP}path = "here"\n{POSTGRES}')
    http, postgres = load_settings(file, {}).registries
    assert http.folder == file.parent / "here/http"
    assert str(postgres.folder) == "/var/lib/x/registry/postgres"
    file.write_text("")
    assert load_settings(file, {}).registries == ()


def test_the_environment_wins(file: Path) -> None:
    file.write_text(HTTP + POSTGRES)
    environ = {
        "POINTGATE_REGISTRIES__HTTP__TOKEN": "secret",
        "POINTGATE_REGISTRIES__HTTP__POLL": "2s",
        "POINTGATE_REGISTRIES__POSTGRES__PASSWORD": "hidden",
    }
    http, postgres = load_settings(file, environ).registries
    assert isinstance(http, HttpRegistrySettings)
    assert isinstance(postgres, PostgresRegistrySettings)
    assert (http.poll, http.token_text(), postgres.password_text()) == (2000, "secret", "hidden")
    assert "secret" not in repr(http)
    assert "hidden" not in postgres.identity + repr(postgres)


def test_mistakes_are_named(file: Path) -> None:
    assert problems(file, f'{HTTP}token = "x"\n') == [
        (
            "registries[0].token: expected no secret in this file, got one: use "
            "POINTGATE_REGISTRIES__HTTP__TOKEN or registries[0].token_file"
        )
    ]
    assert problems(file, HTTP + HTTP) == [
        'registries[0].name: expected a unique name, got "http", which another registry has',
        'registries[1].name: expected a unique name, got "http", which another registry has',
    ]
    assert problems(file, '[[registries]]\ntype = "ldap"\n') == [
        'registries[0].type: expected "postgres" or "http" or "kafka", got "ldap"'
    ]
    assert problems(file, "registries = 1\n") == [
        "registries: expected tables, [[registries]], got 1"
    ]
    unknown = {"POINTGATE_REGISTRIES__FLEET__TOKEN": "x"}
    assert problems(file, HTTP, unknown) == [
        ': unknown setting, no registry is called "fleet"; there are: http'
    ]
    assert problems(file, POSTGRES + 'table2 = "x"\n') == [
        "registries[0].table2: unknown key, did you mean table"
    ]
    assert problems(file, POSTGRES.replace("fleet.devices", "a b")) == [
        'registries[0].table: expected the name of a table, or schema.table, got "a b"'
    ]


def test_the_sql_of_a_registry(file: Path) -> None:
    file.write_text(HTTP + POSTGRES)
    done = CliRunner().invoke(app, ["registry", "sql", "-c", str(file)])
    assert done.exit_code == 0
    assert 'AFTER INSERT ON "fleet"."devices"' in done.stdout
    assert 'CREATE TABLE "public"."pointgate_device_changes" (' in done.stdout
    assert "{" not in done.stdout
    done = CliRunner().invoke(app, ["registry", "sql", "http", "-c", str(file)])
    assert done.exit_code == 2
