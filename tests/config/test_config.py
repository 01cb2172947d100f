"""Settings: the file, the environment over it, and every mistake named at once (contract 9)."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import pytest

from pointgate.config import (
    MqttSettings,
    Settings,
    load_settings,
    stray_variables,
)
from pointgate.errors import ConfigError
from pointgate.sinks.ndjson.settings import NdjsonSettings
from pointgate.sinks.parquet.settings import ParquetSettings
from pointgate.sinks.postgres.settings import PostgresSettings

SECRET = "correct-horse-battery"  # noqa: S105 - what must never be shown


def load(folder: Path, text: str = "", **environ: str) -> Settings:
    path = folder / "pointgate.toml"
    path.write_text(text)
    return load_settings(path, environ)


def problems(folder: Path, text: str = "", **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, **environ)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    mine = f"{folder / 'pointgate.toml'}: "
    return [str(problem).removeprefix(mine) for problem in caught.value.problems]


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.tls) == ("127.0.0.1", 1883, False)
    assert settings.mqtt.client_id == "pointgate-service"
    assert (settings.mqtt.protocol, settings.mqtt.reply_qos) == (5, None)
    assert (settings.mqtt.keepalive, settings.mqtt.session_expiry) == (15, 3600)
    assert settings.mqtt.receive_maximum == 1000
    assert (settings.metrics.host, settings.metrics.port) == ("127.0.0.1", 9464)
    assert settings.store.ack == "spool"
    assert settings.spool.path == tmp_path / "spool"
    assert settings.spool.max_bytes == 2**30
    assert settings.limits.payload_bytes == 8_388_608
    assert settings.limits.in_flight_requests == 4096
    assert settings.limits.in_flight_bytes == 67_108_864
    assert settings.reply.detail == "full"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    assert load(tmp_path).catalog.path == tmp_path / "catalog"
    assert load(tmp_path, "catalog.path = 'a/b'").catalog.path == tmp_path / "a" / "b"
    assert load(tmp_path, "catalog.path = '/a/b'").catalog.path == Path("/a/b")
    assert load(tmp_path, POINTGATE_CATALOG__PATH="c").catalog.path == tmp_path / "c"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "[mqtt]\nkeepalive = 20\nprotocol = 5\nclient_id = 'file'",
        POINTGATE_MQTT__KEEPALIVE="30",
        POINTGATE_MQTT__PROTOCOL="4",
        POINTGATE_MQTT__REPLY_QOS="0",
        POINTGATE_LIMITS__PAYLOAD_BYTES="1000",
        POINTGATE_REPLY__DETAIL="none",
        HOME="/not/ours",
    )
    assert (settings.mqtt.keepalive, settings.mqtt.protocol, settings.mqtt.reply_qos) == (30, 4, 0)
    assert settings.mqtt.client_id == "file"
    assert settings.limits.payload_bytes == 1000
    assert settings.reply.detail == "none"


def test_every_setting_can_be_set_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    values = {"password_file": "file", "ca_file": "file", "cert_file": "file", "key_file": "file"}
    values |= {"url": "mqtts://broker", "username": "u", "ack": "verdict", "detail": "none"}
    values |= {"listen": "127.0.0.1:0", "protocol": "5", "reply_qos": "1", "path": "x"}
    values |= {"max_bytes": "2000000", "enabled": "false"}
    values |= {"level": "debug", "format": "json"}
    values |= {"servers": "k:1", "options": "client.id=7", "replies": "8"}
    values |= {"exactly_once": "false"}
    values |= {"topic": "key", "payload": "value", "client": "key", "correlation": "header:7"}
    names = {
        f"POINTGATE_{section}__{key}".upper(): values.get(key, "7")
        for section, field in Settings.model_fields.items()
        for key in getattr(field.annotation, "model_fields", {})
        if key != "password"
    }
    settings = load(tmp_path, **names)
    assert settings.mqtt.receive_maximum == 7
    assert settings.mqtt.key_file == tmp_path / "file"


def test_rejected_requests_are_kept_beside_the_spool_unless_told_otherwise(tmp_path: Path) -> None:
    def folder(**environ: str) -> Path | None:
        rejections = load(tmp_path, **environ).rejections
        return None if rejections is None else rejections.path

    assert folder() == tmp_path / "quarantine"
    assert folder(POINTGATE_SPOOL__PATH="/var/lib/x/spool") == Path("/var/lib/x/quarantine")
    assert folder(POINTGATE_QUARANTINE__PATH="there") == tmp_path / "there"
    assert folder(POINTGATE_QUARANTINE__ENABLED="false") is None


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://broker", "broker", 1883, False),
        ("mqtts://broker", "broker", 8883, True),
        ("mqtts://broker:1234/", "broker", 1234, True),
        ("mqtt://[::1]:1884", "::1", 1884, False),
        ("ws://broker", "broker", 80, False),
        ("wss://broker/x", "broker", 443, True),
        ("ws://broker:8083/mqtt", "broker", 8083, False),
        ("unix:///run/mosquitto.sock", "/run/mosquitto.sock", 1883, False),
        ("unix:/run/a%20b.sock", "/run/a b.sock", 1883, False),
    ],
)
def test_the_url_says_where_the_broker_is(url: str, host: str, port: int, *, tls: bool) -> None:
    mqtt = MqttSettings(url=url)
    assert (mqtt.host, mqtt.port, mqtt.tls) == (host, port, tls)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("ws://b", "/mqtt"),
        ("wss://b:8084", "/mqtt"),
        ("ws://b/", "/"),
        ("ws://b/a/b%20c", "/a/b%20c"),
        ("mqtt://b/", None),
        ("unix:///run/x", None),
    ],
)
def test_only_websockets_have_a_path(url: str, path: str | None) -> None:
    assert MqttSettings(url=url).websocket_path == path


FORMS = (
    "mqtt://host:port, mqtts://host:port, ws://host:port/path, wss://host:port/path or "
    "unix:///path/of/socket"
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://b/topic", "no path in an mqtt:// url (only ws:// and wss:// have one)"),
        ("mqtts://b:1/mqtt", "no path in an mqtts:// url (only ws:// and wss:// have one)"),
        ("mqtt://b?x=1", f"{FORMS}, without '?' and '#'"),
        ("mqtt://b#x", f"{FORMS}, without '?' and '#'"),
        ("ws://b/mqtt?token=1", f"{FORMS}, without '?' and '#'"),
        ("ws://b/a b", "a path of ASCII characters without blanks (write others as %20)"),
        ("wss://b/ä", "a path of ASCII characters without blanks (write others as %20)"),
        ("unix://host/run/x", "unix:///path/of/socket, with no host and an absolute path"),
        ("unix://run/x", "unix:///path/of/socket, with no host and an absolute path"),
        ("unix://:1883", "unix:///path/of/socket, with no host and an absolute path"),
        ("unix:run/x", "unix:///path/of/socket, with an absolute path"),
        ("unix:///", "unix:///path/of/socket, with an absolute path"),
        ("unix:///run/", "unix:///path/of/socket, with an absolute path"),
        ("unix:///run/x%00", "unix:///path/of/socket, with an absolute path"),
        ("unix:///run/x?y", "unix:///path/of/socket, without '?' and '#' (write %3F and %23)"),
    ],
)
def test_a_part_that_a_url_does_not_have_is_named(tmp_path: Path, url: str, expected: str) -> None:
    assert problems(tmp_path, f"mqtt.url = '{url}'") == [
        f'mqtt.url: expected {expected}, got "{url}"'
    ]


def test_a_socket_with_too_long_a_path_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, f"mqtt.url = 'unix:///{'x' * 107}'") == [
        "mqtt.url: expected the path of a socket, at most 107 bytes, got 108"
    ]
    assert load(tmp_path, f"mqtt.url = 'unix:///{'x' * 106}'").mqtt.host == f"/{'x' * 106}"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("url='mqtt://b', alpn='mqtt'", "an mqtts:// or wss:// url, got an mqtt:// one"),
        ("url='ws://b', alpn='mqtt'", "an mqtts:// or wss:// url, got a ws:// one"),
        ("url='unix:///b', alpn='mqtt'", "an mqtts:// or wss:// url, got a unix:// one"),
    ],
)
def test_alpn_stands_beside_tls(tmp_path: Path, line: str, reason: str) -> None:
    assert problems(tmp_path, f"mqtt = {{{line}}}") == [f"mqtt.alpn: only allowed with {reason}"]


@pytest.mark.parametrize("value", ["", "a b", "mqtt,http/1.1", "ä", "x" * 256])
def test_alpn_is_the_name_of_one_protocol(tmp_path: Path, value: str) -> None:
    (reason,) = problems(tmp_path, f"mqtt = {{url='mqtts://b', alpn='{value}'}}")
    assert reason.startswith("mqtt.alpn: expected the name of one protocol, 1 to 255 ASCII")


@pytest.mark.parametrize("value", ["", "a/b", "+", "a b", "x" * 65])
def test_a_canary_is_a_product_key(tmp_path: Path, value: str) -> None:
    (reason,) = problems(tmp_path, f"mqtt.canary = '{value}'")
    assert reason.startswith("mqtt.canary: expected a product key, 1 to 64 of A-Z")


@pytest.mark.parametrize("value", ["mqtt", "x-amzn-mqtt-ca", "http/1.1"])
def test_names_of_protocols_are_taken(tmp_path: Path, value: str) -> None:
    for scheme in ("mqtts", "wss"):
        found = load(tmp_path, f"mqtt = {{url='{scheme}://b', alpn='{value}'}}")
        assert found.mqtt.alpn == value


@pytest.mark.parametrize(
    "url",
    [
        "broker",
        "broker:1883",
        "http://broker",
        "mqtt://",
        "mqtt://:1883",
        "mqtt://b:0",
        "mqtt://b:65536",
        "mqtt://b:x",
        "mqtt://[::1",
        "mqtt://a,b",
        "ws://",
        "wss://b:0",
        "mqtt+unix:///run/x",
        "/run/mosquitto.sock",
    ],
)
def test_a_wrong_url_is_refused_and_shown(tmp_path: Path, url: str) -> None:
    assert problems(tmp_path, f"mqtt.url = '{url}'") == [f'mqtt.url: expected {FORMS}, got "{url}"']


@pytest.mark.parametrize(
    "listen",
    [
        "",
        "9464",
        ":",
        "*",
        "**:1",
        "[*]:1",
        "a:b",
        "a:65536",
        "a:-1",
        "a:٣",
        "::1:9464",
        "[a]:1",
        "a b:1",
    ],
)
def test_a_wrong_listen_address_is_refused(tmp_path: Path, listen: str) -> None:
    (problem,) = problems(tmp_path, f"metrics.listen = '{listen}'")
    expected = "expected host:port such as 127.0.0.1:9464, or :9464 for all addresses, got "
    assert f"metrics.listen: {expected}" in problem


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [
        ("0.0.0.0:0", "0.0.0.0", 0),  # noqa: S104
        ("[::1]:9464", "::1", 9464),
        ("localhost:1", "localhost", 1),
        ("metrics.plant.example:65535", "metrics.plant.example", 65535),
        (":9464", "", 9464),
        ("*:9464", "", 9464),
        ("[::]:0", "", 0),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
    ],
)
def test_listen_addresses(tmp_path: Path, listen: str, host: str, port: int) -> None:
    metrics = load(tmp_path, f"metrics.listen = '{listen}'").metrics
    assert (metrics.host, metrics.port) == (host, port)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = """
    typo = 1
    [mqtt]
    urll = "mqtt://127.0.0.1"
    keepalive = true
    reply_qos = true
    protocol = 3
    share_group = "a/b"
    client_id = ""
    [limits]
    payload_bytes = 0
    in_flight_requests = 1.0
    [store]
    ack = "sometimes"
    [repli]
    detail = "none"
    """
    assert problems(tmp_path, text, POINTGATE_MQTT__RECEIVE_MAXIMUM="many") == [
        'mqtt.client_id: expected 1 to 65535 bytes of text without control characters, got ""',
        "mqtt.share_group: expected a name without '/', '+' and '#', got \"a/b\"",
        f"mqtt.protocol: expected {PROTOCOLS}, got 3",
        'mqtt.reply_qos: expected 0 or 1 (each request\'s own QoS when absent), got "true"',
        'mqtt.keepalive: expected 1 to 65535 seconds or "90s", "10m", "12h", "30d", got true',
        (
            "POINTGATE_MQTT__RECEIVE_MAXIMUM: mqtt.receive_maximum: expected 1 to 65535 requests, "
            'got "many"'
        ),
        "mqtt.urll: unknown key, did you mean url",
        'store.ack: expected "spool", "sink", "kafka" or "verdict", got "sometimes"',
        ('limits.payload_bytes: expected 1 to 268435455 bytes or "512KiB", "8MiB", "1GiB", got 0'),
        "limits.in_flight_requests: expected 1 to 1000000 requests, got 1.0",
        "typo: unknown key",
        "repli: unknown key, did you mean reply",
    ]


def test_a_key_below_the_wrong_header_names_the_right_ones(tmp_path: Path) -> None:
    """As where the header of its own table is still a comment."""
    text = """
    level = "debug"
    products = 1
    [mqtt]
    mode = "shadow"
    [catalog]
    listen = ":1"
    max_age = "30d"
    [[sinks]]
    type = "ndjson"
    path = "-"
    enabled = true
    url = "postgresql://u@h/d"
    """
    assert problems(tmp_path, text) == [
        "mqtt.mode: unknown key; it is a key of [products.KEY] of catalog.toml",
        "catalog.listen: unknown key; it is a key of [metrics]",
        "catalog.max_age: unknown key; it is a key of [quarantine]",
        "level: unknown key; it is a key of [logging]",
        "products: unknown key; products are in the catalog.toml of catalog.path",
        "sinks[0].enabled: unknown key; it is a key of [admin], [quarantine]",
        (
            'sinks[0].url: unknown key; it is a key of [mqtt], [[sinks]] with type "postgres", '
            '[[registries]] with type "postgres" and others'
        ),
    ]


def test_an_unknown_variable_is_named(tmp_path: Path) -> None:
    found = problems(
        tmp_path, POINTGATE_MQTT__URLL="x", POINTGATE__MQTT_URL="x", POINTGATE_METRICS__LISTEN_="x"
    )
    expected = "unknown setting, expected POINTGATE_<SECTION>__<KEY>, did you mean"
    assert found == [
        f"POINTGATE_METRICS__LISTEN_: {expected} POINTGATE_METRICS__LISTEN",
        f"POINTGATE_MQTT__URLL: {expected} POINTGATE_MQTT__URL",
        f"POINTGATE__MQTT_URL: {expected} POINTGATE_MQTT__URL",
    ]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("SINKS__PG__PASSWORD", "", 'no sink is called "pg"; there are: parquet'),
        ("SINKS__LAKES__PATH", "", 'no sink is called "lakes"; there are: parquet'),
        (
            "SINKS__PG__PASSWORD",
            "[[sinks]]\ntype='ndjson'\npath='-'\n[[sinks]]\ntype='parquet'\nname='lake'\n",
            'no sink is called "pg"; there are: ndjson, lake',
        ),
        (
            "SINKS__PARQUET__PASSWORD",
            "",
            "expected POINTGATE_<SECTION>__<KEY>",
        ),
        (
            "SINKS__PATH",
            "",
            "expected POINTGATE_<SECTION>__<KEY>, did you mean POINTGATE_SINKS__PARQUET__PATH",
        ),
    ],
)
def test_a_variable_is_compared_with_those_of_its_own_section(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    (problem,) = problems(tmp_path, text, **{f"POINTGATE_{name}": "x"})
    assert problem == f"POINTGATE_{name}: unknown setting, {reason}"


def test_a_setting_that_is_called_port_is_not_taken_for_one_of_kubernetes(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, POINTGATE_MQTT__PORT="1884")
    assert problem.startswith("POINTGATE_MQTT__PORT: unknown setting")


STRAYS = {
    **{
        f"{service}_{name}": "x"
        for service in ("POINTGATE", "POINTGATE_METRICS", "POINTGATE_PLANT_2")
        for name in (
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_9464_TCP",
            "PORT_9464_TCP_ADDR",
        )
    },
    "POINTGATE_VERSION": "1.2.3",
    "POINTGATE_HOME": "/opt/pointgate",
    "POINTGATE_": "",
    "POINTGATE_UID": "1000",
    "POINTGATE_CONFIG": "/etc/pointgate/pointgate.toml",
}


def test_variables_without_a_double_underscore_are_not_ours(tmp_path: Path) -> None:
    """Kubernetes and images set them."""
    assert load(tmp_path, **STRAYS) == load(tmp_path)
    assert stray_variables(STRAYS) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("POINTGATE_MQTT_URL", "POINTGATE_MQTT__URL"),
        ("POINTGATE_MQTT_CLIENT_ID", "POINTGATE_MQTT__CLIENT_ID"),
        ("POINTGATE_SPOOL_MAX_BYTE", "POINTGATE_SPOOL__MAX_BYTES"),
    ],
)
def test_a_variable_that_looks_like_a_setting_is_warned_about(name: str, meant: str) -> None:
    (warning,) = stray_variables({name: SECRET})
    assert str(warning) == f"{name}: ignored, not a setting; did you mean {meant}"


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("MQTT__URL", "mqtt://broker\n", "mqtt://broker"),
        ("MQTT__URL", "\ufeffmqtt://broker\r\n", "mqtt://broker"),
        ("MQTT__URL", " mqtt://broker ", "mqtt://broker"),
        ("MQTT__KEEPALIVE", "20\n", 20),
        ("MQTT__KEEPALIVE", " 20 ", 20),
        ("MQTT__SESSION_EXPIRY", "2h\r\n", 7200),
        ("MQTT__PROTOCOL", "4\n", 4),
        ("METRICS__LISTEN", ":9464\n", ":9464"),
        ("STORE__ACK", "sink\r\n", "sink"),
        ("SINKS__PARQUET__REQUIRED", "True\n", True),
        ("SINKS__PARQUET__PATH", "/a b \n", Path("/a b ")),
        ("SPOOL__PATH", "/spool\r\n", Path("/spool")),
    ],
)
def test_what_nobody_means_is_dropped_from_a_variable(
    tmp_path: Path, name: str, value: str, meant: object
) -> None:
    settings = load(tmp_path, **{f"POINTGATE_{name}": value})
    section, *_, key = name.lower().split("__")
    table = settings.sinks[0] if section == "sinks" else getattr(settings, section)
    assert getattr(table, key) == meant


@pytest.mark.parametrize("value", [f"{SECRET}\n", f"\ufeff{SECRET}\r\n", f"{SECRET}\n\n", SECRET])
def test_a_password_in_a_variable_has_no_line_break(tmp_path: Path, value: str) -> None:
    settings = load(tmp_path, "mqtt.username = 'u'", POINTGATE_MQTT__PASSWORD=value)
    assert settings.mqtt.password_text() == SECRET


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MQTT__CLIENT_ID", "pg\n", 'without control characters, got "pg\\n" with a line break at'),
        ("MQTT__USERNAME", "u\r\n", "with a line break at its end"),
        ("MQTT__USERNAME", "u\nv", "with a line break"),
        ("MQTT__USERNAME", "\ufeffu", "with a byte-order mark"),
        ("MQTT__SHARE_GROUP", "g\t1", "with U+0009"),
        ("MQTT__CLIENT_ID", "pg ", 'expected no blanks at its ends, got "pg "'),
        ("MQTT__CLIENT_ID", "", "expected 1 to 65535 bytes of text"),
        ("MQTT__CLIENT_ID", "p\udcff", "expected UTF-8, got other bytes"),
        ("MQTT__URL", "mqtt://bro\nker", "expected mqtt://host:port"),
        ("MQTT__URL", "", "expected mqtt://host:port"),
        ("MQTT__PASSWORD_FILE", "", "expected a path"),
        ("SPOOL__PATH", "", 'expected a path, got ""'),
        ("SPOOL__PATH", "a\nb", "expected a path without control characters, got one with a line"),
        ("SINKS__PARQUET__PATH", "a\x1b", "got one with U+001B"),
        ("MQTT__PASSWORD", "", "expected a password, got an empty one"),
        ("MQTT__PASSWORD", f"{SECRET}\nnote", "got one with a line break"),
        ("MQTT__PASSWORD", f"{SECRET}\x00", "got one with U+0000"),
        ("MQTT__PASSWORD", f"{SECRET}\udcff", "expected UTF-8, got other bytes"),
        ("METRICS__LISTEN", "127.0.0.1:\n9464", "expected host:port"),
        ("STORE__ACK", "", 'expected "spool", "sink", "kafka" or "verdict", got ""'),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_name_of_its_variable(
    tmp_path: Path, name: str, value: str, reason: str
) -> None:
    user = {"POINTGATE_MQTT__USERNAME": "u"} if "PASSWORD" in name else {}
    (problem,) = problems(tmp_path, **user | {f"POINTGATE_{name}": value})
    assert problem.startswith(f"POINTGATE_{name}: ")
    assert reason in problem


def test_names_of_files_may_be_other_bytes_than_utf8(tmp_path: Path) -> None:
    assert load(tmp_path, POINTGATE_SPOOL__PATH="/a\udcff").spool.path == Path("/a\udcff")


@pytest.mark.parametrize(
    ("key", "value", "number"),
    [
        ("mqtt.keepalive", "'90s'", 90),
        ("mqtt.session_expiry", "'30d'", 2_592_000),
        ("quarantine.max_age", "'10m'", 600),
        ("spool.max_bytes", "'8MiB'", 2**23),
        ("quarantine.max_bytes", "'1gib'", 2**30),
        ("limits.payload_bytes", "'512KiB'", 2**19),
        ("limits.in_flight_bytes", "'1TiB'", 2**40),
        ("limits.payload_bytes", "'1000B'", 1000),
    ],
)
def test_times_and_sizes_have_units(tmp_path: Path, key: str, value: str, number: int) -> None:
    section, name = key.split(".")
    assert getattr(getattr(load(tmp_path, f"{key} = {value}"), section), name) == number
    variable = f"POINTGATE_{section}__{name}".upper()
    settings = load(tmp_path, **{variable: value.strip("'")})
    assert getattr(getattr(settings, section), name) == number


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mqtt.keepalive", '"1500ms"'),
        ("mqtt.keepalive", '"90"'),
        ("mqtt.session_expiry", '"1w"'),
        ("quarantine.max_age", '"10 m"'),
        ("quarantine.max_age", '"10M"'),
        ("spool.max_bytes", '"8MB"'),
        ("spool.max_bytes", '"8M"'),
        ("spool.max_bytes", '"1.5GiB"'),
        ("limits.payload_bytes", '"-1KiB"'),
        ("limits.payload_bytes", '"8388608"'),
    ],
)
def test_what_is_no_time_or_size(tmp_path: Path, key: str, value: str) -> None:
    (problem,) = problems(tmp_path, f"{key} = {value}")
    units = '"90s", "10m", "12h", "30d"' if "bytes" not in key else '"512KiB", "8MiB", "1GiB"'
    assert problem.startswith(f"{key}: expected ")
    assert problem.endswith(f" or {units}, got {value}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@db1:5432,db2:5432/points?target_session_attrs=read-write",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://",
        "postgresql://u@[::1]:5432,[fe80::2]/x",
        "postgresql://%2Frun%2Fpostgresql:5433/x",
        "postgres://db",
        "postgresql://a%40b@db/x",
        "postgresql://db/x?options=-c%20a%3Db@c",
        "postgresql://db/a@b",
    ],
)
def test_every_form_of_a_database_url_is_taken(tmp_path: Path, url: str) -> None:
    (sink,) = load(tmp_path, f"[[sinks]]\ntype = 'postgres'\nurl = '{url}'").sinks
    assert isinstance(sink, PostgresSettings)
    assert sink.url == url


def test_points_go_to_a_folder_of_parquet_files_unless_something_else_is_said(
    tmp_path: Path,
) -> None:
    (sink,) = load(tmp_path, POINTGATE_SINKS__PARQUET__ON_CONFLICT="ignore").sinks
    assert isinstance(sink, ParquetSettings)
    assert (sink.name, sink.path, sink.required) == ("parquet", tmp_path / "points", True)
    assert sink.on_conflict == "ignore"


def test_sinks_are_tables(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    text = """
    [[sinks]]
    type = "ndjson"
    path = "-"
    [[sinks]]
    type = "ndjson"
    name = "lines"
    path = "lines.ndjson"
    required = false
    [[sinks]]
    type = "postgres"
    url = "postgresql://me@db/x"
    schema = "s"
    password_file = "secret"
    """
    environ = {"POINTGATE_SINKS__LINES__REQUIRED": "true", "POINTGATE_SINKS__NDJSON__PATH": "x"}
    ndjson, lines, postgres = load(tmp_path, text, **environ).sinks
    assert isinstance(ndjson, NdjsonSettings)
    assert isinstance(lines, NdjsonSettings)
    assert isinstance(postgres, PostgresSettings)
    assert (ndjson.name, ndjson.file) == ("ndjson", tmp_path / "x")
    assert (lines.name, lines.file, lines.required) == ("lines", tmp_path / "lines.ndjson", True)
    assert (postgres.schema_name, postgres.password_text()) == ("s", SECRET)
    standard_output = load(tmp_path, "sinks = [{type = 'ndjson', path = '-'}]").sinks[0]
    assert isinstance(standard_output, NdjsonSettings)
    assert standard_output.file is None


def test_mistakes_in_sinks_are_named_with_all_others(tmp_path: Path) -> None:
    text = """
    spool.max_bytes = 1
    store.ack = "disk"
    [[sinks]]
    type = "parquet"
    on_conflict = "merge"
    pth = "x"
    [[sinks]]
    type = "parquet"
    [[sinks]]
    type = "kinesis"
    [[sinks]]
    path = "x"
    [[sinks]]
    type = "postgres"
    name = "Db"
    required = 1
    schema = ""
    shema = "x"
    [[sinks]]
    type = "ndjson"
    """
    found = problems(tmp_path, text, POINTGATE_SINKS__NDJSON__PATHS="x")
    conflict = '"update" (the last value wins) or "ignore" (the first one stays)'
    kinds = 'expected "parquet" or "postgres" or "delta" or "kafka" or "ndjson", got'
    own = 'expected a unique name, got "parquet", which another sink has'
    assert found == [
        f'sinks[2].type: {kinds} "kinesis"',
        f"sinks[3].type: {kinds} nothing",
        f"sinks[0].name: {own}",
        f"sinks[1].name: {own}",
        (
            "POINTGATE_SINKS__NDJSON__PATHS: unknown setting, expected "
            "POINTGATE_<SECTION>__<KEY>, did you mean POINTGATE_SINKS__NDJSON__PATH"
        ),
        'store.ack: expected "spool", "sink", "kafka" or "verdict", got "disk"',
        (f'spool.max_bytes: expected {2**20} to {2**50} bytes or "512KiB", "8MiB", "1GiB", got 1'),
        f'sinks[0].on_conflict: expected {conflict}, got "merge"',
        "sinks[0].pth: unknown key, did you mean path",
        'sinks[4].name: expected 1 to 32 of a-z, 0-9 and _, a letter first, got "Db"',
        "sinks[4].required: expected true, or false for a sink that may lose points, got 1",
        "sinks[4].url: expected postgresql://user@host:port/database, got nothing",
        (
            "sinks[4].schema: expected a schema's name: 1 to 63 of A-Z, a-z, 0-9 and _, "
            'no digit first, got ""'
        ),
        "sinks[4].shema: unknown key, did you mean schema",
        'sinks[5].path: expected a file, or "-" for standard output, got nothing',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sinks = 'parquet'", 'sinks: expected tables, [[sinks]], got "parquet"'),
        ("[sinks]\ntype = 'parquet'", "sinks: expected tables, [[sinks]], got a table"),
        (
            "store.ack = 'verdict'\n[[sinks]]\ntype = 'parquet'",
            'sinks: not allowed with store.ack = "verdict", which stores nothing',
        ),
        (
            "store.ack = 'sink'\n[[sinks]]\ntype = 'parquet'\nrequired = false",
            'store.ack: "sink" needs at least one sink with required = true, got none',
        ),
        (
            "[[sinks]]\ntype = 'postgres'\nurl = 'mysql://db/x'",
            ('sinks[0].url: expected postgresql://user@host:port/database, got "mysql://db/x"'),
        ),
    ],
)
def test_sinks_that_cannot_be(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text) == [problem]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"mqtt.url = 'mqtt://me:{SECRET}@broker'", "mqtt.url: expected a url without user"),
        (f"mqtt.url = '{SECRET}@broker'", "mqtt.url: expected a url without user"),
        (f"mqtt.password = '{SECRET}'", "mqtt.password: expected no secret in this file, got one"),
        (f"mqtt.passwrod = '{SECRET}'", "mqtt.passwrod: unknown key, did you mean password"),
        (f"mqtt.password_file = '{SECRET}'", "mqtt.password_file: cannot read this file: no such"),
        (f"mqtt.password_file = ['{SECRET}']", "got a value that is not shown"),
        (
            f"[[sinks]]\ntype='postgres'\nurl='postgresql://db'\npassword='{SECRET}'",
            "POINTGATE_SINKS__POSTGRES__PASSWORD or sinks[0].password_file",
        ),
        (
            f"[[sinks]]\ntype='postgres'\nurl='postgresql://me:{SECRET}@db'",
            "sinks[0].url: expected a url without a password",
        ),
        *(
            (f"[[sinks]]\ntype='postgres'\nurl='{url}'", "sinks[0].url: expected a url without a")
            for url in (
                f"postgresql://me:a@{SECRET}@db/x",
                f"postgresql://me:a/{SECRET}@db/x",
                f"postgresql://me:a?{SECRET}@db/x",
                f"postgresql://me:{SECRET}@db1:1,db2:2/x",
                f"postgresql://db/x?sslpassword={SECRET}",
                f"postgresql://db/x?%70assword={SECRET}",
                f"me:{SECRET}@db/x",
                f"postgressql://me:{SECRET}@db/x",
                f"postgresql+psycopg://me:a@{SECRET}@db/x",
                f"postgresql//me:a/{SECRET}@db/x",
                f"postgresql:/me:{SECRET}@db/x",
                f"mysql://me%3A{SECRET}@db/x",
                f"host=db password = {SECRET}",
            )
        ),
        (
            f"[[sinks]]\ntype='postgres'\nurl='postgresql://db/x?password={SECRET}'",
            "sinks[0].url: expected a url without a password",
        ),
    ],
)
def test_a_secret_in_the_file_is_refused_and_never_shown(
    tmp_path: Path, text: str, reason: str
) -> None:
    (problem,) = problems(tmp_path, text)
    assert reason in problem


@pytest.mark.parametrize(
    "url",
    [
        "postgressql://u@h/points",
        "timescaledb://u@h/p",
        "postgresql+psycopg://u@h:5432/p",
        "postgresql//u@h/p",
        "u@h/points",
        "u@h:5432/points",
        "host=h user=u",
    ],
)
def test_a_database_url_that_is_none_and_has_no_password_is_shown(tmp_path: Path, url: str) -> None:
    (problem,) = problems(tmp_path, f"[[sinks]]\ntype='postgres'\nurl='{url}'")
    expected = "expected postgresql://user@host:port/database"
    assert problem == f'sinks[0].url: {expected}, got "{url}"'


def test_a_secret_is_in_no_repr_and_no_error(tmp_path: Path) -> None:
    settings = load(tmp_path, "mqtt.username = 'u'", POINTGATE_MQTT__PASSWORD=SECRET)
    assert settings.mqtt.password_text() == SECRET
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()
    problems(tmp_path, "mqtt.url = 1", POINTGATE_MQTT__PASSWORD=SECRET)
    problems(tmp_path, "mqtt = 1", POINTGATE_MQTT__PASSWORD=SECRET)


@pytest.mark.parametrize("rest", ["", "\n", "\r\n", "\r", "\n\n", "\na note\n", "\r\na note\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_first_line_of_the_password_file_is_the_password(
    tmp_path: Path, rest: str, encoding: str
) -> None:
    (tmp_path / "secret").write_bytes(f"{SECRET} ü{rest}".encode(encoding))
    settings = load(tmp_path, "mqtt = {username = 'u', password_file = 'secret'}")
    assert settings.mqtt.password_text() == f"{SECRET} ü"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff", "expected a file of UTF-8 text, got other bytes"),
        (b"gr\xfc\xdfe", "expected a file of UTF-8 text, got other bytes"),
        (b"\xff\xfea", "expected a file of UTF-8 text, got other bytes"),
        (b"", "expected a password, got an empty one"),
        (b"\xef\xbb\xbf\r\n", "expected a password, got an empty one"),
        (f"{SECRET}".encode("utf-16-le"), r"got one with U\+0000"),
        (b"a\tb", r"got one with U\+0009"),
        (None, "no such file"),
    ],
)
def test_a_password_file_that_cannot_be_meant(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    settings = load(tmp_path, "mqtt = {username = 'u', password_file = 'secret'}")
    (tmp_path / "secret").unlink()
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        settings.mqtt.password_text()
    assert SECRET not in str(caught.value)


def test_a_payload_of_the_largest_size_must_fit_into_what_is_taken_in(tmp_path: Path) -> None:
    reason = "limits.in_flight_bytes: expected at least limits.payload_bytes, 1000, got 999"
    text = "[limits]\npayload_bytes = 1000\nin_flight_bytes = "
    assert problems(tmp_path, f"{text}999") == [reason]
    assert load(tmp_path, f"{text}1000").limits.in_flight_bytes == 1000
    (found,) = problems(tmp_path, POINTGATE_LIMITS__PAYLOAD_BYTES="100000000")
    assert found.endswith("limits.payload_bytes, 100000000, got 67108864")


def test_a_path_that_no_system_has_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, 'mqtt = {username = "u", password_file = "a\\u0000b"}') == [
        "mqtt.password_file: expected a path without control characters, got one with U+0000"
    ]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeffmqtt.keepalive = 7").mqtt.keepalive == 7


def test_settings_that_need_one_another(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    reasons = problems(
        tmp_path,
        "mqtt = {password_file='f', key_file='f', ca_file='f'}",
        POINTGATE_MQTT__PASSWORD="x",  # noqa: S106 - no password
    )
    assert reasons == [
        (
            "POINTGATE_MQTT__PASSWORD: mqtt.password: only allowed with mqtt.username, "
            "which is missing"
        ),
        "mqtt.password_file: only allowed with mqtt.username, which is missing",
        "mqtt.ca_file: only allowed with an mqtts:// or wss:// url, got an mqtt:// one",
        "mqtt.key_file: only allowed with an mqtts:// or wss:// url, got an mqtt:// one",
    ]
    reasons = problems(
        tmp_path,
        "mqtt = {url='mqtts://b', username='u', password_file='f', key_file='f'}",
        POINTGATE_MQTT__PASSWORD="x",  # noqa: S106 - no password
    )
    assert reasons == [
        "mqtt.password_file: expected either this or POINTGATE_MQTT__PASSWORD, got both",
        "mqtt.key_file: only allowed with mqtt.cert_file, which is missing",
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[mqtt", r"line 1, column 6: not TOML|end of document: not TOML"),
        (b"a = 1\nb = \n", r"line 2, column 5: not TOML"),
        (b"a = 1\na = 2\n", r"line 2, column 6: not TOML: expected each key once in a table"),
        (b"[a]\n[a]", r"line 2, column 3: not TOML: expected each table once, got one twice"),
        (b"a = text", r"line 1, column 5: not TOML: expected a value: "),
        (b'a = "text\nb = 1', r"line 1, column 10: not TOML: expected the closing quote"),
        (b"a = '\xff'", r"line 1: expected UTF-8, got other bytes"),
        (b"\xef\xbb\xbfa = 1\nb = '\xff'", r"line 2: expected UTF-8, got other bytes"),
        (b"a = " + b"1" * 5_000, r"expected integers of at most 4300 digits, got more"),
        (b"mqtt.keepalive = 0x" + b"f" * 5_000, r"got an integer of more than 64 digits"),
        (b"a = " + b"[" * 100_000, r"nested too deeply|not TOML"),
        (b"[" + b"a." * 20_000 + b"a]", r"nested too deeply|unknown key"),
    ],
)
def test_what_is_not_toml_is_located(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "pointgate.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    assert re.search(reason, str(caught.value))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.toml: no such file"):
        load_settings(tmp_path / "nope.toml", {})
    with pytest.raises(ConfigError, match="expected a file, got a folder"):
        load_settings(tmp_path, {})


def test_the_first_problem_is_spelled_out_in_the_attributes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "mqtt.keepalive = 0")
    assert caught.value.key == "mqtt.keepalive"
    assert caught.value.file == str(tmp_path / "pointgate.toml")
    assert caught.value.reason.startswith("expected 1 to 65535 seconds or ")


PROTOCOLS = '5 (MQTT 5), 4 (MQTT 3.1.1) or "auto" (5 if the broker accepts it)'


@pytest.mark.parametrize(
    ("value", "protocol", "level"), [("5", 5, 5), ("4", 4, 4), ("auto", "auto", 5)]
)
def test_the_version_of_mqtt_can_come_from_the_environment(
    tmp_path: Path, value: str, protocol: int | str, level: int
) -> None:
    config = tmp_path / "pointgate.toml"
    config.write_text("")
    mqtt = load_settings(config, {"POINTGATE_MQTT__PROTOCOL": value}).mqtt
    assert (mqtt.protocol, mqtt.level) == (protocol, level)


@pytest.mark.parametrize(
    ("lines", "works"),
    [
        ('share_group = "gate"', False),
        ('share_group = "gate"\nclient_id = "pointgate-service"', False),
        ('share_group = "gate"\nclient_id = "one"', True),
        ('client_id = "one"', True),
    ],
)
def test_a_replica_needs_a_client_id_of_its_own(tmp_path: Path, lines: str, *, works: bool) -> None:
    config = tmp_path / "pointgate.toml"
    config.write_text(f"[mqtt]\n{lines}\n")
    if works:
        load_settings(config, {})
    else:
        with pytest.raises(
            ConfigError, match=r"only allowed with mqtt\.client_id, which is missing"
        ):
            load_settings(config, {})


@pytest.mark.parametrize("url", ["s3://bucket/points", "gs://b", "file:///var/lib/points"])
@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ("catalog.path = '{}'", "catalog.path"),
        ("spool.path = '{}'", "spool.path"),
        ("quarantine.path = '{}'", "quarantine.path"),
        ("[[sinks]]\ntype = 'ndjson'\npath = '{}'", "sinks[0].path"),
        ("mqtt.ca_file = '{}'", "mqtt.ca_file"),
    ],
)
def test_a_url_is_no_local_path(tmp_path: Path, toml: str, key: str, url: str) -> None:
    scheme = url.partition("://")[0]
    assert problems(tmp_path, toml.format(url)) == [
        (
            f"{key}: expected a path on this machine, got one that begins with {scheme}://: "
            "urls and object stores are not supported"
        )
    ]


def test_a_url_of_a_parquet_sink_is_one_of_an_object_store(tmp_path: Path) -> None:
    toml = "[[sinks]]\ntype = 'parquet'\npath = '{}'"
    schemes = "s3://, s3a://, gs://, az://, abfs://, abfss://"
    for url in ("file:///var/lib/points", "http://host/x"):
        assert problems(tmp_path, toml.format(url)) == [
            f'sinks[0].path: expected a path or a url with {schemes}, got "{url}"'
        ]
    for url in ("s3://", "s3:///points", "s3://user:pw@host/x"):
        (problem,) = problems(tmp_path, toml.format(url))
        assert problem.startswith("sinks[0].path: expected a url such as s3://bucket/points, got")
    config = tmp_path / "pointgate.toml"
    config.write_text(toml.format("s3://bucket/points/"))
    (sink,) = load_settings(config, {}).sinks
    assert (str(getattr(sink, "path")), sink.output, sink.dimensions_folder) == (  # noqa: B009
        "s3://bucket/points",
        None,
        None,
    )
    config.write_text("[[sinks]]\ntype = 'parquet'")
    environ = {"POINTGATE_SINKS__PARQUET__PATH": "gs://bucket"}
    (sink,) = load_settings(config, environ).sinks
    assert str(getattr(sink, "path")) == "gs://bucket"  # noqa: B009
