"""The metrics of products' modes (contract 11): what is not enforced, and what that lets pass.

The counters of a product are there once it is not enforced, from 0, and stay when it is enforced
again. A page of products that are all enforced has none.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

_MODES = ("enforce", "lenient", "shadow")


def mode_metrics(
    counts: Mapping[str, Mapping[str, Any]], not_enforced: Mapping[str, str], products: int
) -> Iterator[Metric]:
    """The metrics of the active catalog.

    Args:
        counts: What `Counters.read` has by product.
        not_enforced: The modes of the products that are not enforced.
        products: Number of products.
    """
    modes = Counter(not_enforced.values())
    modes["enforce"] = products - modes.total()
    gauge = GaugeMetricFamily(
        "pointgate_catalog_products_in_mode", "Active products, by mode.", labels=["mode"]
    )
    info = GaugeMetricFamily(
        "pointgate_product_mode_info",
        "1 for the mode of each active product that is not enforced.",
        labels=["product", "mode"],
    )
    requests = CounterMetricFamily(
        "pointgate_requests_shadowed",
        "Requests answered 200 that an enforced product rejects, by code and reason.",
        labels=["product", "code", "reason"],
    )
    points = CounterMetricFamily(
        "pointgate_points_skipped",
        "Faulty points of requests answered 200, by product: not stored.",
        labels=["product"],
    )
    for mode in _MODES:
        gauge.add_metric([mode], modes[mode])
    shown = {key: mode for key, mode in not_enforced.items() if key in counts}
    for product, mode in shown.items():
        info.add_metric([product, mode], 1)
    folded = {"other"} if len(shown) < len(not_enforced) else set()
    for product, read in counts.items():
        shadowed = read["shadowed"]
        if product in shown or product in folded or any(count for _, count in shadowed.values()):
            points.add_metric([product], read["skipped"])
            for reason, (code, count) in shadowed.items():
                requests.add_metric([product, str(code), reason], count)
    yield from (gauge, info, requests, points)
