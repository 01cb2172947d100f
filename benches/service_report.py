"""The report of `services.py` as a Markdown page and as a chart in plain SVG."""

from __future__ import annotations

import math
from typing import Any, Final
from xml.sax.saxutils import escape

from benches.plot import STYLE

Report = dict[str, Any]

_TITLES: Final = {
    "alone": "Alone, against a stand-in broker",
    "full speed": "Behind Mosquitto, at full speed",
    "nats": "Behind NATS, at full speed",
    "fixed rate": "Behind Mosquitto, at a fixed rate",
    "shapes": "By size of the request",
    "rejects": "By share of rejected requests",
}
_NOTES: Final = {
    "alone": """\
`benches/bench_front_end.py`: blocks of encoded requests; nothing is waited for but the service. The
echo is what sockets and frames cost in a program of their own.""",
    "full speed": """\
`benches/bench_echo.py`: 1,000 requests in flight; broker, load and service share two cores, so the
rate is that of all three. Compare the CPU time.""",
    "nats": """\
The same with a NATS server, over MQTT 3.1.1: at QoS 0 it costs less than Mosquitto, at QoS 1 it
keeps each message in JetStream.""",
    "fixed rate": """\
An open loop at QoS 1 both ways; latencies count from the instant at which a request was due.""",
    "shapes": """\
QoS 0, `ack = verdict`: S has 3 entries of 3 points; M, L and XL have 10, 500 and 10,000 of 20.""",
    "rejects": "QoS 1, `ack = verdict`; each rejected request is answered with its code and place.",
}
_ABOUT: Final = """\
Written by `python -m benches.services` on {date}: medians of {rounds} rounds of {seconds:g} s, all
rows in turn; CPython {python}, two cores of a shared virtual machine. The load average of the
quarter of an hour before was {load:.0f}: under other load, rates are lower bounds, and latencies
have the pauses of other programs in them. CPU time is that of the service's process with all its
threads, from /proc; compare it within a table.

Every reply was matched to its request, and every code checked. What the others are, and what they
leave out, is said in `benches/glue`: they store nothing.
"""

_SVG: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-labelledby="title">
<title id="title">CPU time of each service for a request</title>
<style>{style}</style>
<rect class="paper" width="{width}" height="{height}" rx="6"/>
<text x="16" y="24" class="title">CPU µs a request behind Mosquitto, 3 entries of 3 points</text>
<text x="16" y="43" class="faint">{date}, logarithmic scale; medians of {rounds} rounds \
on a shared virtual machine</text>"""

_HEAD: Final = ["", "requests/s", "CPU µs a request (least to most)", "cores", "broker µs",
                "p50 ms", "p99 ms", "command"]  # fmt: skip

_WIDTH, _LEFT, _ROW, _TOP = 760, 250, 20, 60


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["name"],
        f"{row['requests_per_second']:,.0f}",
        f"**{row['service_us']:.2f}** ({row['least_us']:.2f} to {row['most_us']:.2f})",
        f"{row['service_cores']:.2f}",
        *(
            f"{row[name]:.1f}" if row.get(name) is not None else ""
            for name in ("broker_us", "p50_ms", "p99_ms")
        ),
        f"`{row['command']}`",
    ]


def markdown(report: Report, plot: str) -> str:
    """The page; `plot` is the link to the chart."""
    rows = [row for row in report["rows"] if "service_us" in row]
    lines = [
        "# The service and what one would write instead",
        "",
        _ABOUT.format(**report),
        f"![CPU time for a request, behind Mosquitto]({plot})",
        "",
    ]
    for table, title in _TITLES.items():
        found = [row for row in rows if row["table"] == table]
        if found:
            lines += [f"## {title}", "", _NOTES[table], ""]
            lines += [
                f"| {' | '.join(cells)} |" for cells in (_HEAD, ["---", *["---:"] * 6, "---"])
            ]
            lines += [f"| {' | '.join(_cells(row))} |" for row in found]
            lines.append("")
    return "\n".join(lines)


def svg(report: Report) -> str:
    """A bar for each service at full speed, on a logarithmic scale."""
    rows = [row for row in report["rows"] if row["table"] == "full speed" and "service_us" in row]
    most = max(row["most_us"] for row in rows)
    scale = (_WIDTH - _LEFT - 70) / math.log10(max(most, 10))
    height = _TOP + _ROW * len(rows) + 30
    date, rounds = escape(report["date"]), report["rounds"]
    parts = [_SVG.format(width=_WIDTH, height=height, style=STYLE, date=date, rounds=rounds)]
    for power in range(int(math.log10(max(most, 10))) + 1):
        x = _LEFT + power * scale
        parts.append(
            f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{height - 26}" class="line"/>'
        )
        parts.append(f'<text x="{x:.1f}" y="{height - 10}" class="faint middle">{10**power}</text>')
    for place, row in enumerate(rows):
        y = _TOP + place * _ROW
        width = max(1.0, math.log10(max(row["service_us"], 1.0)) * scale)
        kind = "judge" if row["name"].startswith("pointgate") else "peer"
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 11}" class="end">{escape(row["name"])}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="14" class="{kind}"/>',
            f'<text x="{_LEFT + width + 6:.1f}" y="{y + 11}">{row["service_us"]:.1f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
