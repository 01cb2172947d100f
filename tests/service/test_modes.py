"""What an operator sees of products that are not enforced (contract 11)."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from typer.testing import CliRunner

from pointgate import Catalog, _core
from pointgate.cli.commands import app
from pointgate.config.quarantine import QuarantineSettings
from pointgate.quarantine.database import NAME, Filter, QuarantineDatabase
from pointgate.quarantine.writer import Quarantine
from pointgate.service.catalog_log import log_modes, log_warnings
from pointgate.service.metrics import Metrics
from pointgate.service.offenders import log_rejection, offenders_document, offenders_text
from pointgate.topics import request_topic
from tests.service.test_catalog_watcher import PRODUCT, keys, watching
from tests.service.test_metrics import samples

if TYPE_CHECKING:
    from pathlib import Path

MODEL: Final = b'{"measurepoints":{"temp":{"dataType":"DOUBLE","maximum":5}}}'


def payload(temp: object, device: str = "d") -> bytes:
    entry = json.dumps({"deviceKey": device, "measurepoints": {"temp": temp}, "time": 1})
    method = '"integration.measurepoint.post"'
    return f'{{"version":"1","method":{method},"params":[{entry}]}}'.encode()


def catalog_of(**modes: Any) -> _core.Catalog:
    model, devices = _core.Model.compile(MODEL), _core.Devices(["d"])
    return _core.Catalog(
        {key: _core.Product(model, devices, mode=mode) for key, mode in modes.items()}
    )


def post(metrics: Metrics, catalog: _core.Catalog, *requests: tuple[str, bytes]) -> _core.Burst:
    burst = _core.Burst.of(
        [request_topic(one[0]) for one in requests], [one[1] for one in requests]
    )
    burst.stamp(time.time_ns() // 1000, time.time_ns() // 1_000_000)
    _core.Validator(catalog).judge_burst(burst, 0)
    metrics.counters.receive(burst)
    metrics.counters.settle(burst, len(burst), 1.0)
    return burst


def nonzero(found: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    return {key: value for key, value in found.items() if value}


def test_metrics_name_modes_and_count_what_they_let_pass() -> None:
    metrics = Metrics()
    catalog = catalog_of(a="enforce", b="shadow", c="lenient")
    metrics.record_catalog(catalog)
    bad, stranger = payload(9), payload(1, "x")
    post(metrics, catalog, *((key, one) for key in "abc" for one in (payload(1), bad, stranger)))
    found = samples(metrics)
    assert nonzero(found["pointgate_requests_total"]) == {
        ("200", "a"): 1,
        ("1204", "a"): 1,
        ("1257", "a"): 1,
        ("200", "b"): 3,
        ("200", "c"): 2,
        ("1257", "c"): 1,
    }
    assert nonzero(found["pointgate_faults_total"]) == {
        ("a", "range"): 1,
        ("a", "device"): 1,
        ("c", "device"): 1,
    }
    assert nonzero(found["pointgate_requests_shadowed_total"]) == {
        ("1204", "b", "range"): 1,
        ("1257", "b", "device"): 1,
        ("1204", "c", "range"): 1,
    }
    assert found["pointgate_points_skipped_total"] == {("b",): 2, ("c",): 1}
    assert nonzero(found["pointgate_points_accepted_total"]) == {("a",): 1, ("b",): 1, ("c",): 1}
    assert found["pointgate_product_mode_info"] == {("lenient", "c"): 1, ("shadow", "b"): 1}
    assert found["pointgate_catalog_products_in_mode"] == {
        ("enforce",): 1,
        ("lenient",): 1,
        ("shadow",): 1,
    }
    # Each reason is there from 0; a product that is enforced again keeps its counters.
    assert len(found["pointgate_requests_shadowed_total"]) == 2 * 13
    metrics.record_catalog(catalog_of(a="enforce", b="enforce", c="lenient"))
    found = samples(metrics)
    assert found["pointgate_points_skipped_total"] == {("b",): 2, ("c",): 1}
    assert found["pointgate_product_mode_info"] == {("lenient", "c"): 1}


def test_a_page_of_enforced_products_has_no_counters_of_modes() -> None:
    metrics = Metrics()
    catalog = catalog_of(a="enforce")
    metrics.record_catalog(catalog)
    post(metrics, catalog, ("a", payload(9)))
    found = samples(metrics)
    assert "pointgate_requests_shadowed_total" not in found
    assert "pointgate_points_skipped_total" not in found
    assert nonzero(found["pointgate_catalog_products_in_mode"]) == {("enforce",): 1}


def test_products_beyond_the_limit_are_counted_together() -> None:
    metrics = Metrics(most_products=1)
    catalog = catalog_of(a="enforce", b="shadow", c="shadow")
    metrics.record_catalog(catalog)
    assert samples(metrics)["pointgate_points_skipped_total"] == {("other",): 0}
    post(metrics, catalog, ("b", payload(9)), ("c", payload(9)))
    found = samples(metrics)
    assert nonzero(found["pointgate_requests_shadowed_total"]) == {("1204", "other", "range"): 2}
    assert "pointgate_product_mode_info" not in found
    assert found["pointgate_catalog_products_in_mode"]["shadow",] == 2


def test_offenders_and_log_say_what_was_answered(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    catalog = catalog_of(plant="shadow", other="enforce")
    metrics.record_catalog(catalog)
    post(metrics, catalog, ("plant", payload(9)), ("other", payload(9)))
    page = offenders_text(offenders_document(metrics.counters))
    assert "plant / range / temp (200) " in page
    assert "plant / d (200) " in page
    assert "other / range / temp " in page
    assert "other / range / temp (200)" not in page
    for rejection in metrics.counters.take_due():
        log_rejection(rejection)
    lines = sorted(record.message.split(":")[0] for record in caplog.records)
    assert lines == ["requests not enforced (answered 200)", "requests rejected"]


def test_the_quarantine_keeps_what_would_be_rejected_with_its_own_code(tmp_path: Path) -> None:
    metrics = Metrics()
    catalog = catalog_of(plant="shadow", other="enforce")
    burst = post(
        metrics,
        catalog,
        *(("plant", one) for one in (payload(9), payload(1), payload(1, "x"))),
        ("other", payload(9)),
    )
    folder = tmp_path / "quarantine"
    quarantine = Quarantine(QuarantineSettings(path=folder), linger=0)
    quarantine.add(*burst.rejected)
    quarantine.close()
    assert quarantine.kept == 3
    file = QuarantineDatabase(folder)
    found = [file.get(number, payload=False) for number in file.numbers(Filter())]
    file.close()
    assert [(one.product, one.code, one.answered) for one in found if one] == [
        ("plant", 1204, 200),
        ("plant", 1257, 200),
        ("other", 1204, None),
    ]
    settings = tmp_path / "pointgate.toml"
    settings.write_text(f'[quarantine]\npath = "{folder}"\n')
    listed = CliRunner().invoke(app, ["rejects", "-c", str(settings)]).stdout.splitlines()
    assert "other  1204 range  Model validate failed" in listed[0]
    assert "plant  1257 device (answered 200)  Device not found" in listed[1]
    done = CliRunner().invoke(app, ["rejects", "-c", str(settings), "--code", "1257", "--json"])
    document = json.loads(done.stdout)
    assert (document["code"], document["answered"]) == (1257, 200)
    by_product = ["rejects", "-c", str(settings), "--by", "product"]
    lines = CliRunner().invoke(app, by_product).stdout.splitlines()
    assert lines[0].endswith("  plant  (2 answered 200)")
    assert lines[1].endswith("  other")
    groups = CliRunner().invoke(app, [*by_product, "--json"]).stdout.splitlines()
    assert [json.loads(one)["answered200"] for one in groups] == [2, 0]


def test_a_quarantine_of_an_earlier_version_gets_the_column(tmp_path: Path) -> None:
    QuarantineDatabase(tmp_path).close()
    with sqlite3.connect(tmp_path / NAME) as connection:
        connection.execute("ALTER TABLE rejected DROP COLUMN answered")
        connection.execute(
            "INSERT INTO rejected (received_ms, product, topic, code, reason, message,"
            " fault_offset) VALUES (1, 'p', 't', 1204, 'type', 'm', 0)"
        )
    connection.close()
    file = QuarantineDatabase(tmp_path)
    found = file.get(1)
    file.close()
    assert found is not None
    assert (found.code, found.answered) == (1204, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.json").write_bytes(MODEL)
    (tmp_path / "devices.txt").write_text("d\n" + keys(9))
    (tmp_path / "catalog.toml").write_text(PRODUCT)
    return tmp_path


async def test_a_reload_changes_the_mode_and_logs_it(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with watching(folder) as watched:
        for count, mode in enumerate(("shadow", "lenient", "enforce"), 1):
            (folder / "catalog.toml").write_text(PRODUCT + f'mode = "{mode}"\n')
            await watched.reloads(count)
            assert watched.catalog.products["pk"].mode == mode
            assert watched.metrics.not_enforced == ({} if mode == "enforce" else {"pk": mode})
    text = caplog.text
    assert "product pk: mode shadow, was enforce" in text
    assert "product pk: mode lenient, was shadow" in text
    assert "product pk: mode enforce, was lenient" in text
    assert "products not enforced: 1 of 1: pk (shadow); faulty points are answered 200" in text


async def test_a_reload_whose_tests_fail_is_refused(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "tests").mkdir()
    tests = folder / "tests/pk.jsonl"
    tests.write_text(f'{{"code":200,"payload":{payload(4).decode()}}}\n')
    async with watching(folder) as watched:
        (folder / "model.json").write_bytes(MODEL.replace(b"5", b"3"))
        await watched.refusals(1)
        assert watched.metrics.reloads_succeeded == 0
        validator = _core.Validator(watched.catalog)
        assert validator.validate([request_topic("pk")], [payload(4)])[0].code == 200
        tests.write_text(f'{{"code":1204,"payload":{payload(4).decode()}}}\n')
        await watched.reloads(1)
        assert watched.catalog.test_count == 1
        (folder / "tests/more.jsonl").write_text('{"code":200}\n')  # a new file is seen, too
        await watched.refusals(2)
        (folder / "tests/more.jsonl").unlink()
        await watched.reloads(2)
    assert (
        f"{tests}: line 1: test failed: expected 200, got 1204 range at /params/0/" in caplog.text
    )
    assert "more.jsonl: line 1: payload: expected a JSON value, got nothing" in caplog.text


def test_the_log_names_a_bounded_number_of_products(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "model.json").write_bytes(MODEL)
    (tmp_path / "devices.txt").write_text("d\n")
    table = PRODUCT + 'mode = "shadow"\n'
    text = "".join(table.replace("pk", f"pk{number:03}") for number in range(100))
    (tmp_path / "catalog.toml").write_text(text)
    catalog = Catalog.load(tmp_path)
    log_warnings(catalog)
    (line,) = caplog.messages
    assert "products not enforced: 100 of 100: pk000 (shadow), " in line
    assert "and 80 more" in line
    caplog.clear()
    log_modes(None, catalog)
    assert len(caplog.messages) == 20
