"""The messages between the main process and the workers: options, jobs and results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

ARRIVAL_BASE: Final = -(2**62)
"""The instant of arrival of the first request of a job. The absolute instant is known only when all
previous jobs are done. It is negative, as no time in a request is, so the two are distinguishable.
"""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of a run, the same in every process.

    Attributes:
        catalog: The catalog folder.
        payload_bytes: The limit on a payload (contract 3, code 1008).
        now_ms: The time of arrival of the first request, to which time windows are relative.
        topic: The topic of every request; None if each line begins with its own.
        describes: Whether rejected requests are described.
        collects: Whether accepted points are collected.
        all_faults: Whether the description has every fault.
    """

    catalog: Path
    payload_bytes: int
    now_ms: int
    topic: str | None
    describes: bool = False
    collects: bool = False
    all_faults: bool = False


@dataclass(frozen=True, slots=True)
class FileRange:
    """The lines of a plain file that begin in a range of its bytes.

    Attributes:
        file: The file's name in reports.
        path: The file.
        start: The first byte of the range.
        stop: The first byte after it.
    """

    file: str
    path: Path
    start: int
    stop: int

    @property
    def first(self) -> bool:
        """Whether it contains the first line of the file."""
        return self.start == 0

    @property
    def stored(self) -> int:
        """The bytes of the inputs that it covers, for the progress bar."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Block:
    """Data that the main process has read.

    Attributes:
        file: The file's name in reports.
        data: Whole lines, or one whole document.
        stored: The bytes of the inputs that it covers, for the progress bar.
        first: Whether it is the first block of the file.
        whole: Whether it is one document.
    """

    file: str
    data: bytes
    stored: int
    first: bool
    whole: bool = False


@dataclass(frozen=True, slots=True)
class DocumentFiles:
    """Files that are one document each.

    Attributes:
        paths: The files.
        stored: Their size.
    """

    paths: tuple[Path, ...]
    stored: int


Job = FileRange | Block | DocumentFiles


@dataclass(slots=True)
class Result:
    """The result of one job.

    Attributes:
        lines: The number of lines, including blank ones.
        arrivals: The number of instants of arrival used: one for each line or document.
        size: The number of bytes, including line ends.
        accepted: The number of accepted requests.
        points: The number of points in them.
        faults: The number of rejected requests, by code and reason.
        rejects: The rejected requests: the index of the line or document in the job, and a JSON
            object without its opening brace.
        problems: Files that could not be read completely, each with the reason.
        table: The accepted points, if there are any. Instants of arrival in it are relative to
            `ARRIVAL_BASE`.
    """

    lines: int = 0
    arrivals: int = 0
    size: int = 0
    accepted: int = 0
    points: int = 0
    faults: dict[tuple[int, str], int] = field(default_factory=dict)
    rejects: list[tuple[int, bytes]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    table: pa.Table | None = None
