"""What several runs have found, as figures and as lines for a person."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.crash.compare import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.crash.outcome import Outcome

_SHOWN: Final = 500
"""Characters of a violation in the summary; `outcome.json` has all of it."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Several runs.

    Attributes:
        seed: The seed of the first one; each other one has the next.
        wanted: How many kills there should have been.
        seconds: How long all of it took.
        outcomes: What came of each.
    """

    seed: int
    wanted: int
    seconds: float
    outcomes: Sequence[Outcome]

    @property
    def kills(self) -> Counter[str]:
        """Who was killed where."""
        return sum((outcome.kills for outcome in self.outcomes), Counter())

    @property
    def good(self) -> bool:
        """Whether all kills were made, and nothing was found."""
        violations = any(outcome.violations for outcome in self.outcomes)
        return not violations and self.kills.total() >= self.wanted

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "good": self.good,
            "kills": self.kills.total(),
            "places": dict(sorted(self.kills.items())),
            **self._traffic(),
            **self._found(),
            "duplicates": self._duplicates(),
            "runs": [outcome.as_json() for outcome in self.outcomes],
        }

    def lines(self) -> Iterator[str]:
        """The same for a person, without the runs."""
        traffic, found, kills = self._traffic(), self._found(), self.kills
        yield f"{kills.total():,} kills in {self.seconds / 60:.1f} minutes, seed {self.seed}"
        for victim in sorted({name.split()[0] for name in kills}):
            places = {
                name.removeprefix(victim).strip(): count
                for name, count in sorted(kills.items())
                if name.startswith(victim)
            }
            listed = ", ".join(f"{place} {count}" for place, count in places.items())
            yield f"  {victim} {sum(places.values())}: {listed}"
        yield "  " + ", ".join(f"{name} {count:,}" for name, count in traffic.items())
        yield "  " + ", ".join(f"{name} {count:,}" for name, count in found.items())
        for sink, (copies, allowed) in self._duplicates().items():
            yield f"  {sink}: {copies:,} duplicates, {allowed:,} allowed"
        for outcome in self.outcomes:
            for violation in outcome.violations:
                text = violation if len(violation) <= _SHOWN else f"{violation[:_SHOWN]} …"
                yield f"VIOLATION in {outcome.folder}, seed {outcome.seed}: {text}"
        if (made := kills.total()) < self.wanted:
            yield f"NOT DONE: {made:,} of {self.wanted:,} kills"

    def _traffic(self) -> dict[str, int]:
        names = ("requests", "again", "accepted", "rejected", "unanswered")
        return {name: sum(getattr(one, name) for one in self.outcomes) for name in names}

    def _found(self) -> dict[str, int]:
        outcomes = self.outcomes
        sinks = [findings for outcome in outcomes for findings in outcome.sinks.values()]
        return {
            **{kind: sum(len(getattr(one, kind)) for one in sinks) for kind in KINDS},
            "unkept": sum(len(which) for one in outcomes for which in one.unkept.values()),
            "forgotten": sum(len(one.forgotten) for one in outcomes),
            "misjudged": sum(len(one.misjudged) for one in outcomes),
            "problems": sum(len(one.problems) for one in outcomes),
        }

    def _duplicates(self) -> dict[str, tuple[int, int]]:
        """Of each sink: how many there are, and how many there may be."""
        found: Counter[str] = Counter()
        for outcome in self.outcomes:
            for sink, findings in outcome.sinks.items():
                found[sink] += findings.duplicates
        allowed = sum(one.duplicates_allowed for one in self.outcomes)
        return {
            sink: (copies, allowed if sink == "parquet" else 0)
            for sink, copies in sorted({**dict.fromkeys(self._sinks(), 0), **found}.items())
        }

    def _sinks(self) -> set[str]:
        return {sink for outcome in self.outcomes for sink in outcome.sinks}
