"""A registry behind HTTP: a device file with an ETag, and its changes since a position.

    GET url                          200: the device file, ETag, X-Position; 304: it has not changed
    GET key_url?key=KEY&key=KEY      200: those of the keys that are devices, a line each
    GET changes_url?since=POSITION   200: lines +KEY and -KEY, X-Position: the position behind them
                                     204: nothing new; 410: POSITION is gone, read the file again

Without `changes_url` the whole file is read again when its ETag differs. With it, the file is read
at the start and after a 410; its changes begin at the position that came with it.

A server may hold the answer back until there are changes, for less than `timeout`; else it is asked
again after `poll`.

Invariants: nothing of an answer is used before its end was read; no answer is larger in memory, or
on disk, than `max_bytes`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from pointgate.device_changes import Changes
from pointgate.errors import ConfigError
from pointgate.registries.base import Pause, RegistryUnavailableError, Snapshot
from pointgate.registries.http.client import Answer, HttpClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from pointgate.registries.http.settings import HttpRegistrySettings

_CHANGES_BYTES: Final = 64 * 2**20
"""More changes at once are an error of the server: it can answer with some, and the next position.
"""

_POSITION_BYTES: Final = 1024

_KEYS_AT_ONCE: Final = 50
"""Keys in one url: with the longest ones, and percent signs, it has less than 20 kB."""

_OK, _NO_CONTENT, _NOT_MODIFIED, _GONE = 200, 204, 304, 410

_FORMS: Final[dict[str, Literal["txt", "csv", "jsonl"]]] = {
    "text/plain": "txt",
    "text/csv": "csv",
    "application/x-ndjson": "jsonl",
    "application/ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "application/x-jsonlines": "jsonl",
}

_MALFORMED: Final = re.compile(rb"^(?![+-]|\Z).*", re.MULTILINE)


def build(settings: HttpRegistrySettings) -> HttpRegistry:
    """Make a registry; nothing is opened yet."""
    return HttpRegistry(settings)


class HttpRegistry:
    """See `base.Registry`.

    Args:
        settings: Its settings.

    Raises:
        ValueError: The certificates cannot be used, or the settings contradict each other.
        ConfigError: The token cannot be read.
    """

    def __init__(self, settings: HttpRegistrySettings) -> None:
        if settings.product is None and settings.format in {"csv", "jsonl"}:
            raise ValueError('expected product with format = "csv" or "jsonl", got none')
        self._settings = settings
        settings.token_text()  # an error is one of the settings, as long as nothing was asked
        self._client = HttpClient(timeout=settings.timeout, ca_file=settings.ca_file)
        self._pause = Pause()
        self._answer: Answer | None = None

    def snapshot(self) -> Snapshot:
        """See `base.Registry`."""
        answer, self._answer = self._answer, None
        if answer is None:
            answer = self._get(self._settings.url, {})
        if answer.status != _OK:
            raise self._refusal(answer, self._settings.url)
        snapshot = Snapshot(iter(()), position=self._position(answer))
        form = self._form(answer)
        if self._settings.product is None and form != "txt":
            reason = (
                f'expected text/plain with lines PRODUCT/KEY without product, got form "{form}"'
            )
            raise self._refused(answer, reason)
        pieces = answer.pieces(self._settings.max_bytes)
        if self._settings.product is None:
            snapshot.blocks = _lines(pieces, answer)
        else:
            snapshot.form = form
            snapshot.blocks = _whole(pieces, answer)
        return snapshot

    def changes(self, position: str | None) -> Changes[str] | None:
        """See `base.Registry`."""
        if position is None:
            return None
        known = json.loads(position)
        if self._settings.changes_url is None:
            return self._if_unchanged(position, known["etag"])
        since = known["position"]
        if since is None:  # of a copy that was made without changes_url
            return None
        url = self._settings.changes_url
        url += f"{'&' if '?' in url else '?'}since={quote(since, safe='')}"
        with self._get(url, {}) as answer:
            if answer.status == _GONE:
                return None
            if answer.status in {_NO_CONTENT, _NOT_MODIFIED}:
                return Changes(b"", 1, position)
            if answer.status != _OK:
                raise self._refusal(answer, self._settings.changes_url)
            newer = answer.headers.get("X-Position")
            if newer is None:
                raise RegistryUnavailableError("expected a header X-Position with changes")
            lines = _change_lines(answer.body(_CHANGES_BYTES))
            return Changes(lines, 1, json.dumps({**known, "position": _checked(newer)}))

    def _if_unchanged(self, position: str, etag: str | None) -> Changes[str] | None:
        answer = self._get(self._settings.url, {"If-None-Match": etag} if etag else {})
        if answer.status == _NOT_MODIFIED:
            with answer:
                return Changes(b"", 1, position)
        if answer.status != _OK:
            raise self._refusal(answer, self._settings.url)
        if etag is not None and answer.headers.get("ETag") == etag:
            with answer:  # a server that does not know If-None-Match
                return Changes(b"", 1, position)
        self._answer = answer
        return None

    def present(self, keys: Sequence[str]) -> set[str]:
        """See `base.Answers`."""
        url = self._settings.key_url
        if url is None:
            raise RegistryUnavailableError("key_url is not set")
        found: set[str] = set()
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            query = "&".join(f"key={quote(key, safe='')}" for key in some)
            with self._get(f"{url}{'&' if '?' in url else '?'}{query}", {}) as answer:
                if answer.status != _OK:
                    raise self._refusal(answer, url)
                lines = {*answer.body(_CHANGES_BYTES).replace(b"\r\n", b"\n").split(b"\n")}
                found |= {key for key in some if key.encode() in lines}
        return found

    def wait(self, seconds: float) -> None:
        """See `base.Registry`."""
        self._pause.wait(seconds)

    def sever(self) -> None:
        """See `base.Registry`."""
        self._pause.end()
        self._client.sever()

    def close(self) -> None:
        """See `base.Registry`."""
        self._answer = None
        self._client.close()

    def _get(self, url: str, headers: dict[str, str]) -> Answer:
        self._answer = None
        try:
            token = self._settings.token_text()  # read again: tokens are replaced
        except ConfigError as error:
            raise RegistryUnavailableError(f"token_file: {error.reason}") from error
        return self._client.get(url, headers, token=token)

    def _position(self, answer: Answer) -> str:
        """The position that comes with a device file."""
        position = answer.headers.get("X-Position")
        if position is None and self._settings.changes_url is not None:
            raise self._refused(answer, "expected a header X-Position with the device file")
        known = {
            "etag": answer.headers.get("ETag"),
            "position": None if position is None else _checked(position),
        }
        if known["etag"] is None and self._settings.changes_url is None:
            raise self._refused(answer, "expected a header ETag with the device file")
        return json.dumps(known)

    def _form(self, answer: Answer) -> Literal["txt", "csv", "jsonl"]:
        if self._settings.format is not None:
            return self._settings.format
        type_ = answer.headers.get_content_type()
        form = _FORMS.get(type_)
        if form is None:
            reason = f"expected a Content-Type such as text/plain, got {type_[:64]}: set format"
            raise self._refused(answer, reason)
        return form

    def _refusal(self, answer: Answer, url: str) -> RegistryUnavailableError:
        return self._refused(answer, f"HTTP {answer.status} from {url}")

    def _refused(self, answer: Answer, reason: str) -> RegistryUnavailableError:
        with answer:
            return RegistryUnavailableError(reason)


def _checked(position: str) -> str:
    if len(position) > _POSITION_BYTES:
        raise RegistryUnavailableError(f"expected X-Position of at most {_POSITION_BYTES} bytes")
    return position


def _whole(pieces: Iterator[bytes], answer: Answer) -> Iterator[bytes]:
    with answer:
        yield from pieces


def _lines(pieces: Iterator[bytes], answer: Answer) -> Iterator[bytes]:
    """Blocks of whole lines `PRODUCT/KEY`."""
    rest = b""
    with answer:
        for piece in pieces:
            block = (rest + piece).replace(b"\r\n", b"\n")
            end = block.rfind(b"\n") + 1
            rest = block[end:]
            if len(rest) > _POSITION_BYTES:
                raise RegistryUnavailableError("expected lines PRODUCT/KEY, got a longer one")
            if end:
                yield block[:end]
        if rest:
            yield rest + b"\n"


def _change_lines(body: bytes) -> bytes:
    """The lines of an answer with changes."""
    lines = body.replace(b"\r\n", b"\n")
    if lines and not lines.endswith(b"\n"):
        lines += b"\n"
    if found := _MALFORMED.search(lines):
        shown = ascii(found[0][:64].decode("utf-8", "replace"))
        raise RegistryUnavailableError(f"expected lines +KEY and -KEY, got {shown}")
    return lines
