"""What became of everything: counts by code and reason, and the rejected requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from pointgate.bulk.jobs import Documents, Job, Result, Span

if TYPE_CHECKING:
    from typing import IO


@dataclass(slots=True)
class Totals:
    """The counts of a run.

    Attributes:
        accepted: How many requests were accepted.
        points: How many points they have.
        faults: How many requests were rejected, by code and reason.
        size: How many bytes were judged, decompressed.
        problems: Files that could not be read to their end, and why, once each.
    """

    accepted: int = 0
    points: int = 0
    faults: dict[tuple[int, str], int] = field(default_factory=dict)
    size: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """How many requests were rejected."""
        return sum(self.faults.values())

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return self.accepted + self.rejected

    def add(self, result: Result) -> None:
        """Count what became of one job."""
        self.accepted += result.accepted
        self.points += result.points
        self.size += result.size
        for key, count in result.faults.items():
            self.faults[key] = self.faults.get(key, 0) + count
        self.problems.update(result.problems)

    def by_count(self) -> list[tuple[tuple[int, str], int]]:
        """The faults, the most frequent first."""
        return sorted(self.faults.items(), key=lambda item: (-item[1], item[0]))


class RejectsWriter:
    """Writes rejected requests as lines of JSON, in the order of the inputs.

    Args:
        file: Where to.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._line = 1

    def write(self, job: Job, result: Result) -> None:
        """Write what a job had. Jobs must come in their order: lines are counted by the way."""
        if isinstance(job, Documents):
            for place, rest in result.rejects:
                self._put(str(job.paths[place]), None, rest)
            return
        if job.first:
            self._line = 1
        for place, rest in result.rejects:
            has_lines = isinstance(job, Span) or not job.whole
            self._put(job.file, self._line + place if has_lines else None, rest)
        self._line += result.lines

    def _put(self, file: str, line: int | None, rest: bytes) -> None:
        where = orjson.dumps(
            {
                "file": file.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
                "line": line,
            }
        )
        self._file.write(b"%b,%b\n" % (where[:-1], rest))
