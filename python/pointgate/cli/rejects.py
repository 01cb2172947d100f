"""`pointgate rejects`: the rejected requests in the quarantine, with the reason.

    pointgate rejects                 the newest ones, one on each line
    pointgate rejects --by device     how many of each device, the most frequent first
    pointgate rejects explain 17      one of them as `pointgate explain` shows it, and what the
                                      current catalog says; --all: all its faults;
                                      --as-test: a line for the catalog's tests

With `--json` there is an object on each line, whose members are named as those of
`validate --rejects`.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, NoReturn

import orjson
import typer

from pointgate import Catalog, Validator
from pointgate.cli.as_test import AsTestOption, print_test
from pointgate.cli.fault_view import print_fault, print_further_faults
from pointgate.cli.options import ConfigOption, catalog_or_exit, settings_or_exit
from pointgate.cli.quarantine_filter import (
    LIST_LIMIT,
    CodeOption,
    DeviceOption,
    IdentifierOption,
    ListLimitOption,
    ProductOption,
    ReasonOption,
    SinceOption,
    quarantine_or_exit,
    say_none_selected,
    selection,
)
from pointgate.diagnostics import numbered
from pointgate.errors import CatalogError
from pointgate.fault_document import fault_document, payload_member, utc_text
from pointgate.terminal import Status, console, print_json, printable, say

if TYPE_CHECKING:
    from pointgate import Fault, Report
    from pointgate.config import Settings
    from pointgate.quarantine.database import Filter, Group, QuarantineDatabase, Rejected

rejects = typer.Typer(
    invoke_without_command=True, rich_markup_mode=None, add_completion=False, name="rejects"
)


class Property(StrEnum):
    """What the requests of a group have in common."""

    PRODUCT = "product"
    DEVICE = "device"
    REASON = "reason"
    IDENTIFIER = "identifier"


_MEMBERS: Final = {Property.DEVICE: "deviceKey"}
"""The names of properties in JSON that differ."""


@rejects.callback()
def list_rejects(
    context: typer.Context,
    config: ConfigOption = Path("pointgate.toml"),
    *,
    product: ProductOption = None,
    device: DeviceOption = None,
    identifier: IdentifierOption = None,
    reason: ReasonOption = None,
    code: CodeOption = None,
    since: SinceOption = None,
    limit: ListLimitOption = LIST_LIMIT,
    by: Annotated[
        Property | None, typer.Option("--by", help="Count requests by this, instead of listing.")
    ] = None,
    payload: Annotated[bool, typer.Option("--payload", help="Print the payloads, too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object on each line.")
    ] = False,
) -> None:
    """List the rejected requests in the quarantine, the newest first."""
    if context.invoked_subcommand is not None:
        sources = map(context.get_parameter_source, context.params)
        if any(source is not None and source.name == "COMMANDLINE" for source in sources):
            raise typer.BadParameter(
                f"expected options of {context.invoked_subcommand} behind it, got some before it"
            )
        return
    one_more = limit + 1 if limit else None
    wanted = selection(
        product=product,
        device=device,
        identifier=identifier,
        reason=reason,
        code=code,
        since=since,
        limit=one_more,
    )
    settings = settings_or_exit(config)
    with quarantine_or_exit(settings) as quarantine:
        if quarantine is None:
            shown, more = 0, False
        elif by is not None:
            shown, more = _list_groups(quarantine, wanted, by, as_json=as_json)
        else:
            shown, more = _list_requests(quarantine, wanted, payload=payload, as_json=as_json)
        if not shown:
            say_none_selected(quarantine, wanted, settings)
    if more:
        say(f"note: only the first {limit}; --limit N for more, --limit 0 for all")
    sys.exit(Status.DONE)


def _list_requests(
    quarantine: QuarantineDatabase, wanted: Filter, *, payload: bool, as_json: bool
) -> tuple[int, bool]:
    """Print requests, one fewer than the limit; returns how many, and whether there are more."""
    numbers = quarantine.numbers(wanted)[::-1]
    shown = numbers if wanted.limit is None else numbers[: wanted.limit - 1]
    printed = 0
    for number in shown:
        request = quarantine.get(number, payload=payload)
        if request is None:  # deleted since the list was read
            continue
        printed += 1
        if as_json:
            typer.echo(orjson.dumps(_document(request, payload=payload)))
        else:
            _print(request)
    return printed, len(numbers) > len(shown)


def _list_groups(
    quarantine: QuarantineDatabase, wanted: Filter, by: Property, *, as_json: bool
) -> tuple[int, bool]:
    """Print groups, one fewer than the limit; returns how many, and whether there are more."""
    groups = quarantine.groups(wanted, by.value)
    shown = groups if wanted.limit is None else groups[: wanted.limit - 1]
    for group in shown:
        typer.echo(orjson.dumps(_group_document(group, by)) if as_json else _group_line(group))
    return len(shown), len(groups) > len(shown)


def _group_line(group: Group) -> str:
    names = [group.product, group.value or "(none)"]
    value = printable(" / ".join(name for name in names if name is not None))
    first, last = utc_text(group.first_us)[:19] + "Z", utc_text(group.last_us)[:19] + "Z"
    answered = f"  ({group.answered_200:,} answered 200)" if group.answered_200 else ""
    return f"{group.requests:>9,}  {first} to {last}  newest {group.newest}  {value}{answered}"


def _group_document(group: Group, by: Property) -> dict[str, object]:
    return {
        **({} if group.product is None else {"product": group.product}),
        _MEMBERS.get(by, by.value): group.value,
        "requests": group.requests,
        "first": utc_text(group.first_us),
        "last": utc_text(group.last_us),
        "newest": group.newest,
        "answered200": group.answered_200,
    }


@rejects.command()
def explain(
    number: Annotated[int, typer.Argument(metavar="N", help="Its number in the list.")],
    config: ConfigOption = Path("pointgate.toml"),
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Show every fault by the current catalog.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    as_test: AsTestOption = False,
) -> NoReturn:
    """Show why a request was rejected, and what the current catalog says."""
    settings = settings_or_exit(config)
    with quarantine_or_exit(settings) as quarantine:
        request = quarantine.get(number) if quarantine else None
    if request is None:
        say(f"there is no request {number} in the quarantine")
        sys.exit(Status.FINDINGS)
    if as_test:
        if request.payload is None:
            say(f"the payload of request {number} was too large to be kept")
            sys.exit(Status.FINDINGS)
        catalog = catalog_or_exit(settings.catalog.path)
        print_test(catalog, request.topic, request.payload, request.received_us // 1000)
    try:
        now = _judge_again(request, settings, every=every)
        unknown = "its payload was too large to be kept"
    except CatalogError as error:
        now, unknown = None, f"the catalog is invalid: {error.problems[0]}"
        say(unknown)
    if as_json:
        print_json(_document(request, payload=True) | {"now": now and _verdict(now, every=every)})
        sys.exit(Status.DONE)
    typer.echo(f"{request.number}  {utc_text(request.received_us)}  {printable(request.topic)}")
    verdict = "rejected" if request.answered is None else f"answered {request.answered} (mode)"
    typer.echo(f"{verdict}: {request.code} {printable(request.message)}")
    print_fault(console(), request.fault, request.payload or b"")
    if now is None:
        typer.echo(f"\nnow: {unknown}")
    elif now.report.fault is None:
        points = numbered(now.report.points, "point")
        typer.echo(f"\nnow: accepted, {points}; pointgate replay posts it again")
    else:
        typer.echo(f"\nnow: {now.report.code} {printable(now.report.fault.message)}")
        if every:
            print_further_faults(console(), now.faults[1:], request.payload or b"", more=now.more)
    if request.payload is not None:
        typer.echo(f"\npayload\n  {printable(request.payload.decode('utf-8', 'backslashreplace'))}")
    sys.exit(Status.DONE)


class _Judgement(NamedTuple):
    """What the current catalog says of a request.

    Attributes:
        report: The verdict.
        faults: Every fault, if they are wanted.
        more: Whether there are more than these.
    """

    report: Report
    faults: list[Fault]
    more: bool


def _verdict(now: _Judgement, *, every: bool) -> dict[str, object]:
    report = now.report
    fault = None if report.fault is None else fault_document(report.fault)
    document: dict[str, object] = {"code": report.code, "points": report.points, "fault": fault}
    if every:
        document |= {"faults": [*map(fault_document, now.faults)], "more": now.more}
    return document


def _judge_again(request: Rejected, settings: Settings, *, every: bool) -> _Judgement | None:
    """The verdict of the current catalog, as `pointgate replay` gets it.

    Raises:
        CatalogError: The catalog is invalid.
    """
    if request.payload is None:
        return None
    catalog = Catalog.load(settings.catalog.path)
    validator = Validator(catalog, payload_bytes=settings.limits.payload_bytes)
    (report,) = validator.validate(
        [request.topic], [request.payload], observed_us=[request.received_us]
    )
    faults: tuple[list[Fault], bool] = [], False
    if every:
        faults = validator.all_faults(
            request.topic, request.payload, observed_us=request.received_us
        )
    return _Judgement(report, *faults)


def _print(request: Rejected) -> None:
    answered = "" if request.answered is None else f" (answered {request.answered})"
    typer.echo(
        f"{request.number}  {utc_text(request.received_us)}  {request.product}  "
        f"{request.code} {request.reason}{answered}  {printable(request.message)}"
    )
    if request.payload is not None:
        typer.echo(f"  {printable(request.payload.decode('utf-8', 'backslashreplace'))}")


def _document(request: Rejected, *, payload: bool) -> dict[str, object]:
    document: dict[str, object] = {
        "number": request.number,
        "received": utc_text(request.received_us),
        "product": request.product,
        "topic": request.topic,
        "code": request.code,
        "answered": request.code if request.answered is None else request.answered,
    } | fault_document(request.fault)
    if payload and request.payload is not None:
        document |= payload_member(request.payload)
    return document
