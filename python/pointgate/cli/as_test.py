"""`--as-test`: a request as a line of the catalog tests (contract 12), with its verdict.

The line passes with the catalog that it was made with: it is judged as a test is, with the default
limits and at a time that it names where the verdict depends on one.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from pointgate import _core
from pointgate.catalog_tests import INSTANTS, product_in, read_line
from pointgate.terminal import Status
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from pointgate import Catalog, Report

AsTestOption = Annotated[
    bool, typer.Option("--as-test", help="Print a line for the catalog's tests instead.")
]

NOT_READ: Final = {"bad_topic", "too_large", "empty", "syntax"}
"""Reasons of payloads that are not read as JSON to their end."""


def print_test(catalog: Catalog, topic: str, payload: bytes, now_ms: int) -> NoReturn:
    """Print the line of a request, and exit.

    Args:
        catalog: Whose verdict is expected.
        topic: The topic of the request.
        payload: Its payload.
        now_ms: When it arrives, UTC milliseconds.
    """
    if now_ms not in INSTANTS:
        raise typer.BadParameter(f"--now-ms: expected 0 to {INSTANTS[-1]}, got {now_ms}")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise typer.BadParameter("--as-test: expected a payload in UTF-8") from None
    (report,) = _core.Validator(catalog).validate([topic], [payload], now_ms=now_ms)
    product = product_in(topic)
    is_known = topic == request_topic(product) and product in catalog.products
    # A test names no product that the catalog lacks.
    target = {"product": product} if is_known else {"topic": topic}
    expected: dict[str, object] = target | _verdict(report)
    settings = catalog.contents.settings.get(product)
    if settings is not None and settings.time.is_moving:
        expected["now"] = now_ms
    is_read = report.fault is None or report.fault.reason not in NOT_READ
    head = json.dumps(expected, separators=(",", ":"), ensure_ascii=False)
    typer.echo(f'{head[:-1]},"payload":{_value(text, is_read=is_read)}}}')
    sys.exit(Status.DONE)


def _verdict(report: Report) -> dict[str, object]:
    if report.fault is None:
        return {"code": report.code, "points": report.points}
    verdict: dict[str, object] = {"code": report.code, "reason": report.fault.reason}
    if report.fault.pointer is not None:
        verdict["pointer"] = report.fault.pointer
    return verdict


def _value(text: str, *, is_read: bool) -> str:
    """The payload as JSON itself if a test reads it back as it is, else as a string."""
    # Line breaks are white space between tokens; within them they are no JSON.
    plain = text.strip(" \t\r\n").replace("\r", " ").replace("\n", " ")
    if is_read:
        try:
            members, payload = read_line(f'{{"payload":{plain}}}')
        except ValueError:
            return json.dumps(text)
        if not members and payload == plain.encode():
            return plain
    return json.dumps(text)
