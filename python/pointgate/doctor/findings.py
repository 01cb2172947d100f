"""What an examination has found: a sentence, and whether it is right."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """Whether something is as it should be.

    A problem keeps the service from working; a warning weakens what it promises; something that
    could not be tested is skipped, with the reason.
    """

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined.

    Attributes:
        area: What it is part of: `disk`, `clock`, `process`, `broker`, `registry`, `sinks`.
        result: Whether it is right.
        text: What was found.
        action: What to do about it; empty if nothing.
    """

    area: str
    result: Result
    text: str
    action: str = ""


class Findings(list[Finding]):
    """The findings of one area.

    Args:
        area: Its name.
    """

    def __init__(self, area: str) -> None:
        super().__init__()
        self._area = area

    def ok(self, text: str) -> None:
        """Something is right."""
        self.append(Finding(self._area, Result.OK, text))

    def warn(self, text: str, action: str) -> None:
        """Something works, and weakens a promise."""
        self.append(Finding(self._area, Result.WARNING, text, action))

    def fail(self, text: str, action: str = "") -> None:
        """The service cannot work so."""
        self.append(Finding(self._area, Result.PROBLEM, text, action))

    def skip(self, text: str) -> None:
        """Something could not be tested."""
        self.append(Finding(self._area, Result.SKIPPED, text))
