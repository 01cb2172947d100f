"""The metrics of what is stored: the spool, the sinks, the quarantine, the disks."""

from __future__ import annotations

import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from pointgate.service.source_metrics import labelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pointgate.quarantine.statistics import QuarantineStatistics
    from pointgate.quarantine.writer import Quarantine
    from pointgate.service.disk_space import Space
    from pointgate.sinks.statistics import SinkStatistics
    from pointgate.store.spool.statistics import SpoolStatistics


def histogram(name: str, help_text: str, read: Mapping[str, Any]) -> Metric:
    """A histogram without labels, from what `read` of any of ours returns."""
    return HistogramMetricFamily(
        name, help_text, buckets=_buckets(read), sum_value=float(read["sum"])
    )


def spool_metrics(spool: SpoolStatistics) -> Iterator[Metric]:
    """The metrics of the spool."""
    yield GaugeMetricFamily(
        "pointgate_spool_bytes", "Bytes in the spool not yet written by all sinks.", spool.bytes
    )
    yield GaugeMetricFamily(
        "pointgate_spool_max_bytes",
        "Spool limit in bytes; intake pauses when it is reached.",
        spool.max_bytes,
    )
    yield histogram(
        "pointgate_spool_commit_seconds",
        "Time to commit a batch (write and fsync), in seconds.",
        spool.histogram(),
    )
    yield CounterMetricFamily(
        "pointgate_spool_points", "Points committed to the spool.", spool.points
    )
    yield CounterMetricFamily(
        "pointgate_spool_failures", "Failed writes to the spool.", spool.failures
    )
    yield CounterMetricFamily(
        "pointgate_spool_unreadable",
        "Corrupt batches and file tails in the spool: their points are lost.",
        spool.unreadable,
    )


def sink_metrics(sinks: Mapping[str, SinkStatistics]) -> Iterator[Metric]:
    """The metrics of every sink, by its name."""
    for name, help_text, count in (
        ("points_written", "Points written by the sink.", attrgetter("points")),
        (
            "points_refused",
            "Points permanently rejected by the sink (dead-lettered).",
            attrgetter("refused"),
        ),
        (
            "points_dropped",
            "Points dropped before the sink wrote them (it is not required).",
            attrgetter("dropped"),
        ),
        ("failures", "Writes that failed and are retried.", attrgetter("failures")),
    ):
        counts = {sink: count(statistics) for sink, statistics in sinks.items()}
        yield labelled(f"pointgate_sink_{name}", help_text, "sink", counts)
    commits = HistogramMetricFamily(
        "pointgate_sink_commit_seconds",
        "Time of a commit of the sink and the writes in it, in seconds, without failed attempts.",
        labels=["sink"],
    )
    for sink, statistics in sinks.items():
        read = statistics.commits.read()
        commits.add_metric([sink], _buckets(read), read["sum"])
    yield commits
    yield from _lags(sinks)


def _lags(sinks: Mapping[str, SinkStatistics]) -> Iterator[Metric]:
    now = time.time()

    def age(sink: SinkStatistics) -> float:
        return 0.0 if sink.oldest is None else now - sink.oldest

    for name, help_text, lag in (
        (
            "requests",
            "Requests in the spool that the sink has not written.",
            attrgetter("lag_requests"),
        ),
        (
            "points",
            "Points in the spool that the sink has not written.",
            attrgetter("lag_points"),
        ),
        ("seconds", "Age of the oldest request that the sink has not written.", age),
    ):
        family = GaugeMetricFamily(f"pointgate_sink_lag_{name}", help_text, labels=["sink"])
        for sink, statistics in sinks.items():
            family.add_metric([sink], max(0, lag(statistics)))
        yield family


def quarantine_metrics(quarantine: Quarantine | QuarantineStatistics) -> Iterator[Metric]:
    """The metrics of the quarantine."""
    yield GaugeMetricFamily(
        "pointgate_quarantine_bytes",
        "Size of the kept rejected requests, in bytes.",
        quarantine.bytes,
    )
    yield CounterMetricFamily(
        "pointgate_quarantine_kept", "Rejected requests kept.", quarantine.kept
    )
    for name, help_text, values in (
        ("not_kept", "Rejected requests not kept, by reason.", quarantine.not_kept),
        ("removed", "Kept rejected requests deleted, by reason.", quarantine.removed),
    ):
        yield labelled(f"pointgate_quarantine_{name}", help_text, "reason", values)


def disk_metrics(spaces: Mapping[str, Space]) -> Iterator[Metric]:
    """The metrics of the disks, by the folder on them."""
    for name, help_text, figure in (
        ("free", "Free bytes on the disk of the folder.", attrgetter("free")),
        ("size", "Size of the disk of the folder, in bytes.", attrgetter("size")),
    ):
        family = GaugeMetricFamily(f"pointgate_disk_{name}_bytes", help_text, labels=["folder"])
        for folder, space in spaces.items():
            family.add_metric([folder], figure(space))
        yield family


def _buckets(read: Mapping[str, Any]) -> list[tuple[str, float]]:
    bounds: Iterable[str] = [*(str(bound) for bound in read["bounds"]), "+Inf"]
    return list(zip(bounds, read["buckets"], strict=True))
