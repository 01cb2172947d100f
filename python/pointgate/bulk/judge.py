"""Runs a job in a worker: validates its requests, counts them, describes rejected ones.

    for each block of whole lines of one topic:
        judged = validator.judge_lines(block)               # one call into Rust
        describe its rejected requests
    with a topic on each line, for each burst of lines:
        reports = validator.validate(topics, lines)
        all accepted: count them; otherwise: check each report

A line ends with LF or CR LF. Blank lines are skipped; a blank document is a request with an empty
payload. Payloads over the limit are validated by their beginning, as in the service.

Invariants: verdicts are those of the service; an accepted request costs no Python work of its own,
only its share of a burst.
"""

from __future__ import annotations

import re
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar, Final

import orjson

from pointgate import Validator
from pointgate._core import Points
from pointgate.bulk.blocks import UTF8_MARK, blocks_of_range, lines_of, read_at_most, whole_lines
from pointgate.bulk.jobs import (
    ARRIVAL_BASE,
    Block,
    DocumentFiles,
    FileRange,
    Job,
    Result,
    RunOptions,
)
from pointgate.bulk.streams import MARGIN_BYTES
from pointgate.catalog import Catalog
from pointgate.codes import Code
from pointgate.diagnostics import os_reason
from pointgate.fault_document import fault_document, payload_member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from pointgate import Fault, Report

_BURST: Final = 64
"""Requests a call. With 1,000 small ones a call, the throughput is halved by cache misses. If
points are collected, a call gets a whole block, because each call makes a table."""

_SHOWN_TOPIC: Final = 1024
"""Characters: far more than a served topic has."""

_TOPIC: Final = re.compile(rb"([^ \t]*)[ \t]?")

_code = attrgetter("code")
_points = attrgetter("points")


@cache
def load_catalog(folder: Path) -> Catalog:
    """The catalog, loaded once; forked workers share its memory with the main process.

    Its tests run, as in the service, which refuses a catalog that fails one (contract 12).
    """
    return Catalog.load(folder, tests=True)


def judging(options: RunOptions) -> Callable[[Job], Result]:
    """What runs a job in a worker."""
    return Judge(options).run


class Judge:
    """Validates one job after another."""

    _takes_blocks: ClassVar = True
    """Whether lines of one topic are validated as a block, without an object for each."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._keep = options.payload_bytes + MARGIN_BYTES
        self._validator = Validator(
            load_catalog(options.catalog), payload_bytes=options.payload_bytes
        )
        self._accepted: list[Points] = []

    def run(self, job: Job) -> Result:
        """Validate all requests in a job."""
        result = Result()
        self._run(job, result)
        return result

    def _run(self, job: Job, result: Result) -> None:
        match job:
            case DocumentFiles():
                for place, path in enumerate(job.paths):
                    self._document_file(path, place, result)
                result.arrivals = len(job.paths)
            case Block(whole=True):
                self._document(job.data, 0, result)
                result.arrivals = 1
            case Block():
                self._lines([job.data], result)
            case FileRange():
                self._range(job, result)
        result.arrivals += result.lines
        result.table = self._collected()

    def _document_file(self, path: Path, place: int, result: Result) -> None:
        try:
            with path.open("rb") as file:
                data = read_at_most(file, self._keep).removeprefix(UTF8_MARK)
        except OSError as error:
            result.problems.append((str(path), os_reason(error)))
        else:
            self._document(data, place, result)

    def _document(self, data: bytes, place: int, result: Result) -> None:
        result.size += len(data)
        topic = self._options.topic or ""
        for _, report in self._accept([topic], [data], place, result):
            self._reject(report, topic, data, place, result)

    def _range(self, job: FileRange, result: Result) -> None:
        try:
            self._lines(blocks_of_range(job.path, job.start, job.stop), result)
        except OSError as error:
            result.problems.append((job.file, os_reason(error)))

    def _lines(self, blocks: Iterable[bytes], result: Result) -> None:
        counted = _counted(blocks, result)
        if self._takes_blocks and self._options.topic is not None:
            for block in whole_lines(counted, self._keep):
                self._block(block, self._options.topic, result)
            return
        for lines in lines_of(counted, self._keep):
            burst = len(lines) if self._options.collects else _BURST
            for start in range(0, len(lines), burst):
                self._burst(lines[start : start + burst], result.lines + start, result)
            result.lines += len(lines)

    def _block(self, block: bytes, topic: str, result: Result) -> None:
        """Validate whole lines of one topic."""
        judged = self._validator.judge_lines(
            block,
            topic,
            now_ms=self._options.now_ms,
            arrived_us=ARRIVAL_BASE + result.lines,
            collect=self._options.collects,
        )
        result.accepted += judged.accepted
        result.points += judged.points
        for number, start, end, code, reason in judged.rejected:
            if self._options.describes:
                payload, place = block[start:end], result.lines + number
                for _, report in self._accept([topic], [payload], place, result):
                    self._reject(report, topic, payload, place, result)
            else:
                result.faults[code, reason] = result.faults.get((code, reason), 0) + 1
        self._keep_points(judged.collected)
        result.lines += judged.lines

    def _burst(self, lines: Sequence[bytes], place: int, result: Result) -> None:
        """Validate a burst of lines with topics; `place` is the index of the first in the job."""
        topics, payloads = self._requests(lines)
        for number, report in self._accept(topics, payloads, place, result):
            if not lines[number].strip():
                continue
            topic, payload = topics[number], payloads[number]
            bare = payload.removesuffix(b"\n").removesuffix(b"\r")
            if self._options.describes or report.code == Code.TOO_LARGE or not bare:
                for _, again in self._accept([topic], [bare], place + number, result):
                    self._reject(again, topic, bare, place + number, result)
            else:
                self._reject(report, topic, bare, place + number, result)

    def _accept(
        self, topics: Sequence[str], payloads: Sequence[bytes], place: int, result: Result
    ) -> list[tuple[int, Report]]:
        """Validate a burst and count accepted requests; returns the others, with their index."""
        reports = self._reports(topics, payloads, place)
        accepted = [*map(_code, reports)].count(Code.OK)
        result.accepted += accepted
        if accepted:
            result.points += sum(map(_points, reports))
        if accepted == len(reports):
            return []
        return [pair for pair in enumerate(reports) if pair[1].code != Code.OK]

    def _reports(
        self, topics: Sequence[str], payloads: Sequence[bytes], place: int
    ) -> list[Report]:
        now_ms = self._options.now_ms
        if not self._options.collects:
            return self._validator.validate(topics, payloads, now_ms=now_ms)
        reports, points = self._validator.collect(
            topics, payloads, now_ms=now_ms, arrived_us=ARRIVAL_BASE + place
        )
        self._keep_points([points])
        return reports

    def _keep_points(self, several: Sequence[Points]) -> None:
        self._accepted += [points for points in several if len(points)]

    def _collected(self) -> pa.Table | None:
        """The accepted points since the last call."""
        if not self._accepted:
            return None
        import pyarrow as pa  # noqa: PLC0415 - not before processes are forked

        several, self._accepted = self._accepted, []
        return pa.table(Points.joined(several))

    def _reject(
        self, report: Report, topic: str, payload: bytes, place: int, result: Result
    ) -> None:
        fault = report.fault
        if fault is None:
            return
        key = report.code, fault.reason
        result.faults[key] = result.faults.get(key, 0) + 1
        if self._options.describes:
            faults = self._all_faults(topic, payload) if self._options.all_faults else {}
            described = _described(report.code, fault, topic, payload, faults)
            result.rejects.append((place, described))

    def _all_faults(self, topic: str, payload: bytes) -> dict[str, object]:
        faults, more = self._validator.all_faults(topic, payload, now_ms=self._options.now_ms)
        return {"faults": [fault_document(one) for one in faults], "more": more}

    @staticmethod
    def _requests(lines: Sequence[bytes]) -> tuple[Sequence[str], Sequence[bytes]]:
        """The topics and the payloads of lines."""
        topics, payloads = [], []
        for line in lines:
            found = _TOPIC.match(line)
            end = found.end() if found else 0
            topics.append(line[:end].rstrip().decode("utf-8", "replace"))
            payloads.append(line[end:])
        return topics, payloads


def _counted(blocks: Iterable[bytes], result: Result) -> Iterator[bytes]:
    for block in blocks:
        result.size += len(block)
        yield block


def _described(
    code: int, fault: Fault, topic: str, payload: bytes, faults: dict[str, object]
) -> bytes:
    """A rejected request as a JSON object without its opening brace."""
    found = {"topic": topic[:_SHOWN_TOPIC], "code": code} | fault_document(fault) | faults
    if code != Code.TOO_LARGE:
        found |= payload_member(payload)
    return orjson.dumps(found)[1:]
