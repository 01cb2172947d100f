"""The inputs that a command names, by the names that the state of the import knows them by.

    history/a.csv     as it was named first: read once, whatever name it is given now
    history/a.csv.1   the same file, renamed since: known by its inode and its fingerprint
    history/a.csv     another file, which has the name now: it gets one of its own, a.csv (2)

A file that was replaced by another one, and is nowhere else, keeps the name, so that it is noticed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pointgate.importing.inputs import STDIN, expand, fingerprint, is_archive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pointgate.importing.inputs import Filter
    from pointgate.importing.state import Input


def named(
    arguments: Sequence[str],
    chosen: Filter,
    inputs: Mapping[str, Input],
    problems: dict[str, str],
) -> dict[str, str]:
    """Where each input is, by its name; without those that the patterns exclude.

    Args:
        arguments: Files, folders, patterns, as the user names them.
        chosen: The patterns.
        inputs: What the state knows.
        problems: Takes why something cannot be listed.
    """
    known = {
        _identity(one.path or name): name
        for name, one in inputs.items()
        if one.inode in (-1, inode_of(one.path))  # else it was replaced
    }
    inodes = {one.inode: name for name, one in inputs.items() if one.inode >= 0}
    found: dict[object, str] = {}
    for path in expand(arguments, problems):
        found.setdefault(_identity(path), path)
    paths: dict[str, str] = {}
    others = []
    for identity, path in found.items():
        if not _wants(path, chosen):
            continue
        before = known.get(identity) or inodes.get(inode_of(path), "")
        if before and (identity in known or _is_same(path, inputs[before])):
            paths[before] = path
        else:
            others.append(path)
    elsewhere = set(known.values())  # what has the name of one of these is another file
    for path in others:
        name, number = path, 1
        while name in paths or name in elsewhere:
            number += 1
            name = f"{path} ({number})"
        paths[name] = path
    if found and not paths:
        options = [f"--include {one}" for one in chosen.include]
        options += [f"--exclude {one}" for one in chosen.exclude]
        problems[" ".join(options)] = f"expected a file to be left, got none of {len(found)}"
    return paths


def inode_of(path: str) -> int:
    """The inode of a file; -1 without one, as of standard input."""
    try:
        return Path(path).stat().st_ino if path else -1
    except OSError:
        return -1


def _wants(name: str, chosen: Filter) -> bool:
    """Whether a file is read; the members of an archive are asked for by themselves."""
    return name == STDIN or name in chosen or (is_archive(name) and not chosen.excludes(name))


def _identity(name: str) -> object:
    """What is the same for all names of a file."""
    try:
        status = os.stat(name)  # noqa: PTH116 - a year of files
    except OSError:  # standard input, or a file that is gone
        return name
    return status.st_dev, status.st_ino


def _is_same(path: str, one: Input) -> bool:
    try:
        return not one.fingerprint.difference(fingerprint(path))
    except OSError:
        return False
