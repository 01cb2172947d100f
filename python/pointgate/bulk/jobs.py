"""What the processes are given to do, and what they give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path


ARRIVALS: Final = -(2**62)
"""The instant of the first request of a job: which one it is in the run is known when the jobs
before it are done. No instant of a request's own is negative, so the others are told from it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How everything is judged; the same in every process.

    Attributes:
        catalog: The catalog folder.
        payload_bytes: The limit on a payload (contract 3, code 1008).
        now_ms: The time of arrival of the first request, and what time windows are around.
        topic: The topic of every request; None when each line begins with its own.
        describes: Whether rejected requests are to be described.
        collects: Whether accepted points are wanted.
    """

    catalog: Path
    payload_bytes: int
    now_ms: int
    topic: str | None
    describes: bool = False
    collects: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """Those lines of a plain file that begin in a range of its bytes.

    Attributes:
        file: What the user calls the file.
        path: The file.
        start: The first byte of the range.
        stop: The first byte behind it.
    """

    file: str
    path: Path
    start: int
    stop: int

    @property
    def first(self) -> bool:
        """Whether it has the first line of the file."""
        return self.start == 0

    @property
    def stored(self) -> int:
        """How many bytes of the inputs it stands for."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Text:
    """Bytes that were read by the main process.

    Attributes:
        file: What the user calls the file.
        data: Whole lines, or one whole document.
        stored: How many bytes of the inputs they stand for.
        first: Whether they are the first of the file.
        whole: Whether they are one document.
    """

    file: str
    data: bytes
    stored: int
    first: bool
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Documents:
    """Files that are one document each.

    Attributes:
        paths: The files.
        stored: How many bytes of the inputs they are.
    """

    paths: tuple[Path, ...]
    stored: int


Job = Span | Text | Documents


@dataclass(slots=True)
class Result:
    """What became of one job.

    Attributes:
        lines: How many lines it had, blank ones with them.
        arrivals: How many instants of arrival it took: one a line, or one a document.
        size: How many bytes, lines' ends with them.
        accepted: How many requests were accepted.
        points: How many points they have.
        faults: How many requests were rejected, by code and reason.
        rejects: The rejected requests: the line or the document of the job, from 0, and a JSON
            object without its opening brace.
        problems: Files that could not be read to their end, and why.
        table: The accepted points as an Arrow IPC stream; empty when there are none. Arrivals in
            it count from `ARRIVALS`.
    """

    lines: int = 0
    arrivals: int = 0
    size: int = 0
    accepted: int = 0
    points: int = 0
    faults: dict[tuple[int, str], int] = field(default_factory=dict)
    rejects: list[tuple[int, bytes]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    table: bytes = b""
