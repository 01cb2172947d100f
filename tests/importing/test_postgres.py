"""Imports into a real PostgreSQL: killed, refused, away; every point is stored once."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.historian import Shape, expected, export, mapping
from tests.support.imports import CATALOG, points, rejected, run
from tests.support.postgres_points import ask
from tests.support.postgres_server import PASSWORD, PostgresServer

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("tests.support.postgres_fixtures",)

SHAPE = Shape(seed=11, rows=3_000, step_minutes=31, by_device=True)
HEAD = b"Zeit;Ger\xc3\xa4t;Tag;Wert;Status\n"
FORBIDDEN = 13.25


def prepare(folder: Path, server: PostgresServer, schema: str, *, lines: bool = False) -> list[str]:
    """A configuration, a mapping and an export; the arguments that import it."""
    tables = f'[[sinks]]\ntype = "postgres"\nurl = "{server.url()}"\nschema = "{schema}"\n'
    if lines:
        tables += '[[sinks]]\ntype = "ndjson"\npath = "points.ndjson"\n'
    (folder / "pointgate.toml").write_text(f'[catalog]\npath = "{CATALOG}"\n{tables}')
    (folder / "mapping.toml").write_text(mapping(SHAPE), "utf-8")
    (folder / "export.csv").write_bytes(export(SHAPE))
    return ["export.csv", "--mapping", "mapping.toml", "--memory", "1MiB"]


def stored(server: PostgresServer, schema: str) -> list[tuple[str, str, int]]:
    """The keys of the rows of the table itself, as often as they are there."""
    query = (
        "SELECT device, identifier, (extract(epoch FROM time) * 1000)::bigint FROM {schema}.point"
        " JOIN {schema}.series USING (series_id) ORDER BY 1, 2, 3"
    )
    return [tuple(row) for row in ask(server, query, schema)]


def forbid(server: PostgresServer, schema: str) -> None:
    """Make the table refuse a value."""
    query = "ALTER TABLE {schema}.point ADD CHECK (value_double <> " + str(FORBIDDEN) + ")"
    ask(server, query, schema)


def import_one(folder: Path, *arguments: str) -> None:
    """Import a point of another day with a state of its own, which makes the tables."""
    (folder / "first.csv").write_bytes(HEAD + b"2020-01-01;inverter-001;T.dayEnergy;1;\n")
    options = [*arguments[1:], "--state", "first"]
    done = run("first.csv", *options, cwd=folder, PGPASSWORD=PASSWORD)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        "import-after-run:2",
        "import-before-commit:1",
        "import-before-commit:2",
        "import-after-chunk:2",
    ],
)
def test_a_kill_at_a_named_place(
    server: PostgresServer, schema: str, place: str, tmp_path: Path
) -> None:
    arguments = prepare(tmp_path, server, schema)
    killed = run(*arguments, cwd=tmp_path, PGPASSWORD=PASSWORD, POINTGATE_FAILPOINT=place)
    assert killed.returncode == -signal.SIGKILL
    done = run(*arguments, cwd=tmp_path, PGPASSWORD=PASSWORD)
    assert done.returncode == 1, done.stderr
    oracle = expected(SHAPE, (tmp_path / "export.csv").read_bytes())
    assert stored(server, schema) == sorted(oracle.points)
    assert {one["line"] for one in rejected(tmp_path / "import-state")} == oracle.bad_lines


def test_a_server_that_is_away_ends_the_command_and_not_the_import(
    server: PostgresServer, schema: str, tmp_path: Path
) -> None:
    arguments = prepare(tmp_path, server, schema)
    killed = run(
        *arguments, cwd=tmp_path, PGPASSWORD=PASSWORD, POINTGATE_FAILPOINT="import-after-chunk:1"
    )
    assert killed.returncode == -signal.SIGKILL
    server.kill()
    try:
        away = run(*arguments, cwd=tmp_path, PGPASSWORD=PASSWORD)
        assert away.returncode == 74
        assert "the same command continues, and stores nothing twice" in away.stderr
    finally:
        server.start()
    assert run(*arguments, cwd=tmp_path, PGPASSWORD=PASSWORD).returncode == 1
    oracle = expected(SHAPE, (tmp_path / "export.csv").read_bytes())
    assert stored(server, schema) == sorted(oracle.points)


@pytest.mark.parametrize("place", ["", "import-before-commit:1"])
def test_a_point_that_a_sink_refuses_is_reported_and_the_rest_is_stored(
    server: PostgresServer, schema: str, place: str, tmp_path: Path
) -> None:
    arguments = prepare(tmp_path, server, schema, lines=True)
    import_one(tmp_path, *arguments)
    forbid(server, schema)
    rows = [b"2024-05-01 00:%02d;inverter-001;T.dayEnergy;%d;\n" % (n, n) for n in range(40)]
    for place_of_bad in (0, 17, 39):
        rows[place_of_bad] = b"2024-05-01 00:%02d;inverter-001;T.dayEnergy;13.25;\n" % place_of_bad
    (tmp_path / "export.csv").write_bytes(HEAD + b"".join(rows))
    if place:
        killed = run(*arguments, cwd=tmp_path, PGPASSWORD=PASSWORD, POINTGATE_FAILPOINT=place)
        assert killed.returncode == -signal.SIGKILL
    options = ["--rejects", "rejects.ndjson", "--json"]
    done = run(*arguments, *options, cwd=tmp_path, PGPASSWORD=PASSWORD)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["reasons"] == [{"reason": "refused", "count": 3}]
    found = [json.loads(line) for line in (tmp_path / "rejects.ndjson").read_bytes().splitlines()]
    assert [one["time"] for one in found] == [
        f"2024-05-01T00:{minute:02}:00.000000Z" for minute in (0, 17, 39)
    ]
    keys = {(one["product"], one["device"], one["identifier"], one["value"]) for one in found}
    assert keys == {("solar", "inverter-001", "dayEnergy", FORBIDDEN)}
    assert all(one["message"].startswith("postgres: new row for relation") for one in found)
    assert len(stored(server, schema)) == 1 + 37  # with that of the first import
    assert len(points(tmp_path / "points.ndjson")) == 1 + 40  # which another sink takes
