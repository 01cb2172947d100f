"""Catalog tests: requests and the verdicts that they must get (contract 12).

    catalog/tests/KEY.jsonl    {"payload": …, "code": 1204, "reason": "range", "pointer": "/…"}

A line is read as JSON twice: by its members, and for `payload` by the text of the member, so that
repeated names and the spelling of numbers reach the judge as they stand.

Invariants: number, size and time are bounded; a verdict depends on the line and the catalog alone,
never on the clock, so a catalog that passes does not fail later; a message names file and line.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

from pydantic import AfterValidator, Field

from pointgate import _core
from pointgate.catalog_settings import INSTANT_WORDS, LATEST_INSTANT, Instant
from pointgate.codes import Code
from pointgate.diagnostics import did_you_mean, shown
from pointgate.errors import Problem
from pointgate.toml.document import Document, check, read_file
from pointgate.topics import product_key, request_topic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

FOLDER: Final = "tests"

INSTANTS: Final = range(LATEST_INSTANT + 1)
"""The milliseconds that `now` can be."""

_SUFFIX: Final = ".jsonl"
_SIMILAR: Final = {".json", ".ndjson", ".jsonlines"}
_MOST_FILES: Final = 1000
_MOST_LINES: Final = 10_000
_MOST_BYTES: Final = 64 * 1024 * 1024
_MOST_SECONDS: Final = 10.0
_MOST_SHOWN: Final = 20
"""Failures of a file that are named."""

_SPACE: Final = re.compile(r"[ \t\r]*")
_DECODER: Final = json.JSONDecoder()


def _refuse_constant(name: str) -> NoReturn:
    """Python's reader takes NaN and Infinity, which are no JSON."""
    raise ValueError(f"expected a JSON value, got {name}")


_SKIPPER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)
"""For the payload, of which only the text counts: no limit on digits."""


def _code(value: int) -> int:
    if value not in {0, *Code}:
        known = ", ".join(str(code.value) for code in sorted(Code))
        raise ValueError(f"expected a code: 0, {known}, got {value}")
    return value


def _reason(value: str) -> str:
    if value not in _core.reasons:
        near = did_you_mean(value, _core.reasons)
        raise ValueError(f"expected a reason of the contract, got {shown(value)}{near}")
    return value


class _Line(Document):
    """The members of a line besides `payload`."""

    code: Annotated[int, AfterValidator(_code)] = Field(description="a code, a whole number")
    reason: Annotated[str, AfterValidator(_reason)] | None = Field(
        default=None, description="a reason, a string"
    )
    pointer: str | None = Field(default=None, description="a JSON pointer")
    points: int | None = Field(default=None, ge=0, description="a number of points")
    product: Annotated[str, AfterValidator(product_key)] | None = Field(
        default=None, description="a product key"
    )
    topic: str | None = Field(default=None, description="a topic")
    now: Instant | None = Field(default=None, description=INSTANT_WORDS)
    name: str = Field(default="", description="a string")


@dataclass(slots=True)
class _Test:
    """A line that can be run."""

    file: Path
    number: int
    line: _Line
    topic: str
    payload: bytes

    @property
    def place(self) -> str:
        """Where it is, as messages name it."""
        return f"line {self.number}" + (f" ({self.line.name})" if self.line.name else "")


def test_files(folder: Path) -> tuple[list[Path], tuple[Problem, ...]]:
    """The files with tests of a catalog folder.

    Returns:
        The files, in order, the first is their folder itself; and warnings of others that are
        probably meant as tests.
    """
    tests = folder / FOLDER
    try:
        found = sorted(tests.iterdir())
    except OSError:  # there is none, or it is no folder
        found = []
    ignored = (path for path in found if path.suffix in _SIMILAR)
    warnings = (Problem(str(path), "", f"ignored: tests end with {_SUFFIX}") for path in ignored)
    return [tests, *filter(_is_test_file, found)], tuple(warnings)


def _is_test_file(path: Path) -> bool:
    return path.suffix.lower() == _SUFFIX and not path.name.startswith(".")


def run_tests(
    paths: Sequence[Path], catalog: _core.Catalog, moving: Collection[str]
) -> tuple[int, list[Problem]]:
    """Run the tests of a catalog.

    Args:
        paths: Its `test_files`.
        catalog: What they are run against.
        moving: The products whose verdicts depend on the present.

    Returns:
        Number of tests; those that failed, and lines that are none.
    """
    run = _Run(catalog, moving)
    problems = run.run(*paths)
    return run.count, problems


class _Run:
    def __init__(self, catalog: _core.Catalog, moving: Collection[str]) -> None:
        self.count = 0
        self._catalog = catalog
        self._validator = _core.Validator(catalog)
        self._moving = moving
        self._deadline = time.monotonic() + _MOST_SECONDS
        self._bytes = 0

    def run(self, folder: Path, *paths: Path) -> list[Problem]:
        if len(paths) > _MOST_FILES:
            reason = f"expected at most {_MOST_FILES:,} files of tests, got {len(paths):,}"
            return [Problem(str(folder), "", reason)]
        problems: list[Problem] = []
        for path in paths:
            found: list[Problem] = []
            go_on = self._run_file(path, found)
            problems += found[:_MOST_SHOWN]
            if len(found) > _MOST_SHOWN:
                reason = f"and {len(found) - _MOST_SHOWN:,} more tests that fail"
                problems.append(Problem(str(path), "", reason))
            if not go_on:
                break
        return problems

    def _run_file(self, path: Path, problems: list[Problem]) -> bool:
        """Run the tests of a file; false if a bound is reached."""
        data, reason = read_file(path, limit=_MOST_BYTES - self._bytes)
        if reason:
            problems.append(Problem(str(path), "", reason))
            return True
        self._bytes += len(data)
        for number, line in _lines(data):
            self.count += 1
            if self.count > _MOST_LINES:
                reason = f"expected at most {_MOST_LINES:,} tests in all files, got more"
            elif time.monotonic() > self._deadline:
                reason = f"expected tests that take at most {_MOST_SECONDS:g} s, got more"
            if reason:
                problems.insert(0, Problem(str(path), f"line {number}", reason))
                return False
            made = self._test(path, number, line)
            problems += self._judge(made) if isinstance(made, _Test) else made
        return True

    def _test(self, path: Path, number: int, text: bytes) -> _Test | list[Problem]:
        """The test of a line, or its mistakes."""
        place = f"line {number}"
        try:
            members, payload = read_line(text.decode())
        except UnicodeDecodeError:
            return [Problem(str(path), place, "expected UTF-8, got other bytes")]
        except ValueError as error:
            return [Problem(str(path), place, str(error))]
        line = check(_Line, members, file=str(path))
        if not isinstance(line, _Line):
            return [
                Problem(one.file, place, f"{one.location}: {one.reason}".removeprefix(": "))
                for one in line
            ]
        try:
            topic = self._topic(path, line)
            self._check(line, topic)
        except ValueError as error:
            return [Problem(str(path), place, str(error))]
        return _Test(path, number, line, topic, payload)

    def _topic(self, path: Path, line: _Line) -> str:
        if line.topic is not None:
            if line.product is not None:
                raise ValueError("expected either product or topic, got both")
            return line.topic
        product = path.stem if line.product is None else line.product
        if self._catalog.product(product) is not None:
            return request_topic(product)
        if line.product is None:
            raise ValueError(
                "expected product or topic, got neither, and the catalog has no product "
                f"{shown(product)}: was it renamed? This file is named after it"
            )
        near = did_you_mean(product, self._catalog.products)
        raise ValueError(f"product: the catalog has no product {shown(product)}{near}")

    def _check(self, line: _Line, topic: str) -> None:
        """Check what the members of a line have to do with each other."""
        if line.code == Code.OK and (line.reason is not None or line.pointer is not None):
            raise ValueError("expected no reason and no pointer beside code 200")
        if line.code != Code.OK and line.points:
            raise ValueError(f"points: expected none beside code {line.code}, got {line.points}")
        product = product_in(topic)
        if line.now is None and product in self._moving:
            raise ValueError(
                f"now: expected {INSTANT_WORDS}, because {product} has time.max_past or "
                "time.max_future, got nothing"
            )

    def _judge(self, test: _Test) -> list[Problem]:
        """The failure of a test, if it fails."""
        (report,) = self._validator.validate(
            [test.topic], [test.payload], now_ms=test.line.now or 0
        )
        got = _difference(test.line, report)
        if not got:
            return []
        reason = f"test failed: expected {_wanted(test.line)}, got {got}"
        return [Problem(str(test.file), test.place, reason)]


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines with a test, and their numbers."""
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        text = line.strip(b" \t\r")
        if text and not text.startswith(b"#"):
            yield number, text


def product_in(topic: str) -> str:
    """The product that a topic of either form names."""
    return topic.removeprefix("/").removeprefix("sys/").partition("/")[0]


def read_line(text: str) -> tuple[dict[str, Any], bytes]:
    """The members of a line besides `payload`, and the bytes of the payload.

    Raises:
        ValueError: The line is no JSON object; the text says why.
    """
    members: dict[str, Any] = {}
    payload: bytes | None = None
    try:
        for name, start, end in _spans(text):
            if name in members or (name == "payload" and payload is not None):
                raise ValueError(f"expected {shown(name)} once, got it again")
            if name == "payload":
                payload = _payload(text[start:end])
            else:
                members[name] = _DECODER.decode(text[start:end])
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}") from error
    except RecursionError:
        raise ValueError("expected JSON, got arrays or objects nested too deeply") from None
    if payload is None:
        raise ValueError("payload: expected a JSON value, got nothing")
    return members, payload


def _spans(text: str) -> Iterator[tuple[str, int, int]]:
    """The name of each member of an object, and where its value begins and ends."""
    if not text.startswith("{"):
        raise ValueError(f"expected a JSON object, got {shown(text)}")
    at, is_first = 1, True
    while not text.startswith("}", at := _behind_space(text, at)):
        if not is_first:
            at = _behind_space(text, _behind(",", text, at))
        is_first = False
        _behind('"', text, at)
        name, at = _DECODER.raw_decode(text, at)
        start = _behind_space(text, _behind(":", text, _behind_space(text, at)))
        _, at = _SKIPPER.raw_decode(text, start)
        yield name, start, at
    if _behind_space(text, at + 1) != len(text):
        raise ValueError(f"expected one JSON object, got more: {shown(text[at + 1 :])}")


def _behind(character: str, text: str, at: int) -> int:
    if not text.startswith(character, at):
        got = shown(text[at : at + 20]) if at < len(text) else "the end"
        raise ValueError(f"not JSON: expected {character!r} at column {at + 1}, got {got}")
    return at + 1


def _behind_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _payload(token: str) -> bytes:
    """The text of a value; of a string what it holds."""
    text = _DECODER.decode(token) if token.startswith('"') else token
    return str(text).encode("utf-8", "surrogatepass")


def _difference(line: _Line, report: _core.Report) -> str:
    """What a verdict is, if it is not what a line expects; empty if it is."""
    fault = report.fault
    reason, pointer = (fault.reason, fault.pointer) if fault else (None, None)
    is_expected = (
        report.code == line.code
        and line.reason in {None, reason}
        and line.pointer in {None, pointer}
        and line.points in {None, report.points}
    )
    if is_expected:
        return ""
    if fault is None:
        return f"{report.code}, {report.points:,} point{'' if report.points == 1 else 's'}"
    return f"{_described(report.code, reason, pointer)} ({fault.message})"


def _wanted(line: _Line) -> str:
    points = "" if line.points is None else f", {line.points:,} point{'s' * (line.points != 1)}"
    return _described(line.code, line.reason, line.pointer) + points


def _described(code: int, reason: str | None, pointer: str | None) -> str:
    return f"{code}{f' {reason}' if reason else ''}{f' at {pointer}' if pointer else ''}"
