"""`pointgate bench send`: posts requests to a running service, and checks every reply.

Requests are valid for a product of the catalog; a share of them is invalid on purpose. Exit status
0 if each request got the reply that its content demands, 1 if a reply is missing or has another
code, 74 if the broker cannot be used.

The service stores what it accepts: use it with a service of its own, or a product for tests.
"""

from __future__ import annotations

import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, Self

import typer

from pointgate.cli.epilogs import EPILOGS
from pointgate.cli.options import (
    CatalogOption,
    ConfigOrDefaultOption,
    catalog_or_exit,
    exit_with_problems,
    path_option,
    settings_or_exit,
)
from pointgate.config import MqttSettings, Settings
from pointgate.diagnostics import did_you_mean
from pointgate.errors import ConfigError, ConnectionLost
from pointgate.terminal import Status, print_json, printable, say
from pointgate.toml.document import check
from pointgate.topics import request_topic

if TYPE_CHECKING:
    from types import FrameType

    from pointgate.catalog import Catalog
    from pointgate.load.generator import Generator, Plan
    from pointgate.load.outcome import Outcome

_WINDOW: Final = 256
_OPEN_WINDOW: Final = 65_536
"""In an open loop the window only bounds the memory."""

_MOST_CONNECTIONS: Final = 1000
_DEMO_CATALOG: Final = Path(__file__).parent.parent / "demo" / "catalog"

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


class ShapeName(StrEnum):
    """Entries and points of each request."""

    S = "S"
    M = "M"
    L = "L"
    XL = "XL"


UrlOption = Annotated[
    str | None, typer.Option(metavar="URL", help="The broker; default: mqtt.url.")
]
UsernameOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="The user name; default: mqtt.username.")
]
PasswordFileOption = Annotated[
    Path | None,
    path_option(metavar="FILE", help="The password's file; default: mqtt.password_file."),
]
CaFileOption = Annotated[
    Path | None, path_option(metavar="FILE", help="CA certificates; default: mqtt.ca_file.")
]
ProductOption = Annotated[
    str | None, typer.Option(metavar="PK", help="The product; default: the only one.")
]
ShapeOption = Annotated[
    ShapeName,
    typer.Option(help="Entries x points: S 3x3, M 10x20, L 500x20, XL 10,000x20."),
]
QosOption = Annotated[int, typer.Option(min=0, max=1, help="Of requests and replies.")]
RateOption = Annotated[
    float | None,
    typer.Option(metavar="R", min=0.01, max=10_000_000, help="Requests a second (open loop)."),
]
WindowOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=1_000_000, help=f"Most requests without a reply; {_WINDOW}."
    ),
]
ConnectionsOption = Annotated[int, typer.Option(metavar="N", min=1, max=_MOST_CONNECTIONS)]
BadOption = Annotated[
    float, typer.Option(metavar="SHARE", min=0.0, max=1.0, help="Invalid requests: 0.05 is 5 %.")
]
SecondsOption = Annotated[
    float, typer.Option(metavar="N", min=0.01, max=86_400, help="How long it sends.")
]
RequestsOption = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=4_000_000_000, help="Stop after so many.")
]
TimeoutOption = Annotated[
    float,
    typer.Option(metavar="N", min=0.1, max=600, help="Seconds until a reply counts as lost."),
]


@app.callback()
def _bench() -> None:
    """Measure a running service."""


@app.command(epilog=EPILOGS["bench"])
def send(
    *,
    config: ConfigOrDefaultOption = None,
    url: UrlOption = None,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    ca_file: CaFileOption = None,
    catalog: CatalogOption = None,
    product: ProductOption = None,
    shape: ShapeOption = ShapeName.S,
    qos: QosOption = 1,
    rate: RateOption = None,
    window: WindowOption = None,
    connections: ConnectionsOption = 1,
    bad: BadOption = 0.0,
    seconds: SecondsOption = 10.0,
    requests: RequestsOption = None,
    timeout: TimeoutOption = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> NoReturn:
    """Post requests, and check the replies: rate, latency, losses, wrong codes."""
    from pointgate.load.generator import Plan  # noqa: PLC0415 - no other command needs it

    given = {
        "url": url,
        "username": username,
        "password_file": password_file,
        "ca_file": ca_file,
    }
    settings = _settings(config, given)
    folder = catalog or (settings.catalog.path if config or not url else _DEMO_CATALOG)
    loaded = catalog_or_exit(folder)
    plan = Plan(
        product=_product(product, loaded),
        qos=qos,
        connections=connections,
        window=window or (_OPEN_WINDOW if rate else _WINDOW),
        rate=rate,
        bad=bad,
        seconds=seconds,
        requests=requests,
        timeout=timeout,
    )
    outcome, stopped = _run(settings, loaded, plan, shape)
    if as_json:
        print_json(_document(settings, plan, shape, outcome))
    else:
        _print(outcome)
    if outcome.sent and not outcome.answered:
        topic = request_topic(plan.product)
        say(
            f"no reply at all: is the service running, and may this client publish {topic} and "
            f"receive {topic}_reply?"
        )
    if stopped:
        sys.exit(128 + stopped)
    sys.exit(Status.DONE if outcome.is_right else Status.FINDINGS)


def _settings(config: Path | None, given: dict[str, Any]) -> Settings:
    """The settings, with those of the command line in place of the file's."""
    given = {name: value for name, value in given.items() if value is not None}
    if config or "url" not in given:
        settings = settings_or_exit(config or Path("pointgate.toml"))
    else:
        settings = Settings()
    if not given:
        return settings
    kept = settings.mqtt.model_dump(exclude_unset=True) | given
    mqtt = check(MqttSettings, kept, file="command line")
    if not isinstance(mqtt, MqttSettings):
        exit_with_problems(mqtt)
    return settings.model_copy(update={"mqtt": mqtt})


def _product(product: str | None, catalog: Catalog) -> str:
    """The product whose requests are sent."""
    if product is None:
        if len(catalog.products) == 1:
            return next(iter(catalog.products))
        known = ", ".join(sorted(catalog.products)[:10])
        raise typer.BadParameter(f"expected one of {known}", param_hint="--product")
    if product not in catalog.products:
        near = did_you_mean(product, catalog.products)
        raise typer.BadParameter(
            f"the catalog has no product {printable(product)}{near}", param_hint="--product"
        )
    return product


def _run(settings: Settings, catalog: Catalog, plan: Plan, shape: ShapeName) -> tuple[Outcome, int]:
    """Run the plan; returns the outcome, and the signal that ended it early, or 0."""
    from pointgate.load.generator import Generator  # noqa: PLC0415 - no other command needs it
    from pointgate.load.requests import SHAPES, RequestsError, make_requests  # noqa: PLC0415

    try:
        requests = make_requests(
            catalog, plan.product, SHAPES[shape], payload_bytes=settings.limits.payload_bytes
        )
    except RequestsError as error:
        say(str(error))
        sys.exit(Status.USAGE)
    shown = sys.stderr is not None and sys.stderr.isatty()
    generator = Generator(settings.mqtt, plan, requests, show=_show if shown else lambda _: None)
    try:
        with _Interrupts(generator) as interrupts:
            outcome = generator.run()
    except ConfigError as error:
        exit_with_problems(error.problems)
    except ConnectionLost as error:
        say(f"{settings.mqtt.url}: {error}")
        sys.exit(Status.OUTPUT)
    finally:
        if shown:
            _rewrite("")
    return outcome, interrupts.number


class _Interrupts:
    """SIGINT and SIGTERM end the sending; a second one ends the command at once."""

    def __init__(self, generator: Generator) -> None:
        self.number = 0
        self._generator = generator
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self.number:
            os._exit(128 + number)
        self.number, self._generator.stopped = number, True


def _show(outcome: Outcome) -> None:
    wrong = sum(outcome.mismatched.values())
    _rewrite(
        f"{outcome.seconds:6.1f} s  {outcome.answered:,} answered  {outcome.rate:,.0f}/s  "
        f"p50 {_milliseconds(outcome, 'p50')}  p99 {_milliseconds(outcome, 'p99')}  "
        f"{outcome.sent - outcome.answered - outcome.lost:,} in flight  {outcome.lost:,} lost  "
        f"{wrong:,} wrong"
    )


def _milliseconds(outcome: Outcome, name: str) -> str:
    """A latency, or a dash while nothing is answered."""
    return f"{outcome.latency_ms[name]:.2f} ms" if outcome.answered else "-"


def _rewrite(text: str) -> None:
    """Replace the line on the terminal."""
    try:
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()
    except OSError:
        pass  # the terminal is gone; the results go to stdout


def _print(outcome: Outcome) -> None:
    wrong = sum(outcome.mismatched.values())
    lines = [("requests", outcome.sent), ("  answered as expected", outcome.answered - wrong)]
    lines += [("  no reply", outcome.lost), ("  answered otherwise", wrong)]
    lines += [
        (f"    {actual or 'no code'} instead of {expected}", count)
        for (expected, actual), count in sorted(outcome.mismatched.items())
    ]
    if outcome.repeated:
        lines.append(("repeated or late replies", outcome.repeated))
    if outcome.foreign:
        lines.append(("replies to other senders", outcome.foreign))
    for name, count in lines:
        typer.echo(f"{name:<28}{count:>14,}")
    size = outcome.sent_bytes / outcome.seconds / 1e6 if outcome.seconds else 0.0
    typer.echo(f"{outcome.rate:,.0f} requests/s, {size:,.1f} MB/s, in {outcome.seconds:.1f} s")
    if outcome.answered:
        names = {"p50": "p50", "p99": "p99", "p999": "p99.9", "max": "max"}
        latencies = (f"{_milliseconds(outcome, key)} ({name})" for key, name in names.items())
        typer.echo(f"reply after {', '.join(latencies)}")
    behind = f", at most {outcome.behind_ms:.1f} ms behind its rate" if outcome.behind_ms else ""
    typer.echo(f"the generator took {outcome.cpu_us:.2f} µs of CPU a request{behind}")


def _document(
    settings: Settings, plan: Plan, shape: ShapeName, outcome: Outcome
) -> dict[str, object]:
    return {
        "url": settings.mqtt.url,
        "product": plan.product,
        "shape": shape.value,
        "qos": plan.qos,
        "connections": plan.connections,
        "window": plan.window,
        "rate": plan.rate,
        "bad": plan.bad,
        "seconds": outcome.seconds,
        "requests": outcome.sent,
        "bytes": outcome.sent_bytes,
        "answered": outcome.answered,
        "accepted": outcome.accepted,
        "lost": outcome.lost,
        "mismatches": [
            {"expected": expected, "got": actual, "requests": count}
            for (expected, actual), count in sorted(outcome.mismatched.items())
        ],
        "repeated": outcome.repeated,
        "foreign": outcome.foreign,
        "requests_per_second": outcome.rate,
        "latency_ms": {
            name: latency if outcome.answered else None
            for name, latency in outcome.latency_ms.items()
        },
        "behind_ms": outcome.behind_ms,
        "cpu_us": outcome.cpu_us,
    }
