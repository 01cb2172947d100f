"""The layers of the package: who imports whom, what an import costs, the root of every exception.

Each name in `LAYERS` stands for a module or for a folder with all its modules. It imports from
layers below its own and from itself, nothing else; imports for type checking count, too, because
readers follow them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Final

import pytest

from pointgate.errors import PointgateError
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = ROOT / "python/pointgate"

LAYERS: Final[list[list[str]]] = [
    [
        "_core",
        "codes",
        "diagnostics",
        "errors",
        "extras",
        "failpoint",
        "file_states",
        "garbage_collection",
        "histogram",
        "left_out",
        "quantities",
        "rate_limiter",
    ],
    ["durable_files", "error_classes", "fault_document", "terminal", "topics"],
    ["toml", "store"],
    ["kafka", "postgres"],
    ["catalog_settings", "device_changes", "sinks"],
    ["followed_devices", "registries"],
    ["catalog_contents", "catalog_tests"],
    ["catalog_registries", "catalog_tables"],
    ["catalog_loading"],
    ["catalog"],
    ["pointgate", "config"],
    ["bulk", "quarantine", "sources", "spark"],
    ["service", "demo", "importing", "doctor", "load"],
    ["cli"],
    ["__main__"],
]

LIBRARY: Final = (
    "typer",
    "rich",
    "aiomqtt",
    "paho",
    "prometheus_client",
    "h11",
    "pyarrow",
    "psycopg",
    "confluent_kafka",
    "pyspark",
)
"""What whoever embeds the validator must not have to load."""


def modules() -> list[str]:
    """Every module, without the package's name."""
    found = [info.name for info in pkgutil.walk_packages([str(PACKAGE)], "pointgate.")]
    return [name.removeprefix("pointgate.") for name in found]


def place(module: str) -> tuple[str, int]:
    """The longest name of a layer that a module stands under, and the number of the layer."""
    found = [
        (name, number)
        for number, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    assert found, f"{module} is in no layer: add it to one"
    return max(found, key=lambda one: len(one[0]))


def imports(module: str) -> Iterator[str]:
    """The modules that a module imports, without the package's name."""
    path = PACKAGE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    known = set(modules())
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pointgate"):
            base = (node.module or "").removeprefix("pointgate").removeprefix(".")
            for name in node.names:
                full = f"{base}.{name.name}".removeprefix(".")
                yield full if full in known else base or "pointgate"


@pytest.mark.parametrize("module", [name for name in modules() if name != "_core"])
def test_a_module_imports_only_from_the_layers_below(module: str) -> None:
    own, layer = place(module)
    for imported in imports(module):
        name, number = place(imported)
        assert name == own or number < layer, f"{module} ({own}) must not import {imported}"


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {module: set(imports(module)) for module in modules() if module != "_core"}
    order = TopologicalSorter({name: graph[name] - {name} for name in graph})
    order.prepare()  # raises a CycleError that names the circle


def test_every_layer_is_needed_and_names_what_exists() -> None:
    known = {*modules(), "pointgate"}
    assert {name for names in LAYERS for name in names} <= known


def test_the_library_loads_nothing_of_the_service() -> None:
    program = "import sys, pointgate; pointgate.Validator, pointgate.Catalog; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "pointgate.catalog" in loaded
    service = [name for name in loaded if name.startswith(("pointgate.service", "pointgate.cli"))]
    assert not service
    assert not {name.partition(".")[0] for name in loaded} & set(LIBRARY)


def test_everything_raised_on_purpose_is_a_pointgate_error() -> None:
    for name in modules():
        if name == "__main__":
            continue
        module = importlib.import_module(f"pointgate.{name}")
        for found in vars(module).values():
            if inspect.isclass(found) and issubclass(found, BaseException):
                own = found.__module__.partition(".")[0] == "pointgate"
                assert not own or issubclass(found, PointgateError), f"{name}: {found}"
