"""`pointgate replay`: posts rejected requests again, after the catalog was corrected.

    for each selected request in the quarantine, in the order of arrival:
        validate it with the current catalog, as of its arrival and as of now
        accepted: post it to its own topic; after a reply of 200, delete it from the quarantine
        rejected: keep it; with --forget, delete it

A request is posted through the broker to the running service, so its 200 has the usual guarantees.
An MQTT 5 user property carries the instant of its first arrival, which is the time of entries
without `time`, to the microsecond (contract 3.5). Replaying is idempotent.

Invariants: a request is deleted from the quarantine only after its own 200, or with `--forget`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from pointgate import Validator
from pointgate.bulk.judge import load_catalog
from pointgate.cli.interrupts import run_or_exit
from pointgate.cli.options import (
    ConfigOption,
    catalog_or_exit,
    exit_with_problems,
    settings_or_exit,
)
from pointgate.cli.quarantine_filter import (
    CodeOption,
    DeviceOption,
    IdentifierOption,
    LimitOption,
    ProductOption,
    ReasonOption,
    SinceOption,
    quarantine_or_exit,
    say_none_selected,
    selection,
)
from pointgate.codes import Code
from pointgate.errors import ConfigError, ConnectionLost, Problem
from pointgate.terminal import Status, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pointgate.catalog import Catalog
    from pointgate.config import Settings
    from pointgate.quarantine.database import QuarantineDatabase, Rejected
    from pointgate.sources.mqtt.publisher import Publisher

_BATCH: Final = 64
"""Requests that are posted together, and deleted from the quarantine together."""
_BATCH_BYTES: Final = 16 * 1024 * 1024
"""The limit on the payloads of a batch; a single request may exceed it."""


@dataclass(slots=True)
class _Outcome:
    """The outcome, in numbers of requests.

    Attributes:
        requests: Validated.
        kept: Selected, but not validated, because the connection was lost before.
        accepted: Accepted now.
        answered: Posted and answered 200.
        unanswered: Posted without a reply.
        not_taken: Rejected by the broker, by its reason.
        refused: Rejected by the service, by code: it has another catalog.
        rejected: Still rejected, by code and reason, and therefore not posted.
        forgotten: Deleted because they are still rejected.
        posting: Whether requests could be posted: a broker was connected once.
        connected: Whether the connection to the broker lasted to the end.
    """

    requests: int = 0
    kept: int = 0
    accepted: int = 0
    answered: int = 0
    unanswered: int = 0
    not_taken: Counter[str] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    rejected: Counter[tuple[int, str]] = field(default_factory=Counter)
    forgotten: int = 0
    posting: bool = False
    connected: bool = True


def replay(
    config: ConfigOption = Path("pointgate.toml"),
    *,
    product: ProductOption = None,
    device: DeviceOption = None,
    identifier: IdentifierOption = None,
    reason: ReasonOption = None,
    code: CodeOption = None,
    since: SinceOption = None,
    limit: LimitOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only validate: post and delete nothing.")
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Delete those that are still rejected.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> NoReturn:
    """Post rejected requests again, if they are accepted now."""
    wanted = selection(
        product=product,
        device=device,
        identifier=identifier,
        reason=reason,
        code=code,
        since=since,
        limit=limit,
    )
    settings = settings_or_exit(config)
    if settings.mqtt.level != 5 and not dry_run:  # noqa: PLR2004 - MQTT 5
        why = "expected 5, got 4: replies are matched by correlation data, which MQTT 5 has"
        exit_with_problems([Problem(str(config), "mqtt.protocol", why)])
    # With its tests: the service runs no catalog that fails one.
    judge = _Judge(catalog_or_exit(settings.catalog.path, load_catalog), settings)
    outcome = _Outcome()
    with quarantine_or_exit(settings) as quarantine:
        numbers = quarantine.numbers(wanted) if quarantine else []
        if quarantine is None or not numbers:
            say_none_selected(quarantine, wanted, settings)
        else:
            outcome.kept = len(numbers)
            replaying = _Replay(quarantine, judge, outcome, dry_run=dry_run, forget=forget)
            try:
                run_or_exit(replaying.run(numbers, settings))
            except ConfigError as error:
                exit_with_problems(error.problems)
            except ConnectionLost as error:
                say(f"{settings.mqtt.url}: {error}")
                outcome.connected = False
    if outcome.unanswered and outcome.connected:
        say(
            f"{outcome.unanswered:,} posted without a reply: is the service running? "
            "It answers requests that the broker has queued when it starts; run replay again then"
        )
    if outcome.refused:
        say(
            f"{outcome.refused.total():,} rejected by the service, and kept a second time: it has "
            "another catalog; /readyz says so if it has refused this one"
        )
    if as_json:
        print_json(_document(outcome))
    else:
        _print(outcome, dry_run=dry_run)
    sys.exit(_status(outcome))


def _status(outcome: _Outcome) -> Status:
    if not outcome.connected:
        return Status.OUTPUT
    not_posted = outcome.unanswered or outcome.not_taken
    remain = not_posted or outcome.refused or outcome.rejected.total() > outcome.forgotten
    return Status.FINDINGS if remain else Status.DONE


class _Judge:
    """Validates requests as the service would now."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._validator = Validator(catalog, payload_bytes=settings.limits.payload_bytes)

    def judge(self, request: Rejected) -> tuple[int, str]:
        """Validate a request, as of its arrival and as of now; returns the code and the reason."""
        if request.payload is None:
            return request.code, request.reason
        code, reason = self._verdict(request, request.payload, request.received_us // 1000)
        if code == Code.OK:
            code, reason = self._verdict(request, request.payload, time.time_ns() // 1_000_000)
        return code, reason

    def _verdict(self, request: Rejected, payload: bytes, now_ms: int) -> tuple[int, str]:
        (report,) = self._validator.validate(
            [request.topic], [payload], now_ms=now_ms, observed_us=[request.received_us]
        )
        return report.code, report.fault.reason if report.fault else ""


class _Replay:
    def __init__(
        self,
        quarantine: QuarantineDatabase,
        judge: _Judge,
        outcome: _Outcome,
        *,
        dry_run: bool,
        forget: bool,
    ) -> None:
        self._quarantine = quarantine
        self._judge = judge
        self._outcome = outcome
        self._dry_run = dry_run
        self._forget = forget
        self._lost: ConnectionLost | None = None

    async def run(self, numbers: Sequence[int], settings: Settings) -> None:
        from pointgate.sources.mqtt.publisher import connect_publisher  # noqa: PLC0415 - a dry run needs no MQTT

        if self._dry_run:
            for _ in self._batches(numbers):
                pass
            return
        async with connect_publisher(settings.mqtt) as poster:
            self._outcome.posting = True
            for batch in self._batches(numbers):
                async with asyncio.TaskGroup() as tasks:
                    posts = [tasks.create_task(self._post(poster, request)) for request in batch]
                self._quarantine.delete(
                    request.number
                    for request, post in zip(batch, posts, strict=True)
                    if post.result()
                )
                if self._lost:
                    raise self._lost

    def _batches(self, numbers: Sequence[int]) -> Iterator[list[Rejected]]:
        """Batches of accepted requests; the others are counted and, with `forget`, deleted."""
        batch: list[Rejected] = []
        rejected: list[int] = []
        size = 0
        for number in numbers:
            self._outcome.kept -= 1
            request = self._quarantine.get(number)
            if request is None:  # deleted since the list was read
                continue
            self._outcome.requests += 1
            code, reason = self._judge.judge(request)
            if code == Code.OK:
                self._outcome.accepted += 1
                batch.append(request)
                size += len(request.payload or b"")
            else:
                self._outcome.rejected[code, reason] += 1
                rejected.append(number)
            if len(batch) + len(rejected) >= _BATCH or size >= _BATCH_BYTES:
                yield batch
                self._delete(rejected)
                batch, rejected, size = [], [], 0
        yield batch
        self._delete(rejected)

    def _delete(self, rejected: Sequence[int]) -> None:
        if self._forget and not self._dry_run:
            self._quarantine.delete(rejected)
            self._outcome.forgotten += len(rejected)

    async def _post(self, poster: Publisher, request: Rejected) -> bool:
        """Post a request; returns whether it was answered 200."""
        from pointgate.sources.mqtt.publisher import PublishRefusedError  # noqa: PLC0415 - a dry run needs no MQTT

        payload, received_us = request.payload or b"", request.received_us
        try:
            code = await poster.post(request.topic, payload, received_us=received_us)
        except PublishRefusedError as error:
            self._outcome.not_taken[str(error)] += 1
            return False
        except ConnectionLost as error:
            self._lost = error
            code = None
        if code is None:
            self._outcome.unanswered += 1
        elif code == Code.OK:
            self._outcome.answered += 1
        else:
            self._outcome.refused[code] += 1
        return code == Code.OK


def _print(outcome: _Outcome, *, dry_run: bool) -> None:
    if not outcome.connected and not outcome.posting:  # no request was looked at
        typer.echo(f"{'not posted, kept':<22}{outcome.kept:>12,}")
        return
    lines = [("requests", outcome.requests), ("accepted now", outcome.accepted)]
    if not dry_run:
        lines += [("  answered 200", outcome.answered), ("  no reply", outcome.unanswered)]
        lines += [(f"  broker: {why}", count) for why, count in outcome.not_taken.most_common()]
        lines += [(f"  answered {code}", count) for code, count in sorted(outcome.refused.items())]
    lines += [("still rejected", outcome.rejected.total())]
    if outcome.kept:
        lines += [("not posted, kept", outcome.kept)]
    lines += [
        (f"  {code} {reason}", count) for (code, reason), count in outcome.rejected.most_common()
    ]
    if outcome.forgotten:
        lines += [("deleted", outcome.forgotten)]
    for name, count in lines:
        typer.echo(f"{name:<22}{count:>12,}")


def _document(outcome: _Outcome) -> dict[str, object]:
    not_taken = [
        {"reason": why, "requests": count} for why, count in outcome.not_taken.most_common()
    ]
    return {
        "requests": outcome.requests,
        "accepted": outcome.accepted,
        "answered": outcome.answered,
        "unanswered": outcome.unanswered,
        "refused": [
            {"code": code, "requests": count} for code, count in sorted(outcome.refused.items())
        ],
        "faults": [
            {"code": code, "reason": reason, "requests": count}
            for (code, reason), count in outcome.rejected.most_common()
        ],
        "forgotten": outcome.forgotten,
        **({"not_taken": not_taken} if not_taken else {}),
        **({"kept": outcome.kept} if outcome.kept else {}),
    }
