"""An object store, as the sink for Parquet objects uses it; needs the extra `pointgate[objects]`.

It is the library obstore with a few calls, whose errors are one class, and whose texts name what an
operator can act on. Keys are relative to the url.

Some stores reply 404 to wrong keys and missing buckets, too, so a missing object is believed only
if its folder can be listed.

Invariants: every call ends, at the latest after the timeouts of its requests; options and secrets
are in no text.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from pointgate.errors import PointgateError
from pointgate.sinks import object_stores
from pointgate.sinks.object_options import bare, check_access, endpoint_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from pointgate.sinks.object_stores import ObjectUrl

_CLIENT: Final = (
    *("allow_http", "allow_invalid_certificates", "connect_timeout", "default_content_type"),
    *("http1_only", "http2_only", "http2_keep_alive_interval", "http2_keep_alive_timeout"),
    *("http2_keep_alive_while_idle", "pool_idle_timeout", "pool_max_idle_per_host", "proxy_url"),
    *("proxy_ca_certificate", "proxy_excludes", "timeout", "user_agent"),
)
"""Options of the HTTP client, which the library wants apart, with or without a vendor's prefix."""

_VENDORS: Final = {
    **dict.fromkeys(("s3", "s3a"), "aws"),
    "gs": "google",
    **dict.fromkeys(("az", "abfs", "abfss"), "azure"),
}
_FLAGS: Final = {"true": True, "false": False}

_MAX_RETRIES: Final = "max_retries"

_DEFAULTS: Final = {
    # Of a whole upload: 64 MiB in it take half a megabyte a second.
    "timeout": "120s",
    "connect_timeout": "5s",
    # The drain retries, too, and for as long as it takes.
    _MAX_RETRIES: "2",
}


_RETRY_TIMEOUT: Final = timedelta(seconds=60)


class StoreError(PointgateError):
    """A store that cannot be reached, or rejects a request.

    Attributes:
        is_mistake: Whether it has said that settings are wrong.
    """

    def __init__(self, error: BaseException, *, is_mistake: bool = False) -> None:
        super().__init__(object_stores.reason(error))
        self.is_mistake = is_mistake or object_stores.is_mistake(error)


@dataclass(frozen=True, slots=True)
class Found:
    """An object in a listing.

    Attributes:
        key: Its key, relative to the store's url.
        size: Its size in bytes.
    """

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version of an object.

    Attributes:
        mode: What the library wants to know of a version that it is to replace.
        modified: When it was written, by the store's clock; None if that was just now.
    """

    mode: Mapping[str, str]
    modified: datetime | None = None


class ObjectStore:
    """A bucket, or a prefix in it.

    Args:
        url: Where.
        options: Those of the library, texts.

    Raises:
        ValueError: An option is unknown, or has a value that is none.
    """

    def __init__(self, url: ObjectUrl, options: Mapping[str, str]) -> None:
        config: dict[str, Any] = {}
        client: dict[str, Any] = {}
        retries = 0
        for name, value in (_DEFAULTS | _environment(url) | dict(options)).items():
            option = bare(name)
            if option == _MAX_RETRIES:
                retries = _number(name, value)
            elif option in _CLIENT:
                client[option] = _FLAGS.get(value.lower(), value)
            else:
                config[name.lower()] = value
        if endpoint_of(config).startswith("http://") and client.get("allow_http") is not True:
            raise ValueError(
                'storage_options: expected allow_http = "true" with an http:// endpoint'
            )
        try:
            build: Any = from_url  # its types have each vendor's options
            self._store = build(
                str(url), config=config, client_options=client, retry_config=_retries(retries)
            )
        except (BaseError, ValueError, TypeError) as error:
            if "Missing" in str(error):  # half of a key
                check_access(url, options)
            raise ValueError(f"storage_options: {object_stores.reason(error)}") from None
        check_access(url, options)
        self._url = url

    def __repr__(self) -> str:
        return f"ObjectStore({str(self._url)!r})"

    def get(self, key: str) -> tuple[bytes, Version] | None:
        """An object's content and version; None if there is none."""
        try:
            with _errors(missing=True):
                found = obstore.get(self._store, key)
                return bytes(found.bytes()), _version(found.meta)
        except FileNotFoundError as error:
            if self.exists(key):
                raise StoreError(error) from error
            return None

    def put(self, key: str, content: Any) -> None:
        """Write an object, in one request."""
        self._put(key, content, "overwrite")

    def replace(self, key: str, content: bytes, version: Version | None) -> Version | None:
        """Write an object if it is still of this version, or if there is none.

        Returns:
            Its version now; None if it was another one.
        """
        try:
            return self._put(key, content, dict(version.mode) if version else "create")
        except StoreError as error:
            if isinstance(error.__cause__, AlreadyExistsError | PreconditionError):
                return None
            raise

    def copy(self, source: str, target: str) -> bool:
        """Copy an object within the store; whether it was there."""
        try:
            with _errors(missing=True):
                obstore.copy(self._store, source, target)
        except FileNotFoundError as error:
            if self.exists(source):
                raise StoreError(error) from error
            return False
        return True

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, those that are there."""
        if found := list(keys):
            # Some stores say that one is missing.
            with suppress(FileNotFoundError), _errors(missing=True):
                obstore.delete(self._store, found)

    def objects(self, folder: str) -> Iterator[Found]:
        """The objects below a folder."""
        with _errors():
            for several in obstore.list(self._store, folder):
                yield from (Found(one["path"], one["size"]) for one in several)

    def exists(self, key: str) -> bool:
        """Whether an object is in the listing of its folder."""
        return any(found.key == key for found in self.objects(key.rpartition("/")[0]))

    def folders(self) -> list[str]:
        """The names of all folders at the top."""
        with _errors():
            return sorted(obstore.list_with_delimiter(self._store)["common_prefixes"])

    def _put(self, key: str, content: Any, mode: Any) -> Version:
        with _errors():
            # In one request, because parts of an upload that is given up would stay.
            result = obstore.put(self._store, key, content, mode=mode, use_multipart=False)
        return _version(result)


@contextmanager
def _errors(*, missing: bool = False) -> Iterator[None]:
    """Turn the errors of the library into a `StoreError`.

    Args:
        missing: Whether a FileNotFoundError is the caller's.
    """
    try:
        yield
    except (BaseError, OSError) as error:
        if missing and isinstance(error, FileNotFoundError):
            raise
        raise StoreError(error) from error
    except BaseException as error:
        # A panic, with which the library meets some settings, is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise StoreError(error, is_mistake=True) from error


def _environment(url: ObjectUrl) -> dict[str, str]:
    """What the library would not read of the environment, because it gets options of a client."""
    vendor = _VENDORS[url.partition("://")[0]]
    names = [f"{vendor}_{name}" for name in (*_CLIENT, "endpoint", "endpoint_url")]
    return {name: os.environ[name.upper()] for name in names if name.upper() in os.environ}


def _version(found: Any) -> Version:
    mode = {name: found[name] for name in ("e_tag", "version") if found[name] is not None}
    return Version(mode, found.get("last_modified"))


def _number(name: str, value: str) -> int:
    if not value.isdecimal():
        raise ValueError(f"storage_options: expected a number for {name}")
    return int(value)


def _retries(count: int) -> Any:
    return {"max_retries": count, "retry_timeout": _RETRY_TIMEOUT}
