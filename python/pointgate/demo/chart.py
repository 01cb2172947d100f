"""A chart of a time series in characters: for each column the mean of its part of the time.

Eighths of a block stand on each other, so that six rows have 48 steps:

    240 ┤   ▂▄▆▆▄▂
        ┤ ▂▇██████▇▂
      0 ┤▅██████████▅
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
_FULL: Final = len(_EIGHTHS) - 1


def chart(points: Sequence[tuple[float, float]], *, width: int, height: int) -> list[str]:
    """The lines of a chart; bars stand on 0, or on the least mean if that is below.

    Args:
        points: Times and values, at least one.
        width: Columns, without the labels.
        height: Lines, at least two.
    """
    first, last = min(time for time, _ in points), max(time for time, _ in points)
    scale = (width - 1) / (last - first) if last > first else 0.0
    columns: list[list[float]] = [[] for _ in range(width)]
    for time, value in points:
        columns[round((time - first) * scale)].append(value)
    means = [sum(values) / len(values) if values else None for values in columns]
    known = [mean for mean in means if mean is not None]
    low, high = min(0.0, *known), max(known)
    steps = _FULL * height / (high - low) if high > low else 0.0
    bars = [0 if mean is None else max(1, round((mean - low) * steps)) for mean in means]
    labels = [f"{high:,.0f}", *[""] * (height - 2), f"{low:,.0f}"]
    margin = max(map(len, labels))
    lines = []
    for row, label in enumerate(labels):
        base = _FULL * (height - 1 - row)
        cells = "".join(_EIGHTHS[min(_FULL, max(0, bar - base))] for bar in bars)
        lines.append(f"{label:>{margin}} ┤{cells}".rstrip())
    return lines
