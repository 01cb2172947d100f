"""Modules that pyarrow imports where they are installed, and that no command needs.

It asks pandas whether an object is one of its own, and numpy for types of its own: a third of a
second of CPU time and 50 MB for each process. Without them it works as where they are not
installed, which is how pointgate is installed by itself.

Only processes of the command line leave them out: those who import pointgate may have use for them.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_NAMES: Final = frozenset(("numpy", "pandas"))


class _LeftOut(MetaPathFinder):
    """Finds none of them, and leaves all others to the next finder."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname in _NAMES:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def leave_out() -> None:
    """Let this process import none of them from now on."""
    sys.meta_path.insert(0, _LeftOut())
