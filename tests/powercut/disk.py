"""The model of a disk: what a power cut may leave of what was done.

Sure is what POSIX promises and every journaling file system keeps: the data of a file that was
written before a sync of the file began, and the names in a folder that were given before a sync of
the folder began. A sync counts once it has returned. Of everything else that had begun, anything
may be left:

    names   none; all; as the journal of ext4 has them: up to some point; up to some point in each
            folder; any of them. A rename is there as a whole or not at all, in both folders
    data    of each file: nothing; everything; its length, and zeros; its writes up to some point,
            the last one torn; any pages of 4 KiB, each as it was after any write to it, and the
            length after any write; the same, and pages torn between sectors of 512 bytes

The last file systems of their kind are worse than that (ext4 with `data=writeback` may show what
was deleted), or better (ext4 keeps the name of a file that was synced).

Invariants: one draw, one outcome.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.powercut.trace import LINES, ROOT, Name, Size, Sync, Write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

    from tests.powercut.trace import Operation, Trace

PAGE: Final = 4096
SECTOR: Final = 512

_VERSIONS: Final = 16
"""Contents of a file that are mixed, at most: a service with a bug may never sync one."""

NAMES: Final = ("none", "all", "journal", "folders", "any")
DATA: Final = ("none", "all", "length", "writes", "pages", "sectors")


@dataclass(frozen=True, slots=True)
class Cut:
    """A power cut.

    Attributes:
        line: What had not begun with this line has not happened.
        names: What is left of unsynced names, of `NAMES`.
        data: What is left of unsynced data, of `DATA`; empty: another one for each file.
    """

    line: int
    names: str
    data: str


@dataclass(slots=True)
class _File:
    """What was done to a file: first what is sure, then what is not."""

    sure: list[Write | Size] = field(default_factory=list)
    rest: list[Write | Size] = field(default_factory=list)


def leave(trace: Trace, cut: Cut, draw: Random, folder: Path) -> None:
    """Write into a folder what a power cut leaves.

    Args:
        trace: What was done.
        cut: The power cut.
        draw: Decides what the cut leaves open.
        folder: An empty folder.
    """
    done = [one for one in trace.operations if one.begin <= cut.line]
    synced: dict[int, int] = defaultdict(int)
    for one in done:
        if isinstance(one, Sync) and one.end <= cut.line:
            synced[one.inode] = max(synced[one.inode], one.begin)
    names = _names([one for one in done if isinstance(one, Name)], synced, cut, draw)
    files: dict[int, _File] = defaultdict(_File)
    for one in done:
        if isinstance(one, (Write, Size)):
            sure = one.end < synced[one.inode]
            (files[one.inode].sure if sure else files[one.inode].rest).append(one)
    left = [(ROOT, folder)]
    while left:
        inode, path = left.pop()
        if inode in trace.folders:
            path.mkdir(exist_ok=True)
            left += [(one, path / name) for name, one in sorted(names[inode].items())]
        else:
            how = cut.data or draw.choice(DATA)
            path.write_bytes(content(files[inode].sure, files[inode].rest, how, draw))
    _number(folder)


def _number(folder: Path) -> None:
    """Let the mark of the lines have the number that their file has here."""
    lines, mark = folder / LINES, folder / f".{LINES}.synced"
    if lines.exists() and mark.exists() and (data := mark.read_bytes())[:1].isdigit():
        mark.write_bytes(b"%020d" % lines.stat().st_ino + data[20:])


def _names(
    done: Sequence[Name], synced: dict[int, int], cut: Cut, draw: Random
) -> dict[int, dict[str, int]]:
    """The names in each folder."""
    sure = [
        one.end < max(synced[one.folder], synced[one.source[0]] if one.source else 0)
        for one in done
    ]
    last = max((place for place, one in enumerate(sure) if one), default=-1)
    journal = draw.randint(last, len(done) - 1) if done else -1
    unsure: dict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(done):
        if not sure[place]:
            unsure[one.folder].append(place)
    ends = {folder: draw.choice([-1, *places]) for folder, places in unsure.items()}
    names: dict[int, dict[str, int]] = defaultdict(dict)
    for place, one in enumerate(done):
        left = {
            "none": False,
            "all": True,
            "journal": place <= journal,
            "folders": place <= ends.get(one.folder, -1),
            "any": draw.random() < 0.5,
        }
        if not (sure[place] or left[cut.names]):
            continue
        if one.source is not None and names[one.source[0]].get(one.source[1]) == one.inode:
            del names[one.source[0]][one.source[1]]
        if one.inode is None:
            names[one.folder].pop(one.name, None)
        else:
            names[one.folder][one.name] = one.inode
    return names


def content(
    sure: Sequence[Write | Size], rest: Sequence[Write | Size], how: str, draw: Random
) -> bytes:
    """What is left of a file.

    Args:
        sure: What was done to it and synced.
        rest: What was done after that.
        how: What is left of the rest, of `DATA`.
        draw: Decides what that leaves open.
    """
    data = bytearray()
    for one in sure:
        _do(data, one)
    match how:
        case "none":
            pass
        case "all":
            for one in rest:
                _do(data, one)
        case "length":
            _resize(data, _sizes(len(data), rest)[-1])
        case "writes":
            _do_some(data, rest, draw)
        case _:
            _mix(data, rest, draw, torn=how == "sectors")
    return bytes(data)


def _do_some(data: bytearray, rest: Sequence[Write | Size], draw: Random) -> None:
    """Do what was done up to some point; what came last is torn."""
    count = draw.randint(0, len(rest))
    for one in rest[:count]:
        _do(data, one)
    if count < len(rest) and isinstance(one := rest[count], Write):
        edge = (one.offset // SECTOR + draw.randint(0, len(one.data) // SECTOR)) * SECTOR
        part = one.data[: max(0, edge - one.offset)]
        _do(data, Write(one.begin, one.end, one.inode, one.offset, part))


def _mix(data: bytearray, rest: Sequence[Write | Size], draw: Random, *, torn: bool) -> None:
    """Give each page any of the contents that it had, and the file any of the lengths.

    A file that was cut shorter has given up its blocks: either that has happened, and nothing from
    before is left beyond, or it has not, and nothing that was done later is there.
    """
    cuts = [place for place, one in enumerate(rest) if isinstance(one, Size)]
    begin = draw.choice([-1, *cuts])
    end = next((place for place in cuts if place > begin), len(rest))
    before = rest[: begin + 1]
    shortest = min((one.size for one in before if isinstance(one, Size)), default=len(data))
    old = bytes(data[:shortest])
    for one in before:
        _do(data, one)
    versions = [bytes(data)]
    kept = set(draw.sample(range(begin + 1, end), min(end - begin - 1, _VERSIONS)))
    for place in range(begin + 1, end):
        _do(data, rest[place])
        if place in kept:
            versions.append(bytes(data))
    size = len(draw.choice(versions))
    if before:
        versions.append(old)  # the length is known, and what is in it is older
    longest = max(map(len, versions))
    unit = SECTOR if torn else PAGE
    # Of a large write most units may be there, or most may be missing.
    usual, share = draw.choice(versions), draw.choice((0.0, 0.5, 0.95))
    mixed = bytearray()
    for start in range(0, longest, unit):
        version = usual if draw.random() < share else draw.choice(versions)
        mixed += version[start : start + unit].ljust(unit, b"\0")
    _resize(mixed, size)
    data[:] = mixed


def _sizes(size: int, rest: Sequence[Operation]) -> list[int]:
    """The lengths that a file has had."""
    sizes = [size]
    for one in rest:
        if isinstance(one, Size):
            sizes.append(one.size)
        elif isinstance(one, Write):
            sizes.append(max(sizes[-1], one.offset + len(one.data)))
    return sizes


def _do(data: bytearray, one: Write | Size) -> None:
    if isinstance(one, Size):
        _resize(data, one.size)
        return
    if len(data) < one.offset:
        _resize(data, one.offset)
    data[one.offset : one.offset + len(one.data)] = one.data


def _resize(data: bytearray, size: int) -> None:
    del data[size:]
    data.extend(bytes(size - len(data)))
