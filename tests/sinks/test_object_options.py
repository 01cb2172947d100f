"""Mistakes in the settings of an object store are found before anything connects to it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from obstore import store as obstore_stores

from pointgate.sinks.object_stores import ObjectUrl
from pointgate.sinks.parquet.object_store import ObjectStore, StoreError
from tests.service.test_preflight import CONFIGURATION, FINDINGS, checked, served, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "PROFILE", "ENDPOINT_URL", "ENDPOINT"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # without .aws


def sink(
    path: str, options: Mapping[str, str] | None = None, *, kind: str = "parquet", name: str = "one"
) -> str:
    given = {"aws_access_key_id": "a"} if options is None else options
    lines = ", ".join(f"{key} = {json.dumps(value)}" for key, value in given.items())
    text = f'[[sinks]]\ntype = "{kind}"\nname = "{name}"\npath = "{path}"\n'
    return text + f'storage_options = {{ {lines} }}\nsecret_files = {{ {SECRET} = "key" }}\n'


SECRET = "aws_secret_access_key"  # noqa: S105 - the name of an option

MISTAKES = [
    (
        sink("s3://u:SECRET@bucket/x?secret=SECRET"),
        'path: expected a url such as s3://bucket/points, got "s3://u:…@bucket/x?…"',
    ),
    (sink("s3:/bucket/x"), "path: expected two slashes, as in s3://bucket/points"),
    (sink("S3:/bucket/x"), "path: expected two slashes"),
    (sink("s3://b/x"), "path: expected a bucket of 3 to 63 letters"),
    (sink(f"s3://{'b' * 64}/x"), "path: expected a bucket of 3 to 63 letters"),
    (sink("s3://bu..ket/x"), "path: expected a bucket"),
    (sink("s3://-bucket/x"), "path: expected a bucket"),
    (sink("s3://bu%20ket/x"), "path: expected a bucket"),
    (sink("s3://bücket/x"), "path: expected a bucket"),
    *(
        (sink("s3://bucket/x", {name: "other"}), f"expected no bucket here, got {name}")
        for name in ("bucket", "aws_bucket", "AWS_BUCKET_NAME", "container_name")
    ),
    *(
        (sink("s3://bucket/x", {"aws_endpoint": endpoint}), "expected aws_endpoint as a url")
        for endpoint in (
            "", "not a url", "127.0.0.1:9000", "ftp://host", "http://", "http://:80",
            "http://[::1", "http://host:99999", "http://höst",
        )
    ),
    *(
        (sink("s3://bucket/x", {}, kind=kind), "expected aws_access_key_id in secret_files or the")
        for kind in ("parquet", "delta")
    ),
    (sink("s3://bucket/x") + sink("s3://bucket/x", name="two"), "sinks.two: expected a place of"),
    (sink("s3://bucket/x") + sink("s3a://bucket/x/y", name="two"), "sinks.two: expected a place"),
    (
        sink("s3://bucket/x/y") + sink("s3://bucket/x", name="two", kind="delta"),
        "sinks.two: expected no place around that of sinks.one",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(MISTAKES)))
def test_mistakes_are_found_by_check_and_keep_serve_from_starting(
    tmp_path: Path, case: int
) -> None:
    tables, said = MISTAKES[case]
    (tmp_path / "key").write_text("secretsecret\n")
    config = write(tmp_path, tables)
    begun = time.monotonic()
    done = checked(config)
    assert (done.exit_code, said in done.stdout) == (FINDINGS, True), done.stdout
    assert served(config) == CONFIGURATION
    assert time.monotonic() - begun < 60, "nothing was connected to"


@pytest.mark.parametrize(
    "tables",
    [
        sink("s3://bucket/x") + sink("s3://bucket/xy", name="two"),
        sink("s3://bucket.with.dots/x"),
        sink("s3://bucket/x", {"aws_metadata_endpoint": "http://169.254.169.254"}),
        sink("s3://bucket/x", {"aws_skip_signature": "true"}),
        sink("az://$web/x", {"azure_use_fabric_endpoint": "true", "account_name": "a"}),
        sink("s3://bucket/x", KEYS_AND_ENDPOINT := {
            "aws_access_key_id": "a", "endpoint": "https://[::1]:9000/", "aws_region": "x",
        })
        + sink("s3://bucket/x", KEYS_AND_ENDPOINT | {"endpoint": "https://b"}, name="two"),
    ],
)  # fmt: skip
def test_what_may_work_is_taken(tmp_path: Path, tables: str) -> None:
    (tmp_path / "key").write_text("secretsecret\n")
    if "az://" in tables:
        tables = tables.replace(SECRET, "azure_storage_account_key")
        (tmp_path / "key").write_text("c2VjcmV0\n")
    elif "access_key_id" not in tables:
        tables = "\n".join(line for line in tables.splitlines() if SECRET not in line)
    done = checked(write(tmp_path, tables))
    assert done.exit_code == 0, done.stdout


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_a_service_account_is_a_whole_file_and_stays_a_secret(tmp_path: Path, kind: str) -> None:
    key = {"client_email": "a@b", "private_key": "PRIVATE", "private_key_id": "1"}
    (tmp_path / "key").write_text(json.dumps(key | {"disable_oauth": True}, indent=2))
    table = sink("gs://bucket/x", {}, kind=kind)
    done = checked(write(tmp_path, table.replace(SECRET, "google_service_account_key")))
    assert done.exit_code == 0, done.stdout
    for name in ("google_service_account", "GOOGLE_APPLICATION_CREDENTIALS", "service_account"):
        done = checked(write(tmp_path, table.replace(SECRET, name)))
        assert done.exit_code == FINDINGS
        assert f"expected no path here, got {name}: use it in storage_options" in done.stdout
        assert "PRIVATE" not in done.stdout


def test_the_environment_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    url = ObjectUrl("s3://bucket/x")
    with pytest.raises(ValueError, match="expected aws_access_key_id and aws_secret_access_key in"):
        ObjectStore(url, {})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    with pytest.raises(ValueError, match="expected aws_secret_access_key in secret_files"):
        ObjectStore(url, {})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    ObjectStore(url, {})
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    ObjectStore(url, {})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nowhere")
    with pytest.raises(ValueError, match="expected AWS_ENDPOINT_URL as a url"):
        ObjectStore(url, {})


def test_a_panic_of_the_library_is_a_mistake_in_the_settings(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store = ObjectStore(ObjectUrl("s3://bucket/x"), KEYS)
    # What the settings do not let through any more.
    config: Any = KEYS | {"aws_endpoint": "http://"}
    panicking = obstore_stores.from_url(
        "s3://bucket/x", config=config, client_options={"allow_http": True}
    )
    monkeypatch.setattr(store, "_store", panicking)
    for call in (lambda: store.get("x"), store.folders, lambda: store.put("x", b"")):
        with pytest.raises(StoreError, match="request valid: InvalidUri") as error:
            call()
        assert error.value.is_mistake
    capfd.readouterr()  # the library prints where it was
