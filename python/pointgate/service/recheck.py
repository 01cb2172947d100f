"""Asks a registry for devices that the catalog does not have, before their requests get a 1257.

A device may post in the moment between its registration and the change that makes it known here.
For products with `on_unknown = "recheck"` the registry is asked for the unknown keys of a burst,
all at once. Those that it knows become changes of its copy, as if they had been read; the catalog
is loaded, and the burst is judged again.

    unknown keys ─► asked less than `_ABSENT_SECONDS` ago? ─► within the rate? ─► one question
                    yes, or no answer within `_ANSWER_SECONDS`: 1257, as without this

Everything is bounded, because anybody may post unknown keys: keys of a request and of a burst, keys
a second, remembered keys, one question at a time, the time that a burst waits. After a failure the
registry is not asked for `_AWAY_SECONDS`.

Invariants: it never answers: the judge does, by a newer snapshot; while a registry is away a
request is answered 1257, not held.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import orjson

from pointgate.catalog_contents import Snapshot
from pointgate.rate_limiter import RateLimiter
from pointgate.registries.base import Answers, RegistryUnavailableError
from pointgate.registries.kinds import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pointgate._core import Burst, Catalog, Validator
    from pointgate.registries.base import Registry
    from pointgate.registries.follower import Follower
    from pointgate.registries.settings import RegistrySettings
    from pointgate.registries.statistics import RegistryStatistics
    from pointgate.service.metrics import Metrics

_log = logging.getLogger(__name__)

_ANSWER_SECONDS: Final = 0.25
_LOADED_SECONDS: Final = 1.0
"""How long a burst waits for an answer, and then until the catalog has the devices."""

_ABSENT_SECONDS: Final = 1.0
_ABSENT_KEYS: Final = 10_000
"""A key that the registry does not know is not asked for again so soon; so many are remembered."""

_AWAY_SECONDS: Final = 5.0

_KEYS_A_SECOND: Final = 1_000
_KEYS_OF_A_REQUEST: Final = 1_000
_PARSED_BYTES: Final = 65_536
"""Of a longer request only the device of its first fault is asked for."""

_UNKNOWN: Final = 1257


class Asker:
    """Asks one registry, over a connection of its own.

    Args:
        settings: Its settings.
        registry: The registry, which this class closes.
        follower: Follows the same registry.
        statistics: What it counts.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        registry: Registry,
        follower: Follower,
        statistics: RegistryStatistics,
    ) -> None:
        self.has_product = settings.product is None
        self._registry = registry
        self._follower = follower
        self._statistics = statistics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"recheck-{settings.name}")
        self._asking: asyncio.Future[set[str]] | None = None
        self._absent: dict[str, float] = {}
        self._away_until = 0.0
        self._allowed = float(_KEYS_A_SECOND)
        self._allowed_at = time.monotonic()
        self._logged = RateLimiter(60.0)

    async def learn(self, keys: Iterable[str]) -> set[str]:
        """Ask for some keys, and add those that exist to the copy.

        Returns:
            Those that exist.
        """
        now = time.monotonic()
        wanted = [key for key in keys if self._absent.get(key, 0.0) <= now]
        allowed = self._take(len(wanted), now)
        some, rest = wanted[:allowed], len(wanted) - allowed
        is_busy = self._asking is not None and not self._asking.done()
        if not some or is_busy or now < self._away_until:
            self._statistics.rechecked["unanswered"] += len(some) + rest
            return set()
        self._statistics.rechecked["unanswered"] += rest
        call = asyncio.get_running_loop().run_in_executor(self._thread, self._ask, some)
        self._asking = call
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                found = await asyncio.shield(call)
        except (TimeoutError, RegistryUnavailableError, OSError) as error:
            self._fail(error, len(some))
            return set()
        self._remember(set(some) - found, now)
        self._statistics.rechecked["present"] += len(found)
        self._statistics.rechecked["absent"] += len(some) - len(found)
        return found

    def _take(self, count: int, now: float) -> int:
        """How many of some keys may be asked for now: a token bucket."""
        earned = (now - self._allowed_at) * _KEYS_A_SECOND
        self._allowed = min(_KEYS_A_SECOND, self._allowed + earned)
        self._allowed_at = now
        taken = min(count, int(self._allowed))
        self._allowed -= taken
        return taken

    def _ask(self, keys: list[str]) -> set[str]:
        """Ask, and write what exists to the copy. In the thread."""
        assert isinstance(self._registry, Answers)  # noqa: S101 - made only of those
        found = self._registry.present(keys)
        if found:
            self._follower.copy.learn("".join(f"+{key}\n" for key in sorted(found)).encode())
        return found

    def _fail(self, error: Exception, count: int) -> None:
        self._statistics.rechecked["unanswered"] += count
        self._away_until = time.monotonic() + _AWAY_SECONDS
        if self._asking is not None:
            self._asking.add_done_callback(lambda call: call.cancelled() or call.exception())
        if self._logged.count():
            reason = str(error) or f"no answer within {_ANSWER_SECONDS} s"
            _log.warning(
                "registry %s cannot be asked for unknown devices, they are rejected: %s",
                self._follower.name,
                reason,
            )

    def _remember(self, absent: Iterable[str], now: float) -> None:
        for key in absent:
            self._absent.pop(key, None)  # so that the order is that of the times
            self._absent[key] = now + _ABSENT_SECONDS
        while self._absent:
            key, end = next(iter(self._absent.items()))
            if len(self._absent) <= _ABSENT_KEYS and end > now:
                break
            del self._absent[key]

    def close(self) -> None:
        """End the connection; a question that has no answer yet is abandoned."""
        self._registry.sever()
        self._thread.submit(self._registry.close)
        self._thread.shutdown(wait=False)


class Recheck:
    """Asks the registries of products with `on_unknown = "recheck"`.

    Args:
        validator: The judge, whose catalog changes.
        askers: By the folder of each registry's copy.

    Attributes:
        look_now: Makes the catalog's watcher look at its files.
    """

    def __init__(self, validator: Validator, askers: dict[str, Asker]) -> None:
        self._validator = validator
        self._askers = askers
        self.look_now: Callable[[], None] = lambda: None
        self._changed = asyncio.Event()
        self._asker_of: dict[tuple[str, str], Asker | None] = {}

    @property
    def hook(self) -> Recheck | None:
        """What the gate calls; None if there is nobody to ask."""
        return self if self._askers else None

    def close(self) -> None:
        """End all connections."""
        for asker in self._askers.values():
            asker.close()

    def update(self) -> None:
        """The validator has another catalog."""
        self._changed.set()

    async def __call__(self, burst: Burst) -> bool:
        """Ask for the unknown devices of a judged burst.

        Returns:
            Whether the catalog has some of them now.
        """
        catalog = self._validator.catalog
        unknown = self._unknown(burst, catalog) if isinstance(catalog, Snapshot) else {}
        if not unknown:
            return False
        learned: list[tuple[str, str]] = []
        for asker, pairs in unknown.items():
            names = {f"{product}/{key}" if asker.has_product else key: (product, key)
                     for product, key in pairs}  # fmt: skip
            learned += [names[name] for name in await asker.learn(names)]
        return bool(learned) and await self._until_loaded(learned)

    def _unknown(self, burst: Burst, catalog: Snapshot) -> dict[Asker, set[tuple[str, str]]]:
        """The unknown devices of rejected requests, by whom to ask."""
        found: dict[Asker, set[tuple[str, str]]] = {}
        topics, payloads, reports, _ = burst.rejected
        for topic, payload, report in zip(topics, payloads, reports, strict=True):
            fault = report.fault
            if report.code != _UNKNOWN or fault is None or fault.device_key is None:
                continue
            product = topic.split("/")[-4]
            asker = self._asker(product, catalog)
            known = catalog.product(product)
            if asker is None or known is None:
                continue
            keys = _keys(payload, fault.device_key)
            found.setdefault(asker, set()).update(
                (product, key) for key in keys if key not in known.devices
            )
        return found

    def _asker(self, product: str, catalog: Snapshot) -> Asker | None:
        settings = catalog.contents.settings.get(product)
        if settings is None or settings.on_unknown != "recheck" or settings.registry is None:
            return None
        folder = catalog.document.parent / settings.registry
        place = (str(folder), settings.registry)
        if place not in self._asker_of:
            self._asker_of[place] = self._askers.get(os.path.realpath(folder))
        return self._asker_of[place]

    async def _until_loaded(self, learned: Sequence[tuple[str, str]]) -> bool:
        """Wait until the catalog has some devices; whether it has any of them."""
        end = time.monotonic() + _LOADED_SECONDS
        while True:
            self._changed.clear()
            missing = [pair for pair in learned if not _has(self._validator.catalog, *pair)]
            left = end - time.monotonic()
            if not missing or left <= 0:
                return len(missing) < len(learned)
            self.look_now()
            try:
                async with asyncio.timeout(min(left, 0.1)):
                    await self._changed.wait()
            except TimeoutError:
                continue


def build_recheck(
    settings: Sequence[RegistrySettings],
    followers: Sequence[Follower],
    metrics: Metrics,
    validator: Validator,
) -> Recheck:
    """Make what asks the registries that can be asked.

    Args:
        settings: The settings of all registries.
        followers: Their followers, in the same order.
        metrics: Where it counts.
        validator: The judge.
    """
    askers = {
        os.path.realpath(one.folder): Asker(one, build(one), follower, metrics.registries[one.name])
        for one, follower in zip(settings, followers, strict=True)
        if one.answers
    }
    return Recheck(validator, askers)


def _has(catalog: Catalog, product: str, key: str) -> bool:
    known = catalog.product(product)
    return known is not None and key in known.devices


def _keys(payload: bytes, first: str) -> set[str]:
    """The device keys of a request, that of its first fault among them; a bounded number."""
    keys = {first}
    if len(payload) > _PARSED_BYTES:
        return keys
    try:
        params: Any = orjson.loads(payload)["params"]
    except (orjson.JSONDecodeError, KeyError, TypeError):  # orjson is stricter in some places
        return keys
    for entry in params if isinstance(params, list) else [params]:
        key = entry.get("deviceKey") if isinstance(entry, dict) else None
        if isinstance(key, str) and len(keys) < _KEYS_OF_A_REQUEST:
            keys.add(key)
    return keys
