"""Runs a job in a worker: judges its requests by two catalogs, and describes those that differ.

    for each burst of lines:
        old, new = validate with the one catalog, with the other      # two calls into Rust
        equal codes, none rejected: count them; otherwise: compare each pair

Two verdicts are equal if code and reason are; that a message names another device is no change.

Invariants: both verdicts are those that the service would give at the same moment.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from pointgate import Validator
from pointgate.bulk.jobs import DocumentFiles, Result, RunOptions
from pointgate.bulk.judge import Judge, load_catalog
from pointgate.codes import Code
from pointgate.diagnostics import shown
from pointgate.fault_document import fault_document, payload_member

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pointgate import Report
    from pointgate.bulk.jobs import Job

_code = attrgetter("code")

_SHOWN_BYTES: Final = 64

_EXAMPLES_A_JOB: Final = 3
"""Changed requests of each kind that a job describes if not all of them are asked for."""


class Verdict(NamedTuple):
    """A code with its reason; the reason of an accepted request is empty."""

    code: int
    reason: str


class Change(NamedTuple):
    """A kind of change: requests that had the one verdict and get the other."""

    old: Verdict
    new: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions(RunOptions):
    """The options of a run; `catalog` is the old one, `describes` asks for all changed requests.

    Attributes:
        new: The folder of the new catalog.
        described: Whether each line is an object with `topic` and `payload`, as `pointgate tap`
            writes.
    """

    new: Path
    described: bool = False


@dataclass(slots=True)
class DiffResult(Result):
    """The result of one job; `rejects` describes the changed requests.

    Attributes:
        requests: The number of requests.
        changes: The number of changed requests of each kind.
        described: The kind of each request in `rejects`.
    """

    requests: int = 0
    changes: dict[Change, int] = field(default_factory=dict)
    described: list[Change] = field(default_factory=list)


@dataclass(slots=True)
class DiffTotals:
    """The totals of a run.

    Attributes:
        shown: How many examples of each change are kept.
        requests: The number of requests judged.
        skipped: The number of requests that could not be judged.
        changes: The number of changed requests of each kind.
        examples: The first ones of each kind, as JSON objects.
        problems: Files that could not be read completely, each with the reason.
    """

    shown: int
    requests: int = 0
    skipped: int = 0
    changes: dict[Change, int] = field(default_factory=dict)
    examples: dict[Change, list[bytes]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        """The number of requests whose verdict changes."""
        return sum(self.changes.values())

    def add(self, result: DiffResult, described: Sequence[bytes]) -> None:
        """Add the result of one job, with its described requests."""
        self.requests += result.requests
        self.problems.update(result.problems)
        for change, count in result.changes.items():
            self.changes[change] = self.changes.get(change, 0) + count
        for change, one in zip(result.described, described, strict=True):
            examples = self.examples.setdefault(change, [])
            if len(examples) < self.shown:
                examples.append(one)

    def by_count(self) -> list[tuple[Change, int]]:
        """The changes, the most frequent first."""
        return sorted(self.changes.items(), key=lambda item: (-item[1], item[0]))


def comparing(options: DiffOptions) -> Callable[[Job], DiffResult]:
    """What runs a job in a worker."""
    return Differ(options).compare


class Differ(Judge):
    """Judges one job after another by two catalogs."""

    _takes_blocks = False

    def __init__(self, options: DiffOptions) -> None:
        super().__init__(options)
        self._described = options.described
        self._file = ""
        self._new = Validator(load_catalog(options.new), payload_bytes=options.payload_bytes)

    def compare(self, job: Job) -> DiffResult:
        """Judge all requests in a job."""
        result = DiffResult()
        self._file = "" if isinstance(job, DocumentFiles) else job.file
        self._run(job, result)
        return result

    def compare_burst(
        self,
        topics: Sequence[str],
        payloads: Sequence[bytes],
        place: int,
        result: DiffResult,
        *,
        now_ms: int | None = None,
    ) -> bool:
        """Judge a burst, and count and describe what changes.

        Args:
            topics: The topics of the requests.
            payloads: Their payloads.
            place: The index of the first request in the job.
            result: Where they are counted.
            now_ms: When they arrived, UTC milliseconds; that of the options if None.

        Returns:
            Whether both catalogs accept all of them.
        """
        now_ms = self._options.now_ms if now_ms is None else now_ms
        old = self._validator.validate(topics, payloads, now_ms=now_ms)
        new = self._new.validate(topics, payloads, now_ms=now_ms)
        result.requests += len(payloads)
        codes = [*map(_code, old)]
        if codes.count(Code.OK) == len(codes) and codes == [*map(_code, new)]:
            return True
        for number, pair in enumerate(zip(old, new, strict=True)):
            change = Change(_verdict(pair[0]), _verdict(pair[1]))
            if change.old == change.new:
                continue
            count = result.changes.get(change, 0)
            result.changes[change] = count + 1
            if count < _EXAMPLES_A_JOB or self._options.describes:
                result.described.append(change)
                described = _described(pair, topics[number], payloads[number])
                result.rejects.append((place + number, described))
        return False

    def _burst(self, lines: Sequence[bytes], place: int, result: Result) -> None:
        assert isinstance(result, DiffResult)  # noqa: S101 - made by `compare`
        if self._described:
            self._described_burst(lines, place, result)
            return
        topic = self._options.topic
        topics, payloads = self._requests(lines) if topic is None else ([topic] * len(lines), lines)
        if not self.compare_burst(topics, payloads, place, result):
            # Blank lines are no requests; both catalogs reject them as empty.
            result.requests -= sum(not line.strip() for line in lines)

    def _described_burst(self, lines: Sequence[bytes], place: int, result: DiffResult) -> None:
        """Judge requests that are objects; those whose payload was too large are left out."""
        try:
            found = [*map(_request, lines)]
        except ValueError as error:
            result.problems.append((self._file, str(error)))
            return
        if None not in found:
            requests = [one for one in found if one is not None]
            topics, payloads = zip(*requests, strict=True)
            self.compare_burst(topics, payloads, place, result)
            return
        for number, one in enumerate(found):
            if one is not None:
                self.compare_burst([one[0]], [one[1]], place + number, result)

    def _document(self, data: bytes, place: int, result: Result) -> None:
        assert isinstance(result, DiffResult)  # noqa: S101 - as above
        result.size += len(data)
        self.compare_burst([self._options.topic or ""], [data], place, result)


def _request(line: bytes) -> tuple[str, bytes] | None:
    """Topic and payload of a line; None for a blank one, and for a payload that was too large.

    Raises:
        ValueError: It is something else.
    """
    if not line.strip():
        return None
    try:
        document = orjson.loads(line)
        topic = document["topic"]
        if "payloadBase64" in document:
            return topic, b64decode(document["payloadBase64"])
        if "payload" in document:
            return topic, document["payload"].encode()
        is_too_large = document["code"] == Code.TOO_LARGE or document.get("size", 0) > 0
        if is_too_large and "excerpt" not in document:
            return None
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    raise ValueError(
        f"expected objects with topic and payload, as pointgate tap --json --payload writes, got "
        f"{shown(line[:_SHOWN_BYTES].decode('utf-8', 'replace').strip())}; for other lines name "
        f"--product or --topics"
    )


def _verdict(report: Report) -> Verdict:
    return Verdict(report.code, report.fault.reason if report.fault else "")


def _described(pair: tuple[Report, Report], topic: str, payload: bytes) -> bytes:
    """A changed request as a JSON object without its opening brace."""
    members = {
        name: {"code": report.code} | (fault_document(report.fault) if report.fault else {})
        for name, report in zip(("old", "new"), pair, strict=True)
    }
    bare = payload.removesuffix(b"\n").removesuffix(b"\r")
    return orjson.dumps({"topic": topic} | members | payload_member(bare))[1:]
