"""Every metric of the service: names occur only here and in the files `…_metrics.py`.

`Metrics` holds the values. Those of the hot path live in Rust (`counters`), updated once per burst;
the others are plain attributes that their owners assign. The collector reads all of them at scrape
time; nothing is rendered in between.

Invariants: `received = accepted + rejected + ignored + in flight` at every scrape, because these
values come from one consistent `Counters.read()`; every value of every label exists from the start,
at 0; label cardinality is bounded: by the settings for products of a catalog, and fixed otherwise.
No device keys, no messages, no product keys that only senders know.

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
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pointgate import _core
from pointgate.catalog_contents import Contents, Snapshot
from pointgate.quarantine.statistics import QuarantineStatistics
from pointgate.service.content_negotiation import preferred
from pointgate.service.disk_space import DiskSpace
from pointgate.service.mode_metrics import mode_metrics
from pointgate.service.registry_metrics import registry_metrics
from pointgate.service.source_metrics import kafka_metrics, labelled, mqtt_metrics
from pointgate.service.storage_metrics import (
    disk_metrics,
    histogram,
    quarantine_metrics,
    sink_metrics,
    spool_metrics,
)
from pointgate.sources.kafka.statistics import KafkaStatistics
from pointgate.sources.mqtt.statistics import MqttStatistics
from pointgate.store.spool.statistics import SpoolStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pointgate.quarantine.writer import Quarantine
    from pointgate.registries.statistics import RegistryStatistics
    from pointgate.sinks.statistics import SinkStatistics

_OPEN_METRICS: Final = "application/openmetrics-text"

MOST_PRODUCTS: Final = 100
"""Products with a label of their own, by default. Each is 27 lines on the page, which take 0.1 ms
to render on the loop that also judges."""

_IGNORED: Final = ("bad_topic", "retained", "connection_lost", "dead_lettered", "judge_failed")


class Metrics(Collector):
    """The service's metrics.

    Args:
        ack: What a 200 guarantees (contract 7.1).
        most_products: How many products have a label of their own.
        with_mqtt: Whether there is a broker; its metrics are there only then.
        with_kafka: The same of a consumer group.

    Attributes:
        counters: The counters of the hot path, in Rust.
        registry: What `render` exports: these metrics, and those of the process.
        mqtt: The statistics of the MQTT session.
        kafka: The statistics of the consumer group.
        reloads_succeeded: Catalogs loaded after the first one.
        reloads_failed: Catalogs refused after the first one.
        shrink_refused: Products whose smaller device table is refused now.
        catalog_loaded_at: When the active catalog was loaded, in seconds since 1970.
        catalog_matched_at: When the active catalog was last known to be that of its files, in
            seconds since 1970.
        catalog_changes: Lines of files of changes that were applied.
        overlay_devices: Device keys that changed since their table was made.
        devices: Devices in the active catalog.
        models: Distinct models in it.
        products: Products in it.
        products_without_devices: Products with an empty device table.
        not_enforced: The modes of the products that are not enforced.
        catalog_digest: The digest of the files of the active catalog.
        catalog_version: The `version` in its `catalog.toml`.
        http_connections_refused: Connections to the metrics port that were closed unanswered.
        spool: The statistics of the spool.
        sinks: The statistics of each sink, by name.
        registries: The statistics of each registry, by name.
        quarantine: The statistics of the quarantine.
        disks: The free space of the folders that the service writes to.
        refresh: Called before each scrape, for values that are computed on demand.
    """

    def __init__(
        self,
        *,
        ack: str = "verdict",
        most_products: int = MOST_PRODUCTS,
        with_mqtt: bool = True,
        with_kafka: bool = True,
    ) -> None:
        self.counters = _core.Counters(most_products)
        self.mqtt = MqttStatistics()
        self.kafka = KafkaStatistics()
        self._with_mqtt, self._with_kafka = with_mqtt, with_kafka
        self.reloads_succeeded = 0
        self.reloads_failed = 0
        self.shrink_refused = 0
        self.catalog_loaded_at = 0.0
        self.catalog_matched_at = 0.0
        self.catalog_changes = 0
        self.overlay_devices = 0
        self.devices = 0
        self.models = 0
        self.products = 0
        self.products_without_devices = 0
        self.not_enforced: dict[str, str] = {}
        self.catalog_digest = ""
        self.catalog_version = ""
        self.http_connections_refused = 0
        self.spool = SpoolStatistics()
        self.sinks: dict[str, SinkStatistics] = {}
        self.registries: dict[str, RegistryStatistics] = {}
        self.quarantine: Quarantine | QuarantineStatistics = QuarantineStatistics()
        self.disks = DiskSpace({})
        self.refresh: Callable[[], None] = lambda: None
        self._ack = ack
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def record_catalog(self, catalog: _core.Catalog) -> None:
        """Record the products and the size of a catalog that becomes active."""
        self.counters.serve(list(catalog.products))
        self.catalog_loaded_at = self.catalog_matched_at = time.time()
        contents = catalog.contents if isinstance(catalog, Snapshot) else Contents()
        self.overlay_devices = sum(one.devices.changed for one in contents.followed.values())
        self.catalog_digest, self.catalog_version = contents.digest, contents.version
        self.devices = catalog.devices
        self.models = catalog.models
        self.products = len(catalog)
        self.products_without_devices = catalog.products_without_devices
        self.not_enforced = {**catalog.not_enforced}
        self.shrink_refused = 0

    def collect(self) -> Iterator[Metric]:
        """Every metric, with its value at this moment."""
        self.refresh()
        read: dict[str, Any] = self.counters.read()
        yield from self._requests(read)
        yield from mode_metrics(read["products"], self.not_enforced, self.products)
        if self._with_mqtt:
            yield from mqtt_metrics(self.mqtt)
        if self._with_kafka:
            yield from kafka_metrics(self.kafka)
        yield from self._catalog()
        yield from registry_metrics(self.registries)
        yield from spool_metrics(self.spool)
        yield from sink_metrics(self.sinks)
        yield from quarantine_metrics(self.quarantine)
        yield from disk_metrics(self.disks.spaces)
        yield InfoMetricFamily(
            "pointgate_store", "The store.ack setting: what a 200 guarantees.", {"ack": self._ack}
        )
        build = {
            "version": _core.__version__,
            "profile": _core.build_profile,
            "python": platform.python_version(),
        }
        yield InfoMetricFamily("pointgate_build", "Versions and build profile.", build)
        yield CounterMetricFamily(
            "pointgate_http_connections_refused",
            "Connections to this HTTP port that were closed unanswered.",
            self.http_connections_refused,
        )

    def _requests(self, read: dict[str, Any]) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "pointgate_requests_received",
            "Requests received: answered, ignored and in flight.",
            read["received"],
        )
        yield CounterMetricFamily(
            "pointgate_received_bytes", "Payload bytes received.", read["received_bytes"]
        )
        products: dict[str, dict[str, Any]] = read["products"]
        yield _by_product(
            "pointgate_requests",
            "Requests answered, by product and code.",
            "code",
            {
                product: {str(code): count for code, count in counts["codes"].items()}
                for product, counts in products.items()
            },
        )
        ignored = {reason: read["ignored"].get(reason, 0) for reason in _IGNORED}
        help_text = "Requests not answered, by reason."
        yield labelled("pointgate_requests_ignored", help_text, "reason", ignored)
        yield _by_product(
            "pointgate_faults",
            "Requests rejected, by product and reason.",
            "reason",
            {product: counts["reasons"] for product, counts in products.items()},
        )
        points = {product: counts["points"] for product, counts in products.items()}
        help_text = "Points in requests answered 200, by product."
        yield labelled("pointgate_points_accepted", help_text, "product", points)
        yield CounterMetricFamily(
            "pointgate_null_points_ignored",
            "Points without a value in requests answered 200: not stored.",
            read["null_points"],
        )
        yield CounterMetricFamily(
            "pointgate_early_times",
            "Times before 1971 in requests answered 200: probably seconds, not milliseconds.",
            read["early_times"],
        )
        yield GaugeMetricFamily(
            "pointgate_requests_in_flight",
            "Requests received but not yet answered and acknowledged.",
            read["in_flight"],
        )
        yield CounterMetricFamily("pointgate_bursts", "Bursts of requests judged.", read["bursts"])
        yield histogram(
            "pointgate_judge_seconds", "Time to judge a burst, in seconds.", read["judge_seconds"]
        )
        yield histogram(
            "pointgate_reply_seconds",
            "Time from a request's arrival to its reply and acknowledgement, in seconds.",
            read["reply_seconds"],
        )
        yield histogram(
            "pointgate_point_age_seconds",
            "Age of accepted points at arrival, by their time, in seconds; 0 for a future time.",
            read["age_seconds"],
        )

    def _catalog(self) -> Iterator[Metric]:
        reloads = {"success": self.reloads_succeeded, "failure": self.reloads_failed}
        yield labelled(
            "pointgate_catalog_reloads", "Catalog reloads, by result.", "result", reloads
        )
        yield GaugeMetricFamily(
            "pointgate_catalog_loaded_timestamp_seconds",
            "When the active catalog was loaded, in seconds since 1970.",
            self.catalog_loaded_at,
        )
        yield InfoMetricFamily(
            "pointgate_catalog",
            "Digest of the active catalog's files, and the version in its catalog.toml.",
            {"digest": self.catalog_digest, "version": self.catalog_version},
        )
        yield CounterMetricFamily(
            "pointgate_catalog_changes",
            "Lines of files of changes that were applied to device tables.",
            self.catalog_changes,
        )
        for name, value, text in (
            (
                "position_age_seconds",
                max(0.0, time.time() - self.catalog_matched_at) if self.catalog_matched_at else 0.0,
                "Seconds since the active catalog was last known to be that of its files.",
            ),
            (
                "overlay_devices",
                self.overlay_devices,
                "Device keys that changed since their table was made; the next fold resets it.",
            ),
            ("devices", self.devices, "Devices in the active catalog."),
            ("models", self.models, "Models in the active catalog."),
            ("products", self.products, "Products in the active catalog."),
            (
                "products_without_devices",
                self.products_without_devices,
                "Active products with an empty device table: their requests are answered 1257.",
            ),
            (
                "shrink_refused",
                self.shrink_refused,
                "Products whose device table shrank by more than max_shrink: reload refused.",
            ),
        ):
            yield GaugeMetricFamily(f"pointgate_catalog_{name}", text, value)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Write every metric in the format that a scraper accepts.

        Args:
            accept: Its Accept header.

        Returns:
            The page and its content type: OpenMetrics if preferred, else the Prometheus text.
        """
        encode, content_type = choose_encoder(page_format(accept))
        return encode(self.registry), content_type


def page_format(accept: str) -> str:
    """The preferred one of the two page formats, as a normalized Accept header.

    Not the header itself: its variations (versions, escaping) do not change our pages, and would
    let a client bypass the cache of rendered pages.
    """
    chosen = preferred(accept, ("text/plain", _OPEN_METRICS))
    return f"{_OPEN_METRICS};version=1.0.0" if chosen == _OPEN_METRICS else chosen


def _by_product(
    name: str, help_text: str, label: str, values: Mapping[str, Mapping[str, int]]
) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=["product", label])
    for product, counts in values.items():
        for value, count in counts.items():
            family.add_metric([product, value], count)
    return family
