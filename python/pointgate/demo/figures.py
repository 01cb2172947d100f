"""The service's figures, read from its own /metrics as Prometheus would."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from pointgate.demo.broker import HOST

_ANSWER_SECONDS: Final = 5.0
_OK: Final = b"200"


@dataclass(frozen=True, slots=True)
class Figures:
    """What the service has counted up to a moment.

    Attributes:
        received: Requests that arrived.
        received_bytes: Bytes in them.
        points: Points in requests answered 200.
        codes: Requests answered, by code; only those there were.
        reasons: Faults, by reason; only those there were.
        ignored: Requests not answered.
        products: Products in the catalog in force.
        models: Models in it.
        devices: Devices in it.
        reloads: Catalogs loaded since the start.
        reloads_failed: Catalogs refused since the start.
    """

    received: int
    received_bytes: int
    points: int
    codes: dict[str, int]
    reasons: dict[str, int]
    ignored: int
    products: int
    models: int
    devices: int
    reloads: int
    reloads_failed: int


async def get(port: int, path: str) -> str | None:
    """Ask the service for a page.

    Returns:
        The page; None when it is not there, or is not answered with 200.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                head, _, page = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    return page.decode() if head.split(b" ", 2)[1:2] == [_OK] else None


def parse(page: str) -> Figures:
    """Read the page of metrics."""
    values: dict[str, dict[str, int]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name.startswith("pointgate_") and sample.value:
                label = next(iter(sample.labels.values()), "")
                values.setdefault(sample.name, {})[label] = int(sample.value)

    def one(name: str, label: str = "") -> int:
        return values.get(f"pointgate_{name}", {}).get(label, 0)

    return Figures(
        received=one("requests_received_total"),
        received_bytes=one("received_bytes_total"),
        points=one("points_accepted_total"),
        codes=values.get("pointgate_requests_total", {}),
        reasons=values.get("pointgate_faults_total", {}),
        ignored=sum(values.get("pointgate_requests_ignored_total", {}).values()),
        products=one("catalog_products"),
        models=one("catalog_models"),
        devices=one("catalog_devices"),
        reloads=one("catalog_reloads_total", "success"),
        reloads_failed=one("catalog_reloads_total", "failure"),
    )
