r"""The rules by which a Kafka record becomes a request: where its topic, payload and ids are.

    header:NAME           the value of a header
    key                   the record's key
    json:/pointer         a member of the value, which is JSON (RFC 6901)
    kafka:REGEX->TEXT     the name of the Kafka topic, matched as a whole; \1 is its first group
    sys/PRODUCT/…         always this topic

Bridges between MQTT and Kafka agree on nothing else: HiveMQ and Confluent make the MQTT topic the
key, Redpanda Connect a header, EMQX what its template says, Lenses the name of the Kafka topic.

A `json:` payload that is a string is that string; any other value is encoded again, so spaces and
the spelling of numbers are not those of the sender, and bytes that are no UTF-8 were already
replaced by the bridge.

Invariants: a record never raises. What a rule does not find is empty: an empty topic is not served
(`bad_topic`), an empty payload is answered 1251.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    _Headers = Sequence[dict[str, bytes | None]]
    _Texts = Callable[[Sequence["Record"], _Headers], list[str]]
    _Values = Callable[[Sequence["Record"], _Headers], list[bytes | None]]

PAYLOAD: Final = "value"

_FIXED: Final = re.compile(r"/?sys/[A-Za-z0-9_-]{1,64}/integration/measurepoint/post")
_HEADER: Final = "header:"
_JSON: Final = "json:"
_KAFKA: Final = "kafka:"

TOPIC_FORMS: Final = (
    '"header:NAME", "key", "json:/pointer", "kafka:REGEX->TEXT" or a topic '
    '"sys/PRODUCT/integration/measurepoint/post"'
)
PAYLOAD_FORMS: Final = '"value" or "json:/pointer"'
CORRELATION_FORMS: Final = '"header:NAME"'
CLIENT_FORMS: Final = '"key", "header:NAME" or "json:/pointer"'


class Record(Protocol):
    """A record, as the client library has it."""

    def key(self) -> Any:
        """The key: bytes or None."""

    def value(self) -> Any:
        """The value: bytes or None."""

    def topic(self) -> Any:
        """The name of the Kafka topic."""

    def headers(self) -> Any:
        """The headers: pairs of a name and bytes or None."""


class Requests(NamedTuple):
    """The requests in some records.

    Attributes:
        topics: Their MQTT topics.
        payloads: Their payloads.
        correlations: Their Correlation Data.
        clients: Their client ids.
    """

    topics: list[str]
    payloads: list[bytes]
    correlations: list[bytes | None]
    clients: list[bytes | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one source.

    Attributes:
        topic: Where the MQTT topic is; the first rule that finds one counts.
        payload: Where the payload is.
        correlation: Where Correlation Data is; None if there is none.
        client: Where the client id is.
    """

    topic: Sequence[str]
    payload: str = PAYLOAD
    correlation: str | None = None
    client: str = "key"

    def reader(self) -> Callable[[Sequence[Record]], Requests]:
        """A function from records to their requests, in columns: less Python for each record."""
        topics = [_topics(rule) for rule in self.topic]
        payloads = _values(self.payload)
        correlations = _values(self.correlation) if self.correlation else None
        clients = _values(self.client)

        def read(records: Sequence[Record]) -> Requests:
            headers = [*map(_headers, records)]
            found = topics[0](records, headers)
            for rule in topics[1:]:
                if not all(found):
                    others = rule(records, headers)
                    found = [one or other for one, other in zip(found, others, strict=True)]
            return Requests(
                found,
                [payload or b"" for payload in payloads(records, headers)],
                correlations(records, headers) if correlations else [None] * len(records),
                clients(records, headers),
            )

        return read


def check_topic(rule: str) -> str:
    """A rule for the topic.

    Raises:
        ValueError: It is none.
    """
    if rule.startswith(_KAFKA):
        _kafka(rule)
    elif not (_FIXED.fullmatch(rule) or _is_place(rule)):
        raise ValueError(f"expected {TOPIC_FORMS}")
    return rule


def check_payload(rule: str) -> str:
    """A rule for the payload.

    Raises:
        ValueError: It is none.
    """
    if rule != PAYLOAD and not (rule.startswith(_JSON) and _is_place(rule)):
        raise ValueError(f"expected {PAYLOAD_FORMS}")
    return rule


def check_correlation(rule: str) -> str:
    """A rule for Correlation Data.

    Raises:
        ValueError: It is none.
    """
    if not (rule.startswith(_HEADER) and _is_place(rule)):
        raise ValueError(f"expected {CORRELATION_FORMS}")
    return rule


def check_client(rule: str) -> str:
    """A rule for the client id.

    Raises:
        ValueError: It is none.
    """
    if not _is_place(rule):
        raise ValueError(f"expected {CLIENT_FORMS}")
    return rule


def _is_place(rule: str) -> bool:
    return (
        rule == "key"
        or (rule.startswith(_HEADER) and len(rule) > len(_HEADER))
        or bool(re.fullmatch(r"json:(/([^~]|~[01])*)", rule, re.DOTALL))
    )


def _kafka(rule: str) -> tuple[re.Pattern[str], str]:
    """The pattern and the template of a `kafka:` rule."""
    pattern, arrow, template = rule.removeprefix(_KAFKA).rpartition("->")
    if not arrow:
        raise ValueError('expected "kafka:REGEX->TEXT", got no "->"')
    try:
        compiled = re.compile(pattern.strip())
        # The alternative matches whatever the pattern does, so that the template can be tried.
        if (found := re.match(f"(?:{pattern.strip()})|", "")) is not None:
            found.expand(template.strip())
    except (re.error, IndexError) as error:
        expected = f"expected a regular expression and a text in {_KAFKA}"
        raise ValueError(f"{expected}: {error}") from None
    return compiled, template.strip()


def _headers(record: Record) -> dict[str, bytes | None]:
    try:
        return dict(record.headers() or ())
    except SystemError:  # a name that the library cannot decode as UTF-8
        return {}


def _topics(rule: str) -> _Texts:
    if _FIXED.fullmatch(rule):
        return lambda records, _headers: [rule] * len(records)
    if rule.startswith(_KAFKA):
        pattern, template = _kafka(rule)
        known: dict[str, str] = {}  # Kafka topics are few: those that are subscribed to

        def of_kafka_topic(name: str) -> str:
            if name not in known:
                found = pattern.fullmatch(name)
                known[name] = found.expand(template) if found else ""
            return known[name]

        return lambda records, _headers: [of_kafka_topic(record.topic()) for record in records]
    values = _values(rule)
    return lambda records, headers: _texts(values(records, headers))


def _texts(values: Sequence[bytes | None]) -> list[str]:
    try:
        return [(value or b"").decode() for value in values]
    except UnicodeDecodeError:
        return [*map(_text, values)]


def _text(value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        return ""


def _values(rule: str) -> _Values:
    if rule == PAYLOAD:
        return lambda records, _headers: [record.value() for record in records]
    if rule == "key":
        return lambda records, _headers: [record.key() for record in records]
    if rule.startswith(_HEADER):
        name = rule.removeprefix(_HEADER)
        return lambda _records, headers: [found.get(name) for found in headers]
    steps = [
        step.replace("~1", "/").replace("~0", "~")
        for step in rule.removeprefix(_JSON).split("/")[1:]
    ]
    return lambda records, _headers: [_member(record.value(), steps) for record in records]


def _member(value: bytes | None, steps: Sequence[str]) -> bytes | None:
    """A member of a JSON document: a string as it is, anything else encoded again."""
    try:
        found = orjson.loads(value or b"")
        for step in steps:
            found = found[int(step)] if isinstance(found, list) else found[step]
        if found is None:
            return None
        return found.encode() if isinstance(found, str) else orjson.dumps(found)
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError):
        return None  # also nested deeper than can be encoded
