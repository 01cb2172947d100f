"""What the demo shows: a live table on a terminal, a line a second anywhere else.

Counts and rates are the service's own, from its metrics; latencies and explanations are what the
plants have seen of it. Nothing is measured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pointgate.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

    from pointgate.demo.figures import Figures
    from pointgate.demo.fleet import Note, Tally

_CODES: Final = {
    "200": "accepted",
    "1008": "too large",
    "1204": "not as the model says",
    "1220": "not well-formed",
    "1251": "empty",
    "1257": "unknown device",
    "1260": "another method",
}
_ACCEPTED: Final = 200
_SHOWN_REASONS: Final = 8
_MEGA: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """The service's figures now and a little before.

    Attributes:
        elapsed: Seconds since the demo began.
        now: The figures now.
        before: The figures before.
        interval: Seconds between the two.
    """

    elapsed: float
    now: Figures
    before: Figures
    interval: float

    def rate(self, now: int, before: int) -> float:
        """How fast a count grows, a second."""
        return (now - before) / self.interval if self.interval else 0.0

    @property
    def requests(self) -> float:
        """Requests a second."""
        return self.rate(self.now.received, self.before.received)

    @property
    def points(self) -> float:
        """Points accepted a second."""
        return self.rate(self.now.points, self.before.points)

    @property
    def megabytes(self) -> float:
        """Megabytes of payload a second."""
        return self.rate(self.now.received_bytes, self.before.received_bytes) / _MEGA

    @property
    def accepted(self) -> float:
        """The share of the answered requests that were accepted."""
        answered = sum(self.now.codes.values())
        return self.now.codes.get("200", 0) / answered if answered else 0.0


def table(moment: Moment, tally: Tally, notice: str = "") -> RenderableType:
    """Everything at a glance.

    Args:
        moment: The service's figures.
        tally: What the plants have seen.
        notice: What the person should know now, in red.
    """
    now = moment.now
    title = Text.assemble(
        ("pointgate", "bold"),
        f" · {moment.elapsed:.0f} s · {now.products} products, {now.models} models, "
        f"{now.devices} devices",
        f" · catalog loaded again: {now.reloads}" if now.reloads else "",
    )
    trouble = [Text(notice, "red", no_wrap=True, overflow="ellipsis")] if notice else []
    flow = _rows(
        ("requests/s", f"{moment.requests:,.0f}"),
        ("points/s", f"{moment.points:,.0f}"),
        ("MB/s", f"{moment.megabytes:.2f}"),
        ("reply p50", f"{tally.quantile(0.5) * 1000:.1f} ms"),
        ("reply p99", f"{tally.quantile(0.99) * 1000:.1f} ms"),
        ("requests", f"{now.received:,}"),
        ("points", f"{now.points:,}"),
        ("accepted", f"{moment.accepted:.1%}"),
    )
    columns = Table.grid(expand=True)
    for ratio in (5, 7, 5):
        columns.add_column(ratio=ratio)
    columns.add_row(
        Panel(flow, title="flow", height=10),
        Panel(_code_rows(now.codes), title="answers", height=10),
        Panel(_reason_rows(now.reasons), title="why rejected", height=10),
    )
    notes = Group(*(line for note in reversed(tally.notes) for line in _note_lines(note)))
    return Group(title, *trouble, columns, Panel(notes, title="the latest, explained"))


def line(moment: Moment, tally: Tally) -> str:
    """Everything on one line, for a log or a pipe."""
    codes = " ".join(f"{code}:{count}" for code, count in _by_code(moment.now.codes))
    return (
        f"{moment.elapsed:4.0f} s  {moment.requests:,.0f} requests/s  "
        f"{moment.points:,.0f} points/s  reply p50 {tally.quantile(0.5) * 1000:.1f} ms "
        f"p99 {tally.quantile(0.99) * 1000:.1f} ms  {codes}"
    )


def explanation(note: Note) -> str:
    """A note on one line."""
    what = f"{note.mistake}: " if note.mistake else ""
    return f"       {note.who}: {what}{note.code} {printable(note.message)}".rstrip()


def summary(moment: Moment, tally: Tally) -> str:
    """What came of it all."""
    codes = ", ".join(
        f"{count:,} {_CODES.get(code, '')} ({code})" for code, count in _by_code(moment.now.codes)
    )
    lines = [
        (
            f"{moment.elapsed:.0f} s: {moment.now.received:,} requests with "
            f"{moment.now.points:,} accepted points in "
            f"{moment.now.received_bytes / _MEGA:,.1f} MB; {codes}"
        ),
        (
            f"replies to the plants: {tally.answered:,} of {tally.sent:,}, "
            f"p50 {tally.quantile(0.5) * 1000:.1f} ms, p99 {tally.quantile(0.99) * 1000:.1f} ms"
        ),
    ]
    if tally.surprises:
        lines.append(f"{tally.surprises:,} of them not as the plants had expected")
    return "\n".join(lines)


def _rows(*rows: tuple[str, str]) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column()
    grid.add_column(justify="right", style="bold")
    for row in rows:
        grid.add_row(*row)
    return grid


def _code_rows(codes: Mapping[str, int]) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(style="bold")
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", style="bold")
    for code, count in _by_code(codes):
        style = "green" if code == "200" else "red"
        grid.add_row(Text(code, style), _CODES.get(code, ""), f"{count:,}")
    return grid


def _reason_rows(reasons: Mapping[str, int]) -> Table:
    most = sorted(reasons.items(), key=lambda item: -item[1])[:_SHOWN_REASONS]
    return _rows(*((reason, f"{count:,}") for reason, count in most))


def _by_code(codes: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(codes.items(), key=lambda item: int(item[0]))


def _note_lines(note: Note) -> Iterator[Text]:
    mine = note.who == "you"
    good = note.code == _ACCEPTED
    yield Text.assemble(
        (f"{note.clock} ", "dim"),
        (note.who, "bold magenta" if mine else "bold"),
        f" {note.mistake} → " if note.mistake else " → ",
        (str(note.code), "bold green" if good else "bold red"),
        no_wrap=True,
        overflow="ellipsis",
    )
    # Behind the documented text, which says no more than the code does.
    documented, _, sentence = note.message.partition(": ")
    message = printable(sentence or documented) or "accepted"
    yield Text(f"         {message}", style="dim", no_wrap=True, overflow="ellipsis")
