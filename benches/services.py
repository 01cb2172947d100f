"""The service against what one would write instead, in turn: docs/benchmarks/service.md.

    python -m benches.services --rounds 3 [--only WORDS] [--json FILE] [--plot FILE]

Alone: requests come from a stand-in broker, so nearly all CPU time is the service's
(`bench_front_end.py`). Behind Mosquitto and NATS: `bench_echo.py`, broker and load on the same
cores. Each row is measured once a round, all rows in turn, and the figures are medians: a shared
machine changes its speed meanwhile. The glue services need `pip install mqtt5`, benthos Go, and the
native echo Rust:

    cd benches/glue/benthos && go build -o ../../../target/benthos-glue .
    rustc -O --edition 2024 -o target/echo-glue benches/glue/echo.rs

Rows whose program is missing are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benches.bench_echo import ROOT
from benches.service_report import markdown, svg

if TYPE_CHECKING:
    from collections.abc import Iterator

BENTHOS: Final = ROOT / "target/benthos-glue"
ECHO: Final = ROOT / "target/echo-glue"
RAW: Final = "python -m benches.glue.raw"
AIOMQTT: Final = "python -m benches.glue.aiomqtt_"
OTHERS: Final = {
    "asyncio + mqtt5 + msgspec": RAW,
    "benthos json_schema": "target/benthos-glue",
    "aiomqtt + msgspec": f"{AIOMQTT} msgspec",
    "aiomqtt + pydantic": f"{AIOMQTT} pydantic",
}


@dataclass(frozen=True)
class Row:
    """One measurement."""

    table: str
    name: str
    module: str
    options: tuple[str, ...]

    @property
    def command(self) -> str:
        """What repeats it."""
        words = [f'"{word}"' if " " in word else word for word in self.options]
        return " ".join(["python", "-m", f"benches.{self.module}", *words])


QOS: Final = ("0", "1")
ACKS: Final = ("verdict", "spool")


def _rows() -> Iterator[Row]:
    yield from _alone()
    for table, broker, others in (
        ("full speed", (), tuple(OTHERS)),
        ("nats", ("--broker", "nats"), ("benthos json_schema", "aiomqtt + msgspec")),
    ):
        for qos in QOS:
            yield from _behind(table, (*broker, "--qos", qos), others)
    yield from _paced()
    yield from _growth()


def _alone() -> Iterator[Row]:
    for qos, ack in itertools.product(QOS, ACKS):
        alone = ("--qos", qos, "--ack", ack)
        yield Row("alone", f"pointgate {ack}, QoS {qos}", "bench_front_end", alone)
    for name, service in (
        ("asyncio + mqtt5 + msgspec", RAW),
        ("native echo, nothing judged", "target/echo-glue"),
    ):
        for qos in QOS:
            options = ("--qos", qos, "--service", service)
            yield Row("alone", f"{name}, QoS {qos}", "bench_front_end", options)


def _behind(table: str, options: tuple[str, ...], others: tuple[str, ...]) -> Iterator[Row]:
    """Behind a broker at full speed."""
    qos = options[-1]
    for ack in ACKS:
        yield Row(table, f"pointgate {ack}, QoS {qos}", "bench_echo", (*options, "--ack", ack))
    for name in others:
        given = (*options, "--service", OTHERS[name])
        yield Row(table, f"{name}, QoS {qos}", "bench_echo", given)


def _paced() -> Iterator[Row]:
    for rate in ("1000", "5000"):
        for ack in ACKS:
            paced = ("--qos", "1", "--ack", ack, "--rate", rate)
            yield Row("fixed rate", f"pointgate {ack}, {rate}/s", "bench_echo", paced)
        glue = ("--qos", "1", "--rate", rate, "--service", RAW)
        yield Row("fixed rate", f"asyncio + mqtt5 + msgspec, {rate}/s", "bench_echo", glue)


def _growth() -> Iterator[Row]:
    """How the cost grows with the request, and with the share of bad ones."""
    for shape, window in (("S", "1000"), ("M", "256"), ("L", "16"), ("XL", "2")):
        sized = ("--qos", "0", "--product", "types", "--shape", shape, "--window", window)
        yield Row("shapes", shape, "bench_echo", sized)
    for share in ("0", "0.1", "0.5", "1"):
        yield Row("rejects", f"{float(share):.0%}", "bench_echo", ("--qos", "1", "--bad", share))


def available(row: Row) -> bool:
    text = row.command
    if RAW in text:
        return importlib.util.find_spec("mqtt5") is not None
    return all(one.exists() for one in (BENTHOS, ECHO) if f"target/{one.name}" in text)


def run(row: Row, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benches.{row.module}", *row.options]
    done = subprocess.run(
        [*command, "--seconds", str(seconds), "--json"], cwd=ROOT, capture_output=True, check=False
    )
    if done.returncode:
        sys.stderr.write(f"{row.command}: {done.stderr.decode()}\n")
        return {}
    figures: dict[str, Any] = json.loads(done.stdout)
    latency = figures.get("latency_ms", {})
    return {
        "requests_per_second": figures["requests_per_second"],
        "service_us": figures["service_us"],
        "service_cores": figures["service_us"] * figures["requests_per_second"] / 1e6,
        "broker_us": figures.get("broker_us"),
        "p50_ms": latency.get("p50", figures.get("p50_ms")),
        "p99_ms": latency.get("p99", figures.get("p99_ms")),
        "service_mb": figures.get("service_mb"),
    }


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure, and the range of the service's CPU time."""
    good = [one for one in rounds if one]
    if not good:
        return {}
    figures = {
        name: statistics.median(one[name] for one in good) if good[0][name] is not None else None
        for name in good[0]
    }
    times = [one["service_us"] for one in good]
    return {**figures, "rounds": len(good), "least_us": min(times), "most_us": max(times)}


def measure(rows: list[Row], rounds: int, seconds: float) -> list[dict[str, Any]]:
    figures: dict[Row, list[dict[str, Any]]] = {row: [] for row in rows}
    for number in range(rounds):
        for row in rows:
            found = run(row, seconds)
            figures[row].append(found)
            shown = found and f"{found['requests_per_second']:,.0f}/s {found['service_us']:.2f} µs"
            print(f"{number + 1}/{rounds} {row.table}: {row.name}: {shown}", flush=True)
    return [
        {"table": row.table, "name": row.name, "command": row.command, **summary(figures[row])}
        for row in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--only", default="", help="rows with these words")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw the CPU times as SVG")
    parser.add_argument("--markdown", type=Path, help="write the tables for people")
    options = parser.parse_args()
    rows = [row for row in _rows() if available(row) and options.only in f"{row.table}: {row.name}"]
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "load": os.getloadavg()[2],
        "rounds": options.rounds,
        "seconds": options.seconds,
        "rows": measure(rows, options.rounds, options.seconds),
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    if options.plot:
        options.plot.write_text(svg(report), encoding="utf-8")
    if options.markdown:
        plot = os.path.relpath(options.plot, options.markdown.parent) if options.plot else ""
        options.markdown.write_text(markdown(report, plot), encoding="utf-8")


if __name__ == "__main__":
    main()
