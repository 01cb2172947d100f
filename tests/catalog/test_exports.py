"""What others build on: the names of the package, and that importing it costs no surprises."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import pointgate
from pointgate import _core, errors


def test_all_is_sorted_whole_and_true() -> None:
    assert pointgate.__all__ == sorted(pointgate.__all__)
    assert pointgate.__all__ == [
        "Catalog",
        "CatalogError",
        "ConfigError",
        "ConnectionLost",
        "Devices",
        "DocumentError",
        "Fault",
        "Model",
        "PointgateError",
        "Problem",
        "Product",
        "Report",
        "Validator",
        "__version__",
    ]
    for name in pointgate.__all__:
        assert getattr(pointgate, name) is not None


def test_every_export_is_documented() -> None:
    for name in pointgate.__all__:
        value = getattr(pointgate, name)
        if inspect.isclass(value):
            assert inspect.getdoc(value), name


def test_every_exception_is_a_pointgate_error() -> None:
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, Exception):
            assert issubclass(value, pointgate.PointgateError), name


def test_a_catalog_is_what_the_judge_takes() -> None:
    assert issubclass(pointgate.Catalog, _core.Catalog)
    assert pointgate.__version__ == _core.__version__


def test_importing_the_library_does_not_import_the_service() -> None:
    names = ["aiomqtt", "paho", "prometheus_client", "typer", "rich", "pointgate.service.serve"]
    program = f"import pointgate, sys; sys.exit(str(sys.modules.keys() & {names}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.stderr.strip() == b"set()"


def test_importing_a_debug_build_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "build_profile", "debug")
    with pytest.warns(RuntimeWarning, match="debug build"):
        importlib.reload(pointgate)
    monkeypatch.undo()
    importlib.reload(pointgate)
