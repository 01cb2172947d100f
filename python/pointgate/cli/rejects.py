"""`pointgate rejects`: lists the rejected requests in the quarantine, with the reason.

Requests are listed in the order of arrival, one on each line; with `--json` as JSON objects, whose
members are named as those of `validate --rejects`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import orjson
import typer

from pointgate.cli.options import ConfigOption, settings_or_exit
from pointgate.cli.quarantine_filter import (
    CodeOption,
    DeviceOption,
    LimitOption,
    ProductOption,
    ReasonOption,
    SinceOption,
    quarantine_or_exit,
    selection,
    utc_text,
)
from pointgate.fault_document import fault_document, payload_member
from pointgate.terminal import Status, printable

if TYPE_CHECKING:
    from pointgate.quarantine.database import Rejected


def rejects(
    config: ConfigOption = Path("pointgate.toml"),
    *,
    product: ProductOption = None,
    device: DeviceOption = None,
    reason: ReasonOption = None,
    code: CodeOption = None,
    since: SinceOption = None,
    limit: LimitOption = None,
    payload: Annotated[bool, typer.Option("--payload", help="Print the payloads, too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object on each line.")
    ] = False,
) -> NoReturn:
    """List the rejected requests in the quarantine."""
    wanted = selection(
        product=product, device=device, reason=reason, code=code, since=since, limit=limit
    )
    with quarantine_or_exit(settings_or_exit(config)) as quarantine:
        for number in quarantine.numbers(wanted) if quarantine else ():
            request = quarantine.get(number, payload=payload) if quarantine else None
            if request is None:  # deleted since the list was read
                continue
            if as_json:
                typer.echo(orjson.dumps(_document(request, payload=payload)))
            else:
                _print(request)
    sys.exit(Status.DONE)


def _print(request: Rejected) -> None:
    typer.echo(
        f"{request.number}  {utc_text(request.received_us)}  {request.product}  "
        f"{request.code} {request.reason}  {printable(request.message)}"
    )
    if request.payload is not None:
        typer.echo(f"  {printable(request.payload.decode('utf-8', 'backslashreplace'))}")


def _document(request: Rejected, *, payload: bool) -> dict[str, object]:
    document: dict[str, object] = {
        "number": request.number,
        "received": utc_text(request.received_us),
        "topic": request.topic,
        "code": request.code,
    } | fault_document(request.fault)
    if payload and request.payload is not None:
        document |= payload_member(request.payload)
    return document
