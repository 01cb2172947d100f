"""The Python API of the compiled module: what `help` shows, what is pickled, what is refused."""

from __future__ import annotations

import ast
import doctest
import inspect
import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import pytest

import pointgate
from pointgate import (
    Catalog,
    Devices,
    DocumentError,
    Fault,
    Model,
    Product,
    Report,
    Validator,
    _core,
)
from tests.support.paths import CATALOG

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

TOPIC = "sys/pk/integration/measurepoint/post"
MODEL = {
    "measurepoints": {
        "temp": {"dataType": "DOUBLE", "maximum": 150},
        "a/b~": {"dataType": "STRUCT", "dataDefinition": {"items": []}},
    }
}
STUB = ast.parse(Path(_core.__file__ or "").with_name("_core.pyi").read_text(encoding="utf-8"))


def model() -> Model:
    return Model.compile(json.dumps(MODEL).encode())


def catalog() -> Catalog:
    shared = model()
    other = Product(
        shared,
        Devices([]),
        default_device="d1",
        numbers_as_strings=True,
        null_points="ignore",
        unknown_points="reject",
        time_min=-1,
        time_max_past=5,
        time_max_future=6,
    )
    return Catalog({"pk": Product(shared, Devices(["d1", "d 2", "é"])), "other": other})


def request_of(points: str, device: str = "d1") -> bytes:
    entry = f'{{"deviceKey":"{device}","measurepoints":{points}}}'
    method = "integration.measurepoint.post"
    return f'{{"id":1,"version":"1","method":"{method}","params":[{entry}]}}'.encode()


def reports() -> list[Report]:
    """One accepted request, and faults with and without a path, with names that need escapes."""
    payloads = [
        request_of('{"temp":1}'),
        request_of('{"temp":151}'),
        request_of('{"tmep":1}'),
        request_of('{"a/b~":{"\\u0041":1}}'),
        request_of("{}", device="nobody"),
        b"",
        b"{",
    ]
    validator = Validator(catalog())
    return [
        *validator.validate([TOPIC] * len(payloads), payloads, now_ms=0),
        *validator.validate(["sys/other/topic"], [b"{}"], now_ms=0),
    ]


def restored(value: T, protocol: int | None = None) -> T:
    return cast("T", pickle.loads(pickle.dumps(value, protocol)))  # noqa: S301


def documented() -> Iterator[tuple[str, object, str | None]]:
    """Each public class and member: its name, the object, and the docstring of the stub."""
    for node in STUB.body:
        if not isinstance(node, ast.ClassDef):
            continue
        cls = getattr(_core, node.name)
        yield node.name, cls, ast.get_docstring(node)
        stubs = {m.name: ast.get_docstring(m) for m in node.body if isinstance(m, ast.FunctionDef)}
        for name, member in vars(cls).items():
            if not name.startswith("_"):
                yield f"{node.name}.{name}", member, stubs.get(name)


def test_everything_public_has_a_docstring_and_the_stub_has_the_same() -> None:
    names = {node.name for node in STUB.body if isinstance(node, ast.ClassDef)}
    assert names == {name for name, one in vars(_core).items() if inspect.isclass(one)}
    for name, member, stub in documented():
        docstring = inspect.getdoc(getattr(member, "__func__", member))
        assert docstring, name
        if name != "Validator.catalog":  # An attribute in the stub, because it can be assigned.
            assert docstring == stub, name
    assert _core.__doc__ == ast.get_docstring(STUB)


def test_help_shows_shapes_units_and_errors() -> None:
    docstring = inspect.getdoc(Validator.validate) or ""
    for word in ("topics", "payloads", "now_ms", "milliseconds", "ValueError", "TypeError"):
        assert word in docstring


def test_the_example_of_the_package_runs() -> None:
    results = doctest.testmod(pointgate, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 10
    assert not results.failed


def test_device_keys_are_taken_as_they_are() -> None:
    devices = Devices(["deviceKey", "# a", '"b"', "a", "a"])
    assert len(devices) == 4
    assert all(key in devices for key in ("deviceKey", "# a", '"b"', "a"))
    assert devices.warnings == []


@pytest.mark.parametrize("key", ["", "x" * 129, "a\nb", "a\0b"])
def test_a_key_that_no_device_can_have_is_refused(key: str) -> None:
    with pytest.raises(DocumentError, match=r"^key 1: expected a deviceKey") as refused:
        Devices(["a", key])
    assert [location for location, _ in refused.value.problems] == ["key 1"]


def test_devices_of_one_string_are_refused() -> None:
    with pytest.raises(TypeError, match=r"for one device write Devices\(\[key\]\)"):
        Devices("device1")
    with pytest.raises(TypeError):
        Devices([1])  # type: ignore[list-item]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_catalog_survives_pickling(protocol: int) -> None:
    came = catalog()
    again = restored(came, protocol)
    assert again == came
    assert hash(again) == hash(came)
    assert type(again) is Catalog
    # What products share they share again, so that it is compiled once.
    assert again.models == 1
    payloads = [request_of('{"temp":1}'), request_of('{"temp":"1"}'), request_of('{"x":1}')]
    topics = [TOPIC] * 3
    verdicts = Validator(came).validate(topics, payloads, now_ms=0)
    assert Validator(again).validate(topics, payloads, now_ms=0) == verdicts


def test_a_loaded_catalog_keeps_its_attributes() -> None:
    came = Catalog.load(CATALOG)
    again = restored(came)
    assert again == came
    for name in ("warnings", "files", "sources", "document"):
        assert getattr(again, name) == getattr(came, name)
    for key, product in came.products.items():
        assert again.products[key].model.warnings == product.model.warnings
        assert again.products[key].devices.warnings == product.devices.warnings


def test_reports_and_faults_survive_pickling() -> None:
    for report in reports():
        again = restored(report)
        assert again == report
        assert hash(again) == hash(report)
        assert again.reply == report.reply
        if report.fault is None:
            continue
        fault = restored(report.fault)
        assert fault == report.fault
        assert fault == again.fault
        assert hash(fault) == hash(report.fault)
        for name in (name for name in vars(Fault) if not name.startswith("_")):
            assert getattr(fault, name) == getattr(report.fault, name), name


def test_what_differs_is_not_equal() -> None:
    assert len(set(reports())) == len(reports())
    assert reports() == reports()
    shared = model()
    product = Product(shared, Devices(["a", "b"]))
    assert product == Product(model(), Devices(["b", "a"]))
    assert product != Product(shared, Devices(["a"]))
    assert product != Product(shared, Devices(["a", "b"]), time_min=0)
    assert Catalog({"pk": product}) != Catalog({"kp": product})
    assert product != object()


@pytest.mark.parametrize("method", ["validate", "collect"])
@pytest.mark.parametrize(
    ("topics", "payloads", "message"),
    [
        (
            TOPIC,
            b"{}",
            r"expected topics as a sequence of str, got str.*\(\[topic\], \[payload\]\)",
        ),
        ([TOPIC], b"{}", r"expected payloads as a sequence of bytes, got bytes: for one request"),
        (iter([TOPIC]), [b"{}"], r"expected topics as a sequence of str, got list_iterator$"),
        ([TOPIC, 1], [b"{}", b"{}"], r"expected topics\[1\] as str, got int$"),
        ([TOPIC], [bytearray(b"{}")], r"expected payloads\[0\] as bytes, got bytearray$"),
        ([TOPIC, 1], [b" " * 300_000] * 2, r"expected topics\[1\] as str, got int$"),
    ],
)
def test_what_is_no_burst_is_refused_by_name(
    method: str, topics: object, payloads: object, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        getattr(Validator(catalog()), method)(topics, payloads)


def test_any_sequence_of_str_and_bytes_is_a_burst() -> None:
    (report,) = Validator(catalog()).validate((TOPIC,), (request_of('{"temp":1}'),))
    assert report.code == 200
