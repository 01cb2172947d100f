"""The answer of a product's mode: section 11 of the contract.

It removes from the tree what is skipped, and judges what is left as an enforced product would.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.oracle.json_reader import Array, Object, Value, read
from tests.oracle.judge import Entry, Fault, Verdict, judge
from tests.oracle.points import Row, rows_of_entries
from tests.oracle.values import ValueFault, judge_point, rules_of

if TYPE_CHECKING:
    from tests.oracle.catalog import Catalog, Product


@dataclass(frozen=True)
class Answer:
    """What the service answers, stores and counts.

    `shadowed` is the verdict of a request that is answered 200 all the same.
    """

    verdict: Verdict
    rows: list[Row] = field(default_factory=list)
    shadowed: Verdict | None = None
    skipped: int = 0


def answer(
    catalog: Catalog, topic: str, payload: bytes, *, now_ms: int, payload_bytes: int = 8388608
) -> Answer:
    """Answer one request, with the arguments of `judge`; it arrives at the instant `now_ms`."""
    verdict = judge(catalog, topic, payload, now_ms=now_ms, payload_bytes=payload_bytes)
    root = None if verdict.code in {0, 1008, 1220, 1251, 1260} else read(payload).root
    product = catalog.products.get(topic.removeprefix("/").split("/")[1]) if root else None
    # 11.1: only a fault of an entry, which has an index, is the mode's concern.
    if not isinstance(root, Object) or product is None:
        return Answer(verdict)
    params = root.first("params")
    entries = params.items if isinstance(params, Array) else (params,)
    if verdict.code == 200:
        return Answer(verdict, _rows(catalog, topic, payload, entries, now_ms))
    if product.mode == "enforce":
        return Answer(verdict)
    kept: list[Value] = []
    points = skipped = 0
    for index, entry in enumerate(entries):
        assert entry is not None
        pointer = f"/params/{index}" if isinstance(params, Array) else "/params"
        rest, faulty = _without_faulty_points(product, entry)
        try:
            accepted = Entry(product, rest, index, pointer, now_ms).judge()
        except Fault as fault:
            if product.mode == "lenient":
                return Answer(replace(fault.verdict, reply_id=verdict.reply_id))
            skipped += faulty + _points_with_a_value(product, rest)
            continue
        points += accepted
        skipped += faulty
        kept.append(rest)
    return Answer(
        Verdict(200, points=points, reply_id=verdict.reply_id),
        _rows(catalog, topic, payload, kept, now_ms),
        verdict,
        skipped,
    )


def _rows(
    catalog: Catalog,
    topic: str,
    payload: bytes,
    entries: list[Value] | tuple[Value | None, ...],
    now_ms: int,
) -> list[Row]:
    return rows_of_entries(catalog, topic, payload, entries, arrived_us=1000 * now_ms)


def _without_faulty_points(product: Product, entry: Value) -> tuple[Value, int]:
    """The entry without the points that are skipped (11.2), and their number."""
    measurepoints = entry.first("measurepoints") if isinstance(entry, Object) else None
    if not isinstance(entry, Object) or not isinstance(measurepoints, Object):
        return entry, 0
    seen: set[str] = set()
    good = []
    for member in measurepoints.members:
        point = product.model.points.get(member.name)
        if point is None:
            if product.ignore_unknown_points:
                good.append(member)
            continue
        if member.name in seen:
            continue
        seen.add(member.name)
        try:
            judge_point(point, member.value, "", rules_of(product))
        except ValueFault:
            continue
        good.append(member)
    rest = replace(measurepoints, members=tuple(good))
    first = next(member for member in entry.members if member.name == "measurepoints")
    members = tuple(
        replace(member, value=rest) if member is first else member for member in entry.members
    )
    return replace(entry, members=members), len(measurepoints.members) - len(good)


def _points_with_a_value(product: Product, entry: Value) -> int:
    """The valid points of an entry that is skipped; those without a value are none (5.3, 5.5)."""
    measurepoints = entry.first("measurepoints") if isinstance(entry, Object) else None
    members = measurepoints.members if isinstance(measurepoints, Object) else ()
    rules = rules_of(product)
    return sum(
        judge_point(product.model.points[member.name], member.value, "", rules)
        for member in members
        if member.name in product.model.points
    )
