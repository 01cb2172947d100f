"""`[kafka]`: what is taken, and what is refused with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from pointgate.config import Settings, load_settings
from pointgate.errors import ConfigError
from pointgate.kafka.client import mistake, unusable_pattern

if TYPE_CHECKING:
    from pathlib import Path

BASE: Final = 'servers = "k1:9092,k2:9092"\ntopics = ["iot.requests"]\n'


def load(folder: Path, text: str, **environ: str) -> Settings:
    file = folder / "pointgate.toml"
    file.write_text(text)
    return load_settings(file, environ)


def test_without_kafka_there_is_a_broker_as_ever(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    assert settings.uses_mqtt
    assert not settings.uses_kafka


def test_kafka_is_the_only_source_unless_a_broker_is_named(tmp_path: Path) -> None:
    alone = load(tmp_path, f"[kafka]\n{BASE}")
    assert alone.uses_kafka
    assert not alone.uses_mqtt
    both = load(tmp_path, f"[kafka]\n{BASE}", POINTGATE_MQTT__URL="mqtt://127.0.0.1:1")
    assert both.uses_kafka
    assert both.uses_mqtt


def test_the_environment_has_lists_with_commas(tmp_path: Path) -> None:
    environ = {"POINTGATE_KAFKA__SERVERS": "k:1", "POINTGATE_KAFKA__TOPICS": "a, b"}
    assert load(tmp_path, "", **environ).kafka.topics == ["a", "b"]


def test_options_are_librdkafkas_by_their_names(tmp_path: Path) -> None:
    text = f'[kafka]\n{BASE}username = "gate"\n[kafka.options]\nsecurity.protocol = "sasl_ssl"\n'
    text += '"sasl.mechanism" = "SCRAM-SHA-512"\n'
    environ = {"POINTGATE_KAFKA__PASSWORD": "pass-phrase"}
    kafka = load(tmp_path, text, **environ).kafka
    assert kafka.client_options("kafka") == {
        "bootstrap.servers": "k1:9092,k2:9092",
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "gate",
        "sasl.password": "pass-phrase",
    }
    assert "pass-phrase" not in repr(kafka)
    assert mistake(kafka.client_options("kafka"), group="g", produces=True) == ""


def test_options_in_the_environment_are_pairs(tmp_path: Path) -> None:
    environ = {"POINTGATE_KAFKA__OPTIONS": "security.protocol=ssl, client.id=gate"}
    kafka = load(tmp_path, f"[kafka]\n{BASE}", **environ).kafka
    assert kafka.options == {"security.protocol": "ssl", "client.id": "gate"}


def test_oauthbearer_has_the_password_as_client_secret(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("word\n")
    text = f'[kafka]\n{BASE}username = "gate"\npassword_file = "secret"\n[kafka.options]\n'
    text += 'security.protocol = "sasl_plaintext"\nsasl.mechanism = "OAUTHBEARER"\n'
    text += 'sasl.oauthbearer.method = "oidc"\n'
    text += 'sasl.oauthbearer.token.endpoint.url = "http://127.0.0.1:1/token"\n'
    options = load(tmp_path, text).kafka.client_options("kafka")
    assert options["sasl.oauthbearer.client.id"] == "gate"
    assert options["sasl.oauthbearer.client.secret"] == "word"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('servers = "k1"', "kafka.servers: expected host:port"),
        ('servers = "k1:9092,"', "kafka.servers: expected host:port"),
        ('topics = ["a"]', "kafka.servers: expected host:port, got nothing"),
        ('group = "g"', "kafka.servers: expected host:port, got nothing"),
        ('servers = "k:1"', "kafka.topics: expected a list of Kafka topics, got nothing"),
        ('servers = "k:1"\ntopics = []', "kafka.topics: expected at least one"),
        ('servers = "k:1"\ntopics = ["a/b"]', "kafka.topics: expected a Kafka topic, 1 to 249"),
        ('servers = "k:1"\ntopics = ["^("]', "kafka.topics: expected a regular expression"),
        (f'{BASE}replies = "iot.requests"', "kafka.replies: expected a topic that is not in"),
        (
            'servers = "k:1"\ntopics = ["^iot"]\nreplies = "iot.r"',
            'got "iot.r", which "^iot" matches: replies would be read as requests',
        ),
        ('servers = "k:1"\ntopics = ["^(?!a)b"]', "kafka.topics: expected a POSIX extended"),
        ('servers = "k:1"\ntopics = ["^(?:a|b)"]', "expected a POSIX extended"),
        ('servers = "k:1"\ntopics = ["^a\\\\d+"]', "such as [0-9] for"),
        ('servers = "k:1"\ntopics = ["^a+?b"]', "got +? in"),
        (f'{BASE}group = "a b"', "kafka.group: expected a name"),
        (f'{BASE}topic = "headers:x"', 'kafka.topic: expected "header:NAME"'),
        (f"{BASE}topic = []", "kafka.topic: expected"),
        (f'{BASE}payload = "key"', 'kafka.payload: expected "value" or "json:/pointer"'),
        (f'{BASE}correlation = "key"', 'kafka.correlation: expected "header:NAME"'),
        (f'{BASE}client = "value"', 'kafka.client: expected "key", "header:NAME"'),
        (f'{BASE}password = "x"', "kafka.password: expected no secret in this file"),
        (f'{BASE}options = "x"', "kafka.options: expected name=value, or several with commas"),
        (f"{BASE}options.acks = 1", "kafka.options: not allowed to set acks"),
        (f'{BASE}options.group.id = "x"', "kafka.options: not allowed to set group.id: use group"),
        (f'{BASE}options.sasl.password = "x"', "kafka.options: expected no secret in this file"),
        (f'{BASE}options.ssl.key.pem = "x"', "kafka.options: expected no secret in this file"),
        (f"{BASE}option = 1", "kafka.option: unknown key, did you mean options"),
    ],
)
def test_what_is_wrong_is_refused_with_a_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, f"[kafka]\n{text}\n")
    assert [str(one) for one in error.value.problems if reason in str(one)], error.value.problems


@pytest.mark.parametrize("topics", ["iot.requests", "iot.replies", "^other", "^.*points"])
def test_a_sink_does_not_write_to_where_the_service_reads_or_replies(
    tmp_path: Path, topics: str
) -> None:
    sink = '[[sinks]]\ntype = "kafka"\nservers = "K2:9092"\ntopic = "{}"\n'
    text = f'[kafka]\nservers = "k1:9092,k2:9092"\ntopics = ["{topics}"]\nreplies = "r"\n'
    meant = {"^other": "other.points", "^.*points": "points", "iot.replies": "r"}.get(
        topics, topics
    )
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text + sink.format(meant))
    (problem,) = error.value.problems
    assert problem.location == "sinks.kafka.topic"
    assert f'got "{meant}"' in problem.reason
    load(tmp_path, text + sink.format("some.where"))
    load(tmp_path, text + sink.format(meant).replace("K2", "k3"))  # another cluster


@pytest.mark.parametrize(
    ("topics", "refused"),
    [
        (["a", "^iot\\..*", "^a{3}[a-z]+$", "^(a|b)x"], ""),
        (["a", "^a{99999}"], "^a{99999}"),
        (["^(?!a)b"], "^(?!a)b"),
    ],
)
def test_patterns_are_those_that_librdkafka_takes(topics: list[str], refused: str) -> None:
    assert unusable_pattern(topics) == refused


def test_a_reason_is_one_line() -> None:
    reason = mistake({"socket.timeout.ms": 5}, group="g")
    assert reason.endswith("value 5 is outside allowed range 10..300000")


def test_both_protocols_of_groups_are_taken() -> None:
    for protocol in ("classic", "consumer"):
        assert mistake({"group.protocol": protocol}, group="g") == ""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"no.such": 1}, 'no such configuration property: "no.such"'),
        ({"security.protocol": "tls"}, 'invalid value "tls" for configuration property'),
        ({"security.protocol": "ssl", "ssl.ca.location": "/nowhere"}, "ssl.ca.location failed"),
    ],
)
def test_librdkafka_says_what_it_does_not_take(options: dict[str, str], reason: str) -> None:
    assert reason in mistake({"bootstrap.servers": "127.0.0.1:1", **options}, group="g")


SINK: Final = '[[sinks]]\ntype = "kafka"\nservers = "k:1"\ntopic = "iot.points"\n'
OTHER: Final = '[[sinks]]\ntype = "ndjson"\npath = "x"\n'


@pytest.mark.parametrize(
    ("ack", "more", "spool"),
    [
        ("spool", SINK, True),
        ("sink", OTHER, False),
        ("kafka", SINK, False),
        ("verdict", "", False),
        ("sink", f'[mqtt]\nurl = "mqtt://b"\n{OTHER}', True),
    ],
)
def test_the_topic_is_the_spool_where_replies_wait_for_the_sinks(
    tmp_path: Path, ack: str, more: str, *, spool: bool
) -> None:
    text = f'[store]\nack = "{ack}"\n[kafka]\n{BASE}{more}'
    assert load(tmp_path, text).uses_spool is spool


@pytest.mark.parametrize(
    ("ack", "more", "reason"),
    [
        ("kafka", f'[mqtt]\nurl = "mqtt://b"\n{SINK}', 'store.ack: "kafka" needs a Kafka consumer'),
        ("kafka", SINK + OTHER, 'store.ack: "kafka" needs sinks of type "kafka" only, got ndjson'),
        ("kafka", "", 'store.ack: "kafka" needs sinks of type "kafka" only, got parquet'),
        (
            "sink",
            f'{OTHER}[[sinks]]\ntype = "parquet"\npath = "p"\nrequired = false\n',
            "sinks.required: false is not allowed without a spool",
        ),
    ],
)
def test_what_needs_a_spool_is_refused_without_one(
    tmp_path: Path, ack: str, more: str, reason: str
) -> None:
    text = f'[store]\nack = "{ack}"\n[kafka]\n{BASE}{more}'
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert [str(one) for one in error.value.problems if reason in str(one)], error.value.problems
