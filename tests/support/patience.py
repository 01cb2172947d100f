"""How long a test waits for what must happen."""

from __future__ import annotations

from typing import Final

PATIENCE: Final = 120.0
"""Seconds. A wait ends as soon as its condition holds: only a failure takes so long. A machine on
which everything takes ten times its time is no failure."""
