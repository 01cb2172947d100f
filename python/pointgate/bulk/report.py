"""The report of a run: totals by code and reason, and the file of rejected requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from pointgate.bulk.jobs import DocumentFiles, FileRange, Job, Result

if TYPE_CHECKING:
    from typing import IO


@dataclass(slots=True)
class Totals:
    """The totals of a run.

    Attributes:
        accepted: The number of accepted requests.
        points: The number of points in them.
        faults: The number of rejected requests, by code and reason.
        size: The number of bytes validated, after decompression.
        problems: Files that could not be read completely, each with the reason.
    """

    accepted: int = 0
    points: int = 0
    faults: dict[tuple[int, str], int] = field(default_factory=dict)
    size: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """The number of rejected requests."""
        return sum(self.faults.values())

    @property
    def requests(self) -> int:
        """The number of requests."""
        return self.accepted + self.rejected

    def add(self, result: Result) -> None:
        """Add the result of one job."""
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
    """Writes rejected requests as newline-delimited JSON, in the order of the inputs.

    Args:
        file: The output.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._line = 1

    def write(self, job: Job, result: Result) -> None:
        """Write the rejected requests of a job. Jobs must be in order, to count lines."""
        if isinstance(job, DocumentFiles):
            for place, rest in result.rejects:
                self._put(str(job.paths[place]), None, rest)
            return
        if job.first:
            self._line = 1
        for place, rest in result.rejects:
            has_lines = isinstance(job, FileRange) or not job.whole
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
