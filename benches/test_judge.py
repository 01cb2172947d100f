"""The judge and its peers under pytest-benchmark, a group a shape.

    pytest benches/test_judge.py --benchmark-enable --benchmark-only

The figures of one group come one after the other, on a machine whose speed may change meanwhile:
they show the size of things, `compare.py` the ratios. Without `--benchmark-only` it is also checked
that every judge gives the stated codes on every variant.
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


# XL differs from L in its size only, and takes long to make twelve times.
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
