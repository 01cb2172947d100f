"""Imports into Delta tables and into object stores, killed and continued."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from deltalake import DeltaTable

from tests.importing.test_resuming import SHORT
from tests.support.historian import expected, export, mapping
from tests.support.imports import CATALOG, run
from tests.support.object_dataset import PLACE, file_system
from tests.support.parquet_dataset import pointgate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.s3_server import S3Server

Key = tuple[str, str, int]


def prepare(folder: Path, sink: str) -> list[object]:
    """A configuration, a mapping and an export; the arguments that import it."""
    config = f'[catalog]\npath = "{CATALOG}"\n[[sinks]]\n{sink}\n'
    (folder / "pointgate.toml").write_text(config)
    (folder / "mapping.toml").write_text(mapping(SHORT), "utf-8")
    (folder / "export.csv").write_bytes(export(SHORT))
    return ["export.csv", "--mapping", "mapping.toml", "--memory", "1MiB", "--processes", "1"]


@pytest.fixture
def store(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A server that commands find by the environment."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3


def oracle(folder: Path) -> list[Key]:
    return sorted(expected(SHORT, (folder / "export.csv").read_bytes()).points)


def keys(rows: pa.Table) -> list[Key]:
    """The keys of points, as often as they are there."""
    times = rows["time"].cast(pa.timestamp("ms", "UTC")).cast("int64").to_pylist()
    return sorted(
        zip(rows["device"].to_pylist(), rows["identifier"].to_pylist(), times, strict=True)
    )


def objects(server: S3Server) -> list[Key]:
    found = pads.dataset(PLACE, filesystem=file_system(server), partitioning="hive")
    return keys(found.to_table(["device", "identifier", "time"]))


@pytest.mark.parametrize("place", ["", "delta-before-commit:2", "delta-after-commit:2"])
def test_into_a_delta_table(tmp_path: Path, place: str) -> None:
    arguments = prepare(tmp_path, 'type = "delta"\npath = "lake"')
    if place:
        killed = run(*arguments, cwd=tmp_path, POINTGATE_FAILPOINT=place)
        assert killed.returncode == -signal.SIGKILL
    done = run(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    table = DeltaTable(tmp_path / "lake")
    assert keys(table.to_pyarrow_table()) == oracle(tmp_path)
    assert table.transaction_version("live") is None
    assert run(*arguments, cwd=tmp_path).returncode == 1
    assert DeltaTable(tmp_path / "lake").version() == table.version()  # nothing was added
    assert keys(DeltaTable(tmp_path / "lake").to_pyarrow_table()) == oracle(tmp_path)


@pytest.mark.parametrize(
    "place",
    [
        "",
        "import-before-commit:2",
        "objects-before-record:2",
        "objects-after-record:2",
        "objects-between-copies:3",
        "objects-after-copies:2",
    ],
)
def test_into_a_sink_in_an_object_store(tmp_path: Path, store: S3Server, place: str) -> None:
    arguments = prepare(tmp_path, f'type = "parquet"\npath = "s3://{PLACE}"')
    if place:
        killed = run(*arguments, cwd=tmp_path, POINTGATE_FAILPOINT=place)
        assert killed.returncode == -signal.SIGKILL
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert objects(store) == oracle(tmp_path)


def test_out_into_an_object_store(tmp_path: Path, store: S3Server) -> None:
    arguments = prepare(tmp_path, 'type = "parquet"')
    for _ in range(2):
        done = run(
            *arguments, "--catalog", CATALOG, "--out", f"s3://{PLACE}",
            cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
    assert objects(store) == oracle(tmp_path)
    assert (tmp_path / "s3-points-live.import").is_dir()
    assert not (tmp_path / "s3:").exists()


def test_a_store_that_is_away_ends_an_import_that_can_be_continued(
    tmp_path: Path, store: S3Server
) -> None:
    arguments = prepare(tmp_path, f'type = "parquet"\npath = "s3://{PLACE}"')
    store.kill()
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 74
    assert f"cannot write to s3://{PLACE}" in done.stderr
    store.start()
    assert run(*arguments, cwd=tmp_path).returncode == 1
    assert objects(store) == oracle(tmp_path)


def test_validate_writes_into_an_object_store(tmp_path: Path, store: S3Server) -> None:
    request = {
        "version": "1.0",
        "method": "integration.measurepoint.post",
        "params": [
            {"deviceKey": "inverter-001", "time": time, "measurepoints": {"activePower": 1.5}}
            for time in range(100)
        ],
    }
    (tmp_path / "one.json").write_text(json.dumps(request))
    command = ("validate", tmp_path / "one.json", "--product", "solar", "--catalog", CATALOG)
    done = pointgate(*command, "--out", f"s3://{PLACE}")
    assert done.returncode == 0, done.stderr
    assert len(objects(store)) == 100
    wrong = "wrongwrong"
    done = pointgate(*command, "--out", f"s3://{PLACE}", AWS_SECRET_ACCESS_KEY=wrong)
    assert done.returncode == 74
    assert re.search("--out: cannot write to s3://points/live: 403 Forbidden", done.stderr)
    assert "wrongwrong" not in done.stderr
