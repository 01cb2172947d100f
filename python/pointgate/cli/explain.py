"""`pointgate explain`: validates one payload and shows why it is accepted or rejected.

The verdict is that of the service: the same call, the same catalog, the same reply. The output also
has the details that help to correct the payload: the line with a caret under the faulty byte, the
JSON pointer, and what was expected and found.

Exit status 0 if the payload is accepted, 1 if it is rejected.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.text import Text

from pointgate import Validator
from pointgate.bulk.streams import MARGIN_BYTES
from pointgate.cli.as_test import NOT_READ, AsTestOption, print_test
from pointgate.cli.fault_view import excerpt_of, print_fault, print_further_faults
from pointgate.cli.member_hints import member_hints
from pointgate.cli.options import (
    CatalogOption,
    ConfigOrDefaultOption,
    catalog_or_exit,
    settings_for_catalog,
)
from pointgate.codes import Code
from pointgate.config import LimitSettings
from pointgate.diagnostics import did_you_mean, numbered, os_reason
from pointgate.fault_document import fault_document
from pointgate.terminal import Status, console, print_json, printable, say, unicode_text
from pointgate.topics import REPLY_SUFFIX, request_topic

if TYPE_CHECKING:
    from pointgate import Fault, Report


def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The payload; - for stdin.")],
    *,
    product: Annotated[
        str | None, typer.Option(metavar="PK", help="The product key it was posted to.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="The whole topic, instead of --product.")
    ] = None,
    config: ConfigOrDefaultOption = None,
    catalog: CatalogOption = None,
    now_ms: Annotated[
        int | None,
        typer.Option(metavar="N", help="The time of arrival, UTC milliseconds; default now."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Show every fault; the first is the verdict.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
    as_test: AsTestOption = False,
) -> NoReturn:
    """Validate one payload and show why it is accepted or rejected."""
    if (product is None) == (topic is None):
        raise typer.BadParameter("expected either --product or --topic")
    if topic is None:
        topic = request_topic(product or "")
    topic = unicode_text(topic)
    settings = settings_for_catalog(config, catalog)
    loaded = catalog_or_exit(catalog or settings.catalog.path)
    limits = LimitSettings() if as_test else settings.limits  # tests have the default ones
    payload = _read(file, limits.payload_bytes + MARGIN_BYTES)
    if as_test:
        arrived_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        print_test(loaded, topic, payload, arrived_ms)
    validator = Validator(
        loaded,
        payload_bytes=settings.limits.payload_bytes,
        reply_detail=settings.reply.detail,
    )
    try:
        (report,) = validator.validate([topic], [payload], now_ms=now_ms)
    except (OverflowError, ValueError) as error:
        raise typer.BadParameter(f"--now-ms: {error}") from error
    faults = validator.all_faults(topic, payload, now_ms=now_ms) if every else None
    _show(report, payload, topic, faults, as_json=as_json)
    _note(report, payload)
    if product is not None and product not in loaded.products:
        near = did_you_mean(product, loaded.products)
        say(f"note: the catalog has no product {product}{near}")
    sys.exit(Status.DONE if report.code == Code.OK else Status.FINDINGS)


def _show(
    report: Report,
    payload: bytes,
    topic: str,
    faults: tuple[list[Fault], bool] | None,
    *,
    as_json: bool,
) -> None:
    """Print the verdict, and all faults and whether there are more, if they are wanted."""
    if not as_json:
        _print(report, payload, topic)
        if faults is not None:
            print_further_faults(console(), faults[0][1:], payload, more=faults[1])
        return
    document = _document(report, payload, topic)
    if faults is not None:
        document |= {"faults": [_fault(one, payload) for one in faults[0]], "more": faults[1]}
    print_json(document)


def _note(report: Report, payload: bytes) -> None:
    """Note what is accepted and probably not intended."""
    if report.early_times:
        say(f"note: times before 1971: {report.early_times:,}; seconds instead of milliseconds?")
    if report.null_points:
        say(f"note: points without a value, ignored: {report.null_points:,}")
    if report.fault is None or report.fault.reason not in NOT_READ:
        for line in member_hints(payload):
            say(f"note: {line}")


def _read(file: str, limit: int) -> bytes:
    """The payload, up to a limit."""
    if file == "-" and sys.stdin is None:
        raise typer.BadParameter("-: stdin is closed")
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as stream:
            payload = stream.read(limit)
    except OSError as error:
        raise typer.BadParameter(f"{printable(file)}: {os_reason(error)}") from error
    if len(payload) == limit:  # reading one byte more would block on a terminal
        say(f"note: only the first {limit} bytes were read")
    return payload


def _print(report: Report, payload: bytes, topic: str) -> None:
    stdout = console()
    fault = report.fault
    if fault is None:
        points = numbered(report.points, "point")
        stdout.print(Text.assemble(("accepted", "bold green"), f": {report.code}, {points}"))
    else:
        code = f"{report.code} " if report.code else ""
        stdout.print(Text.assemble(("rejected", "bold red"), f": {code}{printable(fault.message)}"))
        print_fault(stdout, fault, payload)
    stdout.print()
    if report.reply is None:
        stdout.print("no reply is sent")
        return
    stdout.print(Text.assemble((f"reply to {printable(topic)}{REPLY_SUFFIX}", "bold")))
    stdout.print(f"  {printable(_text(report.reply))}")


def _document(report: Report, payload: bytes, topic: str) -> dict[str, object]:
    """The verdict as JSON; members of `fault` are named as in the reply (contract 2.5)."""
    document: dict[str, object] = {
        "code": report.code,
        "points": report.points,
        "topic": topic,
        "reply": None if report.reply is None else _text(report.reply),
        "fault": None,
    }
    if report.fault is not None:
        document["fault"] = _fault(report.fault, payload)
    return document


def _fault(fault: Fault, payload: bytes) -> dict[str, object]:
    found = excerpt_of(fault, payload, 80)
    return fault_document(fault) | {
        "line": found.line if found else None,
        "column": found.column if found else None,
    }


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
