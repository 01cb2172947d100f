"""`Points.joined`: the points of several bursts as those of one."""

from __future__ import annotations

import random
from array import array
from typing import TYPE_CHECKING

import pyarrow as pa

from pointgate import _core
from pointgate.store.spool.batch import COUNTS, decode, encode
from tests.support.engines import groups, validator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointgate import Validator
    from tests.support.cases import Case


def cut(judge: Validator, cases: list[Case], now_ms: int, seed: int) -> list[_core.Points]:
    """The points of cases, in parts of random lengths; some have none."""
    chance, parts = random.Random(seed), []  # noqa: S311 - no secret
    while cases:
        size = chance.randint(1, 30)
        some, cases = cases[:size], cases[size:]
        topics, payloads = [case.topic for case in some], [case.payload for case in some]
        parts.append(judge.collect(topics, payloads, now_ms=now_ms)[1])
    return parts


def all_parts() -> Iterator[tuple[list[_core.Points], list[_core.Points]]]:
    """The points of all cases, cut twice, and in one part."""
    for payload_bytes, now_ms, cases in groups():
        judge = validator(payload_bytes)
        for seed in range(5):
            some = cut(judge, cases, now_ms, seed)
            yield some, cut(judge, cases, now_ms, seed)


def test_they_have_the_rows_of_all_in_order() -> None:
    for parts, same in all_parts():
        joined = _core.Points.joined(parts)
        assert joined is not None
        assert (len(joined), joined.nbytes) == (
            sum(map(len, parts)),
            sum(part.nbytes for part in parts),
        )
        table = pa.table(joined)
        assert table.to_pylist() == pa.concat_tables(map(pa.table, same)).to_pylist()
        for batch in table.to_batches():
            for name in ("product", "device", "identifier"):
                names = batch[name].dictionary.to_pylist()
                assert len(set(names)) == len(names)
        # The parts stay as they are.
        again = _core.Points.joined(parts)
        assert again is not None
        assert pa.table(again) == table
        assert pa.concat_tables(map(pa.table, parts)).to_pylist() == table.to_pylist()


def test_what_was_joined_can_be_joined_again() -> None:
    parts, same = next(all_parts())
    halves = [_core.Points.joined(parts[:5]), _core.Points.joined(parts[5:])]
    joined = _core.Points.joined([half for half in halves if half is not None])
    assert joined is not None
    assert pa.table(joined).to_pylist() == pa.concat_tables(map(pa.table, same)).to_pylist()


def test_what_was_exported_or_has_another_form_is_not_joined() -> None:
    parts, _ = next(all_parts())
    assert len(_core.Points.joined([]) or ()) == 0
    pa.table(parts[1])
    assert _core.Points.joined(parts) is None
    topics, payloads = ["sys/protocol/integration/measurepoint/post"], [b"x"]
    arrays = (pa.array(payloads, pa.large_binary()), pa.array(topics))
    _, points = validator(1000).judge_arrow(*arrays)
    assert _core.Points.joined([points]) is None


def test_a_batch_of_several_bursts_is_written_as_one_also_after_a_failed_attempt() -> None:
    parts, same = next(all_parts())
    counts = array(COUNTS, [len(part) for part in parts if len(part)])
    rows = pa.concat_tables(map(pa.table, same)).to_pylist()
    for _ in range(2):
        table = decode(encode(counts, parts))[1]
        assert table.to_pylist() == rows
        assert table.column("value_double").num_chunks == 1
    pa.table(parts[0])  # as an attempt with fewer of them leaves it
    assert decode(encode(counts, parts))[1].to_pylist() == rows
