"""The metrics of the registries; without registries they have no values."""

from __future__ import annotations

import time
from operator import attrgetter
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pointgate.service.source_metrics import labelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pointgate.registries.statistics import RegistryStatistics


def registry_metrics(registries: Mapping[str, RegistryStatistics]) -> Iterator[Metric]:
    """The metrics of all registries.

    Args:
        registries: Their statistics, by name.
    """
    age = GaugeMetricFamily(
        "pointgate_registry_age_seconds",
        "Seconds since the copy of the registry was last known to be up to date.",
        labels=["registry"],
    )
    now = time.time()
    for name, statistics in registries.items():
        if statistics.matched_at:  # without a copy there is no age, and the service is not ready
            age.add_metric([name], max(0.0, now - statistics.matched_at))
    yield age
    rechecks = CounterMetricFamily(
        "pointgate_registry_rechecks",
        "Device keys asked for before a 1257, by answer.",
        labels=["registry", "answer"],
    )
    for name, statistics in registries.items():
        for answer, keys in statistics.rechecked.items():
            rechecks.add_metric([name, answer], keys)
    yield rechecks
    for name, text, count in (
        ("changes", "Changes of devices read from the registry.", attrgetter("changes")),
        ("snapshots", "Snapshots of all devices read.", attrgetter("snapshots")),
        ("failures", "Attempts to read the registry that failed.", attrgetter("failures")),
        (
            "keys_refused",
            "Keys left out that no device or product can have.",
            attrgetter("keys_refused"),
        ),
    ):
        counts = {registry: count(statistics) for registry, statistics in registries.items()}
        yield labelled(f"pointgate_registry_{name}", text, "registry", counts)
