"""The judge and its peers under pytest-benchmark, with a group for each shape.

    pytest benches/test_judge.py --benchmark-enable --benchmark-only

The figures of a group are measured one after the other, and the machine's speed may change
meanwhile, so they show orders of magnitude; `compare.py` measures ratios. Without
`--benchmark-only`, the tests also check that every peer returns the stated codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benches.corpus import CODES, SHAPES, stream
from benches.peers import NO_VERDICT, PEERS, prepare, validator

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_pass_over_valid_requests(benchmark: BenchmarkFixture, shape: str, peer: str) -> None:
    requests = stream(shape)
    judge_all = prepare(peer, requests)
    benchmark.group = shape
    benchmark(judge_all)
    if benchmark.stats is not None:
        median = benchmark.stats.stats.median
        benchmark.extra_info |= {
            "bytes_per_second": requests.size / median,
            "points_per_second": requests.points / median,
            "ns_per_point": median / requests.points * 1e9,
        }


# XL differs from L only in its size, and generating it twelve times is slow.
@pytest.mark.parametrize("variant", CODES)
@pytest.mark.parametrize("shape", ["S", "M", "L"])
def test_every_judge_gives_the_stated_codes(shape: str, variant: str) -> None:
    requests = stream(shape, variant)
    for peer in PEERS.keys() - NO_VERDICT:
        prepare(peer, requests)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_point_of_a_valid_stream_is_accepted(shape: str) -> None:
    requests = stream(shape)
    topics = [requests.product.topic] * len(requests.payloads)
    reports = validator(requests.product).validate(topics, requests.payloads)
    assert sum(report.points for report in reports) == requests.points
