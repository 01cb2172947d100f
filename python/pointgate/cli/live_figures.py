"""What a running service does now: two scrapes of its pages, and what changed between them.

    before = fetch(address)        # /metrics, /readyz, /offenders
    …
    figures(before, fetch(address))

Rates are per second between the two. The service renders its page once a second at most, so the
two should be further apart than that. Quantiles are the upper bounds of the histogram's buckets.

It reads nothing but the pages that Prometheus reads, at the admin socket or at the metrics port,
and the service does nothing while they are not read.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.parser import text_string_to_metric_families

from pointgate.cli.service_client import UnreachableError, get
from pointgate.codes import Code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointgate.cli.service_client import Endpoint

Labels = tuple[tuple[str, str], ...]

_OTHER: Final = "other"
"""The label of products beyond `metrics.max_products`."""

_OK: Final = 200
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class Scrape:
    """The pages of a service at one moment.

    Attributes:
        at: When, in seconds of the monotonic clock.
        values: The value of each metric by its name, without the prefix, and its labels.
        ready: Whether the service is ready.
        status: What /readyz says.
        offenders: What /offenders says.
    """

    at: float
    values: dict[str, dict[Labels, float]]
    ready: bool
    status: str
    offenders: dict[str, Any]


def fetch(address: Endpoint) -> Scrape:
    """Read the pages of a service.

    Raises:
        UnreachableError: It does not answer, or is not pointgate.
    """
    status, page = get(address, "/metrics")
    at = time.monotonic()
    values: dict[str, dict[Labels, float]] = defaultdict(dict)
    try:
        for family in text_string_to_metric_families(page) if status == _OK else ():
            for sample in family.samples:
                name = sample.name.removeprefix("pointgate_")
                values[name][tuple(sorted(sample.labels.items()))] = sample.value
    except ValueError:
        values.clear()
    if "requests_received_total" not in values:
        raise UnreachableError(f"{address} answers, but not as pointgate (status {status})")
    ready, text = get(address, "/readyz")
    found, offenders = get(address, "/offenders", accept="application/json")
    if found == _NOT_FOUND:  # an earlier version
        offenders = '{"faults":[],"devices":[]}'
    return Scrape(at, values, ready == _OK, text.strip(), json.loads(offenders))


class _Change:
    """What changed between two scrapes."""

    def __init__(self, before: Scrape, after: Scrape) -> None:
        self.seconds = max(after.at - before.at, 1e-3)
        self._before = before.values
        self._after = after.values

    def now(self, name: str) -> float:
        """The value of a metric without labels."""
        return self._after.get(name, {}).get((), 0.0)

    def values(self, name: str) -> dict[Labels, float]:
        """The values of a metric by its labels."""
        return self._after.get(name, {})

    def rates(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """By the values of these labels, the increase of a counter per second."""
        rates: dict[tuple[str, ...], float] = defaultdict(float)
        for key, value in self.values(name).items():
            before = self._before.get(name, {}).get(key, 0.0)
            # A counter that went down is that of a service that was restarted.
            rise = value - before if value >= before else value
            given = dict(key)
            rates[tuple(given[label] for label in labels)] += rise / self.seconds
        return rates

    def rate(self, name: str) -> float:
        """The increase of a counter per second, over all labels."""
        return self.rates(name).get((), 0.0)

    def quantiles(self, name: str) -> dict[str, float | None]:
        """The upper bounds of median and 99th percentile, in seconds; None without events."""
        buckets = sorted(
            (float(bound), rate) for (bound,), rate in self.rates(f"{name}_bucket", "le").items()
        )
        total = buckets[-1][1] if buckets else 0.0
        found = {}
        for quantile, share in (("p50", 0.5), ("p99", 0.99)):
            bounds = (bound for bound, count in buckets if total and count >= share * total)
            bound = next(bounds, None)
            found[quantile] = None if bound is None else min(bound, 1e9)
        return found


def figures(before: Scrape, after: Scrape) -> dict[str, Any]:
    """The figures of a service as JSON."""
    change = _Change(before, after)
    return {
        "ready": after.ready,
        "status": after.status,
        "seconds": round(change.seconds, 3),
        "requests": _rounded(change.rate("requests_received_total")),
        "points": _rounded(change.rate("points_accepted_total")),
        "bytes": _rounded(change.rate("received_bytes_total")),
        "in_flight": int(change.now("requests_in_flight")),
        "codes": _counted(change, "requests_total", "code"),
        "reasons": _counted(change, "faults_total", "reason"),
        "shadowed": _counted(change, "requests_shadowed_total", "reason"),
        "products": _products(change),
        "reply_seconds": change.quantiles("reply_seconds"),
        "judge_seconds": change.quantiles("judge_seconds"),
        "commit_seconds": change.quantiles("spool_commit_seconds"),
        "spool_bytes": int(change.now("spool_bytes")),
        "spool_max_bytes": int(change.now("spool_max_bytes")),
        "sinks": _sinks(change),
        "offenders": after.offenders,
    }


def _rounded(rate: float) -> float:
    return round(rate, 3)


def _counted(change: _Change, name: str, label: str) -> list[dict[str, object]]:
    """The rate and the total by a label, where there is any."""
    totals: dict[str, float] = defaultdict(float)
    for key, value in change.values(name).items():
        totals[dict(key)[label]] += value
    rates = change.rates(name, label)
    return [
        {label: value, "rate": _rounded(rates[value,]), "total": int(total)}
        for value, total in totals.items()
        if total
    ]


def _products(change: _Change) -> list[dict[str, Any]]:
    """Products that ever had requests, those with the most faulty ones first."""
    requests = change.rates("requests_total", "product", "code")
    reasons = change.rates("faults_total", "product", "reason")
    let_pass = change.rates("requests_shadowed_total", "product", "reason")
    points = change.rates("points_accepted_total", "product")
    shadowed = change.rates("requests_shadowed_total", "product")
    modes = {dict(key)["product"]: dict(key)["mode"] for key in change.values("product_mode_info")}
    if _unnamed(change, modes):
        modes[_OTHER] = "mixed"
    had = {dict(key)["product"] for key, value in change.values("requests_total").items() if value}
    products = []
    for product in had:
        codes = {code: rate for (key, code), rate in requests.items() if key == product}
        answered = sum(codes.values())
        why = {
            name: _rounded(rate)
            for (key, name), rate in (*reasons.items(), *let_pass.items())
            if key == product and rate
        }
        products.append(
            {
                "product": product,
                "requests": _rounded(answered),
                "points": _rounded(points.get((product,), 0.0)),
                "rejected": _rounded(answered - codes.get(str(Code.OK.value), 0.0)),
                "reasons": dict(sorted(why.items(), key=lambda item: -item[1])),
                "mode": modes.get(product, "enforce"),
                "shadowed": _rounded(shadowed.get((product,), 0.0)),
            }
        )
    return sorted(
        products,
        key=lambda one: (-one["rejected"] - one["shadowed"], -one["requests"], one["product"]),
    )


def _unnamed(change: _Change, modes: Mapping[str, str]) -> bool:
    """Whether products without a label of their own are not enforced."""
    named = Counter(modes.values())
    counts = change.values("catalog_products_in_mode").items()
    found = {dict(key)["mode"]: count for key, count in counts}
    return any(count > named[mode] for mode, count in found.items() if mode != "enforce")


def _sinks(change: _Change) -> list[dict[str, object]]:
    written = change.rates("sink_points_written_total", "sink")
    lags = {
        name: {dict(key)["sink"]: value for key, value in change.values(f"sink_lag_{name}").items()}
        for name in ("seconds", "requests", "points")
    }
    return [
        {
            "sink": sink,
            "lag_seconds": round(lags["seconds"].get(sink, 0.0), 1),
            "lag_requests": int(lags["requests"].get(sink, 0)),
            "lag_points": int(lags["points"].get(sink, 0)),
            "points": _rounded(rate),
        }
        for (sink,), rate in written.items()
    ]
