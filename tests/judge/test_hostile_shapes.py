"""The hostile payloads of the benchmark have the verdicts that it measures."""

from __future__ import annotations

import pytest

from benches import hostile
from pointgate.codes import Code


@pytest.mark.parametrize("shape", hostile.SHAPES, ids=lambda shape: shape.name)
def test_every_hostile_shape_has_its_code(shape: hostile.Shape) -> None:
    topics = [hostile.topic(shape.product)]
    (report,) = hostile.validator().validate(topics, [shape.make(1000)])
    assert report.code == shape.code


@pytest.mark.parametrize("points", hostile.REFUSALS.values(), ids=hostile.REFUSALS)
def test_every_refusal_violates_the_model(points: str) -> None:
    topics = [hostile.topic("plain")]
    (report,) = hostile.validator().validate(topics, [hostile.refusal(points)])
    assert report.code == Code.MODEL_VALIDATE_FAILED
