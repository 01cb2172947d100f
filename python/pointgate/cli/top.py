"""`pointgate top`: what a running service does now, by product, code and reason.

It reads the monitoring page of the service, as Prometheus does. On a terminal the view is renewed
until Ctrl-C; in a pipe, and with `--json`, there is one snapshot of `--interval` seconds.

Exit status 0, or 74 if no service answers.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn
from urllib.parse import urlsplit

import typer
from rich.live import Live
from rich.text import Text

from pointgate.cli.live_figures import Address, Scrape, UnreachableError, fetch, figures
from pointgate.cli.options import ConfigOption, settings_or_exit
from pointgate.service.offenders import cut, offenders_text
from pointgate.terminal import Status, console, print_json, printable, say

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH: Final = 80
_PRODUCTS: Final = 12
_PRODUCT_CELLS: Final = 24
_OFFENDERS: Final = 3
_HTTP_PORT: Final = 80


def top(
    config: ConfigOption = Path("pointgate.toml"),
    *,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The service; default: metrics.listen of the settings."),
    ] = None,
    interval: Annotated[
        float, typer.Option(metavar="N", min=1.0, max=3600.0, help="Seconds between two views.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one snapshot as JSON.")] = False,
) -> NoReturn:
    """Show what a running service does now, by product, code and reason."""
    address = _address(url) if url is not None else _address_of_settings(config)
    try:
        before = fetch(address)
        stdout = console()
        if stdout.is_terminal and not as_json:
            _live(stdout, address, before, interval)
        time.sleep(interval)
        document = figures(before, fetch(address))
    except UnreachableError as error:
        say(f"{error}; is the service running, with this metrics.listen?")
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


def _address_of_settings(config: Path) -> Address:
    listen = settings_or_exit(config).metrics
    if not listen.port:
        raise typer.BadParameter("metrics.listen has port 0: name the service with --url")
    # A service that listens on all addresses is reached on the loopback.
    everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound
    return Address(everywhere.get(listen.host, listen.host), listen.port)


def _live(stdout: Console, address: Address, before: Scrape, interval: float) -> NoReturn:
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
                lines = view(document, str(address), width=min(stdout.width, _WIDTH))
            except UnreachableError as error:
                lines = [printable(str(error)), "retrying; Ctrl-C ends this"]
            shown = "\n".join(lines[: max(stdout.height - 1, 1)])
            live.update(Text(shown, no_wrap=True, overflow="ellipsis"), refresh=True)


def view(document: dict[str, Any], name: str, *, width: int = _WIDTH) -> list[str]:
    """The figures as lines of text.

    Args:
        document: The figures.
        name: What the service is called.
        width: The longest line; longer ones are truncated.
    """
    state = "ready" if document["ready"] else "NOT READY"
    status = f": {printable(document['status'])}" if document["status"] not in {"", "ready"} else ""
    rates = f"{document['requests']:,.1f} requests/s   {document['points']:,.1f} points/s"
    times = (
        f"{what} {_quantiles(document[f'{what}_seconds'])}" for what in ("reply", "judge", "commit")
    )
    lines = [
        f"{name}  {state}{status}",
        f"{rates}   {_size(document['bytes'])}/s   {document['in_flight']:,} in flight",
        "   ".join(times),
    ]
    spool = f"{_size(document['spool_bytes'])} of {_size(document['spool_max_bytes'])}"
    lines += [f"spool {spool}"] if document["spool_max_bytes"] else []
    for one in document["sinks"]:
        lag = f"lag {one['lag_seconds']:,.1f} s, {one['lag_points']:,} points"
        lines.append(f"sink {printable(one['sink'])}: {one['points']:,.1f} points/s   {lag}")
    lines += ["", *_product_lines(document["products"]), "", *_code_lines(document)]
    if document["offenders"]["faults"]:
        lines += ["", *offenders_text(document["offenders"], shown=_OFFENDERS).splitlines()]
    return [cut(line, width) for line in lines]


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


def _product_lines(products: list[dict[str, Any]]) -> list[str]:
    row = f"{{:{_PRODUCT_CELLS}}} {{:>10}} {{:>10}} {{:>9}}  {{}}"
    lines = [row.format("product", "requests/s", "points/s", "rejected", "reasons")]
    for one in products[:_PRODUCTS]:
        share = f"{one['rejected'] / one['requests']:.1%}" if one["requests"] else "-"
        reasons = ", ".join(f"{reason} {rate:,.1f}/s" for reason, rate in one["reasons"].items())
        if one["mode"] != "enforce":
            passed = f"{one['shadowed'] / one['requests']:.1%}" if one["requests"] else "-"
            reasons = f"{one['mode']}: {passed} shadowed{', ' if reasons else ''}{reasons}"
        name = cut(one["product"], _PRODUCT_CELLS)
        rates = f"{one['requests']:,.1f}", f"{one['points']:,.1f}"
        lines.append(row.format(name, *rates, share, reasons).rstrip())
    if len(products) > _PRODUCTS:
        lines.append(f"and {len(products) - _PRODUCTS} more")
    return lines if products else ["no product has had a request"]


def _code_lines(document: dict[str, Any]) -> list[str]:
    codes = [f"{one['code']}: {one['rate']:,.1f}" for one in document["codes"]]
    reasons = sorted(document["reasons"], key=lambda one: -one["rate"])
    shown = [f"{one['reason']}: {one['rate']:,.1f}" for one in reasons]
    lines = [f"requests/s by code     {'  '.join(codes)}"] if codes else []
    return [*lines, f"requests/s by reason   {'  '.join(shown)}"] if shown else lines
