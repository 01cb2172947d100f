"""Coverage as a picture: a row a device, a column a day or several; SVG, and short in a terminal.

inverter-001  ▇▇▇▇▇▇▁ ▇▇▇▇▇▇▇   2019-01-01 to 2023-12-31, 5,259,600 points, 1 gap
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from pointgate.importing.coverage import day_text

if TYPE_CHECKING:
    from pointgate.importing.coverage import Coverage, Days

_BARS: Final = "▁▂▃▄▅▆▇█"
_COLUMNS: Final = 730
_ROWS: Final = 200
_ROW, _LEFT, _TOP = 18, 200, 46
_SHADES: Final = ("#dbe9f6", "#bad6eb", "#89bedc", "#539ecd", "#2b7bba", "#0b559f")
_WIDTH: Final = 1000


def bars(days: Days, first: int, last: int, width: int) -> str:
    """A device in so many characters; a blank is no point at all."""
    cells, most = _cells(days, first, last, _days_in(first, last, width))
    return "".join(_BARS[min(7, cell * 8 // most)] if cell else " " for cell in cells)


def span(coverage: Coverage) -> tuple[int, int]:
    """The first and the last day; of nothing, the same day."""
    devices = coverage.devices.values()
    return (
        min((days.days[0] for days in devices), default=0),
        max((days.days[-1] for days in devices), default=0),
    )


def svg(coverage: Coverage) -> str:
    """A page for a browser; devices behind the first `_ROWS` are counted, not drawn."""
    first, last = span(coverage)
    width = _days_in(first, last, _COLUMNS)
    count = len(range(first, last + 1, width))
    devices = sorted(coverage.devices.items())
    shown = devices[:_ROWS]
    height = _TOP + _ROW * len(shown) + 40
    cell = _WIDTH / count
    box = f'width="{_LEFT + _WIDTH + 20}" height="{height}"'
    title = f"{coverage.points:,} points, {day_text(first)} to {day_text(last)}"
    texts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="18" font-size="14">{title}</text>',
    ]
    for row, ((product, device), days) in enumerate(shown):
        top = _TOP + row * _ROW
        name = escape(f"{product}/{device}")
        texts.append(f'<text x="8" y="{top + 12}">{name}</text>')
        texts.append(
            f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_ROW - 4}" fill="#f6d5d5"/>'
        )
        cells, most = _cells(days, first, last, width)
        for place, points in enumerate(cells):
            if points:
                shade = _SHADES[min(5, points * 6 // most)]
                begin = first + place * width
                when = day_text(begin)
                if (end := min(begin + width - 1, last)) > begin:
                    when += f" to {day_text(end)}"
                texts.append(
                    f'<rect x="{_LEFT + place * cell:.2f}" y="{top}" width="{cell + 0.2:.2f}" '
                    f'height="{_ROW - 4}" fill="{shade}"><title>{name} {when}: {points:,} points'
                    "</title></rect>"
                )
    texts += [
        f'<text x="{_LEFT}" y="{_TOP - 6}">{day_text(first)}</text>',
        f'<text x="{_LEFT + _WIDTH}" y="{_TOP - 6}" text-anchor="end">{day_text(last)}</text>',
    ]
    if len(devices) > len(shown):
        more = f"and {len(devices) - len(shown):,} more devices"
        texts.append(f'<text x="8" y="{height - 12}">{more}</text>')
    return "\n".join([*texts, "</svg>"]) + "\n"


def _days_in(first: int, last: int, columns: int) -> int:
    """How many days each column has, so that so many columns have all."""
    return len(range(first, last + 1, columns))


def _cells(days: Days, first: int, last: int, width: int) -> tuple[list[int], int]:
    """The points in each range of `width` days, of which the last one may be shorter."""
    cells = [0] * len(range(first, last + 1, width))
    for day, points in zip(days.days, days.counts, strict=True):
        cells[(day - first) // width] += points
    return cells, max(cells)
