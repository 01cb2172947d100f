"""The section `[kafka]`: a consumer group from whose records requests are read."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

from pointgate.diagnostics import shown
from pointgate.errors import Problem
from pointgate.kafka.rules import (
    CLIENT_FORMS,
    CORRELATION_FORMS,
    PAYLOAD_FORMS,
    TOPIC_FORMS,
    Rules,
    check_client,
    check_correlation,
    check_payload,
    check_topic,
)
from pointgate.kafka.settings import ClientSettings, TopicName, topic_name

_GROUP_BYTES: Final = 249

_NOT_POSIX: Final = re.compile(r"\\[dDAZ]|[*+?}][*+?]|\(\?")
"""What Python takes and POSIX, by which librdkafka matches, takes for something else or refuses:
`\\d` is the letter d there, and `a+?` may be empty."""


def listed(value: object) -> object:
    """A list of texts: one text is a list of one, and in the environment commas separate them."""
    return value.split(",") if isinstance(value, str) else value


def alone(value: object) -> object:
    """A list of texts; one text is a list of one."""
    return [value] if isinstance(value, str) else value


def _topics(value: list[str]) -> list[str]:
    """Names of topics, or patterns that begin with "^"."""
    names = [name.strip() for name in value]
    if not names:
        raise ValueError("expected at least one Kafka topic, got an empty list")
    for name in names:
        if not name.startswith("^"):
            topic_name(name)
            continue
        try:
            re.compile(name)
        except re.error as error:
            raise ValueError(
                f"expected a regular expression after '^', got {shown(name)}: {error}"
            ) from None
        if found := _NOT_POSIX.search(name):
            raise ValueError(
                "expected a POSIX extended regular expression, such as [0-9] for \\d, got "
                f"{found[0]} in {shown(name)}"
            )
    return names


def _topic_rules(value: list[str]) -> list[str]:
    if not value:
        raise ValueError(f"expected {TOPIC_FORMS}, or a list of these, got an empty list")
    return [_rule(check_topic, rule) for rule in value]


def _rule(check: object, rule: str) -> str:
    try:
        checked: str = check(rule)  # type: ignore[operator]
    except ValueError as error:
        raise ValueError(f"{error}, got {shown(rule)}") from None
    return checked


def _group(value: str) -> str:
    if not re.fullmatch(rf"[!-~]{{1,{_GROUP_BYTES}}}", value):
        raise ValueError(
            f"expected a name of 1 to {_GROUP_BYTES} ASCII characters without blanks, got "
            f"{shown(value)}"
        )
    return value


class KafkaSettings(ClientSettings):
    """The consumer group; the service has this source if `servers` is set."""

    topics: Annotated[list[str], BeforeValidator(listed), AfterValidator(_topics)] | None = Field(
        default=None, description='a list of Kafka topics, or of patterns such as "^iot\\\\..*"'
    )
    group: Annotated[str, AfterValidator(_group)] = Field(
        default="pointgate", description="the name of the consumer group"
    )
    replies: TopicName | None = Field(
        default=None, description="the Kafka topic of the replies (none when absent)"
    )
    topic: Annotated[list[str], BeforeValidator(alone), AfterValidator(_topic_rules)] = Field(
        default=["header:mqtt.topic", "header:topic", "key"],
        description=f"{TOPIC_FORMS}, or a list of these",
    )
    payload: Annotated[str, AfterValidator(lambda rule: _rule(check_payload, rule))] = Field(
        default="value", description=PAYLOAD_FORMS
    )
    correlation: (
        Annotated[str, AfterValidator(lambda rule: _rule(check_correlation, rule))] | None
    ) = Field(default=None, description=CORRELATION_FORMS)
    client: Annotated[str, AfterValidator(lambda rule: _rule(check_client, rule))] = Field(
        default="key", description=CLIENT_FORMS
    )
    exactly_once: bool = Field(
        default=False, description="true: points, replies and offsets in one transaction"
    )
    transactional_id: Annotated[str, AfterValidator(_group)] | None = Field(
        default=None, description="an id that no other service has, the same after each restart"
    )

    @property
    def rules(self) -> Rules:
        """How a record becomes a request."""
        return Rules(
            topic=self.topic,
            payload=self.payload,
            correlation=self.correlation,
            client=self.client,
        )

    def source_of(self, topic: str) -> str:
        """The first topic or pattern whose records include those of a topic; empty without one."""
        for name in self.topics or ():
            if name == topic or (name.startswith("^") and re.match(name, topic)):
                return name
        return ""

    def contradictions(self, file: str) -> list[Problem]:
        """Keys that are missing, or that have no meaning without `servers`."""
        if self.servers is not None:
            if self.topics is None:
                reason = "expected a list of Kafka topics, got nothing"
                return [Problem(file, "kafka.topics", reason)]
            if self.replies is not None and (source := self.source_of(self.replies)):
                reason = f"expected a topic that is not in kafka.topics, got {shown(self.replies)}"
                if source != self.replies:
                    reason += f", which {shown(source)} matches: replies would be read as requests"
                return [Problem(file, "kafka.replies", reason)]
            if self.exactly_once and self.transactional_id is None:
                reason = "expected an id that no other service has, for exactly_once, got nothing"
                return [Problem(file, "kafka.transactional_id", reason)]
            return []
        if self != KafkaSettings():
            return [Problem(file, "kafka.servers", "expected host:port, got nothing")]
        return []
