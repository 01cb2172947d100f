"""The comparison: what was answered against what stands in a sink.

    answered 200, and nothing of it is there          lost
    answered 200, and a part of it is there           torn; so is a request without an answer
    answered anything else, and some of it is there   phantom
    held by a broker that lives, and never answered   forgotten
    answered otherwise than it deserves               misjudged
    answered 200, and what it corrects is there       stale
    there, and never sent like this                   strange
    there more than once                              duplicate

A request that was sent and not answered may be there or not. A duplicate is no violation as such:
a crash may bring the requests in flight again, and each may have been sent again, too; the run
knows how many there may be.

Invariants: it knows nothing of the service; rows are compared by all their columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import duckdb

if TYPE_CHECKING:
    import pyarrow as pa

    from tests.crash.ledger import Entry, Ledger

_PER_REQUEST = """
WITH copied AS (SELECT *, count(*) AS copies FROM every_row GROUP BY ALL),
    found AS (
        SELECT DISTINCT *, true AS there FROM stored
        UNION ALL BY NAME SELECT *, false AS there FROM copied
    )
SELECT number, count(*) FILTER (there), coalesce(max(copies), 0)
FROM expected LEFT JOIN found
    ON expected.product = found.product AND expected.device = found.device
    AND expected.identifier = found.identifier AND expected.time = found.time
    AND expected.value_double IS NOT DISTINCT FROM found.value_double
    AND expected.value_long IS NOT DISTINCT FROM found.value_long
    AND expected.value_json IS NOT DISTINCT FROM found.value_json
    AND expected.quality IS NOT DISTINCT FROM found.quality
GROUP BY number
"""

_STRANGE = """
SELECT * FROM every_row EXCEPT SELECT * EXCLUDE (number) FROM expected ORDER BY ALL LIMIT 100
"""

_DOUBLED = """
SELECT count(*) FROM (
    SELECT 1 FROM stored GROUP BY product, device, identifier, time HAVING count(*) > 1
)
"""

KINDS: Final = ("lost", "torn", "phantom", "stale", "strange")
"""The attributes of `Findings` that are violations."""


@dataclass(slots=True)
class Findings:
    """What one sink has to say to the ledger; the numbers of requests.

    Attributes:
        lost: Answered 200 and not there.
        torn: There in part.
        phantom: Rejected, and there.
        stale: Answered 200, and an older value of the same points stands in their place.
        strange: Rows that nobody sent, as text; a hundred at most.
        duplicates: Copies beyond the first one, summed over requests.
        doubled: Keys of points that have more than one row, of whatever value.
        points: Rows in the sink.
    """

    lost: list[int] = field(default_factory=list)
    torn: list[int] = field(default_factory=list)
    phantom: list[int] = field(default_factory=list)
    stale: list[int] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    duplicates: int = 0
    doubled: int = 0
    points: int = 0


def compare(ledger: Ledger, stored: pa.Table, *, every: pa.Table | None = None) -> Findings:
    """Compare a ledger with the rows of a sink.

    Args:
        ledger: The ledger.
        stored: What is in the sink: `ledger.EXPECTED` without the number.
        every: The same with all copies, if those are left out there.
    """
    every = stored if every is None else every
    findings = Findings(points=every.num_rows)
    there: dict[int, int] = {}
    with duckdb.connect() as database:
        database.register("stored", stored)
        database.register("every_row", every)
        database.register("expected", ledger.expected)
        for number, rows, copies in database.execute(_PER_REQUEST).fetchall():
            there[number] = rows
            findings.duplicates += max(0, copies - 1)
        (findings.doubled,) = database.execute(_DOUBLED).fetchone() or (0,)
        findings.strange = [str(row) for row in database.execute(_STRANGE).fetchall()]
    judge(ledger, there, findings)
    return findings


def judge(ledger: Ledger, there: dict[int, int], findings: Findings) -> None:
    """Find out which requests are not there as they should be.

    Args:
        ledger: The ledger.
        there: How many points of each request are in the sink.
        findings: Where they are noted.
    """
    corrected = {entry.corrects for entry in ledger.requests.values()}
    for number, entry in ledger.requests.items():
        if entry.corrects is not None:
            _judge_correction(ledger, number, there, findings)
        elif number not in corrected:
            _judge(number, entry, there[number], findings)


def _judge(number: int, entry: Entry, there: int, findings: Findings) -> None:
    if there and entry.err and not entry.ok:
        findings.phantom.append(number)
    elif 0 < there < entry.points:
        findings.torn.append(number)
    elif entry.ok and not there:
        findings.lost.append(number)


def _judge_correction(
    ledger: Ledger, number: int, there: dict[int, int], findings: Findings
) -> None:
    """Judge a request and the one that it corrects: one of the two is there."""
    entry, old = ledger.requests[number], ledger.requests[number].corrects
    assert old is not None
    if there[number] == entry.points:
        return
    if there[number]:
        findings.torn.append(number)
        return
    _judge(old, ledger.requests[old], there[old], findings)
    # A broker that was killed may bring the older one again, and not the newer one.
    if entry.ok and ledger.requests[old].safe:
        findings.stale.append(number)


def misjudged(ledger: Ledger) -> list[int]:
    """The requests that were answered otherwise than they deserve, or first so and then so."""
    return [
        number
        for number, entry in ledger.requests.items()
        if (entry.ok if entry.wrong else entry.err)
    ]


def forgotten(ledger: Ledger) -> list[int]:
    """The requests that the broker held to the end, and that nobody ever answered."""
    return [
        number
        for number, entry in ledger.requests.items()
        if entry.held and not entry.ok and not entry.err
    ]
