"""The progress of an import: a file that is replaced as a whole, when all it speaks of is durable.

    state.json       this
    runs/            points that were read and are not in every sink yet
    rejects.ndjson   rejected points
    ….coverage       what was stored before the inputs that are being imported

    {"version":2,"id":"3f9c21aa90b1c2d3","phase":"reading","inputs":{"a.csv":{"part":0,"records":40000,…}},"runs":["000001"]}

Whatever a crash leaves beyond what the state says is removed or cut off when the import continues.

Invariants: one process holds the folder at a time.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import orjson

from pointgate.diagnostics import os_reason
from pointgate.durable_files import PRIVATE, make_folder, sync_folder, write_file
from pointgate.errors import PointgateError
from pointgate.importing.coverage import Coverage
from pointgate.importing.inputs import Fingerprint, digest
from pointgate.importing.judging import Counts
from pointgate.importing.runs import Chunk

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.importing.layouts import Overlaps

_VERSION: Final = 2
_DIGEST_BYTES: Final = 16


class StateError(PointgateError):
    """An import cannot continue from this state; the text says why and what to do."""


class StateBusyError(PointgateError):
    """Another process imports with the same state."""


@dataclass(slots=True)
class Input:
    """The position in an input.

    Attributes:
        fingerprint: What it was when it was begun.
        part: Which of the files in it is being read, from 0.
        records: How many rows of that were read.
        done: Whether it was read to its end.
        overlaps: Which times that exist twice its rows had.
        path: Where it was last; empty for standard input.
        inode: Its inode, by which it is known when it was renamed.
        patterns: Those that chose what of an archive was read.
    """

    fingerprint: Fingerprint
    part: int = 0
    records: int = 0
    done: bool = False
    overlaps: Overlaps = field(default_factory=dict)
    path: str = ""
    inode: int = -1
    patterns: str = ""


@dataclass(slots=True)
class SinkState:
    """The progress of a sink.

    Attributes:
        chunks: How many chunks are committed in it.
        rows: How many rows of the next chunk are committed in it, or refused by it.
        size: For a file of lines, its size before the chunk that is being written; else -1.
        written: For a file of lines, its size behind the last chunk.
    """

    chunks: int = 0
    rows: int = 0
    size: int = -1
    written: int = 0


@dataclass(slots=True)
class State:
    """Everything that is known of an import; see the module.

    Attributes:
        id: What a sink knows its chunks by; another one when they are cut anew.
        points: How many points were stored, of each key one; those of inputs that were added
            later are counted by themselves.
        coverage: The file with what was stored before; empty without one.
        destinations: What is written to, and where that is, from the first write on.
        rejected_before: How many points were rejected before inputs were added.
        rejects_before: How long the file of them was.
        replies: How many replies had which code, when points are posted.
        unanswered: How many requests were posted without a reply.
        refused: How many points the service rejected.
    """

    id: str
    mapping: str
    started_us: int
    arrivals: int = 0
    phase: Literal["reading", "writing", "done"] = "reading"
    inputs: dict[str, Input] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    rejects_bytes: int = 0
    most_rows: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    sinks: dict[str, SinkState] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    points: int = 0
    replies: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    refused: int = 0
    coverage: str = ""
    destinations: dict[str, str] = field(default_factory=dict)
    rejected_before: int = 0
    rejects_before: int = 0


class StateFolder:
    """The folder of an import.

    Args:
        path: Where it is; it is made.

    Raises:
        StateBusyError: Another process holds it.
        OSError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"
        make_folder(self.runs, PRIVATE)
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, PRIVATE.file)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StateBusyError(f"{path}: another process imports with this state") from None

    def close(self) -> None:
        """Let others import."""
        os.close(self._lock)

    def load(self) -> State | None:
        """The state; None when there is none.

        Raises:
            StateError: It is damaged, or of another version.
        """
        file = self.path / "state.json"
        try:
            found = orjson.loads(file.read_bytes())
            if found.pop("version") != _VERSION:
                raise StateError(f"{file}: expected version {_VERSION}: use another --state")
            return _state(found)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError(f"{file}: not the state of an import: {error}") from None

    def save(self, state: State) -> None:
        """Make a state durable."""
        write_file(
            self.path / "state.json", orjson.dumps({"version": _VERSION} | asdict(state)), PRIVATE
        )
        sync_folder(self.path)

    def load_coverage(self, state: State) -> Coverage:
        """What was stored before; nothing when the file is gone.

        Raises:
            StateError: The file is damaged, or cannot be read.
        """
        file = self.path / state.coverage
        try:
            data = file.read_bytes() if state.coverage else b""
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise StateError(f"{file}: {os_reason(error)}") from None
        if not data:
            return Coverage()
        before, rest = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if before.hex() != digest(rest):
            raise StateError(
                f"{file}: damaged: remove it, and the import goes on without a report of what was "
                "stored before"
            )
        return Coverage.of_saved(rest)

    def save_coverage(self, coverage: Coverage, state: State) -> None:
        """Make what was stored durable, for the next state that is saved."""
        name = f"{state.id}.coverage"
        data = coverage.saved()
        write_file(self.path / name, bytes.fromhex(digest(data)) + data, PRIVATE)
        state.coverage = name

    def tidy(self, state: State) -> None:
        """Remove runs and coverages that the state does not speak of."""
        known = set(state.runs)
        for path in self.runs.iterdir():
            if path.name.partition(".")[0].lstrip(".") not in known:
                path.unlink(missing_ok=True)
        for path in self.path.glob("*.coverage"):
            if path.name != state.coverage:
                path.unlink(missing_ok=True)


def _state(found: dict[str, object]) -> State:
    state = State(**found)  # type: ignore[arg-type]
    state.counts = Counts(**found["counts"])  # type: ignore[arg-type]
    state.chunks = [Chunk(**one) for one in found["chunks"]]  # type: ignore[attr-defined]
    state.sinks = {
        name: SinkState(**one)
        for name, one in found["sinks"].items()  # type: ignore[attr-defined]
    }
    state.inputs = {
        name: Input(**one | {"fingerprint": Fingerprint(**one["fingerprint"])})
        for name, one in found["inputs"].items()  # type: ignore[attr-defined]
    }
    return state
