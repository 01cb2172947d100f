"""What strace has written of a service: operations on files and folders, and its replies.

An operation begins with one line and ends with another; so does time here: the number of a line. A
sync covers what had ended when it began. A power cut may come between any two lines.

    Write(inode, offset, data)     Size(inode, size)        of a file
    Name(folder, name, inode)      also for none: removed   in a folder
    Sync(inode)                    of a file or a folder

Names and descriptors are followed here, as the kernel does, so that an operation says which file
it is about, whatever that is called later. `Trace.check` compares the outcome with the real folder.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT: Final = 0
"""The inode of the folder that is recorded."""

LINES: Final = "points.ndjson"
"""The file of the sink that writes lines."""

CALLS: Final = (
    *("open", "openat", "creat", "close", "lseek"),
    *("write", "writev", "pwrite64", "pwritev", "pwritev2"),
    *("ftruncate", "truncate", "fallocate"),
    *("fsync", "fdatasync"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
    *("link", "linkat", "symlink", "symlinkat", "copy_file_range", "sendfile", "dup", "dup2"),
    *("sendto", "sendmsg"),
)

_AT_ONCE: Final = {"close", "sendto", "sendmsg"}
"""Calls that have their effect when they begin."""

_LONGEST: Final = 16 * 1024 * 1024
_UNFINISHED: Final = " <unfinished ...>"
_LINE: Final = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*)", re.DOTALL)
_STRING: Final = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(\.\.\.)?', re.DOTALL)
_REPLY: Final = re.compile(rb'"id":"(\d+)","code":(\d+)')
_IGNORED: Final = "-shm"
"""SQLite's index of its log, which it makes anew at each start."""


def strace(log: Path) -> list[str]:
    """The command before that of a service, whose direct parent we stay."""
    options = ("-D", "-f", "-q", "-s", str(_LONGEST), "-o", str(log))
    return ["strace", "--seccomp-bpf", *options, "-e", f"trace={','.join(CALLS)}"]


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes were written to a file."""

    begin: int
    end: int
    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Size:
    """A file got another size."""

    begin: int
    end: int
    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a folder was given to a file or folder, or to none; at once taken from another."""

    begin: int
    end: int
    folder: int
    name: str
    inode: int | None
    source: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Sync:
    """A file or folder was synced."""

    begin: int
    end: int
    inode: int


Operation: TypeAlias = Write | Size | Name | Sync


@dataclass(frozen=True, slots=True)
class Reply:
    """A request was answered: from this line on its sender may know."""

    begin: int
    number: int
    code: int


@dataclass(slots=True)
class _Open:
    inode: int
    position: int = 0
    appends: bool = False


@dataclass(slots=True)
class Trace:
    """The operations of one or several lives of a service in one folder.

    Args:
        root: The folder; what happens elsewhere is left out.

    Attributes:
        operations: In the order in which they ended.
        replies: In the order in which they were sent.
        folders: The inodes that are folders.
        kinds: What each inode is: the ending of its first name, or `folder`.
        lines: How many lines all logs have had.
    """

    root: Path
    operations: list[Operation] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    folders: set[int] = field(default_factory=lambda: {ROOT})
    kinds: dict[int, str] = field(default_factory=lambda: {ROOT: "folder"})
    lines: int = 0
    _paths: dict[str, int] = field(default_factory=lambda: {".": ROOT})
    _sizes: dict[int, int] = field(default_factory=dict)
    _files: dict[int, _Open] = field(default_factory=dict)
    _inodes: int = ROOT

    def read(self, log: Path) -> None:
        """Read the log of the next life.

        Raises:
            ValueError: It has a call whose effect is not known.
        """
        self._files.clear()
        begun: dict[str, tuple[int, str]] = {}
        with log.open(encoding="latin-1", newline="\n") as lines:
            for line in lines:
                self.lines += 1
                found = _LINE.match(line.rstrip("\n"))
                if found is None:
                    continue  # a signal, or the end of a thread
                thread, call, text = found.groups()
                begin, before = begun.pop(thread, (self.lines, ""))
                if not before and call in _AT_ONCE:
                    self._begin(call, text)
                if text.endswith(_UNFINISHED):
                    begun[thread] = (self.lines, text.removesuffix(_UNFINISHED))
                elif call not in _AT_ONCE:
                    self._end(call, before + text, begin)

    def _begin(self, call: str, text: str) -> None:
        """Take a call that has its effect when it begins.

        Who is answered may know it then; a descriptor that is being closed can be another file's
        before the call has returned.
        """
        if call == "close":
            self._files.pop(int(re.match(r"\d+", text)[0]), None)  # type: ignore[index]
            return
        for data in _strings(text):
            for number, code in _REPLY.findall(data):
                self.replies.append(Reply(self.lines, int(number), int(code)))

    def _end(self, name: str, text: str, begin: int) -> None:
        """Take a call that has returned."""
        arguments, _, result = text.rpartition(" = ")
        if not result or result[0] in "-?":
            return
        value = int(re.match(r"\d+", result)[0])  # type: ignore[index]
        call = _Call(name, arguments.rstrip().removesuffix(")"), value, begin)
        if handler := _HANDLERS.get(name):
            handler(self, call, self.lines)
        elif any(f" {call.text},".find(f" {number},") >= 0 for number in self._files) or any(
            self._path(path) is not None for path in call.paths
        ):
            raise ValueError(f"line {self.lines}: {name}, whose effect is not known")

    def check(self) -> list[str]:
        """What is otherwise in the real folder; it knows that from names and lengths.

        A socket has no contents: one that a killed service leaves is not recorded.
        """
        real = {
            str(path.relative_to(self.root)): -1 if path.is_dir() else path.stat().st_size
            for path in self.root.rglob("*")
            if not path.name.endswith(_IGNORED) and not path.is_socket()
        }
        ours = {
            path: -1 if inode in self.folders else self._sizes.get(inode, 0)
            for path, inode in self._paths.items()
            if path != "."
        }
        return [
            f"{path}: {real.get(path, 'missing')}, by the trace {ours.get(path, 'missing')}"
            for path in sorted(real.keys() | ours.keys())
            if real.get(path) != ours.get(path)
        ]

    # Files

    def _opened(self, call: _Call, end: int) -> None:
        path = self._path(call.paths[0])
        if path is None or path.endswith(_IGNORED):
            return
        flags = call.text.rpartition('"')[2]
        inode = self._paths.get(path)
        if inode is None:
            if "O_CREAT" not in flags:
                raise ValueError(f"line {end}: {path} was opened, and nobody has made it")
            inode = self._new(path, call, end)
        elif "O_TRUNC" in flags and self._sizes.get(inode):
            self._resize(inode, 0, call, end)
        self._files[call.result] = _Open(inode, appends="O_APPEND" in flags)

    def _sought(self, call: _Call, _end: int) -> None:
        if file := self._files.get(call.number(0)):
            file.position = call.result

    def _written(self, call: _Call, end: int) -> None:
        file = self._files.get(call.number(0))
        if file is None or not call.result:
            return
        data = b"".join(_strings(call.text))[: call.result]
        if len(data) != call.result:
            raise ValueError(f"line {end}: {call.result} bytes were written, {len(data)} are known")
        if call.name.startswith("p"):
            offset = int(call.text.rpartition(", ")[2])
        else:
            offset = self._sizes[file.inode] if file.appends else file.position
            file.position = offset + len(data)
        self.operations.append(Write(call.begin, end, file.inode, offset, data))
        self._sizes[file.inode] = max(self._sizes[file.inode], offset + len(data))

    def _truncated(self, call: _Call, end: int) -> None:
        if file := self._files.get(call.number(0)):
            self._resize(file.inode, call.number(1), call, end)

    def _truncated_by_name(self, call: _Call, end: int) -> None:
        path = self._path(call.paths[0])
        if path is not None and path in self._paths:
            self._resize(self._paths[path], int(call.text.rpartition(", ")[2]), call, end)

    def _allocated(self, call: _Call, end: int) -> None:
        if file := self._files.get(call.number(0)):
            size = call.number(2) + call.number(3)
            if call.number(1) == 0 and size > self._sizes[file.inode]:
                self._resize(file.inode, size, call, end)

    def _resize(self, inode: int, size: int, call: _Call, end: int) -> None:
        self.operations.append(Size(call.begin, end, inode, size))
        self._sizes[inode] = size

    def _synced(self, call: _Call, end: int) -> None:
        if file := self._files.get(call.number(0)):
            self.operations.append(Sync(call.begin, end, file.inode))

    # Names

    def _made(self, call: _Call, end: int) -> None:
        if path := self._path(call.paths[0]):
            inode = self._new(path, call, end)
            self.folders.add(inode)
            self.kinds[inode] = "folder"

    def _renamed(self, call: _Call, end: int) -> None:
        old, new = map(self._path, call.paths)
        if old is None or new is None:
            return
        inode = self._paths.pop(old)
        self._paths[new] = inode
        source, target = self._place(old), self._place(new)
        self.operations.append(Name(call.begin, end, *target, inode, source))

    def _removed(self, call: _Call, end: int) -> None:
        path = self._path(call.paths[0])
        if path is not None and self._paths.pop(path, None) is not None:
            self.operations.append(Name(call.begin, end, *self._place(path), None))

    def _new(self, path: str, call: _Call, end: int) -> int:
        self._inodes += 1
        self._paths[path] = self._inodes
        self._sizes[self._inodes] = 0
        self.kinds[self._inodes] = PurePosixPath(path).suffix
        self.operations.append(Name(call.begin, end, *self._place(path), self._inodes))
        return self._inodes

    def _place(self, path: str) -> tuple[int, str]:
        pure = PurePosixPath(path)
        return self._paths[str(pure.parent)], pure.name

    def _path(self, given: bytes) -> str | None:
        """A path below the root; None for any other."""
        path = Path(given.decode())
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else None


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    text: str
    result: int
    begin: int

    @property
    def paths(self) -> list[bytes]:
        """The arguments that are strings."""
        return list(_strings(self.text))

    def number(self, place: int) -> int:
        """An argument that is a number, of a call that has no strings before it."""
        return int(self.text.split(", ", place + 1)[place])


def _strings(text: str) -> Iterator[bytes]:
    for string, cut in _STRING.findall(text):
        if cut:
            raise ValueError("strace has cut a string short")
        yield codecs.escape_decode(string.encode("latin-1"))[0]


_HANDLERS: Final[dict[str, Callable[[Trace, _Call, int], None]]] = {
    **dict.fromkeys(("open", "openat", "creat"), Trace._opened),
    "lseek": Trace._sought,
    **dict.fromkeys(("write", "writev", "pwrite64", "pwritev"), Trace._written),
    "ftruncate": Trace._truncated,
    "truncate": Trace._truncated_by_name,
    "fallocate": Trace._allocated,
    **dict.fromkeys(("fsync", "fdatasync"), Trace._synced),
    **dict.fromkeys(("rename", "renameat", "renameat2"), Trace._renamed),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), Trace._removed),
    **dict.fromkeys(("mkdir", "mkdirat"), Trace._made),
}
