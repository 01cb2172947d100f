"""The load generator's requests: valid for every product, invalid where they mean to be."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest

import pointgate
from pointgate import Catalog, Devices, Model, Product, Validator
from pointgate.codes import Code
from pointgate.load.requests import SHAPES, SPAN_MS, RequestsError, Shape, make_requests
from pointgate.topics import request_topic
from tests.support.paths import CATALOG

DEMO = Path(pointgate.__file__).parent / "demo/catalog"
LIMIT = 8 << 20
SMALL = Shape(entries=4, points=6, distinct=16)
PRODUCTS = [
    (folder, key)
    for folder in (CATALOG, DEMO)
    for key, product in Catalog.load(folder).products.items()
    if product.mode == "enforce"
]


@pytest.mark.parametrize(("folder", "product"), PRODUCTS)
def test_each_product_has_requests_that_are_accepted_and_rejected(
    folder: Path, product: str
) -> None:
    catalog = Catalog.load(folder)
    requests = make_requests(catalog, product, SMALL, payload_bytes=LIMIT)
    assert len(requests.good) == SMALL.distinct
    assert {template.code for template in requests.good} == {Code.OK}
    codes = {template.code for template in requests.bad}
    assert codes >= {Code.DEVICE_NOT_FOUND, Code.MODEL_VALIDATE_FAILED}
    assert Code.OK not in codes
    templates = requests.good + requests.bad
    topics, payloads = [one.topic for one in templates], [one.payload for one in templates]
    assert set(topics) == {request_topic(product)}
    reports = Validator(catalog).validate(topics, payloads)
    assert [report.code for report in reports] == [one.code for one in templates]


@pytest.mark.parametrize(
    ("product", "codes"),
    [
        ("mode-shadow", {Code.OK}),
        ("mode-lenient", {Code.OK, Code.DEVICE_NOT_FOUND, Code.MODEL_VALIDATE_FAILED}),
    ],
)
def test_invalid_requests_expect_the_answer_of_the_mode(product: str, codes: set[int]) -> None:
    catalog = Catalog.load(CATALOG)
    requests = make_requests(catalog, product, SMALL, payload_bytes=LIMIT)
    assert {template.code for template in requests.bad} == codes
    topics = [template.topic for template in requests.bad]
    payloads = [template.payload for template in requests.bad]
    reports = Validator(catalog).validate(topics, payloads)
    assert Code.OK not in {report.code for report in reports}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_its_size(name: str) -> None:
    shape = SHAPES[name]
    requests = make_requests(Catalog.load(DEMO), "solar", shape, payload_bytes=LIMIT)
    assert len(requests.good) == shape.distinct
    document = orjson.loads(requests.good[0].payload)
    assert len(document["params"]) == shape.entries
    model_points = 10
    points = min(shape.points, model_points)
    assert {len(entry["measurepoints"]) for entry in document["params"]} == {points}


def test_places_are_those_of_the_id_and_the_times() -> None:
    requests = make_requests(Catalog.load(DEMO), "example", SMALL, payload_bytes=LIMIT)
    for template in requests.good + requests.bad:
        payload = template.payload
        assert payload[template.id_at - 6 :].startswith(b'"id":"0000000000000000"')
        assert len(template.times_at) == SMALL.entries
        for place in template.times_at:
            assert payload[place - 7 :].startswith(b'"time":%d}' % requests.first_ms)
    assert abs(requests.first_ms + SPAN_MS - time.time() * 1000) < 60_000


def test_entries_have_no_time_if_the_product_rejects_a_day() -> None:
    catalog = Catalog.load(CATALOG)
    requests = make_requests(catalog, "window-milliseconds", SMALL, payload_bytes=LIMIT)
    assert requests.good[0].times_at == []


def test_requests_differ() -> None:
    requests = make_requests(Catalog.load(DEMO), "wind", SMALL, payload_bytes=LIMIT)
    assert len({template.payload for template in requests.good}) == SMALL.distinct


def one_product(points: dict[str, dict[str, object]]) -> Catalog:
    model = Model.compile(orjson.dumps({"measurepoints": points}))
    return Catalog({"p": Product(model, Devices(["d"]))})


EXOTIC: dict[str, object] = {"dataType": "DOUBLE", "minimum": 2e15}


def test_a_point_that_no_value_fits_is_left_out() -> None:
    catalog = one_product({"a": {"dataType": "DOUBLE"}, "b": EXOTIC})
    requests = make_requests(catalog, "p", SMALL, payload_bytes=LIMIT)
    assert orjson.loads(requests.good[0].payload)["params"][0]["measurepoints"].keys() == {"a"}


def test_a_model_that_no_value_fits_is_refused() -> None:
    with pytest.raises(RequestsError, match="no values found"):
        make_requests(one_product({"b": EXOTIC}), "p", SMALL, payload_bytes=LIMIT)


def test_a_product_without_devices_is_refused() -> None:
    catalog = Catalog({"p": Product(Catalog.load(DEMO).products["wind"].model, Devices([]))})
    with pytest.raises(RequestsError, match="no devices"):
        make_requests(catalog, "p", SMALL, payload_bytes=LIMIT)


def test_requests_over_the_limit_are_refused() -> None:
    with pytest.raises(RequestsError, match="1008"):
        make_requests(Catalog.load(DEMO), "wind", SHAPES["XL"], payload_bytes=1000)
