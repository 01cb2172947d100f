"""The retry policy of sinks: exponential backoff with full jitter, for as long as it takes.

    0.1 s, 0.2, 0.4, … up to 30 s, of each a random part, so that services do not retry in step

A permanent rejection is not retried, and an allocation that fails for several requests is not
either: half of them may fit.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from pointgate.error_classes import ErrorClass, classify
from pointgate.errors import PointgateError
from pointgate.sinks.base import SinkRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pointgate.sinks.sink_state import SinkState

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 30.0


class TooLargeError(PointgateError):
    """An allocation failed for a write of several requests."""


async def retry(
    state: SinkState,
    call: Callable[[], Awaitable[Any]],
    *,
    several: bool = False,
    on_failure: Callable[[], Awaitable[None]],
) -> None:
    """Retry a call until it returns.

    Args:
        state: The sink.
        call: The call.
        several: Whether it is a write of several requests, which can be bisected.
        on_failure: Called after each failure, before the wait.

    Raises:
        SinkRefusedError: A permanent rejection.
        TooLargeError: An allocation failed, for several requests.
    """
    tries = 0
    while True:
        try:
            with state.calling():
                await call()
        except SinkRefusedError:
            state.failure = ""
            raise
        except Exception as error:
            state.note_failure(error)
            if several and not state.sink.pending and classify(error) is ErrorClass.MEMORY:
                raise TooLargeError from error
            await on_failure()
        else:
            state.failure = ""
            return
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(tries, 16))
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - jitter, not a secret
        tries += 1
