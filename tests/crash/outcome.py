"""What came of a run, and which of it is a violation."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tests.crash.compare import KINDS, Findings
from tests.crash.sender import WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        seed: Its seed.
        ack: What a 200 promised.
        folder: Where everything is kept.
        seconds: How long it took.
        kills: How often who was killed, and where.
        requests: How many were sent.
        again: How often one was sent again.
        accepted: How many were answered 200.
        rejected: How many were answered otherwise.
        unanswered: How many never were.
        sinks: What each sink holds; `parquet, compacted` is the one after `pointgate compact`.
        unkept: With `ack = "sink"`: answered 200, and a sink did not have it at that moment.
        forgotten: Requests that the broker held to the end, and that nobody answered.
        misjudged: Requests that were answered otherwise than they deserve.
        problems: Whatever else is not as it should be.
    """

    seed: int
    ack: str
    folder: str
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    again: int = 0
    accepted: int = 0
    rejected: int = 0
    unanswered: int = 0
    sinks: dict[str, Findings] = field(default_factory=dict)
    unkept: dict[str, list[int]] = field(default_factory=dict)
    forgotten: list[int] = field(default_factory=list)
    misjudged: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def duplicates_allowed(self) -> int:
        """How many there may be in Parquet before it is compacted."""
        return self.again + WINDOW * self.kills.total()

    @property
    def violations(self) -> list[str]:
        """All of them, in words, with the numbers of the requests."""
        found = list(self.problems)
        for name, numbers in (("forgotten", self.forgotten), ("misjudged", self.misjudged)):
            found += _line(name, numbers)
        for sink, numbers in self.unkept.items():
            found += _line(f"{sink}: answered 200 and not there yet", numbers)
        for sink, findings in self.sinks.items():
            for name in KINDS:
                found += _line(f"{sink}: {name}", getattr(findings, name))
            if sink != "parquet" and findings.doubled:
                found.append(f"{sink}: {findings.doubled} points stand there more than once")
            elif findings.duplicates > self.duplicates_allowed:
                allowed = f"{self.duplicates_allowed} are allowed"
                found.append(f"{sink}: {findings.duplicates} duplicates, {allowed}")
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {**asdict(self), "kills": dict(self.kills), "violations": self.violations}


def _line(name: str, which: Sequence[object]) -> list[str]:
    return [f"{name}: {len(which)}: {', '.join(map(str, which))}"] if which else []
