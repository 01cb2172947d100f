"""The dashboard for Grafana asks Prometheus for what the service has.

No Grafana runs here. The panels are checked as it reads them: a layout without overlaps, variables
that exist, a data source that can be chosen, and queries that Prometheus' own parser accepts, over
metrics and labels of a real page.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from pointgate import _core
from pointgate.service.disk_space import Space
from pointgate.service.metrics import Metrics
from pointgate.sinks.statistics import SinkStatistics
from tests.e2e.ledger import until
from tests.support.paths import DEPLOY
from tests.support.patience import PATIENCE
from tests.support.ports import unused_port
from tests.support.processes import Broker, Process, Sender, Service, small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DASHBOARD: Final[dict[str, Any]] = json.loads(
    (DEPLOY / "grafana/pointgate.json").read_text("utf-8")
)
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES: Final = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24

OF_PROMETHEUS: Final[dict[str, set[str]]] = {"ALERTS": {"alertname", "alertstate"}, "up": set()}
"""Series that Prometheus itself makes."""

SET_BY_PROMETHEUS: Final = {"instance", "job"}


def queries() -> Iterator[tuple[str, str]]:
    """Title and query of every target, with a value for each variable."""
    for panel in PANELS:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m")
            query = query.replace("$instance", ".+").replace("$product", "protocol")
            yield panel["title"], query


def labels_of_metrics() -> dict[str, set[str]]:
    """The labels of every series of a service with everything that has metrics."""
    metrics = Metrics(ack="spool")
    metrics.sinks["parquet"] = SinkStatistics()
    metrics.disks.spaces["spool"] = Space(2, 1)
    model = _core.Model.compile(b'{"measurepoints":{"t":{"dataType":"INT"}}}')
    product = _core.Product(model, _core.Devices(["d"]), mode="shadow")
    metrics.record_catalog(_core.Catalog({"pk": product}))
    found: dict[str, set[str]] = {}
    for family in parse(metrics.render()[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found | OF_PROMETHEUS


def test_every_panel_has_a_place_of_its_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    # No empty line: Grafana would move panels up, and an export would differ.
    assert {y for _, y in taken} == set(range(1 + max(y for _, y in taken)))


def test_whoever_imports_it_chooses_the_data_source() -> None:
    assert DASHBOARD["id"] is None
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert VARIABLES["datasource"]["query"] == "prometheus"
    for panel in PANELS:
        assert panel["datasource"] == SOURCE
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
        for target in panel["targets"]:
            assert target["datasource"] == SOURCE
    for name, variable in VARIABLES.items():
        assert name == "datasource" or variable["datasource"] == SOURCE
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD)))
    assert used == set(VARIABLES)


def test_every_metric_and_label_is_one_of_the_service() -> None:
    known = labels_of_metrics()
    asked = [*queries()]
    for name in ("instance", "product"):
        query = VARIABLES[name]["query"]["query"]
        metric, label = re.fullmatch(r"label_values\((\w+).*, (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert label in known[metric] | SET_BY_PROMETHEUS
    for title, query in asked:
        used = re.findall(r"\b(\w+)\{([^}]*)\}", query)
        assert used, title
        has = set(SET_BY_PROMETHEUS)
        for metric, selector in used:
            assert metric in known, f"{title}: {metric}"
            has |= known[metric]
            for label in re.findall(r"(\w+)[=!]", selector):
                assert label in known[metric] | SET_BY_PROMETHEUS, f"{title}: {label} of {metric}"
        for labels in re.findall(r"\bby \(([^)]*)\)", query):
            assert set(labels.split(", ")) <= has, f"{title}: by ({labels})"
        names = set(re.findall(r"\bpointgate_\w+", query))
        assert names <= {metric for metric, _ in used}, f"{title}: not of the chosen instances"
    for panel in PANELS:
        for target in panel["targets"]:
            shown = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            for label in shown:
                assert re.search(rf"\b{label}\b", target["expr"] + " instance folder"), label


def test_every_metric_of_the_sinks_the_spool_and_kafka_is_on_a_panel() -> None:
    text = json.dumps([target["expr"] for panel in PANELS for target in panel["targets"]])
    left_out = {"pointgate_sink_lag_requests", "pointgate_spool_points_total"}
    for name in labels_of_metrics():
        if name.endswith(("_created", "_sum", "_count")) or name in left_out:
            continue
        if name.startswith(("pointgate_sink", "pointgate_spool", "pointgate_kafka")):
            assert name in text, name


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:query:{number}", "expr": query}
        for number, (_, query) in enumerate(queries())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    command = ["promtool", "check", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Callable[[str], list[Any]]]:
    """A Prometheus that scrapes a service each second; asks it a query."""
    job = {"job_name": "pointgate", "static_configs": [{"targets": [target]}]}
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    port = unused_port()
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb"]
    with Process(*command, f"--web.listen-address=127.0.0.1:{port}") as server:
        server.wait_for("Server is ready to receive web requests")

        def ask(query: str) -> list[Any]:
            path = f"/api/v1/query?{urlencode({'query': query})}"
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            with closing(connection):
                connection.request("GET", path)
                answer: dict[str, Any] = json.load(connection.getresponse())
            assert answer["status"] == "success", answer
            return answer["data"]["result"]  # type: ignore[no-any-return]

        yield ask


SOMETIMES_EMPTY: Final = {"Failures, dead letters, losses", "Ignored requests"}
"""Panels that show what went wrong, and of which nothing did here."""


@pytest.mark.broker
@pytest.mark.skipif(not shutil.which("prometheus"), reason="needs prometheus")
def test_prometheus_has_an_answer_for_every_panel(tmp_path: Path) -> None:
    sections = f'[spool]\npath = "{tmp_path}/spool"\n[quarantine]\npath = "{tmp_path}/rejected"\n'
    sections += f'[[sinks]]\ntype = "ndjson"\npath = "{tmp_path}/points.ndjson"'
    with (
        Broker(tmp_path) as broker,
        Service(tmp_path, broker.port, sections, ack="spool") as service,
        Sender(broker.port) as sender,
    ):
        address = re.search(r"metrics on http://([^/]+)/", "\n".join(service.ready().lines))
        assert address
        asked = {
            f"{title}: {query}": query
            for title, query in queries()
            if title not in SOMETIMES_EMPTY
            and not re.search("pointgate_kafka|_shadowed|_skipped|_in_mode", query)
        }
        with prometheus(tmp_path, address[1]) as ask:
            deadline = time.monotonic() + 2 * PATIENCE
            while asked and time.monotonic() < deadline:
                sender.ask(small(1))
                sender.ask(b"{")
                asked = {name: query for name, query in asked.items() if not ask(query)}
            assert not asked
            service.end()
            shown = dict(queries())
            until(lambda: [one["value"][1] for one in ask(shown["Services up"])] == ["0"])
            # Not a green zero.
            until(lambda: not ask(shown["Rejected"]) and not ask(shown["Largest sink lag"]))
