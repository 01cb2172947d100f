"""When the socket is read: under load a read waits for several requests, a lone one does not wait.

    expect(group x average size)        the kernel reports the socket as readable from so many bytes
    pace.record(requests, size, now)    after each read: another group, larger or smaller
    each tick without a read            reads what has arrived: a request waits two ticks at most

A broker sends each request in a segment of its own. To wake up, to read it and to pass it through
the gate costs ten times as much as judging it, and the cost is the same for sixteen. SO_RCVLOWAT
lets the kernel collect them: it wakes nobody before a whole group has arrived.

The size of the group is learned: it doubles after a number of full groups. A tick that finds an
incomplete one compares rates: if fewer requests arrive than with the smaller group before, their
senders wait for our replies, as those of a window that is smaller than a group. Then the group
shrinks to what was found, and the next attempt to double comes after twice as many full groups. So
a sender that waits for each reply is delayed by one request in thousands (`_MOST_FILLS`), and
senders that wait for nobody are read once a tick.

Invariants: while acknowledgements are awaited (`hurry`), and when nothing arrives for a tick, any
byte wakes us.

It knows neither sockets nor packets. Where the kernel ignores the option, nothing changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointgate.config import StoreSettings

_MOST_REQUESTS: Final = 16
"""The largest group. From 16 to 32 requests a read saves less than 0.3 µs a request."""

_MOST_BYTES: Final = 49_152
"""Below the size of a read."""

_LEAST_FILLS, _MOST_FILLS = 8, 4096
"""How many full groups the first and the last attempt to double follow."""

_TICKS: Final = 4
"""Ticks in `store.max_delay`: 1 ms by default, the resolution of the event loop's timers."""

_COMMIT_TICKS: Final = 2
"""The same where replies wait for commits, which are that far apart: half as many reads then cost a
reply nothing."""

_STEADY: Final = 0.65
"""The share of the rate before, below which waiting is no use; averages vary by a tenth or two."""

_MEMORY: Final = 8.0
"""Ticks that the averages go back."""

_MARGIN: Final = 0.9
"""Requests a little smaller than the average fill a group, too."""

_WEIGHT: Final = 0.125
"""Of the last read in the average size of a request."""


def tick_seconds(store: StoreSettings) -> float:
    """The tick, in seconds."""
    return store.max_delay / 1000 / (_TICKS if store.ack == "verdict" else _COMMIT_TICKS)


class _Rate:
    """How many requests arrive in a tick, on average over the last ones."""

    def __init__(self) -> None:
        self._requests = self._ticks = 0.0

    def add(self, requests: int, ticks: float) -> None:
        """A read found so many requests, so long after the read before."""
        share = _MEMORY / (_MEMORY + ticks)
        self._requests = self._requests * share + requests
        self._ticks = self._ticks * share + ticks

    @property
    def is_known(self) -> bool:
        """Whether it was averaged for long enough."""
        return self._ticks > _MEMORY / 2

    @property
    def is_lone(self) -> bool:
        """Whether less than one request arrives in a tick."""
        return self._requests < self._ticks

    def is_below(self, other: _Rate) -> bool:
        """Whether it is clearly less than another one."""
        return self._requests * other._ticks < _STEADY * other._requests * self._ticks


class ReadPace:
    """The pace of one connection's reads.

    Args:
        tick: Seconds between two looks at an incomplete group; 0 reads each byte at once.
        call_later: Calls a function after some seconds.
        read: Reads what has arrived.
        expect: Sets the number of bytes from which on the socket is reported as readable.
    """

    def __init__(
        self,
        tick: float,
        *,
        call_later: Callable[[float, Callable[[], None]], object],
        read: Callable[[], None],
        expect: Callable[[int], None],
    ) -> None:
        self._tick_seconds = tick
        self._call_later = call_later
        self._read = read
        self._expect = expect
        self._expected = 1
        self._group = 1
        self._fills, self._needed = 0, _LEAST_FILLS
        self._size = 0.0
        self._rate, self._rate_before = _Rate(), _Rate()  # with this group, with a smaller one
        self._last = 0.0  # when the last read was
        self._reads = 0  # since the last tick
        self._ticking = self._late = self._hurries = False

    @property
    def group(self) -> int:
        """How many requests are waited for."""
        return self._group

    def record(self, requests: int, size: int, now: float) -> None:
        """A read has completed so many requests, of so many bytes, at a time of any clock."""
        if not self._tick_seconds or not requests:
            return
        average = size / requests
        self._size += (average - self._size) * (_WEIGHT if self._size else 1.0)
        self._reads += 1
        # Without the pauses in which nothing waits to be read.
        self._rate.add(requests, min((now - self._last) / self._tick_seconds, 2.0))
        self._last = now
        if not self._late and requests >= self._group:
            self._fill()
        elif self._late and requests < self._group:
            falls = self._rate.is_known and self._rate.is_below(self._rate_before)
            if falls or self._rate.is_lone:
                self._shrink(requests)
        self._set(self._group)
        if not self._ticking and self._group > 1:
            self._ticking = True
            self._call_later(self._tick_seconds, self._tick)

    def _fill(self) -> None:
        """A group was complete."""
        self._fills += 1
        if self._fills >= self._needed and self._rate.is_known and self._group < _MOST_REQUESTS:
            self._group, self._fills = min(2 * self._group, _MOST_REQUESTS), 0
            self._rate_before, self._rate = self._rate, _Rate()

    def _shrink(self, requests: int) -> None:
        """To wait for more than so many requests is no use."""
        self._group, self._fills, self._rate = requests, 0, _Rate()
        self._needed = min(2 * self._needed, _MOST_FILLS)

    def hurry(self, *, wanted: bool) -> None:
        """Whether any byte is awaited, such as an acknowledgement."""
        if wanted != self._hurries:
            self._hurries = wanted
            self._set(self._group if self._ticking else 1)

    def _tick(self) -> None:
        if not self._reads:
            self._late = True
            self._read()
            self._late = False
        self._ticking = self._reads > 0
        if self._ticking:
            self._reads = 0
            self._call_later(self._tick_seconds, self._tick)
        else:
            self._set(1)

    def _set(self, group: int) -> None:
        wanted = 1
        if group > 1 and not self._hurries:
            wanted = max(1, min(int(group * self._size * _MARGIN), _MOST_BYTES))
            # A group is as many requests, not their bytes: small changes are not worth a call.
            if abs(wanted - self._expected) < self._size / 2:
                return
        if wanted != self._expected:
            self._expected = wanted
            self._expect(wanted)
