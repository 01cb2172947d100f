"""The unit, the alerts and the page about operations say what is so."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from pointgate.config import Settings, load_settings
from pointgate.service import serve as service
from pointgate.service.disk_space import Space
from pointgate.service.metrics import Metrics
from pointgate.sinks.statistics import SinkStatistics
from tests.support.paths import ROOT

DEPLOY: Final = ROOT / "deploy"
UNIT: Final = (DEPLOY / "systemd/pointgate.service").read_text("utf-8")
TEMPLATE: Final = (DEPLOY / "systemd/pointgate@.service").read_text("utf-8")
ALERTS: Final = DEPLOY / "prometheus/alerts.yml"
PAGE: Final = (ROOT / "docs/operations.md").read_text("utf-8")


def option(name: str) -> str:
    """The last value that the unit gives an option."""
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)[-1]  # type: ignore[no-any-return]


def serve(*arguments: str) -> int:
    """The exit status of `pointgate serve` with these arguments."""
    command = [sys.executable, "-m", "pointgate", "serve", *arguments]
    return subprocess.run(command, capture_output=True, check=False).returncode


# The unit


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize(
    ("text", "name"), [(UNIT, "pointgate.service"), (TEMPLATE, "pointgate@a.service")]
)
def test_systemd_understands_the_unit(tmp_path: Path, text: str, name: str) -> None:
    unit = tmp_path / name
    assert text.count("/opt/pointgate/bin/pointgate") == 1
    unit.write_text(text.replace("/opt/pointgate/bin/pointgate", sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    # It also reads the machine's own units, and complains about them.
    assert "pointgate" not in verified.stdout + verified.stderr


def test_the_template_is_the_unit_with_places_of_its_own() -> None:
    unit, template = (
        {line for line in text.splitlines() if line and not line.startswith("#")}
        for text in (UNIT, TEMPLATE)
    )
    own = {line for line in template if "%i" in line}
    assert template - unit == own
    assert own >= {
        "ExecStart=/opt/pointgate/bin/pointgate serve -c /etc/pointgate/%i.toml",
        "Environment=POINTGATE_SPOOL__PATH=/var/lib/pointgate/%i/spool",
        "StateDirectory=pointgate/%i",
        "WorkingDirectory=/var/lib/pointgate/%i",
    }
    changed = ("Description", "ExecStart", "StateDirectory", "WorkingDirectory")
    assert {line.partition("=")[0] for line in unit - template} == set(changed)


def test_the_command_of_the_unit_is_one(tmp_path: Path) -> None:
    command, *arguments = option("ExecStart").split()
    assert command.endswith("/pointgate")
    assert arguments[0] == "serve"
    settings = tmp_path / "pointgate.toml"
    settings.write_text("[unknown]\n")
    arguments[arguments.index("/etc/pointgate/pointgate.toml")] = str(settings)
    assert serve(*arguments[1:]) == 78
    assert serve(*arguments[1:], "--no-such-option") == 2
    assert option("RestartPreventExitStatus").split() == ["2", "78"]
    assert option("SuccessExitStatus").split() == ["130", "143"]


def test_the_unit_waits_for_the_drain() -> None:
    # Sinks and spool have some seconds more to close.
    assert float(option("TimeoutStopSec")) >= 3 * (service._DRAIN_SECONDS + service._SINK_SECONDS)


def test_the_shipped_settings_are_settings_and_fit_the_unit() -> None:
    (credential,) = re.findall(r"^LoadCredential=(\S+?):", UNIT, re.MULTILINE)
    variable, path = option("Environment").split("=", 1)
    assert variable == "POINTGATE_MQTT__PASSWORD_FILE"
    assert path == f"/run/credentials/%n/{credential}"
    settings = load_settings(DEPLOY / "pointgate.toml", {})
    assert settings.mqtt.username == "pointgate"
    state = Path("/var/lib") / option("StateDirectory")
    assert settings.spool.path.is_relative_to(state)
    memory = {"G": 2**30, "M": 2**20}
    limit = int(option("MemoryMax")[:-1]) * memory[option("MemoryMax")[-1]]
    assert limit >= 4 * settings.limits.in_flight_bytes


# The alerts

COUNTS_UP: Final = "0x16 1+0x20"
"""A counter that goes up once, three minutes before somebody looks."""

FIRING: Final[dict[str, dict[str, str]]] = {
    "PointgateDown": {'up{job="pointgate"}': "0x40"},
    "PointgateNotReceiving": {"pointgate_mqtt_subscribed": "0x40"},
    "PointgateReplicaIdle": {
        'pointgate_requests_received_total{instance="a"}': "0+100x40",
        'pointgate_requests_received_total{instance="b"}': "7x40",
    },
    "PointgateSpoolFillsUp": {
        "pointgate_spool_bytes": "81x40",
        "pointgate_spool_max_bytes": "100x40",
    },
    "PointgateSpoolFullSoon": {
        "pointgate_spool_bytes": "0+100x40",
        "pointgate_spool_max_bytes": "10000x40",
    },
    "PointgateSpoolFails": {"pointgate_spool_failures_total": COUNTS_UP},
    "PointgateDiskAlmostFull": {'pointgate_disk_free_bytes{folder="spool"}': "50x10 9x30"},
    "PointgateSpoolUnreadable": {"pointgate_spool_unreadable_total": COUNTS_UP},
    "PointgateSinkBehind": {'pointgate_sink_lag_seconds{sink="parquet"}': "0+60x40"},
    "PointgateSinkRefuses": {'pointgate_sink_points_refused_total{sink="parquet"}': COUNTS_UP},
    "PointgateSinkLoses": {'pointgate_sink_points_dropped_total{sink="parquet"}': COUNTS_UP},
    "PointgateRepliesSlow": {
        'pointgate_reply_seconds_bucket{le="1.0"}': "0+60x40",
        'pointgate_reply_seconds_bucket{le="2.0"}': "0+66x40",
        'pointgate_reply_seconds_bucket{le="+Inf"}': "0+66x40",
    },
    "PointgateStandsStill": {
        "pointgate_requests_in_flight": "7x40",
        'pointgate_requests_total{code="200",product="a"}': "1000x40",
        'pointgate_requests_total{code="1257",product="a"}': "5x40",
    },
    "PointgateSessionLost": {"pointgate_mqtt_sessions_lost_total": COUNTS_UP},
    "PointgateBrokerGrantsLess": {"pointgate_mqtt_shortfalls": "2x40"},
    "PointgateClientIdTaken": {"pointgate_mqtt_takeovers_total": COUNTS_UP},
    "PointgateRepliesRefused": {"pointgate_mqtt_replies_refused_total": COUNTS_UP},
    "PointgateKafkaNotReceiving": {"pointgate_kafka_connected": "0x40"},
    "PointgateKafkaBehind": {"pointgate_kafka_lag_records": "0+1000x40"},
    "PointgateKafkaRepliesRefused": {"pointgate_kafka_replies_refused_total": COUNTS_UP},
    "PointgateCatalogRefused": {'pointgate_catalog_reloads_total{result="failure"}': COUNTS_UP},
    "PointgateCatalogBehind": {"pointgate_catalog_position_age_seconds": "0+60x40"},
    "PointgateRegistryAway": {'pointgate_registry_age_seconds{registry="fleet"}': "0+60x40"},
    "PointgateDevicesShrank": {"pointgate_catalog_shrink_refused": "0x10 1x30"},
    "PointgateProductWithoutDevices": {"pointgate_catalog_products_without_devices": "0x10 1x30"},
    "PointgateManyRejected": {
        'pointgate_requests_total{code="200",product="a"}': "0+100x40",
        'pointgate_requests_total{code="1257",product="a"}': "0+20x40",
    },
    # A fifteenth of all requests.
    "PointgateProductRejected": {
        'pointgate_requests_total{code="200",product="b"}': "0+2x40",
        'pointgate_requests_total{code="1204",product="b"}': "0+5x40",
    },
    "PointgateTimesLookLikeSeconds": {"pointgate_early_times_total": COUNTS_UP},
    "PointgateInternalError": {
        'pointgate_requests_ignored_total{reason="judge_failed"}': COUNTS_UP,
    },
    "PointgateQuarantineOverflows": {
        'pointgate_quarantine_not_kept_total{reason="overflow"}': COUNTS_UP,
    },
}
"""For each alert, series that make it fire; beside them everything is as it should be."""

WELL: Final[dict[str, str]] = {
    'up{job="pointgate"}': "1x40",
    "pointgate_mqtt_subscribed": "1x40",
    'pointgate_requests_received_total{instance="a"}': "0+100x40",
    'pointgate_requests_received_total{instance="b"}': "0+90x40",
    "pointgate_spool_bytes": "10x40",
    "pointgate_spool_max_bytes": "100x40",
    "pointgate_spool_failures_total": "3x40",
    "pointgate_spool_unreadable_total": "0x40",
    'pointgate_disk_free_bytes{folder="spool"}': "50x40",
    'pointgate_disk_size_bytes{folder="spool"}': "100x40",
    'pointgate_sink_lag_seconds{sink="parquet"}': "1x40",
    'pointgate_sink_points_refused_total{sink="parquet"}': "4x40",
    'pointgate_sink_points_dropped_total{sink="parquet"}': "0x40",
    'pointgate_reply_seconds_bucket{le="1.0"}': "0+66x40",
    'pointgate_reply_seconds_bucket{le="2.0"}': "0+66x40",
    'pointgate_reply_seconds_bucket{le="+Inf"}': "0+66x40",
    "pointgate_requests_in_flight": "7x40",
    'pointgate_requests_total{code="200",product="a"}': "0+100x40",
    'pointgate_requests_total{code="1257",product="a"}': "0+5x40",
    "pointgate_mqtt_sessions_lost_total": "1x40",
    "pointgate_mqtt_takeovers_total": "0x40",
    "pointgate_mqtt_replies_refused_total": "0x40",
    "pointgate_kafka_connected": "1x40",
    "pointgate_kafka_lag_records": "5000-100x40",
    "pointgate_kafka_replies_refused_total": "0x40",
    'pointgate_catalog_reloads_total{result="failure"}': "2x40",
    "pointgate_catalog_position_age_seconds": "1x40",
    'pointgate_registry_age_seconds{registry="fleet"}': "1x40",
    "pointgate_catalog_shrink_refused": "0x40",
    "pointgate_catalog_products_without_devices": "0x40",
    'pointgate_requests_ignored_total{reason="judge_failed"}': "0x40",
    "pointgate_early_times_total": "9x40",
}


def _firing(alert: str) -> dict[str, Any]:
    """One of Prometheus' own tests: which alerts these series raise, at any minute."""
    series = WELL | FIRING.get(alert, {})
    names = [{"series": name, "values": values} for name, values in series.items()]
    condition = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "20m"}
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else []
    return {
        "interval": "1m",
        "input_series": names,
        "promql_expr_test": [condition | {"exp_samples": expected}],
    }


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
def test_each_alert_fires_when_it_should_and_alone(tmp_path: Path) -> None:
    subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, check=True)
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text("utf-8"))
    assert sorted(alerts) == sorted(FIRING)
    tests = tmp_path / "tests.yml"
    rules = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [_firing(alert) for alert in ("", *alerts)],
    }
    tests.write_text(json.dumps(rules))
    command = ["promtool", "test", "rules", str(tests)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


SECTION: Final = re.compile(r"^### `(Pointgate\w+)`\n\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


def test_the_runbook_of_each_alert_is_a_section_that_says_what_to_look_at_and_to_do() -> None:
    text = ALERTS.read_text("utf-8")
    sections = dict(SECTION.findall(PAGE))
    assert [*sections] == re.findall(r"- alert: (\w+)", text)
    for name, section in sections.items():
        meaning, look, do = re.split(r"^- \*(?:Look at|Do:)\*", section, flags=re.MULTILINE)
        assert len(meaning) > 60, name
        assert look.strip(), name
        assert do.strip(), name
    linked = re.findall(r'runbook_url: "https://CHANGE-ME/(docs/.*)#(\w+)"', text)
    assert linked == [("docs/operations.md", name.lower()) for name in sections]


def _one_of_twenty_fails() -> dict[str, Any]:
    """Twenty products at 4 requests a second, of which one fails from minute 10 on."""
    series = {}
    for number in range(20):
        labels = f'instance="gate",product="p{number}"'
        failing = number == 7
        accepted = "0+60x40 2400x60" if failing else "0+60x100"
        rejected = "0x40 60+60x60" if failing else "0x100"
        series[f'pointgate_requests_total{{code="200",{labels}}}'] = accepted
        series[f'pointgate_requests_total{{code="1204",{labels}}}'] = rejected
    firing = [{"labels": '{alertname="PointgateProductRejected",product="p7"}', "value": 1}]
    expr = 'count by (alertname, product) (ALERTS{alertstate="firing"})'
    return {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": expr, "eval_time": "10m", "exp_samples": []},
            {"expr": expr, "eval_time": "11m", "exp_samples": firing},
            {"expr": expr, "eval_time": "25m", "exp_samples": firing},
        ],
    }


def _posts_rarely() -> dict[str, Any]:
    """A product with a request in three minutes, of which half are rejected; then it recovers."""
    accepted = "0 0 0 0 0 0 1 1 1 1 1 1 2 2 2 2 2 2 3 3 3 3 3 3 4 4 4 4 4 4 5 5 5 5 5 5 6"
    rejected = "0 0 0 1 1 1 1 1 1 2 2 2 2 2 2 3 3 3 3 3 3 4 4 4 4 4 4 5 5 5 5 5 5 6 6 6 7"
    labels = 'instance="gate",product="slow"'
    firing = [{"labels": '{alertname="PointgateProductRejected",product="slow"}', "value": 1}]
    expr = 'count by (alertname, product) (ALERTS{alertstate="firing"})'
    return {
        "interval": "1m",
        "input_series": [
            {
                "series": f'pointgate_requests_total{{code="200",{labels}}}',
                "values": f"{accepted} 7+1x60",
            },
            {
                "series": f'pointgate_requests_total{{code="1257",{labels}}}',
                "values": f"{rejected} 7x60",
            },
            {
                "series": 'pointgate_requests_total{code="200",instance="gate",product="busy"}',
                "values": "0+60x100",
            },
        ],
        "promql_expr_test": [
            {"expr": expr, "eval_time": "15m", "exp_samples": []},
            {"expr": expr, "eval_time": "36m", "exp_samples": firing},
            {"expr": expr, "eval_time": "70m", "exp_samples": []},
        ],
    }


def _promtool(tests: list[dict[str, Any]], folder: Path) -> None:
    file = folder / "tests.yml"
    rules = {"rule_files": [str(ALERTS)], "evaluation_interval": "15s", "tests": tests}
    file.write_text(json.dumps(rules))
    command = ["promtool", "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
def test_the_product_that_fails_is_named_within_a_minute(tmp_path: Path) -> None:
    _promtool([_one_of_twenty_fails(), _posts_rarely()], tmp_path)


def test_alerts_and_page_name_metrics_and_settings_that_are() -> None:
    metrics = Metrics(ack="spool")
    metrics.sinks["parquet"] = SinkStatistics()
    metrics.disks.spaces["spool"] = Space(2, 1)
    page = metrics.render()[0].decode()
    text = ALERTS.read_text("utf-8") + PAGE
    for name in set(re.findall(r"\bpointgate_[a-z_]+\b", text)) - {"pointgate_"}:
        assert re.search(rf"^(# TYPE )?{name}\b", page, re.MULTILINE), name
    for alert in FIRING:
        assert f"`{alert}`" in PAGE
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    for section, key in re.findall(r"`(\w+)\.(\w+)(?: = [^`]+)?`", PAGE):
        annotation = sections.get(section)
        if annotation is not None and section != "sinks":
            assert key in annotation.model_fields, f"{section}.{key}"
