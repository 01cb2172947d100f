"""`pointgate top` without a service, and what it makes of two scrapes."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pointgate.cli.live_figures import Scrape, figures
from pointgate.cli.top import view
from pointgate.service.metrics import Metrics
from pointgate.sinks.statistics import SinkStatistics
from tests.cli.test_cli import run
from tests.cli.test_tap import played
from tests.service import test_modes as modes
from tests.service.test_metrics import catalog_of, post
from tests.support.ports import unused_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of a web server that is no pointgate."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>{")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_without_a_service_it_says_so(tmp_path: Path, stranger: int) -> None:
    settings = tmp_path / "pointgate.toml"
    port = unused_port()
    settings.write_text(f'metrics.listen = ":{port}"\n')
    for options in ([], ["--json"]):
        done = run("top", "-c", settings, *options)
        assert (done.returncode, done.stdout) == (74, "")
        assert done.stderr.startswith(f"cannot reach http://127.0.0.1:{port}: connection refused; ")
        assert "is the service running" in done.stderr
    done = run("top", "--url", f"http://127.0.0.1:{stranger}")
    assert done.returncode == 74
    assert "answers, but not as pointgate" in done.stderr
    settings.write_text('metrics.listen = "127.0.0.1:0"\n')
    done = run("top", "-c", settings)
    assert done.returncode == 2
    assert "--url" in done.stderr
    done = run("top", "-c", tmp_path / "gone.toml")
    assert done.returncode == 78
    assert "no such file; or name the service with --url or --socket" in done.stderr


@pytest.mark.parametrize("url", ["https://x", "http://x:port", "ftp://x:1", "http://x:1/metrics"])
def test_a_url_that_is_none_is_wrong_usage(url: str) -> None:
    done = run("top", "--url", url)
    assert done.returncode == 2
    assert "expected http://host:port" in done.stderr


def scrape(metrics: Metrics, at: float) -> Scrape:
    values: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(metrics.render()[0].decode()):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            values.setdefault(sample.name.removeprefix("pointgate_"), {})[labels] = sample.value
    offenders: dict[str, list[object]] = {"faults": [], "devices": []}
    return Scrape(at, values, ready=False, status="the broker is away\x1b[2J", offenders=offenders)


def test_rates_are_the_increase_between_two_scrapes() -> None:
    metrics = Metrics()
    catalog = catalog_of("a", "b")
    metrics.record_catalog(catalog)
    metrics.sinks["parquet"] = SinkStatistics()
    post(metrics, catalog, ["a", "b", "none"])
    before = scrape(metrics, 10.0)
    post(metrics, catalog, ["a"] * 6 + ["none"] * 2)
    metrics.sinks["parquet"].points += 30
    document = figures(before, scrape(metrics, 12.0))
    assert (document["requests"], document["points"]) == (4.0, 3.0)
    assert document["codes"] == [
        {"code": "200", "rate": 3.0, "total": 8},
        {"code": "1257", "rate": 1.0, "total": 3},
    ]
    enforced = {"mode": "enforce", "shadowed": 0.0}
    assert document["products"] == [
        {"product": "unknown", "requests": 1.0, "points": 0.0, "rejected": 1.0}
        | {"reasons": {"device": 1.0}}
        | enforced,
        {"product": "a", "requests": 3.0, "points": 3.0, "rejected": 0.0, "reasons": {}} | enforced,
        {"product": "b", "requests": 0.0, "points": 0.0, "rejected": 0.0, "reasons": {}} | enforced,
    ]
    assert document["sinks"][0]["points"] == 15.0
    lines = view(document, "here")
    assert lines[:2] == ["here  NOT READY", "the broker is away\\x1b[2J"]
    assert any(line.startswith("unknown") and "100.0%" in line for line in lines)
    assert any(line.startswith("b ") and " - " in line + " " for line in lines)


def test_faults_that_are_let_pass_come_first_with_their_reason() -> None:
    """Also of products without a label of their own, one of which is not enforced."""
    metrics = Metrics(most_products=1)
    catalog = modes.catalog_of(a="enforce", b="shadow", c="enforce")
    metrics.record_catalog(catalog)
    modes.post(metrics, catalog, *[("a", modes.payload(1))] * 9)
    before = scrape(metrics, 10.0)
    modes.post(metrics, catalog, *[("a", modes.payload(1))] * 9, ("b", modes.payload(9)))
    first, second = figures(before, scrape(metrics, 11.0))["products"]
    assert (first["product"], first["mode"], first["rejected"]) == ("other", "mixed", 0.0)
    assert (first["shadowed"], first["reasons"]) == (1.0, {"range": 1.0})
    assert (second["product"], second["mode"]) == ("a", "enforce")


def test_in_a_pipe_nothing_is_cut_and_totals_are_shown() -> None:
    metrics = Metrics()
    names = [f"{'plant' * 10}{number:02}" for number in range(30)]
    catalog = catalog_of(*names)
    metrics.record_catalog(catalog)
    post(metrics, catalog, names)
    before = scrape(metrics, 10.0)
    post(metrics, catalog, [*names, "none", "none"])
    after = scrape(metrics, 12.0)
    fault: dict[str, object] = {"product": names[0], "reason": "range", "deviceKey": "d"}
    fault |= {
        "identifier": "t" * 60,
        "requests": 3,
        "rate": 1.0,
        "since": "2026-11-28T10:00:00Z",
        "last": "",
    }
    fault |= {"pointer": f"/params/0/{'t' * 60}", "expected": "INT " * 20, "got": "the end"}
    after.offenders["faults"].append(fault)
    document = figures(before, after)
    text = "\n".join(view(document, "here"))
    assert all(name in text for name in names)
    assert "more" not in text
    assert "…" not in text
    assert "requests by code       200: 60  1257: 2" in text
    assert "requests by reason     device: 2" in text
    assert "got the end" in " ".join(text.split())
    cut = view(document, "here", width=80)
    assert max(map(len, cut)) <= 80
    assert "and 19 more" in cut
    words = [line for line in text.splitlines() if max(map(len, line.split()), default=0) < 60]
    assert max(map(len, words)) <= 80


def test_the_admin_socket_is_read_if_it_is_there(tmp_path: Path, stranger: int) -> None:
    settings, path = tmp_path / "pointgate.toml", tmp_path / "admin.sock"
    settings.write_text(f'metrics.listen = "127.0.0.1:{stranger}"\n')
    with played(path):
        for option, file in (("-c", settings), ("--socket", path)):
            done = run("top", option, file, "--json", "--interval", "1")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["ready"]
        shown = run("top", "-c", settings, "--interval", "1").stdout
        assert " ".join(shown.split()).startswith(f"{path} ready")
        done = run("top", "--url", f"http://127.0.0.1:{stranger}")
        assert "not as pointgate" in done.stderr
    path.touch()  # what is there does not answer: the metrics port does, if not as pointgate
    assert "not as pointgate" in run("top", "-c", settings).stderr
    assert run("top", "--url", "x", "--socket", path).returncode == 2


def test_a_service_that_was_restarted_has_no_negative_rates() -> None:
    many, few = Metrics(), Metrics()
    catalog = catalog_of("a")
    for metrics, count in ((many, 10), (few, 4)):
        metrics.record_catalog(catalog)
        post(metrics, catalog, ["a"] * count)
    document = figures(scrape(many, 10.0), scrape(few, 12.0))
    assert document["products"][0]["requests"] == 2.0
    assert document["requests"] == 2.0
