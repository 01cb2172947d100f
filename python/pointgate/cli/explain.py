"""`pointgate explain`: judge one payload and show why.

The verdict is the service's own: the same call, the same catalog, the same reply. Around it stands
what a person needs to mend the payload: the line with a caret under the offending byte, the JSON
pointer, what was expected and what came.

Exit status 0 when the payload is accepted, 1 when it is not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import orjson
import typer
from rich.console import Console
from rich.text import Text

from pointgate import Validator
from pointgate.catalog import Catalog
from pointgate.cli.excerpt import Excerpt, excerpt
from pointgate.cli.talk import (
    Status,
    printable,
    refuse_configuration,
    say,
    settings_or_exit,
)
from pointgate.config import Settings
from pointgate.document import did_you_mean, os_reason
from pointgate.errors import CatalogError

if TYPE_CHECKING:
    from pointgate import Fault, Report

_ACCEPTED = 200
_GUTTER_CELLS = 12
"""What stands left of the payload's line: its number and a bar, with room to spare."""


def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The payload; - for stdin.")],
    *,
    product: Annotated[
        str | None, typer.Option(metavar="PK", help="The product key it was posted to.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="The whole topic, instead of --product.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="The configuration; default pointgate.toml."
        ),
    ] = None,
    catalog: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A catalog, instead of the configuration's."),
    ] = None,
    now_ms: Annotated[
        int | None,
        typer.Option(metavar="N", help="The time of arrival, UTC milliseconds; default now."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> NoReturn:
    """Judge one payload and show why."""
    if (product is None) == (topic is None):
        raise typer.BadParameter("expected either --product or --topic")
    topic = topic if topic is not None else f"sys/{product}/integration/measurepoint/post"
    settings = Settings() if catalog and not config else settings_or_exit(config or _DEFAULT)
    loaded = _catalog_or_exit(catalog or settings.catalog.path)
    payload = _read(file)
    validator = Validator(
        loaded,
        payload_bytes=settings.limits.payload_bytes,
        reply_detail=settings.reply.detail,
    )
    try:
        (report,) = validator.validate([topic], [payload], now_ms=now_ms)
    except (OverflowError, ValueError) as error:
        raise typer.BadParameter(f"--now-ms: {error}") from error
    if as_json:
        typer.echo(_json(report, payload, topic))
    else:
        _print(report, payload, topic)
    if product is not None and product not in loaded.products:
        near = did_you_mean(product, loaded.products)
        say(f"note: the catalog has no product {product}{near}")
    sys.exit(Status.DONE if report.code == _ACCEPTED else Status.FINDINGS)


_DEFAULT = Path("pointgate.toml")


def _catalog_or_exit(path: Path) -> Catalog:
    try:
        return Catalog.load(path)
    except CatalogError as error:
        refuse_configuration(error.problems)


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {os_reason(error)}") from error


def _print(report: Report, payload: bytes, topic: str) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    fault = report.fault
    if fault is None:
        points = f"{report.points:,} point{'' if report.points == 1 else 's'}"
        console.print(Text.assemble(("accepted", "bold green"), f": {report.code}, {points}"))
    else:
        code = f"{report.code} " if report.code else ""
        console.print(
            Text.assemble(("rejected", "bold red"), f": {code}{printable(fault.message)}")
        )
        found = _excerpt(fault, payload, console.width - _GUTTER_CELLS)
        if found is not None:
            _print_excerpt(console, found, fault)
        console.print()
        for name, value in _details(fault).items():
            console.print(Text.assemble((f"  {name:<14}", "bold"), printable(value)))
    console.print()
    if report.reply is None:
        console.print("no reply is sent")
        return
    console.print(Text.assemble((f"reply to {printable(topic)}_reply", "bold")))
    console.print(f"  {printable(_text(report.reply))}")


def _print_excerpt(console: Console, found: Excerpt, fault: Fault) -> None:
    number = str(found.line)
    gutter = " " * len(number)
    place = f"line {found.line}, column {found.column} (byte {fault.offset})"
    console.print(Text.assemble((f"{gutter}--> ", "blue"), place))
    console.print(Text.assemble((f"{gutter} |", "blue")))
    console.print(Text.assemble((f"{number} | ", "blue"), found.text))
    expected = f" expected {fault.expected}" if fault.expected else ""
    got = f", got {fault.got}" if fault.expected and fault.got else ""
    caret = f"{' ' * found.caret}^{printable(expected + got)}"
    console.print(Text.assemble((f"{gutter} | ", "blue"), (caret, "bold red")))


def _excerpt(fault: Fault, payload: bytes, width: int) -> Excerpt | None:
    """The faulty line; None where the fault is not in the payload's text."""
    if not payload.strip() or fault.reason in {"too_large", "empty", "bad_topic"}:
        return None
    return excerpt(payload, fault.offset, width=max(width, 20))


def _details(fault: Fault) -> dict[str, str]:
    details = {
        "pointer": fault.pointer,
        "device key": fault.device_key,
        "identifier": fault.identifier,
        "reason": fault.reason,
        "expected": fault.expected,
        "got": fault.got,
        "did you mean": fault.did_you_mean,
    }
    return {name: value for name, value in details.items() if value is not None}


def _json(report: Report, payload: bytes, topic: str) -> bytes:
    """The verdict for programs; members of `fault` are named as in the reply (contract 2.5)."""
    document: dict[str, object] = {
        "code": report.code,
        "points": report.points,
        "topic": topic,
        "reply": None if report.reply is None else _text(report.reply),
        "fault": None,
    }
    fault = report.fault
    if fault is not None:
        found = _excerpt(fault, payload, 80)
        document["fault"] = {
            "index": fault.index,
            "deviceKey": fault.device_key,
            "identifier": fault.identifier,
            "pointer": fault.pointer,
            "reason": fault.reason,
            "expected": fault.expected,
            "got": fault.got,
            "didYouMean": fault.did_you_mean,
            "message": fault.message,
            "offset": fault.offset,
            "line": found.line if found else None,
            "column": found.column if found else None,
        }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
