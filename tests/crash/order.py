"""The order of the service's system calls: is it on the disk before it is answered?

A killed process leaves its writes with the kernel, which brings them to the disk in its own time:
what a power cut would take can be seen only in the order of calls. So the service runs under strace
and gets one request at a time; all that happens between the arrival of a request and the sending
of its answer is then for that request.

    recvfrom  the request
    pwrite64  the log of the spool              each of these ends
    fdatasync the log of the spool              before the next begins
    write     a file of points                  with ack = "sink" these four, too,
    fsync     that file                         for each file
    rename    it to its place
    fsync     the folder of that place
    sendto    the answer, then the acknowledgement

It says nothing about what the calls write: the kills do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_WRITES: Final = ("write", "writev", "pwrite64", "pwritev")
_SYNCS: Final = ("fsync", "fdatasync")
_SENDS: Final = ("sendto", "sendmsg")
_RECEIVES: Final = ("recvfrom", "recvmsg")
_RENAMES: Final = ("rename", "renameat", "renameat2")

_LOG: Final = ".db-wal"
_UNFINISHED: Final = " <unfinished ...>"
_ACKNOWLEDGEMENT: Final = r"@\2"
"""How a PUBACK of a request begins, as strace shows it."""

_LINE: Final = re.compile(
    r"(?P<thread>\d+) +(<\.\.\. )?(?P<name>\w+)(\(| resumed>)(?P<text>.*?)(\) += .*)?"
)
_DESCRIPTOR: Final = re.compile(r"\d+<(?P<path>[^>]*)>")
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')


def strace(log: Path) -> list[str]:
    """The command before that of a service, whose direct parent we stay."""
    calls = ",".join((*_WRITES, *_SYNCS, *_SENDS, *_RECEIVES, *_RENAMES))
    options = ("-D", "-f", "-q", "-y", "-s", "300", "-o", str(log), "-e", f"trace={calls}")
    return ["strace", "--seccomp-bpf", *options]


@dataclass(slots=True)
class Call:
    """A system call.

    Attributes:
        name: Its name.
        text: Its arguments, as strace shows them.
        begin: The line at which it began.
        end: The line at which it returned.
    """

    name: str
    text: str
    begin: int
    end: int

    @property
    def path(self) -> str:
        """The file of its descriptor."""
        found = _DESCRIPTOR.match(self.text)
        return found["path"] if found else ""

    @property
    def paths(self) -> list[str]:
        """Its arguments that are strings."""
        return _STRING.findall(self.text)


def read(lines: Iterable[str]) -> list[Call]:
    """Read what strace has written, in the order in which the calls returned."""
    calls = []
    begun: dict[str, Call] = {}
    for number, line in enumerate(lines):
        found = _LINE.fullmatch(line.removesuffix("\n").removesuffix(_UNFINISHED))
        if not found:
            continue  # a signal, or the end of a thread
        thread, name, text = found["thread"], found["name"], found["text"]
        if line.rstrip("\n").endswith(_UNFINISHED):
            begun[thread] = Call(name, text, number, number)
            continue
        call = begun.pop(thread, None) or Call(name, "", number, number)
        call.text += text
        call.end = number
        calls.append(call)
    return calls


def exit_of(process: int) -> re.Pattern[str]:
    """The line that strace ends with; it pads process ids to five columns."""
    return re.compile(rf"^{process} +\+\+\+ exited with", re.MULTILINE)


def violations(calls: Sequence[Call], *, ack: str) -> list[str]:
    """What is not in order.

    Args:
        calls: All calls of a service that got one request at a time, all of them good.
        ack: What its 200 promises.
    """
    found = [f"{name}: renamed before it was synced" for name in _hasty_renames(calls)]
    answers = list(_answers(calls))
    if not answers:
        found.append("no request was answered 200")
    for number, between, answer in answers:
        who = f"request {number}"
        sent = [call for call in between if call.name in _SENDS]
        if any(_ACKNOWLEDGEMENT in call.text for call in sent):
            found.append(f"{who}: acknowledged before it was answered")
        if answer.text.find(_ACKNOWLEDGEMENT) < answer.text.find(f'{number}\\",\\"code'):
            found.append(f"{who}: acknowledged in front of its answer, or not at all")
        if not any(_synced(call, between) for call in _writes(between, _LOG)):
            found.append(f"{who}: answered before its points were on the disk")
        if ack == "sink" and not _in_place(between):
            found.append(f"{who}: answered before its files were on the disk in their place")
    return found


def _answers(calls: Sequence[Call]) -> Iterator[tuple[str, list[Call], Call]]:
    """Each request that was answered 200: its id, the calls between, and that with its answer."""
    for answer in calls:
        if answer.name not in _SENDS:
            continue
        for number in re.findall(r'\\"id\\":\\"(\d+)\\",\\"code\\":200', answer.text):
            request = next(
                call
                for call in calls
                if call.name in _RECEIVES and f'\\"id\\":\\"{number}\\"' in call.text
            )
            between = [
                call for call in calls if call.begin > request.end and call.end < answer.begin
            ]
            yield number, between, answer


def _writes(calls: Iterable[Call], ending: str) -> list[Call]:
    return [call for call in calls if call.name in _WRITES and call.path.endswith(ending)]


def _synced(write: Call, calls: Iterable[Call]) -> bool:
    """Whether a file was synced after it was written."""
    return any(
        call.name in _SYNCS and call.path == write.path and call.begin > write.end for call in calls
    )


def _in_place(calls: Sequence[Call]) -> bool:
    """Whether files were renamed, and their folders synced after that."""
    renames = [call for call in calls if call.name in _RENAMES]
    return bool(renames) and all(
        any(
            call.name in _SYNCS
            and call.path == str(PurePath(rename.paths[-1]).parent)
            and call.begin > rename.end
            for call in calls
        )
        for rename in renames
    )


def _hasty_renames(calls: Sequence[Call]) -> Iterator[str]:
    """The files that were renamed when the last thing written to them was not synced."""
    for rename in calls:
        if rename.name in _RENAMES:
            before = [call for call in calls if call.end < rename.begin]
            written = [call for call in _writes(before, ".tmp") if call.path == rename.paths[0]]
            # Its name is used again and again: what counts is the last write.
            if not written or not _synced(written[-1], before):
                yield PurePath(rename.paths[-1]).name
