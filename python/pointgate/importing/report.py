"""What an import did, for people and for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from pointgate.diagnostics import did_you_mean, numbered, shown
from pointgate.importing.coverage import day_text
from pointgate.importing.picture import bars, span
from pointgate.importing.posting import NAME
from pointgate.terminal import printable, unicode_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pointgate.importing import mapping
    from pointgate.importing.coverage import Days
    from pointgate.importing.session import Import
    from pointgate.importing.state import State

_DEVICES: Final = 20
"""Devices in the terminal; `--json` and `--coverage` have them all."""

_SKIPPED: Final = 5
"""Skipped names in the terminal; `--json` has up to `judging.MOST_NAMES`."""

_WIDTH: Final = 48
_GAPS: Final = 2
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def lines(found: Import, seconds: float) -> Iterator[str]:
    """The report, a line each.

    Args:
        found: The import.
        seconds: How long this command took.
    """
    state, coverage = found.state, found.coverage
    counts = state.counts
    rejected = sum(counts.rejected.values())
    points = state.points - state.refused
    yield _count("rows", counts.rows)
    yield _count("points", points)
    yield _count("equal keys, replaced", counts.points - state.points)
    yield _count("no value", counts.nulls)
    if counts.skipped:
        yield _count("skipped", counts.skipped)
        yield from _skipped(counts.skipped_names)
    yield _count("rejected", rejected)
    for reason, count in sorted(counts.rejected.items(), key=lambda item: (-item[1], item[0])):
        yield _count(f"  {reason}", count)
    if state.replies:
        yield _count("requests posted", sum(state.replies.values()) + state.unanswered)
        for code, count in sorted(state.replies.items()):
            yield _count(f"  answered {code}", count)
        if state.unanswered:
            yield _count("  no reply, repeated", state.unanswered)
    for name, place in found.places.items():
        yield printable(f"{'stored in':<22}{name} ({place})")
    rate = f"   {found.loaded / seconds:,.0f} points/s" if found.loaded else ""
    yield f"{'seconds':<22}{seconds:>17,.2f}{rate}"
    devices = sorted(coverage.devices.items())
    if devices:
        yield ""
    first, last = span(coverage)
    for (product, device), days in devices[:_DEVICES]:
        name = printable(f"{product}/{device}")
        yield f"{name[:28]:<28} {bars(days, first, last, _WIDTH)}".rstrip()
        yield from (f"  {about}" for about in _about(days))
    if len(devices) > _DEVICES:
        yield f"and {len(devices) - _DEVICES:,} more devices"


def _skipped(names: Mapping[str, int]) -> Iterator[str]:
    """The names with the most rows."""
    most = sorted(names.items(), key=lambda item: (-item[1], item[0]))
    for name, count in most[:_SKIPPED]:
        yield _count(f"  {printable(name)[:20]}", count)
    if len(most) > _SKIPPED:
        yield "  and other names: --json"


def unused_names(state: State, mapping: mapping.Mapping | None) -> Iterator[str]:
    """What to say of each name of `[points]` that no row of a long layout had."""
    counts = state.counts
    if mapping is None or mapping.long is None or not (counts.listed or counts.skipped_names):
        return
    for name in sorted(mapping.points.keys() - set(counts.listed)):
        near = did_you_mean(name, counts.skipped_names)
        yield f"[points]: expected names of the input, but no row has {shown(name)}{near}"


def _count(name: str, count: int) -> str:
    return f"{name:<22}{count:>17,}"


def _about(days: Days) -> Iterator[str]:
    """The points of a device and their days; each line fits 80 columns."""
    gaps = [_range(*gap) for gap in days.gaps()]
    yield f"{numbered(sum(days.counts), 'point')}, {_range(days.days[0], days.days[-1])}"
    if gaps:
        yield f"no points: {', '.join(gaps[:_GAPS])}{', …' if len(gaps) > _GAPS else ''}"


def _range(first: int, last: int) -> str:
    return day_text(first) + (f" to {day_text(last)}" if last > first else "")


def document(found: Import, seconds: float) -> dict[str, object]:
    """The report as JSON."""
    state, coverage = found.state, found.coverage
    counts = state.counts
    return {
        "inputs": len(state.inputs),
        "rows": counts.rows,
        "points": state.points - state.refused,
        "duplicates": counts.points - state.points,
        "nulls": counts.nulls,
        "skipped": counts.skipped,
        "skipped_names": dict(sorted(counts.skipped_names.items())),
        "rejected": sum(counts.rejected.values()),
        "reasons": [
            {"reason": reason, "count": count}
            for reason, count in sorted(counts.rejected.items(), key=lambda one: (-one[1], one[0]))
        ],
        "seconds": round(seconds, 6),
        "sinks": {name: one.chunks for name, one in state.sinks.items() if name != NAME},
        **({"posted": _posted(state)} if NAME in state.sinks else {}),
        "products": coverage.by_product(),
        "series": [
            {
                "product": product,
                "device": device,
                "identifier": identifier,
                "points": one.points,
                "days": one.days,
                "first": _instant(one.first),
                "last": _instant(one.last),
            }
            for (product, device, identifier), one in sorted(coverage.series.items())
        ],
        "devices": [
            {
                "product": product,
                "device": device,
                "points": sum(days.counts),
                "days": {
                    day_text(day): count for day, count in zip(days.days, days.counts, strict=True)
                },
                "gaps": [{"from": day_text(a), "to": day_text(b)} for a, b in days.gaps()],
            }
            for (product, device), days in sorted(coverage.devices.items())
        ],
        "problems": [
            {"file": unicode_text(name), "reason": reason}
            for name, reason in sorted(found.problems.items())
        ],
    }


def _posted(state: State) -> dict[str, object]:
    return {
        "requests": sum(state.replies.values()) + state.unanswered,
        "replies": [
            {"code": int(code), "requests": count} for code, count in sorted(state.replies.items())
        ],
        "unanswered": state.unanswered,
    }


def _instant(microseconds: int) -> str:
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
