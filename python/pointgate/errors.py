"""The exceptions a caller can act on, one subclass for each decision.

PointgateError
├── ConfigError       the configuration is invalid: correct it, then start again
├── CatalogError      the catalog is invalid: correct the file that the error names
├── DocumentError     a model or device document, given as bytes, is invalid
├── TemporaryFailure  a resource is in use or unavailable: start again later
└── ConnectionLost    the connection to the broker was lost: reconnect
    └── SessionTakenOver  another client uses our client id: wait before reconnecting

The first two end `serve` and `explain` with exit status 78, and `check` with 1.
`TemporaryFailure` ends `serve` with 75; `check` does not detect it.
An invalid request is never an exception: it is a `Report` with a fault.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One error in a file.

    Attributes:
        file: The file as the user named it, or the environment variable.
        location: A JSON pointer, `line N`, `line N, column N` or a configuration key; empty for
            the whole file.
        reason: What was expected and what was found, lower case, no full stop.
    """

    file: str
    location: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.location, self.reason) if part)


class PointgateError(Exception):
    """The root of every exception that pointgate raises on purpose."""


class _FileError(PointgateError):
    """A file with errors; the attributes describe the first one."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(str(problems[0]) if problems else "")
        self.problems = problems

    @property
    def file(self) -> str:
        """The file of the first problem."""
        return self.problems[0].file

    @property
    def reason(self) -> str:
        """What is wrong with it."""
        return self.problems[0].reason


class ConfigError(_FileError):
    """The configuration cannot be used."""

    @property
    def key(self) -> str:
        """The configuration key of the first problem, such as `mqtt.url`."""
        return self.problems[0].location


class CatalogError(_FileError):
    """The catalog folder cannot be used (contract 6.2)."""

    @property
    def pointer(self) -> str:
        """Where in the file the first problem is: a JSON pointer, `line N`, or empty."""
        return self.problems[0].location


class DocumentError(PointgateError, ValueError):
    """A model document, device file or device key that cannot be understood (contract 6.2, 6.4).

    Attributes:
        problems: Every mistake found, first one first: `(location, reason)`. The location is a JSON
            pointer for a model document (`line N, column N` if it is not JSON), `line N` for a
            device file, `key N` for a list of keys.
    """

    problems: list[tuple[str, str]]


class TemporaryFailure(PointgateError):
    """The service cannot start now but may later: a port or a spool is in use."""


class ConnectionLost(PointgateError):
    """The connection to the broker ended. Unsettled requests are redelivered after a reconnect."""


class SessionTakenOver(ConnectionLost):
    """The broker closed the connection because another client connected with our client id."""
