"""Commits of several objects at once into an object store, of which plain readers see each once.

    PREFIX/date=2026-11-23/live-0001795407111095531-3f9c21aa-00001.parquet    what readers see
    PREFIX/.pointgate/staged/live/live-0001795407111095531-3f9c21aa-00001     not decided yet
    PREFIX/.pointgate/live.json                                               the writer's record

A store has no renames, and puts one object at a time. So a commit is decided by one conditional put
of a small record:

    put each object as staged          # under names that no reader looks for
    put the record, if it is still the one of the commit before: from here on it is decided
    copy each staged object to its name, within the store
    delete the staged objects

The record names the sequence of the last request and the objects of its commit, so that whoever
opens the dataset after a crash carries out what is decided: the rows are in the store already, and
it does not matter how the spool cuts what it gives again. What is not decided is deleted.

The condition (If-Match) has three uses. Two processes with one writer: the one that has opened the
dataset last continues, the other one fails. A put that arrives after its process has been killed:
opening replaces the record, so that such a put fails. An answer that is lost: the record has an id,
by which the repetition knows its own.

Invariants: a name is used by one commit only, and its object never changes. An object gets its name
when its commit is decided, and its content is in the store. A record is replaced when its commit is
carried out. A store that ignores conditions is refused.
"""

from __future__ import annotations

import json
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pointgate import failpoint
from pointgate.sinks.base import SinkUnavailableError
from pointgate.sinks.parquet.settings import OWN_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from pointgate.sinks.parquet.object_store import ObjectStore, Version

_FORMAT: Final = 1
_PARALLEL: Final = 8
_TRIES: Final = 5


_NAME: Final = re.compile(r"[^/]+/[a-z0-9_]+-\d{19}-[0-9a-f]{16}-\d{5,}\.parquet")


@dataclass(frozen=True, slots=True)
class Finished:
    """An object that is ready.

    Attributes:
        name: The name of the staged object.
        key: What it will be called.
        content: Its bytes.
    """

    name: str
    key: str
    content: Any


@dataclass(frozen=True, slots=True)
class _Record:
    """The last commit of a writer.

    Attributes:
        id: Which version of the record it is; no other one has had it.
        sequence: The last sequence that is committed.
        objects: Of each object of the commit the name of the staged one, and its key.
        format: The version of this format.
    """

    id: str
    sequence: int = 0
    objects: Sequence[Sequence[str]] = ()
    format: int = _FORMAT

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def is_own(key: str) -> bool:
    """Whether an object has a name that commits give."""
    return bool(_NAME.fullmatch(key))


def new_id() -> str:
    """What no other commit is called."""
    return secrets.token_hex(8)


class Commits:
    """The commits of one writer.

    Args:
        store: Where.
        writer: Whose.
        url: What errors call the place.
    """

    def __init__(self, store: ObjectStore, writer: str, url: str) -> None:
        self._store = store
        self._writer = writer
        self._url = url
        self._key = f"{OWN_FOLDER}/{writer}.json"
        self._staged = f"{OWN_FOLDER}/staged/{writer}"
        self._record: _Record | None = None
        self._version: Version | None = None
        self._contents: dict[str, Any] = {}

    def newest(self) -> int:
        """The last sequence that is committed; 0 if there is none.

        Raises:
            StoreError: It cannot be read now.
        """
        found, _ = self._read()
        return found.sequence if found else 0

    def open(self) -> None:
        """Take the writer's place, carry out what is decided, delete what else a crash left.

        Raises:
            StoreError: Not now.
            SinkUnavailableError: Others take it at the same moment, or the store is unfit.
        """
        for _ in range(_TRIES):
            found, version = self._read()
            mine = replace(found or _Record(""), id=new_id())
            taken = self._store.replace(self._key, mine.encoded(), version)
            if taken is not None:
                break
        else:
            raise SinkUnavailableError(self._other())
        self._check_conditions(mine)
        self._record, self._version = mine, taken
        self.carry_out()
        self._store.delete([found.key for found in self._store.objects(self._staged)])

    def modified(self) -> datetime | None:
        """When the record was written, by the clock of the store."""
        _, version = self._read()
        return version.modified if version else None

    def stage(self, objects: Sequence[Finished]) -> None:
        """Put objects under names that no reader looks for.

        Raises:
            StoreError: Not now; it may be called again.
        """
        self._contents = {one.name: one.content for one in objects}
        _each(self._put, self._contents.items())

    def decide(self, identifier: str, sequence: int, objects: Sequence[Finished]) -> None:
        """Decide a commit: from here on it is carried out, whatever happens.

        Args:
            identifier: What no other commit is called.
            sequence: The last one that is in it; 0 if it need not be remembered.
            objects: The objects, which are staged.

        Raises:
            StoreError: Not now; it may be decided nevertheless, and must be called again.
            SinkUnavailableError: Another process has taken the writer's place.
        """
        assert self._record is not None  # noqa: S101 - it is open
        if self._record.id == identifier:
            return
        record = _Record(
            id=identifier,
            sequence=sequence or self._record.sequence,
            objects=[[one.name, one.key] for one in objects],
        )
        version = self._store.replace(self._key, record.encoded(), self._version)
        if version is None:
            # Either another process, or a try before this one whose answer was lost.
            found, version = self._read()
            if found is None or found.id != identifier:
                raise SinkUnavailableError(self._other())
        self._record, self._version = record, version

    def carry_out(self) -> None:
        """Give the objects of the last commit their names; may be called again after an error.

        Raises:
            StoreError: Not now.
        """
        if self._record is None:
            return
        _each(self._publish, self._record.objects)

    def forget(self) -> None:
        """Delete the staged objects of the last commit, which is carried out.

        Raises:
            StoreError: Some may stay, until the next `open`.
        """
        self._contents = {}
        if self._record is not None:
            self._store.delete([f"{self._staged}/{name}" for name, _ in self._record.objects])

    def _put(self, one: tuple[str, Any]) -> None:
        name, content = one
        self._store.put(f"{self._staged}/{name}", content)

    def _publish(self, one: Sequence[str]) -> None:
        name, key = one
        there = self._store.copy(f"{self._staged}/{name}", key)
        # After a crash one that is not staged any more was carried out before. Otherwise somebody
        # has deleted it, and maybe before it was copied.
        if not there and name in self._contents and not self._store.exists(key):
            self._store.put(key, self._contents[name])
        failpoint.hit("objects-between-copies")

    def _check_conditions(self, mine: _Record) -> None:
        """Refuse a store that ignores the condition of a put, with a put that changes nothing."""
        if self._store.replace(self._key, mine.encoded(), None) is not None:
            raise SinkUnavailableError(_ignores_conditions(self._url))

    def _read(self) -> tuple[_Record | None, Version | None]:
        found = self._store.get(self._key)
        if found is None:
            return None, None
        content, version = found
        try:
            record = _Record(**json.loads(content))
        except (ValueError, TypeError) as error:
            raise SinkUnavailableError(
                f"{self._url}/{self._key}: expected a record of pointgate, got something else"
            ) from error
        if record.format != _FORMAT:
            raise SinkUnavailableError(
                f"{self._url}/{self._key}: expected format {_FORMAT}, got {record.format}, "
                "of another version of pointgate"
            )
        return record, version

    def _other(self) -> str:
        return (
            f"another process writes to {self._url} as {self._writer!r}: "
            "expected a `writer` of its own for each service"
        )


def try_requests(store: ObjectStore, url: str) -> None:
    """Make every kind of request that a commit makes, under a name of its own.

    Raises:
        StoreError: One is rejected.
        SinkUnavailableError: The store ignores conditions.
    """
    key = f"{OWN_FOLDER}/trial-{new_id()}"
    try:
        version = store.replace(key, b"", None)
        if version is None or store.replace(key, b"", None) is not None:
            raise SinkUnavailableError(_ignores_conditions(url))
        store.replace(key, b"{}", version)
        store.copy(key, f"{key}-copy")
    finally:
        store.delete([key, f"{key}-copy"])


def _ignores_conditions(url: str) -> str:
    return (
        f"{url}: expected a store with conditional puts (If-None-Match, If-Match), "
        "got one that ignores them"
    )


def _each(call: Callable[[Any], object], items: Iterable[Any]) -> None:
    found = list(items)
    with ThreadPoolExecutor(min(_PARALLEL, max(1, len(found)))) as pool:
        list(pool.map(call, found))
