"""`pointgate top`: what a running service does now, by product, code and reason.

It reads the pages of the service, as Prometheus does: at the admin socket if it is there, else at
the metrics port. On a terminal the view is renewed until Ctrl-C, and cut to it; in a pipe there is
one snapshot of `--interval` seconds, whole and wrapped, with `--json` the same as an object.

Exit status 0, or 74 if no service answers.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn
from urllib.parse import urlsplit

import typer
from rich.live import Live
from rich.text import Text

from pointgate.cli.live_figures import Scrape, fetch, figures
from pointgate.cli.options import ConfigOption, SocketOption, settings_or_exit
from pointgate.cli.service_client import Address, AdminSocket, Endpoint, UnreachableError
from pointgate.service.offenders import SHOWN, cut, offenders_text
from pointgate.terminal import Status, console, print_json, printable, say

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH: Final = 80
_NAME_CELLS: Final = 32
_PRODUCTS: Final = 12
_PRODUCT_CELLS: Final = 24
_OFFENDERS: Final = 3
_HTTP_PORT: Final = 80


def top(
    config: ConfigOption = Path("pointgate.toml"),
    *,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The metrics port, instead of the admin socket."),
    ] = None,
    socket_path: SocketOption = None,
    interval: Annotated[
        float, typer.Option(metavar="N", min=1.0, max=3600.0, help="Seconds between two views.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one snapshot as JSON.")] = False,
) -> NoReturn:
    """Show what a running service does now, by product, code and reason."""
    if url is not None and socket_path is not None:
        raise typer.BadParameter("expected --url or --socket, got both")
    if url is not None:
        endpoints: list[Endpoint] = [_address(url)]
    else:
        endpoints = [AdminSocket(socket_path)] if socket_path else _of_settings(config)
    try:
        address, before = _first(endpoints)
        stdout = console()
        if stdout.is_terminal and not as_json:
            _live(stdout, address, before, interval)
        time.sleep(interval)
        document = figures(before, fetch(address))
    except UnreachableError as error:
        say(str(error))
        sys.exit(Status.OUTPUT)
    if as_json:
        print_json(document)
    else:
        typer.echo("\n".join(view(document, str(address))))
    sys.exit(Status.DONE)


def _address(url: str) -> Address:
    parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if parts.scheme != "http" or not host or parts.path not in {"", "/"}:
        raise typer.BadParameter(f"--url: expected http://host:port, got {printable(url)}")
    return Address(host, _HTTP_PORT if port is None else port)


def _of_settings(config: Path) -> list[Endpoint]:
    """The admin socket, if it is there, then the metrics port."""
    settings = settings_or_exit(config, instead="or name the service with --url or --socket")
    admin, listen = settings.admin_socket, settings.metrics
    found: list[Endpoint] = [AdminSocket(admin)] if admin and os.path.lexists(admin) else []
    if listen.port:
        # A service that listens on all addresses is reached on the loopback.
        everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound
        found.append(Address(everywhere.get(listen.host, listen.host), listen.port))
    if not found:
        raise typer.BadParameter("metrics.listen has port 0: name the service with --url")
    return found


def _first(endpoints: list[Endpoint]) -> tuple[Endpoint, Scrape]:
    """The first endpoint that answers.

    Raises:
        UnreachableError: None does; it is that of the last one.
    """
    for endpoint in endpoints[:-1]:
        try:
            return endpoint, fetch(endpoint)
        except UnreachableError:
            continue
    return endpoints[-1], fetch(endpoints[-1])


def _live(stdout: Console, address: Endpoint, before: Scrape, interval: float) -> NoReturn:
    """Renew the view until interrupted."""
    waiting = f"{address}: the first figures come in {interval:g} s"
    with Live(Text(waiting), console=stdout, auto_refresh=False, screen=True) as live:
        live.refresh()
        while True:
            time.sleep(interval)
            try:
                after = fetch(address)
                document = figures(before, after)
                before = after
                name = str(address)
                name = name if len(name) <= _NAME_CELLS else f"…{name[1 - _NAME_CELLS :]}"
                lines = view(document, name, width=min(stdout.width, _WIDTH))
            except UnreachableError as error:
                lines = [printable(str(error)), "retrying; Ctrl-C ends this"]
            shown = "\n".join(lines[: max(stdout.height - 1, 1)])
            live.update(Text(shown, no_wrap=True, overflow="ellipsis"), refresh=True)


def view(document: dict[str, Any], name: str, *, width: int | None = None) -> list[str]:
    """The figures as lines of text.

    Args:
        document: The figures.
        name: What the service is called.
        width: The longest line: longer ones are truncated, and long lists end after the first ones.
            None for all there is, in lines that are wrapped.
    """
    whole = width is None
    state = "ready" if document["ready"] else "NOT READY"
    status = [printable(line) for line in document["status"].splitlines() if line != "ready"]
    rates = f"{document['requests']:,.1f} requests/s   {document['points']:,.1f} points/s"
    times = (
        f"{what} {_quantiles(document[f'{what}_seconds'])}" for what in ("reply", "judge", "commit")
    )
    lines = [
        f"{name}  {state}",
        *status,
        f"{rates}   {_size(document['bytes'])}/s   {document['in_flight']:,} in flight",
        "   ".join(times),
    ]
    spool = f"{_size(document['spool_bytes'])} of {_size(document['spool_max_bytes'])}"
    lines += [f"spool {spool}"] if document["spool_max_bytes"] else []
    for one in document["sinks"]:
        lag = f"lag {one['lag_seconds']:,.1f} s, {one['lag_points']:,} points"
        lines.append(f"sink {printable(one['sink'])}: {one['points']:,.1f} points/s   {lag}")
    lines += ["", *_product_lines(document["products"], whole=whole)]
    lines += ["", *_code_lines(document, whole=whole)]
    if document["offenders"]["faults"]:
        shown = SHOWN if whole else _OFFENDERS
        offenders = offenders_text(document["offenders"], shown=shown, width=width)
        lines += ["", *offenders.splitlines()]
    if width is None:
        return [part for line in lines for part in _wrapped(line)]
    return [cut(line, width) for line in lines]


def _wrapped(line: str) -> list[str]:
    """A line in parts that are not longer than `_WIDTH`, unless a word is."""
    if len(line) <= _WIDTH:
        return [line]
    return textwrap.wrap(
        line, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _quantiles(quantiles: dict[str, float | None]) -> str:
    """Upper bounds in milliseconds."""
    texts = [
        "-" if value is None else f"{value * 1000:,.4g}"
        for value in (quantiles["p50"], quantiles["p99"])
    ]
    return f"p50 {texts[0]} p99 {texts[1]} ms"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - of one unit in the next
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def _product_lines(products: list[dict[str, Any]], *, whole: bool) -> list[str]:
    row = f"{{:{_PRODUCT_CELLS}}} {{:>10}} {{:>10}} {{:>9}}  {{}}"
    lines = [row.format("product", "requests/s", "points/s", "rejected", "reasons")]
    shown = products if whole else products[:_PRODUCTS]
    for one in shown:
        share = f"{one['rejected'] / one['requests']:.1%}" if one["requests"] else "-"
        reasons = ", ".join(f"{reason} {rate:,.1f}/s" for reason, rate in one["reasons"].items())
        if one["mode"] != "enforce":
            passed = f"{one['shadowed'] / one['requests']:.1%}" if one["requests"] else "-"
            reasons = f"{one['mode']}: {passed} shadowed{', ' if reasons else ''}{reasons}"
        name = one["product"] if whole else cut(one["product"], _PRODUCT_CELLS)
        if len(name) > _PRODUCT_CELLS:  # a line of its own, so that the columns stay
            lines.append(name)
            name = ""
        rates = f"{one['requests']:,.1f}", f"{one['points']:,.1f}"
        lines.append(row.format(name, *rates, share, reasons).rstrip())
    if len(products) > len(shown):
        lines.append(f"and {len(products) - len(shown)} more")
    return lines if products else ["no product has had a request"]


def _code_lines(document: dict[str, Any], *, whole: bool) -> list[str]:
    """Rates by code and by reason; the whole view has their totals, too."""
    lines = []
    for kind in ("code", "reason"):
        found = document[f"{kind}s"]
        if kind == "reason":
            found = sorted(found, key=lambda one: -one["rate"])
        rates = "  ".join(f"{one[kind]}: {one['rate']:,.1f}" for one in found)
        totals = "  ".join(f"{one[kind]}: {one['total']:,}" for one in found)
        lines += [f"{f'requests/s by {kind}':22} {rates}"] if found else []
        lines += [f"{f'requests by {kind}':22} {totals}"] if found and whole else []
    return lines
