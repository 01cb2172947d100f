"""What is wrong with an object store or a table is found before a service needs it."""

from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pointgate.config import load_settings
from pointgate.doctor import sinks as doctor_sinks
from tests.doctor.test_doctor import doctor, texts
from tests.service.test_preflight import CONFIGURATION, FINDINGS, checked, parquet, served, write
from tests.support.object_dataset import file_system, keys, new_sink, store
from tests.support.point_tables import Point, table
from tests.support.processes import Broker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.s3_server import S3Server

KINDS = ["parquet", "delta"]
WRONG = [
    ({"key": "s3cret"}, "points/live", "403 Forbidden: SignatureDoesNotMatch"),
    ({"aws_access_key_id": "another"}, "points/live", "404 Not Found: XAdminUserNotFound"),
    ({}, "nobucket/live", "404 Not Found: NoSuchBucket"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("secretsecret\n")
    return tmp_path


def sink(kind: str, options: Mapping[str, str], place: str = "points/live") -> str:
    """A table of a sink with its key in a file."""
    shown = {name: value for name, value in options.items() if "secret" not in name}
    return (
        f'[[sinks]]\ntype = "{kind}"\npath = "s3://{place}"\n'
        f"storage_options = {{ {', '.join(f'{n} = {json.dumps(v)}' for n, v in shown.items())} }}\n"
        'secret_files = { aws_secret_access_key = "key" }\n'
    )


async def examined(config: Path, *, running: bool = False) -> list[tuple[str, str]]:
    found = await doctor_sinks.examine_sinks(load_settings(config, {}), running=running)
    return [(one.result, one.text) for one in found]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_right_is_no_problem_and_nothing_is_left(
    folder: Path, s3: S3Server, kind: str
) -> None:
    config = write(folder, sink(kind, s3.options))
    ((result, text),) = await examined(config)
    assert (result, text.partition(" in ")[0]) == ("ok", f"{kind}: examined")
    assert not keys(s3)
    assert checked(config).exit_code == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", range(len(WRONG)))
async def test_wrong_keys_and_buckets_are_problems(
    folder: Path, s3: S3Server, kind: str, case: int
) -> None:
    wrong, place, words = WRONG[case]
    (folder / "key").write_text(wrong.get("key", "secretsecret"))
    options = {name: wrong.get(name, value) for name, value in s3.options.items()}
    ((result, text),) = await examined(write(folder, sink(kind, options, place)))
    assert result == "problem"
    assert text.startswith(f"{kind}: cannot read s3://{place}: {words}")
    assert "s3cret" not in text
    assert "secretsecret" not in text


def test_check_connect_ends_with_the_problem(folder: Path, s3: S3Server) -> None:
    (folder / "key").write_text("s3cret")
    with Broker(folder) as broker:
        status, found = doctor(folder, broker.port, *sink("parquet", s3.options).splitlines())
    assert status == 1
    (text,) = texts(found, "problem", "sinks")
    assert "parquet: cannot read s3://points/live: 403 Forbidden" in text


async def test_a_running_service_is_not_disturbed(folder: Path, s3: S3Server) -> None:
    live = new_sink(s3.options)
    await live.open()
    await store(live, table([Point()]), sequence=1)
    before = keys(s3)
    ((result, _),) = await examined(write(folder, sink("parquet", s3.options)), running=True)
    assert (result, keys(s3)) == ("ok", before)
    await store(live, table([Point(time=1)]), sequence=2)
    await live.close()


async def test_another_partition_is_a_problem(folder: Path, s3: S3Server) -> None:
    with file_system(s3).open_output_stream("points/live/month=2026-01/x.parquet") as file:
        file.write(b"x")
    ((result, text),) = await examined(write(folder, sink("parquet", s3.options)))
    assert (result, 'expected partition = "month"' in text) == ("problem", True)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_that_is_away_is_a_problem_for_doctor_alone(
    folder: Path, s3: S3Server, kind: str
) -> None:
    config = write(folder, sink(kind, s3.options | {"max_retries": "0"}))
    s3.kill()
    ((result, text),) = await examined(config)
    assert (result, text.startswith(f"{kind}: cannot read s3://points/live: ")) == ("problem", True)
    assert checked(config).exit_code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_with_a_spool_starts_without_the_store(
    folder: Path, s3: S3Server, kind: str
) -> None:
    config = write(folder, sink(kind, s3.options | {"max_retries": "0"}))
    assert served(config) == 0  # a new spool needs to know what the sink has
    s3.kill()
    assert served(config) == 0


async def test_a_store_that_does_not_answer_is_a_problem(
    folder: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_sinks, "_OPEN_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}"
        config = write(folder, sink("parquet", s3.options | {"aws_endpoint_url": endpoint}))
        assert await examined(config) == [("problem", "parquet: no answer within 0 s")]


def test_a_table_of_something_else_is_refused_by_check_and_serve(folder: Path) -> None:
    DeltaTable.create(folder / "lake", pa.schema([pa.field("a", pa.int64())]))
    config = write(folder, '[[sinks]]\ntype = "delta"\npath = "lake"\n')
    done = checked(config)
    assert done.exit_code == FINDINGS
    assert "lake is not a table of points: it lacks product, device" in done.stdout
    assert served(config) == CONFIGURATION


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            parquet("s3://points/live") + 'dimensions = "d"\n',
            "dimensions are not written to object stores: got them for s3://points/live",
        ),
        (
            parquet("points") + 'writer = "b"\n',
            "writer is only for a path such as s3://bucket/points",
        ),
        (
            parquet("points") + 'storage_options = { aws_region = "x" }\n',
            "storage_options is only for a path such as s3://bucket/points",
        ),
        (
            parquet("s3://points/live") + 'storage_options = { nonsense = "x" }\n',
            "sinks.parquet: storage_options: Configuration key: 'nonsense' is not valid",
        ),
    ],
)
def test_what_is_not_supported_is_refused_by_name(folder: Path, table: str, words: str) -> None:
    config = write(folder, table)
    done = checked(config)
    assert done.exit_code == FINDINGS, done.output
    assert words in done.stdout
    assert served(config) == CONFIGURATION


@pytest.mark.parametrize(
    ("kind", "package", "module"),
    [
        ("parquet", "obstore", "pointgate.sinks.parquet.object"),
        ("delta", "deltalake", "pointgate.sinks.delta"),
    ],
)
def test_a_missing_package_is_refused_by_check_and_serve(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str, module: str
) -> None:
    for name in list(sys.modules):
        if name.startswith((module, package)) and not name.endswith("settings"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    config = write(folder, sink(kind, {"aws_endpoint_url": "http://127.0.0.1:9"}))
    extra = "objects" if kind == "parquet" else kind
    done = checked(config)
    assert done.exit_code == FINDINGS
    expected = f"sinks.{kind}: needs the package {package}: pip install 'pointgate[{extra}]'"
    assert expected in done.stdout
    assert served(config) == CONFIGURATION
