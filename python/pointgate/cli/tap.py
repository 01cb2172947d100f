"""`pointgate tap`: a live sample of the requests that a running service answers.

    pointgate tap                                    as lines
    pointgate tap --reason range --device inverter1  only some
    pointgate tap --json --payload --seconds 60      an object on each line, for programs

It reads `GET /tap` at the admin socket. Below `--rate` it shows every request that matches, above
it a sample; how many are not shown stands between them, and on stderr at the end.

Exit status 0 after `--seconds` or `--requests`, 74 if the service does not answer or ends, 75 if as
many taps are attached as there may be.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn
from urllib.parse import urlencode

import orjson
import typer

from pointgate.cli.live_figures import fetch
from pointgate.cli.options import (
    ConfigOption,
    SocketOption,
    exit_with_problems,
    settings_or_exit,
)
from pointgate.cli.quarantine_filter import CodeOption, ProductOption, ReasonOption, check_fault
from pointgate.cli.service_client import AdminSocket, UnreachableError, unreachable
from pointgate.diagnostics import did_you_mean, numbered
from pointgate.errors import Problem
from pointgate.service.offenders import cut
from pointgate.service.taps import DEFAULT_RATE, MOST_RATE
from pointgate.terminal import Status, console, printable, say

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse

_OK: Final = 200
_TOO_MANY: Final = 503
_NOT_FOUND: Final = 404
_ANSWER_BYTES: Final = 4096
_MOST_SECONDS: Final = 31_536_000.0


@dataclass(slots=True)
class _Summary:
    """What was shown, and what the service has counted, which is up to a second old."""

    shown: int = 0
    dropped: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, document: Mapping[str, Any]) -> None:
        """Count a request that was shown."""
        self.shown += 1
        self.dropped += document["dropped"]

    def __str__(self) -> str:
        answered = self.counts.get("answered", 0)
        dropped = max(self.dropped, self.counts.get("dropped", 0))
        unexamined = self.counts.get("unexamined", 0)
        text = f"{numbered(self.shown, 'request')} shown, {dropped:,} more match"
        text += f", {unexamined:,} not looked at" if unexamined else ""
        return text if self.shown else f"{text}; {answered:,} were answered"


def tap(
    config: ConfigOption = Path("pointgate.toml"),
    *,
    socket_path: SocketOption = None,
    product: ProductOption = None,
    code: CodeOption = None,
    reason: ReasonOption = None,
    device: Annotated[
        str | None, typer.Option(metavar="KEY", help="Only with this device in the payload.")
    ] = None,
    identifier: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only with a fault at this identifier.")
    ] = None,
    rate: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=MOST_RATE, help="Most requests a second, on average."),
    ] = DEFAULT_RATE,
    requests: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="End after so many requests.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(metavar="N", min=0.1, max=_MOST_SECONDS, help="End after so many seconds."),
    ] = None,
    payload: Annotated[bool, typer.Option("--payload", help="Print whole payloads.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object on each line.")
    ] = False,
) -> NoReturn:
    """Show a live sample of the requests that a running service answers."""
    check_fault(reason=reason, code=code)
    given = {"product": product, "code": code, "reason": reason, "device": device}
    given |= {"identifier": identifier, "payload": 1 if payload else None}
    query = {name: value for name, value in given.items() if value is not None} | {"rate": rate}
    service = AdminSocket(socket_path or _path_of_settings(config))
    summary = _Summary()
    write = _JsonWriter() if as_json else _TextWriter()
    try:
        for one in _requests(service, query, seconds, summary):
            write(one)
            summary.add(one)
            if summary.shown == requests:
                break
    except UnreachableError as error:
        say(str(error))
        sys.exit(Status.OUTPUT)
    except SystemExit:  # by a signal
        _say_summary(summary, service, product)
        raise
    _say_summary(summary, service, product)
    sys.exit(Status.DONE)


def _say_summary(summary: _Summary, service: AdminSocket, product: str | None) -> None:
    """Say what was shown; if nothing was, perhaps because the product is misspelt."""
    text = str(summary)
    if product is not None and not summary.shown:
        known = _products(service)
        if known and product not in known:
            hint = did_you_mean(product, known)
            text += f"; the catalog has no product {printable(product)}{hint}"
    say(text)


def _products(service: AdminSocket) -> set[str]:
    """The products in the catalog of a service; empty if it does not answer, or counts not all."""
    try:
        values = fetch(service).values
    except UnreachableError:
        return set()
    products = {dict(key)["product"] for key in values["requests_total"]} - {"unknown", "other"}
    return products if len(products) >= sum(values["catalog_products_in_mode"].values()) else set()


def _path_of_settings(config: Path) -> Path:
    path = settings_or_exit(config, instead="or name the service with --socket").admin_socket
    if path is None:
        reason = "expected true, got false: the service has no admin socket"
        exit_with_problems([Problem("", "admin.enabled", reason)])
    return path


def _requests(
    service: AdminSocket, query: Mapping[str, object], seconds: float | None, summary: _Summary
) -> Iterator[dict[str, Any]]:
    """The requests that the service shows, without end or for some seconds."""
    end = None if seconds is None else time.monotonic() + seconds
    connection = service.connection()
    is_attached = False
    try:
        connection.request("GET", f"/tap?{urlencode(query)}")
        opened: socket.socket = connection.sock
        response = connection.getresponse()
        if response.status != _OK:
            _refused(service, response)
        is_attached = True
        if sys.stderr.isatty():  # else nobody waits and wonders
            say("attached: waiting for requests that match")
        while end is None or time.monotonic() < end:
            opened.settimeout(None if end is None else max(end - time.monotonic(), 0.001))
            document = _document(service, response.readline())
            if "counts" in document:
                summary.counts = document["counts"]
            else:
                yield document
    except (OSError, HTTPException) as error:
        is_over = isinstance(error, TimeoutError) and is_attached and end is not None
        if not is_over:
            raise unreachable(service, error) from error
    finally:
        connection.close()


def _document(service: AdminSocket, line: bytes) -> dict[str, Any]:
    """The object on a line of the stream."""
    if not line.endswith(b"\n"):
        raise UnreachableError(f"{service}: the service has ended the connection")
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise UnreachableError(f"{service} answers, but not with requests: is it the service?")
    return found


def _refused(service: AdminSocket, response: HTTPResponse) -> NoReturn:
    """The service has answered, but not with a stream."""
    reason = response.read(_ANSWER_BYTES).decode("utf-8", "replace").strip()
    if response.status == _TOO_MANY:
        say(f"{service}: {reason}")
        sys.exit(Status.TEMPORARY)
    raise UnreachableError(f"{service} answers with status {response.status}: {reason}")


class _JsonWriter:
    """Writes a request as it came."""

    def __call__(self, document: dict[str, Any]) -> None:
        typer.echo(orjson.dumps(document))


class _TextWriter:
    """Writes a request as text: on a terminal its lines fit, except those of a payload."""

    def __init__(self) -> None:
        stdout = console()
        self._width = stdout.width if stdout.is_terminal else sys.maxsize

    def __call__(self, document: dict[str, Any]) -> None:
        for line in request_lines(document, self._width):
            typer.echo(line)


def request_lines(document: Mapping[str, Any], width: int) -> list[str]:
    """A request as lines of text.

    Args:
        document: The request, as the service sends it.
        width: The longest line; longer ones are cut, except the payload.
    """
    parts = document["topic"].removeprefix("/").split("/")
    name = parts[1] if document["code"] and len(parts) > 1 else document["topic"]
    head = f"{document['received'][11:23]}  {name}  {document['code']}"
    reason = document["reason"]
    lines = [f"({document['dropped']:,} more not shown)"] if document["dropped"] else []
    if reason is None:
        points = numbered(document["points"], "point")
        lines.append(f"{head}  {points}  {document.get('excerpt', '')}".rstrip())
    else:
        device = "" if document["deviceKey"] is None else f"  device {document['deviceKey']}"
        # What comes before is the text of the code.
        sentence = document["message"].partition(": ")[2] or document["message"]
        code, answered = document["code"], document["answered"]
        marked = "" if answered == code else f" (answered {answered})"
        lines += [f"{head} {reason}{marked}{device}", f"  {sentence}"]
    lines = [cut(printable(line), width) for line in lines]
    if "payload" in document:
        lines.append(f"  {printable(document['payload'])}")
    elif "payloadBase64" in document:
        lines.append(f"  base64: {document['payloadBase64']}")
    elif "excerpt" not in document:
        lines.append(f"  payload of {document['size']:,} bytes: too large to be shown")
    return lines
