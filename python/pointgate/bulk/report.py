"""The report of a run: totals by code and reason, and where rejected requests stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from pointgate.bulk.jobs import DocumentFiles, FileRange, Job, Result
from pointgate.terminal import unicode_text

if TYPE_CHECKING:
    from collections.abc import Iterator


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


class DescribedRequests:
    """Tells where the requests stand that the jobs describe. Jobs must be in order.

    Each comes as a JSON object that begins with `file` and `line`; `line` is null if the file is
    one request.
    """

    def __init__(self) -> None:
        self._line = 1

    def of(self, job: Job, result: Result) -> Iterator[bytes]:
        """The described requests of a job, in its order."""
        if isinstance(job, DocumentFiles):
            for place, rest in result.rejects:
                yield _placed(str(job.paths[place]), None, rest)
            return
        if job.first:
            self._line = 1
        first, self._line = self._line, self._line + result.lines
        for place, rest in result.rejects:
            has_lines = isinstance(job, FileRange) or not job.whole
            yield _placed(job.file, first + place if has_lines else None, rest)


def _placed(file: str, line: int | None, rest: bytes) -> bytes:
    where = orjson.dumps({"file": unicode_text(file), "line": line})
    return b"%b,%b" % (where[:-1], rest)
