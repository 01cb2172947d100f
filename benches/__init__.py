"""Benchmarks; each file describes what it measures, and against which baseline.

What runs in their own process has the allocators of the service.
"""

from pointgate.cli.allocators import keep_freed_memory

keep_freed_memory()
