"""Metrics: names, labels that are there from the start, and formats that tools accept."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from pointgate import Catalog, _core
from pointgate.catalog import Loading
from pointgate.config import load_settings
from pointgate.file_states import signature
from pointgate.service.disk_space import DiskSpace
from pointgate.service.metrics import Metrics
from pointgate.sinks.statistics import SinkStatistics
from tests.support.paths import CATALOG

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PLAIN_FIGURES = [
    "pointgate_requests_received_total",
    "pointgate_received_bytes_total",
    "pointgate_null_points_ignored_total",
    "pointgate_early_times_total",
    "pointgate_requests_in_flight",
    "pointgate_bursts_total",
    "pointgate_judge_seconds_count",
    "pointgate_judge_seconds_sum",
    "pointgate_reply_seconds_count",
    "pointgate_reply_seconds_sum",
    "pointgate_mqtt_connected",
    "pointgate_mqtt_subscribed",
    "pointgate_mqtt_connections_lost_total",
    "pointgate_mqtt_reconnects_total",
    "pointgate_mqtt_sessions_lost_total",
    "pointgate_mqtt_takeovers_total",
    "pointgate_mqtt_replies_refused_total",
    "pointgate_catalog_loaded_timestamp_seconds",
    "pointgate_catalog_devices",
    "pointgate_catalog_models",
    "pointgate_catalog_products",
    "pointgate_http_connections_refused_total",
    "pointgate_spool_bytes",
    "pointgate_spool_max_bytes",
    "pointgate_spool_commit_seconds_count",
    "pointgate_spool_commit_seconds_sum",
    "pointgate_spool_points_total",
    "pointgate_spool_failures_total",
    "pointgate_spool_unreadable_total",
]

SINK_FIGURES = [
    "pointgate_sink_points_written_total",
    "pointgate_sink_points_refused_total",
    "pointgate_sink_points_dropped_total",
    "pointgate_sink_failures_total",
    "pointgate_sink_lag_requests",
    "pointgate_sink_lag_points",
    "pointgate_sink_lag_seconds",
]


def samples(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    page, _ = metrics.render()
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for family in parse(page.decode()):
        for sample in family.samples:
            found[sample.name][tuple(sample.labels.values())] = sample.value
    return found


def test_every_name_and_label_value_is_there_from_the_start_at_zero() -> None:
    found = samples(Metrics())
    for name in PLAIN_FIGURES:
        assert found[name] == {(): 0.0}, name
    codes = {
        (str(code), product): 0.0
        for code in _core.codes
        if code
        for product in ("other", "unknown")
    }
    assert found["pointgate_requests_total"] == codes
    assert {("200", "other"), ("1204", "other"), ("1257", "unknown")} <= codes.keys()
    reasons = {
        (product, reason): 0.0 for product in ("other", "unknown") for reason in _core.reasons
    }
    assert found["pointgate_faults_total"] == reasons
    assert found["pointgate_points_accepted_total"] == {("other",): 0.0, ("unknown",): 0.0}
    ignored = {
        (reason,): 0.0
        for reason in ("bad_topic", "retained", "connection_lost", "dead_lettered", "judge_failed")
    }
    assert found["pointgate_requests_ignored_total"] == ignored
    reloads = {("success",): 0.0, ("failure",): 0.0}
    assert found["pointgate_catalog_reloads_total"] == reloads
    assert found["pointgate_store_info"] == {("verdict",): 1.0}
    assert _core.__version__ in next(iter(found["pointgate_build_info"]))


def test_attributes_are_what_is_shown() -> None:
    metrics = Metrics(ack="spool")
    metrics.mqtt.connected = metrics.mqtt.subscribed = True
    metrics.mqtt.connections_lost = 2
    metrics.mqtt.reconnects = 3
    metrics.mqtt.sessions_lost = 4
    metrics.mqtt.takeovers = 5
    metrics.mqtt.replies_refused = 6
    metrics.reloads_failed = 7
    found = samples(metrics)
    assert found["pointgate_mqtt_connected"] == {(): 1.0}
    assert found["pointgate_mqtt_subscribed"] == {(): 1.0}
    assert found["pointgate_mqtt_connections_lost_total"] == {(): 2.0}
    assert found["pointgate_mqtt_reconnects_total"] == {(): 3.0}
    assert found["pointgate_mqtt_sessions_lost_total"] == {(): 4.0}
    assert found["pointgate_mqtt_takeovers_total"] == {(): 5.0}
    assert found["pointgate_mqtt_replies_refused_total"] == {(): 6.0}
    assert found["pointgate_catalog_reloads_total"] == {("success",): 0.0, ("failure",): 7.0}
    assert found["pointgate_store_info"] == {("spool",): 1.0}


def test_every_request_received_is_somewhere() -> None:
    metrics = Metrics()
    catalog = catalog_of("pk")
    validator = _core.Validator(catalog)
    metrics.record_catalog(catalog)
    topic = "sys/pk/integration/measurepoint/post"
    payloads = [b"", b"{", b'{"version":"1","method":"integration.measurepoint.post","params":[]}']
    payloads += [b"retained", b"cut off", b"in flight"]
    burst = _core.Burst.of([topic] * 6, payloads, retained=[3])
    validator.judge_burst(burst, 0)
    metrics.counters.receive(burst)
    metrics.counters.judged(0.001)
    metrics.counters.settle(burst, 4, 0.002)
    metrics.counters.abandon(1)
    found = samples(metrics)
    assert found["pointgate_requests_received_total"][()] == 6
    answered = sum(found["pointgate_requests_total"].values())
    ignored = sum(found["pointgate_requests_ignored_total"].values())
    assert (answered, ignored) == (3, 2)
    assert found["pointgate_requests_in_flight"][()] == 1
    assert found["pointgate_requests_total"]["200", "pk"] == 1
    assert found["pointgate_faults_total"]["pk", "empty"] == 1
    assert found["pointgate_faults_total"]["pk", "syntax"] == 1
    assert found["pointgate_judge_seconds_count"][()] == 1
    assert found["pointgate_reply_seconds_count"][()] == 3
    assert found["pointgate_reply_seconds_bucket"]["+Inf",] == 3


def catalog_of(*products: str) -> _core.Catalog:
    """Products with a point `temp` and a device `d`."""
    model = _core.Model.compile(b'{"measurepoints":{"temp":{"dataType":"DOUBLE"}}}')
    product = _core.Product(model, _core.Devices(["d"]))
    return _core.Catalog(dict.fromkeys(products, product))


def post(metrics: Metrics, catalog: _core.Catalog, products: Iterable[str]) -> None:
    """One valid request to each product is judged and settled."""
    topics = [f"sys/{product}/integration/measurepoint/post" for product in products]
    entry = b'{"deviceKey":"d","measurepoints":{"temp":1}}'
    payload = b'{"version":"1","method":"integration.measurepoint.post","params":[%s]}' % entry
    burst = _core.Burst.of(topics, [payload] * len(topics))
    _core.Validator(catalog).judge_burst(burst, 0)
    metrics.counters.receive(burst)
    metrics.counters.settle(burst, len(burst), 0.0)


def test_requests_faults_and_points_are_counted_by_product() -> None:
    metrics = Metrics()
    catalog = catalog_of("a", "b")
    metrics.record_catalog(catalog)
    post(metrics, catalog, ["a", "b", "a", "none", "a", "a/b"])
    found = samples(metrics)
    assert {key: value for key, value in found["pointgate_requests_total"].items() if value} == {
        ("200", "a"): 3,
        ("200", "b"): 1,
        ("1257", "unknown"): 1,
    }
    assert {key: value for key, value in found["pointgate_faults_total"].items() if value} == {
        ("unknown", "device"): 1,
        ("unknown", "bad_topic"): 1,  # which belongs to no product
    }
    points = {("unknown",): 0, ("other",): 0, ("a",): 3, ("b",): 1}
    assert found["pointgate_points_accepted_total"] == points


def test_a_product_that_leaves_the_catalog_keeps_its_label() -> None:
    metrics = Metrics()
    before, after = catalog_of("a", "b"), catalog_of("b", "c")
    metrics.record_catalog(before)
    post(metrics, before, ["a"])
    metrics.record_catalog(after)
    post(metrics, after, ["a", "c"])
    found = samples(metrics)["pointgate_requests_total"]
    assert (found["200", "a"], found["1257", "a"], found["200", "c"]) == (1, 1, 1)


def test_labels_are_bounded_whatever_catalogs_and_senders_do() -> None:
    metrics = Metrics(most_products=3)
    keys = [f"p{number}" for number in range(5)] + ["other", "unknown"]
    for shift in (0, 1):
        catalog = catalog_of(*keys[shift:], "again")
        metrics.record_catalog(catalog)
        post(metrics, catalog, keys[shift:])
    post(metrics, catalog, [f"stranger-{number}" for number in range(10_000)])
    found = samples(metrics)["pointgate_requests_total"]
    assert {product for _, product in found} == {"p0", "p1", "p2", "other", "unknown"}
    assert sum(found.values()) == 7 + 6 + 10_000
    # p3, p4 and the product that is called so; and the two called `unknown`, which are accepted.
    assert (found["200", "other"], found["200", "unknown"]) == (6, 2)
    assert found["1257", "unknown"] == 10_000


def test_early_times_and_points_without_a_value_are_counted_when_accepted() -> None:
    metrics = Metrics()
    points = {"t": {"dataType": "TIMESTAMP"}, "d": {"dataType": "DOUBLE", "hasQuality": True}}
    model = _core.Model.compile(json.dumps({"measurepoints": points}).encode())
    devices = _core.Devices.parse(b"d\n", "txt")
    product = _core.Product(model, devices, null_points="ignore")
    validator = _core.Validator(_core.Catalog({"pk": product}))

    def early(entries: str) -> tuple[int, int]:
        payload = f'{{"version":"1","method":"integration.measurepoint.post","params":[{entries}]}}'
        topic = "sys/pk/integration/measurepoint/post"
        burst = _core.Burst.of([topic], [payload.encode()])
        validator.judge_burst(burst, 0)
        (report,) = burst.reports
        assert report
        return metrics.counters.settle(burst, 1, 0.0), report.null_points

    def entry(measurepoints: str, time: str) -> str:
        return f'{{"deviceKey":"d","measurepoints":{{{measurepoints}}},"time":{time}}}'

    assert early(entry("", "1762999999")) == (1, 0)
    assert early(entry("", "31535999999") + "," + entry("", "31536000000")) == (1, 0)
    assert early(entry('"t":1762999999', "0")) == (2, 0)
    assert early(entry('"t":"1762999999"', "1762999999000")) == (1, 0)
    assert early(entry('"t":0', "null")) == (0, 0)
    assert early(entry('"t":99999999,"d":null', "1e12")) == (0, 1)
    assert early(entry('"d":{"value":null,"quality":1}', "1e12")) == (0, 1)
    assert early(entry('"d":null', "5") + "," + entry('"d":"x"', "5")) == (0, 0)
    found = samples(metrics)
    assert found["pointgate_early_times_total"] == {(): 5.0}
    assert found["pointgate_null_points_ignored_total"] == {(): 2.0}


def test_spool_and_sinks_are_shown_as_they_are_when_asked_for() -> None:
    metrics = Metrics()
    metrics.sinks = {
        "a": SinkStatistics(),
        "b": SinkStatistics(lag_points=3, oldest=time.time() - 60),
    }
    found = samples(metrics)
    for name in SINK_FIGURES:
        assert found[name]["a",] == 0
    assert found["pointgate_sink_lag_points"]["b",] == 3
    assert 60 <= found["pointgate_sink_lag_seconds"]["b",] < 120

    def refresh() -> None:
        metrics.sinks["a"].lag_requests = 7

    metrics.refresh = refresh
    for seconds in (0.0001, 0.003, 5.0):
        metrics.spool.commit(seconds, points=2)
    found = samples(metrics)
    assert found["pointgate_sink_lag_requests"]["a",] == 7
    assert found["pointgate_spool_points_total"][()] == 6
    buckets = found["pointgate_spool_commit_seconds_bucket"]
    assert (buckets["0.00025",], buckets["0.005",], buckets["+Inf",]) == (1, 2, 3)


def test_the_age_of_accepted_points_is_counted_by_point() -> None:
    metrics = Metrics()
    second, day = 1_000_000, 86_400_000_000
    model = _core.Model.compile(
        b'{"measurepoints":{"a":{"dataType":"INT"},"b":{"dataType":"INT"}}}'
    )
    product = _core.Product(model, _core.Devices(["d"]))
    validator = _core.Validator(_core.Catalog({"pk": product}))
    arrived = 1_700_000_000 * second

    def payload(*entries: tuple[int | None, int]) -> bytes:
        params = [
            {"deviceKey": "d", "measurepoints": dict(list({"a": 1, "b": 2}.items())[:points])}
            | ({} if age is None else {"time": (arrived - age) // 1000})
            for age, points in entries
        ]
        document = {"version": "1", "method": "integration.measurepoint.post", "params": params}
        return json.dumps(document).encode()

    payloads = [
        payload((None, 2), (5 * second, 1)),
        payload((2 * day, 2), (400 * day, 1), (-3 * second, 1)),
        payload((7 * second, 1), (0, 1)).replace(b'"b": 2', b'"b": "x"').replace(b"1}", b"1.5}"),
        payload((None, 0)),
    ]
    topic = "sys/pk/integration/measurepoint/post"
    _, points = validator.collect([topic] * len(payloads), payloads, arrived_us=arrived)
    assert len(points) == 7
    for _ in range(2):
        metrics.counters.collected(points)
    found = samples(metrics)
    buckets = {
        bound: count for (bound,), count in found["pointgate_point_age_seconds_bucket"].items()
    }
    assert (buckets["1.0"], buckets["10.0"], buckets["86400.0"]) == (6, 8, 8)
    assert (buckets["604800.0"], buckets["31536000.0"], buckets["+Inf"]) == (12, 12, 14)
    age = found["pointgate_point_age_seconds_sum"][()]
    assert age == pytest.approx(2 * (5 + 2 * 2 * 86_400 + 400 * 86_400), abs=0.01)
    pa.table(points)
    metrics.counters.collected(points)
    assert samples(metrics)["pointgate_point_age_seconds_count"][()] == 14


def test_free_space_is_that_of_the_disk_of_each_folder(tmp_path: Path) -> None:
    (tmp_path / "pointgate.toml").write_text(
        "[[sinks]]\ntype = 'parquet'\npath = 'points'\n[[sinks]]\ntype = 'ndjson'\npath = '-'\n"
        "[spool]\npath = 'not/yet'\n"
    )
    metrics = Metrics()
    metrics.disks = DiskSpace.of(load_settings(tmp_path / "pointgate.toml", {}))
    assert "pointgate_disk_free_bytes" not in samples(metrics)
    metrics.disks.measure()
    found = samples(metrics)
    folders = {("spool",), ("quarantine",), ("sinks.parquet",)}
    assert found["pointgate_disk_free_bytes"].keys() == folders
    usage = shutil.disk_usage(tmp_path)
    assert set(found["pointgate_disk_size_bytes"].values()) == {usage.total}
    for free in found["pointgate_disk_free_bytes"].values():
        assert abs(free - usage.free) < usage.total / 10


def test_the_digest_is_that_of_the_files_of_the_catalog(tmp_path: Path) -> None:
    metrics = Metrics()

    def shown(catalog: Catalog) -> dict[str, str]:
        metrics.record_catalog(catalog)
        (family,) = [one for one in metrics.collect() if one.name == "pointgate_catalog"]
        return family.samples[0].labels

    for name in ("one", "two"):
        shutil.copytree(CATALOG, tmp_path / name)
    first = Catalog.load(tmp_path / "one")
    same = shown(first)
    assert same["version"] == ""
    assert len(same["digest"]) == 16
    assert shown(Catalog.load(tmp_path / "two")) == same
    # However it was loaded: anew, or what has changed.
    devices = tmp_path / "one/devices/protocol.txt"
    before = devices.read_text()
    devices.write_text(before + "another\n")
    loading = Loading(tmp_path / "one", former=first, seen={devices: signature(devices)})
    renewed = loading.run(Catalog)
    assert renewed is not None
    assert shown(renewed)["digest"] != same["digest"]
    assert shown(renewed) == shown(Catalog.load(tmp_path / "one"))
    document = tmp_path / "one/catalog.toml"
    document.write_text('version = "r7"\n' + document.read_text())
    loading = Loading(tmp_path / "one", former=renewed)
    versioned = loading.run(Catalog)
    assert versioned is not None
    assert shown(versioned) == {"digest": shown(renewed)["digest"], "version": "r7"}
    document.write_text(document.read_text().replace("[products.protocol]", "[products.other]"))
    assert shown(Catalog.load(tmp_path / "one"))["digest"] != shown(renewed)["digest"]


def test_the_process_itself_is_shown() -> None:
    found = samples(Metrics())
    assert found["process_resident_memory_bytes"][()] > 0
    assert "python_info" in found


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain;version=0.0.4", "text/plain"),
        ("text/plain;version=nonsense", "text/plain"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics"),
        ("Application/OpenMetrics-Text;version=x;escaping=y", "application/openmetrics"),
        ("application/openmetrics-text;q=0", "text/plain"),
        ("application/openmetrics-text;q=0.0, text/plain", "text/plain"),
        ("application/openmetrics-text;q=0,*/*", "text/plain"),
        ("text/plain;q=0, application/openmetrics-text", "application/openmetrics"),
        ("text/plain;q=0,*/*;q=0.1", "application/openmetrics"),
        ("text/plain;q=0", "text/plain"),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.5", "text/plain"),
        (
            "text/plain;q=0.2 , application/openmetrics-text ; version=1.0.0 ; q=0.5",
            "application/o",
        ),
        ("text/plain, application/openmetrics-text", "text/plain"),
        ("application/openmetrics-text, text/plain", "application/openmetrics"),
        ("application/openmetrics-text,*/*", "application/openmetrics"),
        ("text/plain;q=0.5,*/*;q=0.8", "application/openmetrics"),
        ("application/*", "application/openmetrics"),
        ("text/*;q=0.3, application/*;q=0.2", "text/plain"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/plain"),
        ("application/openmetrics-text;q=high", "text/plain"),
        ("application/openmetrics-text;q=2, text/plain;q=0.1", "text/plain"),
        (
            "application/openmetrics-text;q=0.3,application/openmetrics-text,text/plain;q=0.6",
            "application/openmetrics",
        ),
        ("application/json", "text/plain"),
        (";;,,=", "text/plain"),
        (
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;q=0.6,"
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
                "application/openmetrics-text;version=0.0.1;q=0.4,"
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
                "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
            ),
            "application/openmetrics",
        ),
    ],
)
def test_the_format_is_what_the_scraper_asks_for(accept: str, content_type: str) -> None:
    page, got = Metrics().render(accept)
    assert got.startswith(content_type)
    families = list((parse_open if "openmetrics" in got else parse)(page.decode()))
    assert any(family.name.startswith("pointgate_requests") for family in families)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_finds_nothing_to_improve() -> None:
    page, _ = Metrics().render()
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
