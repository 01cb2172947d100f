"""A bar chart of the ratios, in plain SVG, with a group for each shape.

Bars start at zero, so that their lengths are the ratios; the line at 1 is the judge. The chart has
its own background, so that it is legible on any page, and follows the reader's colour scheme.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from benches.peers import JUDGE, NO_VERDICT
from benches.report import NAMES

if TYPE_CHECKING:
    from benches.report import Report

WIDTH: Final = 760
LEFT, RIGHT = 180, 60
"""The space for the names, and for the figure after the longest bar."""
TOP: Final = 64
ROW, BAR, HEADING = 20, 13, 30
SHOWN: Final = [name for name in NAMES if name not in {"pointgate_64", "pointgate_points"}]
TICKS: Final = 6
"""The approximate number of grid lines."""

STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.faint { fill: #59636e }
.end { text-anchor: end }
.middle { text-anchor: middle }
.heading { font-weight: 600 }
.paper { fill: #ffffff }
.judge { fill: #0969da }
.peer { fill: #8c959f }
.floor { fill: #c8d1da }
.line { stroke: #d1d9e0 }
.one { stroke: #0969da; stroke-dasharray: 3 3 }
.whisker { stroke: #1f2328 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .faint { fill: #9198a1 }
  .paper { fill: #0d1117 }
  .judge { fill: #4493f8 }
  .peer { fill: #6e7681 }
  .floor { fill: #3d444d }
  .line { stroke: #30363d }
  .one { stroke: #4493f8 }
  .whisker { stroke: #f0f6fc }
}
"""


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, kind: str) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" class="{kind}"/>'


def _step(most: float) -> float:
    """The distance of the grid lines: 1, 2 or 5 times a power of ten."""
    steps = [mantissa * 10**power for power in range(4) for mantissa in (1, 2, 5)]
    return next((step for step in steps if most / step <= TICKS), most)


def _bar(name: str, ratio: list[float], y: float, scale: float) -> list[str]:
    low, median, high = ratio
    kind = "judge" if name == JUDGE else "floor" if name in NO_VERDICT else "peer"
    middle = y + BAR / 2
    width = median * scale
    return [
        _text(LEFT - 8, middle + 4, NAMES[name], "end"),
        f'<rect x="{LEFT}" y="{y:g}" width="{width:.1f}" height="{BAR}" class="{kind}"/>',
        _line(LEFT + low * scale, middle, LEFT + high * scale, middle, "whisker"),
        _text(round(LEFT + max(width, high * scale) + 6, 1), middle + 4, f"{median:.3g} x"),
    ]


def svg(report: Report) -> str:
    """Draw the ratios on valid requests."""
    streams = [stream for stream in report["streams"] if stream["variant"] == "valid"]
    most = max(stream["peers"][name]["ratio"][2] for stream in streams for name in SHOWN)
    scale = (WIDTH - LEFT - RIGHT) / most
    group = HEADING + ROW * len(SHOWN)
    bottom = TOP + group * len(streams)
    height = bottom + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        f' width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
        '<title id="title">How many times as long as pointgate each peer takes, by shape</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>',
        _text(16, 26, "Time to judge the same requests, pointgate = 1", "title"),
        _text(16, 45, _caption(report), "faint"),
    ]
    step = _step(most)
    ticks = [number * step for number in range(int(most / step) + 1)]
    for place, stream in enumerate(streams):
        y = TOP + place * group
        lines = [(LEFT + tick * scale, "line") for tick in ticks] + [(LEFT + scale, "one")]
        parts += [_line(x, y + HEADING - 3, x, y + group - 4, kind) for x, kind in lines]
        parts.append(_text(16, y + HEADING - 9, _heading(stream), "heading"))
        for row, name in enumerate(SHOWN):
            top = y + HEADING + row * ROW
            parts += _bar(name, stream["peers"][name]["ratio"], top, scale)
    for tick in ticks:
        parts.append(_text(round(LEFT + tick * scale, 1), bottom + 14, f"{tick:g}", "faint middle"))
    return "\n".join([*parts, "</svg>", ""])


def _caption(report: Report) -> str:
    return (
        f"{report['environment']['cpu']}, one thread, {report['date']};"
        f" medians and quartiles of {report['rounds']} rounds"
    )


def _heading(stream: Report) -> str:
    requests, size = stream["requests"], stream["bytes"] / stream["requests"]
    points = stream["points"] // requests
    plural = "" if requests == 1 else "s"
    return (
        f"{stream['shape']}: {requests:,} request{plural} of {points:,} points, {size:,.0f} bytes"
    )
