"""Every metric the service has, by name: the one place where a name is written.

`Metrics` holds the figures. The hot ones live in Rust (`counters`), touched once a burst; the rest
are plain attributes that their owners assign. Nothing is rendered until someone asks: the collector
reads all of it at scrape time.

Invariants: `received = accepted + rejected + ignored + in flight` at every scrape, because all the
hot figures come from one consistent `Counters.read()`; every value of every label is there from the
start, at 0; labels are closed and small, never a device key or a message.

It does not serve anything: `http.py` does.
"""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pointgate import _core
from pointgate.quarantine.statistics import QuarantineStatistics
from pointgate.service.content_negotiation import preferred
from pointgate.sources.mqtt.statistics import MqttStatistics
from pointgate.store.spool.statistics import SpoolStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pointgate.quarantine.writer import Quarantine
    from pointgate.sinks.statistics import SinkStatistics

_OPEN_METRICS: Final = "application/openmetrics-text"

_IGNORED: Final = ("bad_topic", "retained", "connection_lost", "judge_failed")


class Metrics(Collector):
    """The service's figures.

    Args:
        ack: What an answer of 200 promises (contract 7.1).

    Attributes:
        counters: The hot ones, in Rust.
        registry: What `render` shows: these figures, and the process's own.
        mqtt: Those of the session with the broker.
        reloads_succeeded: Catalogs loaded after the first one.
        reloads_failed: Catalogs refused after the first one.
        shrink_refused: Products whose smaller device table is refused now.
        catalog_loaded_at: When the catalog in force was loaded, in seconds since 1970.
        devices: Devices in the catalog in force.
        models: Distinct models in it.
        products: Products in it.
        products_without_devices: Those with an empty device table.
        http_connections_refused: Connections to our own HTTP port that were closed unanswered.
        spool: The spool's figures.
        sinks: Those of each sink, by its name.
        quarantine: Those of what keeps rejected requests.
        refresh: Called before anything is shown, for figures that nobody keeps up to date.
    """

    def __init__(self, *, ack: str = "verdict") -> None:
        self.counters = _core.Counters()
        self.mqtt = MqttStatistics()
        self.reloads_succeeded = 0
        self.reloads_failed = 0
        self.shrink_refused = 0
        self.catalog_loaded_at = 0.0
        self.devices = 0
        self.models = 0
        self.products = 0
        self.products_without_devices = 0
        self.http_connections_refused = 0
        self.spool = SpoolStatistics()
        self.sinks: dict[str, SinkStatistics] = {}
        self.quarantine: Quarantine | QuarantineStatistics = QuarantineStatistics()
        self.refresh: Callable[[], None] = lambda: None
        self._ack = ack
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def record_catalog(self, catalog: _core.Catalog) -> None:
        """Take the figures of a catalog that is in force from now on."""
        self.catalog_loaded_at = time.time()
        self.devices = catalog.devices
        self.models = catalog.models
        self.products = len(catalog)
        self.products_without_devices = sum(
            not len(product.devices) for product in catalog.products.values()
        )
        self.shrink_refused = 0

    def collect(self) -> Iterator[Metric]:
        """Every metric, with its value at this moment."""
        self.refresh()
        read: dict[str, Any] = self.counters.read()
        yield from self._requests(read)
        yield from self._connection()
        yield from self._catalog()
        yield from self._spool()
        yield from self._sinks()
        yield from self._quarantine()
        yield InfoMetricFamily("pointgate_store", "What is stored.", {"ack": self._ack})
        build = {
            "version": _core.__version__,
            "profile": _core.build_profile,
            "python": platform.python_version(),
        }
        yield InfoMetricFamily("pointgate_build", "What is running.", build)
        yield CounterMetricFamily(
            "pointgate_http_connections_refused",
            "Connections to this HTTP port that were closed unanswered.",
            self.http_connections_refused,
        )

    def _requests(self, read: dict[str, Any]) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "pointgate_requests_received",
            "Requests that arrived: answered, ignored and in flight ones.",
            read["received"],
        )
        yield CounterMetricFamily(
            "pointgate_received_bytes", "Bytes of payload that arrived.", read["received_bytes"]
        )
        codes = {str(code): read["codes"].get(code, 0) for code in _core.codes if code}
        yield _counters("pointgate_requests", "Requests answered, by code.", "code", codes)
        ignored = {reason: read["ignored"].get(reason, 0) for reason in _IGNORED}
        help_text = "Requests not answered: no served topic, a stored retained one, or cut off."
        yield _counters("pointgate_requests_ignored", help_text, "reason", ignored)
        faults = {reason: read["reasons"].get(reason, 0) for reason in _core.reasons}
        yield _counters("pointgate_faults", "Faults, by reason.", "reason", faults)
        yield CounterMetricFamily(
            "pointgate_points_accepted", "Points in requests answered 200.", read["points"]
        )
        yield CounterMetricFamily(
            "pointgate_null_points_ignored",
            "Points without a value, ignored in requests answered 200.",
            read["null_points"],
        )
        yield CounterMetricFamily(
            "pointgate_early_times",
            "Times before 1971 in requests answered 200: most likely seconds, not milliseconds.",
            read["early_times"],
        )
        yield GaugeMetricFamily(
            "pointgate_requests_in_flight",
            "Requests that arrived and are not yet answered and acknowledged.",
            read["in_flight"],
        )
        yield CounterMetricFamily(
            "pointgate_bursts", "Bursts that requests arrived in.", read["bursts"]
        )
        yield _histogram("pointgate_judge_seconds", "Time to judge a burst.", read["judge_seconds"])
        yield _histogram(
            "pointgate_reply_seconds",
            "Time from a request's arrival to its reply and acknowledgement.",
            read["reply_seconds"],
        )

    def _connection(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "pointgate_mqtt_connected", "Whether the broker is connected.", self.mqtt.connected
        )
        yield GaugeMetricFamily(
            "pointgate_mqtt_subscribed", "Whether requests can arrive.", self.mqtt.subscribed
        )
        yield GaugeMetricFamily(
            "pointgate_mqtt_shortfalls",
            "Things that the broker grants less than the settings ask for; /readyz names them.",
            self.mqtt.shortfalls,
        )
        yield _counters(
            "pointgate_mqtt_canaries",
            "Times that mqtt.canary posted, by whether every request got its reply.",
            "result",
            self.mqtt.canaries,
        )
        yield CounterMetricFamily(
            "pointgate_mqtt_connections_lost",
            "Connections to the broker that ended without our wish.",
            self.mqtt.connections_lost,
        )
        yield CounterMetricFamily(
            "pointgate_mqtt_reconnects", "Connections after the first one.", self.mqtt.reconnects
        )
        yield CounterMetricFamily(
            "pointgate_mqtt_sessions_lost",
            "Times the broker had forgotten our session, and what it kept for us.",
            self.mqtt.sessions_lost,
        )
        yield CounterMetricFamily(
            "pointgate_mqtt_takeovers",
            "Times another client took our client id.",
            self.mqtt.takeovers,
        )
        yield CounterMetricFamily(
            "pointgate_mqtt_replies_refused",
            "Replies that the broker did not let us publish.",
            self.mqtt.replies_refused,
        )

    def _catalog(self) -> Iterator[Metric]:
        reloads = {"success": self.reloads_succeeded, "failure": self.reloads_failed}
        yield _counters("pointgate_catalog_reloads", "Catalog reloads.", "result", reloads)
        yield GaugeMetricFamily(
            "pointgate_catalog_loaded_timestamp_seconds",
            "When the catalog in force was loaded.",
            self.catalog_loaded_at,
        )
        for name, value, text in (
            ("devices", self.devices, "Devices in the catalog in force."),
            ("models", self.models, "Models in the catalog in force."),
            ("products", self.products, "Products in the catalog in force."),
            (
                "products_without_devices",
                self.products_without_devices,
                "Products in force whose device table is empty: their requests are answered 1257.",
            ),
            (
                "shrink_refused",
                self.shrink_refused,
                "Products whose device table shrank too far at the last reload; it was refused.",
            ),
        ):
            yield GaugeMetricFamily(f"pointgate_catalog_{name}", text, value)

    def _spool(self) -> Iterator[Metric]:
        spool = self.spool
        yield GaugeMetricFamily(
            "pointgate_spool_bytes", "What the spool holds for its sinks.", spool.bytes
        )
        yield GaugeMetricFamily(
            "pointgate_spool_max_bytes", "With so much nothing more is taken.", spool.max_bytes
        )
        yield _histogram(
            "pointgate_spool_commit_seconds",
            "Time to make a batch durable: write and fsync.",
            spool.histogram(),
        )
        yield CounterMetricFamily("pointgate_spool_points", "Points made durable.", spool.points)
        yield CounterMetricFamily(
            "pointgate_spool_failures", "Times the spool could not be written.", spool.failures
        )
        yield CounterMetricFamily(
            "pointgate_spool_unreadable",
            "Batches, and ends of files, that could not be read again: lost.",
            spool.unreadable,
        )

    def _sinks(self) -> Iterator[Metric]:
        sinks = self.sinks
        for name, help_text, values in (
            ("points_written", "Points written.", {k: v.points for k, v in sinks.items()}),
            (
                "points_refused",
                "Points that the sink can never take, set aside.",
                {k: v.refused for k, v in sinks.items()},
            ),
            (
                "points_dropped",
                "Points deleted before this sink, which is not required, had them.",
                {k: v.dropped for k, v in sinks.items()},
            ),
            (
                "failures",
                "Writes that failed and are tried again.",
                {k: v.failures for k, v in sinks.items()},
            ),
        ):
            yield _counters(f"pointgate_sink_{name}", help_text, "sink", values)
        now = time.time()
        ages = {k: 0.0 if v.oldest is None else now - v.oldest for k, v in sinks.items()}
        for name, help_text, gauges in (
            (
                "requests",
                "Requests in the spool that the sink does not have yet.",
                {k: v.lag_requests for k, v in sinks.items()},
            ),
            ("points", "Their points.", {k: v.lag_points for k, v in sinks.items()}),
            ("seconds", "The age of the oldest of them.", ages),
        ):
            family = GaugeMetricFamily(f"pointgate_sink_lag_{name}", help_text, labels=["sink"])
            for sink, value in gauges.items():
                family.add_metric([sink], max(0, value))
            yield family

    def _quarantine(self) -> Iterator[Metric]:
        quarantine = self.quarantine
        yield GaugeMetricFamily(
            "pointgate_quarantine_bytes", "What rejected requests take.", quarantine.bytes
        )
        yield CounterMetricFamily(
            "pointgate_quarantine_kept", "Rejected requests kept.", quarantine.kept
        )
        for name, help_text, values in (
            ("not_kept", "Rejected requests not kept, by reason.", quarantine.not_kept),
            ("removed", "Rejected requests deleted to make room.", quarantine.removed),
        ):
            yield _counters(f"pointgate_quarantine_{name}", help_text, "reason", values)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Write every metric in the format that a scraper asks for.

        Args:
            accept: Its Accept header.

        Returns:
            The page and its content type: OpenMetrics when asked for, else the Prometheus text.
        """
        encode, content_type = choose_encoder(page_format(accept))
        return encode(self.registry), content_type


def page_format(accept: str) -> str:
    """The one of the two page formats that an Accept header asks for, as an Accept header.

    Not the header itself: what it may vary (versions, escaping) makes no difference to names like
    ours, and would let a stranger have a page rendered anew with each request.
    """
    chosen = preferred(accept, ("text/plain", _OPEN_METRICS))
    return f"{_OPEN_METRICS};version=1.0.0" if chosen == _OPEN_METRICS else chosen


def _counters(name: str, help_text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _histogram(name: str, help_text: str, read: dict[str, Any]) -> Metric:
    bounds: Iterable[str] = [*(str(bound) for bound in read["bounds"]), "+Inf"]
    buckets = list(zip(bounds, read["buckets"], strict=True))
    return HistogramMetricFamily(name, help_text, buckets=buckets, sum_value=read["sum"])
