"""The options of `rejects` and `replay` that select requests in the quarantine; some are of `tap`.

`since` is a time, `2026-11-23` or `2026-11-23T08:00:00Z` (UTC without an offset), or an age: `90s`,
`10m`, `12h`, `30d`.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pointgate._core import codes, reasons
from pointgate.catalog_contents import DOCUMENT
from pointgate.cli.options import exit_with_problems
from pointgate.diagnostics import did_you_mean
from pointgate.errors import Problem
from pointgate.quantities import seconds_of
from pointgate.quarantine.database import NAME, Filter, QuarantineDatabase
from pointgate.terminal import Status, printable, say
from pointgate.toml.document import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pointgate.config import Settings

ProductOption = Annotated[str | None, typer.Option(metavar="PK", help="Only of this product.")]
DeviceOption = Annotated[
    str | None, typer.Option(metavar="KEY", help="Only with a fault in an entry of this device.")
]
IdentifierOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only with a fault at this identifier.")
]
ReasonOption = Annotated[
    str | None, typer.Option(metavar="REASON", help="Only with this reason, such as type.")
]
CodeOption = Annotated[int | None, typer.Option(metavar="N", help="Only with this code.")]
SinceOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only received since: 2h, 30d, 2026-11-23T08:00:00Z."),
]
LimitOption = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Only the last N of these.")
]

ListLimitOption = Annotated[
    int, typer.Option(metavar="N", min=0, help="Only the first N lines; 0 for all.")
]
LIST_LIMIT = 50
"""The default of it."""

_SIMILAR = 10_000
"""Among so many values a similar one is searched."""


def selection(
    *,
    product: str | None,
    device: str | None,
    identifier: str | None,
    reason: str | None,
    code: int | None,
    since: str | None,
    limit: int | None,
) -> Filter:
    """The filter for the options."""
    check_fault(reason=reason, code=code, known=codes[2:])
    since_ms = None if since is None else _instant(since)
    return Filter(product, device, identifier, reason, code, since_ms, limit)


def check_fault(*, reason: str | None, code: int | None, known: Sequence[int] = codes) -> None:
    """Reject a reason or a code that there is not.

    Args:
        reason: The reason.
        code: The code.
        known: The codes that there are.
    """
    if reason is not None and reason not in reasons:
        near = did_you_mean(reason, reasons)
        raise typer.BadParameter(f"--reason: unknown reason {printable(reason)}{near}")
    if code is not None and code not in known:
        raise typer.BadParameter(f"--code: expected one of {', '.join(map(str, known))}")


@contextmanager
def quarantine_or_exit(settings: Settings) -> Iterator[QuarantineDatabase | None]:
    """The quarantine in the settings; None if no request was ever kept in it."""
    rejections = settings.rejections
    folder: Path | None = rejections.path if rejections else None
    if folder is None:
        reason = "expected true, got false: rejected requests are not kept"
        exit_with_problems([Problem("", "quarantine.enabled", reason)])
    if not (folder / NAME).exists():
        yield None
        return
    try:
        file = QuarantineDatabase(folder)
        try:
            yield file
        finally:
            file.close()
    except sqlite3.Error as error:
        say(f"{folder / NAME}: {error}")
        sys.exit(Status.OUTPUT)


def say_none_selected(
    quarantine: QuarantineDatabase | None, wanted: Filter, settings: Settings
) -> None:
    """Say that no request is selected, and which product or device was probably meant.

    Products are suggested from the catalog: the quarantine has those that others have misspelt.
    """
    total = quarantine.count if quarantine else 0
    if quarantine is None or not total:
        say("no requests in the quarantine")
        return
    parts = [f"no request of the {total:,} in the quarantine is selected"]
    for column, value in (("product", wanted.product), ("device", wanted.device)):
        if value is None:
            continue
        kept = quarantine.values(column, _SIMILAR)
        if value not in kept:
            known = _products(settings) or kept if column == "product" else kept
            near = "" if value in known else did_you_mean(value, known)
            parts.append(f"none is of {column} {printable(value)}{printable(near)}")
    say("; ".join(parts))


def _products(settings: Settings) -> list[str]:
    """The products in the catalog's document; none if it cannot be read."""
    document, _ = read_toml(settings.catalog.path / DOCUMENT)
    products = document.get("products")
    return [*products] if isinstance(products, dict) else []


def _instant(text: str) -> int:
    age = seconds_of(text)
    if isinstance(age, int):
        return max(time.time_ns() // 1_000_000 - age * 1000, 0)
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return int(found.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"--since: expected 90s, 10m, 12h, 30d or a time such as 2026-11-23T08:00:00Z, "
            f"got {printable(text)}"
        ) from None
