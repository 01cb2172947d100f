"""The layers of the package: who may import whom, and the root of every exception.

Each folder or module of `pointgate` is in one layer and imports only from layers below its own, or
from itself. What is imported for type checking only counts, too: a reader follows it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

import pointgate
from pointgate.errors import PointgateError
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGE: Final = ROOT / "python/pointgate"

LAYERS: Final = (
    {"errors", "failpoint", "quantities", "rate_limiter", "_core"},
    {"diagnostics", "durable_files", "error_classes"},
    {"toml"},
    {"catalog"},
    {"sinks.settings"},
)
