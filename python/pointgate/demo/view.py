"""The view of the demo: a live table on a terminal, otherwise a line each second.

Counts and rates are the service's metrics; latencies and explanations are those of the plants.
"""

from __future__ import annotations

from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from pointgate.codes import Code
from pointgate.demo.broker import HOST
from pointgate.terminal import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pointgate.demo.fleet import Note, Tally

    Figures = dict[str, dict[str, int]]
    """The metrics by name, without the prefix; the values of each by the value of its label. What
    is counted by product is added up."""

_MEANINGS: Final = {str(code.value): code.name.replace("_", " ").lower() for code in Code}
_TIMEOUT_SECONDS: Final = 5.0
_MEGA: Final = 1_000_000


def get(port: int, path: str) -> str | None:
    """Get a page of the service; None unless the status is 200."""
    connection = HTTPConnection(HOST, port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        page = response.read().decode()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return page if response.status == 200 else None  # noqa: PLR2004 - HTTP's


def parse(page: str) -> Figures:
    """Parse the page of metrics; values of 0 are left out."""
    figures: Figures = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.value:
                labels = (value for label, value in sample.labels.items() if label != "product")
                values = figures.setdefault(sample.name.removeprefix("pointgate_"), {})
                label = next(labels, "")
                values[label] = values.get(label, 0) + int(sample.value)
    return figures


@dataclass(frozen=True, slots=True)
class Moment:
    """The metrics now and at the previous update."""

    elapsed: float  # seconds since the demo began
    now: Figures
    before: Figures
    interval: float  # seconds between the two

    def count(self, name: str, label: str = "") -> int:
        """The value of a metric."""
        return self.now.get(name, {}).get(label, 0)

    def rate(self, name: str) -> float:
        """The increase of a counter per second."""
        before = self.before.get(name, {}).get("", 0)
        return (self.count(name) - before) / self.interval if self.interval else 0.0

    def rose(self, name: str, label: str) -> bool:
        """Whether a counter has increased since the previous update."""
        return self.count(name, label) > self.before.get(name, {}).get(label, 0)

    @property
    def written(self) -> int:
        """The points that the sink has written."""
        return sum(self.now.get("sink_points_written_total", {}).values())

    @property
    def codes(self) -> list[tuple[str, int]]:
        """The number of replies with each code, by code."""
        codes = self.now.get("requests_total", {})
        return sorted(codes.items(), key=lambda item: int(item[0]))


def table(moment: Moment, tally: Tally, notice: str = "") -> RenderableType:
    """The live view: rates and latencies, replies by code and reason, the last rejections."""
    products, models, devices = (
        moment.count(f"catalog_{one}") for one in ("products", "models", "devices")
    )
    title = f"pointgate · {products} products, {models} models, {devices} devices"
    reasons = sorted(moment.now.get("faults_total", {}).items(), key=lambda item: -item[1])
    counts = Table(
        "code",
        "meaning",
        Column("replies", justify="right"),
        "reason for rejection",
        Column("rejections", justify="right"),
        expand=True,
    )
    for (code, count), (reason, rejections) in zip_longest(
        moment.codes, reasons[: len(_MEANINGS)], fillvalue=("", 0)
    ):
        style = "green" if code == "200" else "red"
        counts.add_row(
            *(Text(code, style), _MEANINGS.get(code, ""), f"{count:,}" if code else ""),
            *(reason, f"{rejections:,}" if reason else ""),
        )
    notes = [f"{note.clock} {explanation(note)}" for note in reversed(tally.notes)]
    warning = [_text(notice, "red")] if notice else []
    head = [_text(title, "bold"), *warning, _text(_rates(moment, tally)), _text(_stored(moment))]
    return Group(*head, counts, *map(_text, notes))


def _text(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def line(moment: Moment, tally: Tally) -> str:
    """The view as one line, for a log or a pipe."""
    codes = " ".join(f"{code}:{count}" for code, count in moment.codes)
    return f"{_rates(moment, tally)}  {_stored(moment)}  {codes}"


def _rates(moment: Moment, tally: Tally) -> str:
    return (
        f"{moment.elapsed:4.0f} s  {moment.rate('requests_received_total'):,.0f} requests/s  "
        f"{moment.rate('points_accepted_total'):,.0f} points/s  "
        f"{moment.rate('received_bytes_total') / _MEGA:.2f} MB/s  {tally.latency()}"
    )


def _stored(moment: Moment) -> str:
    committed, written = moment.count("spool_points_total"), moment.written
    return f"stored: {committed:,} points in the spool, {written:,} of them in Parquet files"


def explanation(note: Note) -> str:
    """A reply on one line."""
    mistake = f"{note.mistake}: " if note.mistake else ""
    return f"{note.sender}: {mistake}{note.code} {printable(note.message)}".rstrip()


def summary(moment: Moment, tally: Tally) -> str:
    """The totals at the end."""
    codes = ", ".join(
        f"{code} {_MEANINGS.get(code, '')}: {count:,}" for code, count in moment.codes
    )
    text = (
        f"{moment.elapsed:.0f} s: {moment.count('requests_received_total'):,} requests with "
        f"{moment.count('points_accepted_total'):,} accepted points in "
        f"{moment.count('received_bytes_total') / _MEGA:,.1f} MB; {codes}\n"
        f"replies to the plants: {tally.answered:,} of {tally.sent:,}, {tally.latency()}"
    )
    unexpected = f"{tally.unexpected:,} replies were not as the plants expected"
    return f"{text}\n{unexpected}" if tally.unexpected else text
