"""The service keeps freed memory, unless the environment says otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import Final

import pytest

PROGRAM: Final = """
import resource
import pointgate.cli.commands
from pointgate.cli.allocators import keep_freed_memory
keep_freed_memory()
import pyarrow as pa
import pyarrow.compute as pc
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
numbers = pa.array(range(500_000))
pc.add(numbers, 1)
before = faults()
for _ in range(100):
    pc.add(numbers, 1)
print(pa.default_memory_pool().backend_name, (faults() - before) // 100)
"""
"""A hundred blocks of 4 MB, or 1,000 pages, allocated and freed."""


def run(environment: dict[str, str]) -> tuple[str, int]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MALLOC_") and name != "ARROW_DEFAULT_MEMORY_POOL"
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    backend, pages = done.stdout.split()
    return backend, int(pages)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
def test_large_blocks_are_not_mapped_anew() -> None:
    backend, pages = run({})
    assert backend == "system"
    assert pages < 100


@pytest.mark.parametrize(
    ("environment", "backend"),
    [
        ({"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}, "mimalloc"),
        ({"MALLOC_ARENA_MAX": "2"}, "mimalloc"),
    ],
)
def test_the_environment_decides(environment: dict[str, str], backend: str) -> None:
    assert run(environment)[0] == backend
