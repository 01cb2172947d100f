"""Where things are in the project."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DATA: Final = ROOT / "tests/data"
CATALOG: Final = DATA / "catalog"
FORMER: Final = DATA / "former"
DEPLOY: Final = ROOT / "deploy"
