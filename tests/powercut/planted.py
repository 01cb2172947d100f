"""Bugs to plant into the recorded service, or into the one that starts after the power cut.

Each is what a plausible mistake would look like from outside: a forgotten sync, an answer too
early, a start that trusts what it finds.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from tests.crash import planted as crash

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate import durable_files


def forget_folder_of_folders() -> None:
    """Makes folders, and does not sync the folders that they are in."""

    def planted(path: Any, access: durable_files.Access) -> None:
        path.mkdir(access.folder, parents=True, exist_ok=True)

    for module in (
        "store.spool.folder",
        "sinks.dead_letters",
        "sinks.parquet.dataset",
        "quarantine.database",
    ):
        _plant(f"pointgate.{module}", "make_folder", planted)


def forget_fsync_of_merges() -> None:
    """Merges files, deletes what they were made of, and syncs none of the new ones."""
    _plant("pointgate.sinks.parquet.recovery", "sync_folder", lambda _path: None)


def forget_fsync_of_lines() -> None:
    """Appends lines, and does not sync them."""
    _plant("pointgate.sinks.ndjson.file", "os", _Without(os))


def forget_fsync_of_dead_letters() -> None:
    """Writes dead letters, and does not sync their names."""
    _plant("pointgate.sinks.dead_letters", "sync_folder", lambda _path: None)


def keep_damaged_lines() -> None:
    """Cuts off only what follows the last line break. Planted after the power cut."""
    _plant("pointgate.sinks.ndjson.file", "_find_zero", lambda _file, _start, end: end)


def _plant(module: str, name: str, what: object) -> None:
    setattr(import_module(module), name, what)


class _Without:
    """The module `os` without fsync."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    @staticmethod
    def fsync(_descriptor: int) -> None:
        """Do nothing."""


BUGS: Final[dict[str, Callable[[], None]]] = {
    **{
        name: crash.BUGS[name]
        for name in (
            "reply-first",
            "keep-in-memory",
            "forget-fsync",
            "forget-fsync-of-files",
            "forget-fsync-of-folders",
            "answer-at-the-spool",
            "pass-first",
        )
    },
    **{
        bug.__name__.replace("_", "-"): bug
        for bug in (
            forget_folder_of_folders,
            forget_fsync_of_merges,
            forget_fsync_of_lines,
            forget_fsync_of_dead_letters,
            keep_damaged_lines,
        )
    },
}

AFTER: Final = {"keep-damaged-lines"}
"""Bugs of the service that starts after the power cut."""
