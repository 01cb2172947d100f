"""`check` and `serve` build the same things, and refuse the same configurations (contract 9)."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from typer.testing import CliRunner, Result

from pointgate.cli.commands import app
from pointgate.config import load_settings
from pointgate.errors import CatalogError, ConfigError, TemporaryFailure
from pointgate.service.serve import Stop, serve
from tests.support.paths import CATALOG
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FINDINGS, TEMPORARY, CONFIGURATION = 1, 75, 78

DEAD: Final = "mqtt://127.0.0.1:1"
BASE: Final = {
    "mqtt": f'url = "{DEAD}"',
    "catalog": f'path = "{CATALOG}"',
    "metrics": 'listen = "127.0.0.1:0"',
}


def mqtts(lines: str) -> str:
    return f'[mqtt]\nurl = "mqtts://127.0.0.1:1"\n{lines}\n'


def secret(file: str) -> str:
    return f'[mqtt]\nurl = "{DEAD}"\nusername = "u"\npassword_file = "{file}"\n'


def postgres(url: str, more: str = "") -> str:
    return f'[[sinks]]\ntype = "postgres"\nurl = "{url}"\n{more}\n'


def parquet(path: str, name: str = "parquet") -> str:
    return f'[[sinks]]\ntype = "parquet"\nname = "{name}"\npath = "{path}"\n'


def ndjson(path: str, name: str = "ndjson") -> str:
    return f'[[sinks]]\ntype = "ndjson"\nname = "{name}"\npath = "{path}"\n'


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certificate(folder: Path, name: str, *more: str, days: int = 400) -> None:
    """A self-signed certificate and its key."""
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}"]
    openssl(folder, "req", "-x509", *ec, *files, "-days", str(days), *more)


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that a wrong configuration may name."""
    folder = tmp_path_factory.mktemp("material")
    certificate(folder, "a")
    certificate(folder, "b")
    certificate(folder, "soon", days=12)
    rsa = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "rsa.key"]
    openssl(folder, *rsa, "-out", "rsa.crt", "-subj", "/CN=rsa")
    openssl(folder, "ec", "-aes256", "-in", "a.key", "-out", "old.key", "-passout", "pass:x")
    pkcs8 = ["pkcs8", "-topk8", "-in", "a.key"]
    openssl(folder, *pkcs8, "-out", "enc.key", "-passout", "pass:x")
    openssl(folder, *pkcs8, "-outform", "DER", "-out", "a.key.der", "-nocrypt")
    openssl(folder, "x509", "-in", "a.crt", "-outform", "DER", "-out", "a.der")
    openssl(folder, "crl2pkcs7", "-nocrl", "-certfile", "a.crt", "-out", "a.p7b")
    store = ["pkcs12", "-export", "-in", "a.crt", "-inkey", "a.key", "-passout", "pass:x"]
    openssl(folder, *store, "-out", "a.p12")
    openssl(folder, "req", "-new", "-key", "a.key", "-subj", "/CN=a", "-out", "a.csr")
    openssl(folder, "pkey", "-in", "a.key", "-pubout", "-out", "a.pub")
    text = (folder / "a.crt").read_text()
    key = (folder / "a.key").read_text()
    (folder / "both.pem").write_text(key + text)
    (folder / "empty.pem").write_bytes(b"")
    (folder / "blank.pem").write_bytes(b"\n\n")
    (folder / "cut.pem").write_text(text[: len(text) // 2])
    (folder / "broken.pem").write_text(text.replace("\n", "\n!!", 4))
    (folder / "utf16.pem").write_text(text, "utf-16")
    (folder / "ssh.key").write_text(key.replace("PRIVATE", "OPENSSH PRIVATE"))
    for name, content in {
        "latin1": b"gr\xfc\xdfe\n",
        "nothing": b"",
        "first-line-empty": b"\ns3cret\n",
        "nul": b"s3\0cret\n",
        "tab": b"s3\tcret\n",
        "utf16-unmarked": "s3cret\n".encode("utf-16-le"),
        "bom-only": b"\xef\xbb\xbf\r\n",
        "good": b"s3cret\n",
        "good-bom": b"\xef\xbb\xbfs3cret\r\n",
        "good-utf16": "s3cret\r\n".encode("utf-16"),
    }.items():
        (folder / f"{name}.txt").write_bytes(content)
    (folder / "file").write_text("x")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "nowhere").symlink_to(folder / "gone" / "x")
    (folder / "link").symlink_to(folder / "folder")
    (folder / "odd-lock" / "lock").mkdir(parents=True)
    (folder / "odd-dataset").mkdir()
    (folder / "odd-dataset" / ".pointgate").touch()
    (folder / "odd-quarantine").mkdir()
    (folder / "odd-quarantine" / "rejected.db").write_bytes(b"no database at all, " * 99)
    (folder / "odd-quarantine-folder" / "rejected.db").mkdir(parents=True)
    return folder


OWN = 'cert_file = "{}"\nkey_file = "{}"'


def kafka(lines: str) -> str:
    return f'[kafka]\nservers = "127.0.0.1:1"\ntopics = ["iot.requests"]\n{lines}\n'


BROKEN: Final[dict[str, str]] = {
    # TLS
    "key of another certificate": mqtts(OWN.format("a.crt", "b.key")),
    "key of another kind": mqtts(OWN.format("rsa.crt", "b.key")),
    "key with a passphrase": mqtts(OWN.format("a.crt", "enc.key")),
    "key with a passphrase, older format": mqtts(OWN.format("a.crt", "old.key")),
    "key in DER": mqtts(OWN.format("a.crt", "a.key.der")),
    "key is the certificate": mqtts(OWN.format("a.crt", "a.crt")),
    "key is a public one": mqtts(OWN.format("a.crt", "a.pub")),
    "key in OpenSSH's format": mqtts(OWN.format("a.crt", "ssh.key")),
    "key file empty": mqtts(OWN.format("a.crt", "empty.pem")),
    "no key": mqtts('cert_file = "a.crt"'),
    "certificate in DER": mqtts(OWN.format("a.der", "a.key")),
    "certificate is PKCS#12": mqtts('cert_file = "a.p12"'),
    "certificate is PKCS#7": mqtts(OWN.format("a.p7b", "a.key")),
    "certificate is a request": mqtts(OWN.format("a.csr", "a.key")),
    "certificate is the key": mqtts(OWN.format("a.key", "a.key")),
    "certificate cut": mqtts(OWN.format("cut.pem", "a.key")),
    "certificate damaged": mqtts(OWN.format("broken.pem", "a.key")),
    "certificate in UTF-16": mqtts(OWN.format("utf16.pem", "a.key")),
    "certificate missing": mqtts(OWN.format("gone.crt", "a.key")),
    "certificate is a folder": mqtts(OWN.format("folder", "a.key")),
    "certificate is a pipe": mqtts(OWN.format("pipe", "a.key")),
    "CA file empty": mqtts('ca_file = "empty.pem"'),
    "CA file blank": mqtts('ca_file = "blank.pem"'),
    "CA file in DER": mqtts('ca_file = "a.der"'),
    "CA file is a key": mqtts('ca_file = "a.key"'),
    "CA file is text": mqtts('ca_file = "good.txt"'),
    "CA file damaged": mqtts('ca_file = "broken.pem"'),
    "CA file without TLS": f'[mqtt]\nurl = "{DEAD}"\nca_file = "a.crt"\n',
    # Passwords
    "password in Latin-1": secret("latin1.txt"),
    "password file empty": secret("nothing.txt"),
    "password not in the first line": secret("first-line-empty.txt"),
    "password with U+0000": secret("nul.txt"),
    "password with a tab": secret("tab.txt"),
    "password in UTF-16 without a mark": secret("utf16-unmarked.txt"),
    "password is nothing but a byte-order mark": secret("bom-only.txt"),
    "password file missing": secret("gone.txt"),
    "password file is a pipe": secret("pipe"),
    "password of a database empty": postgres("postgresql://h/d", 'password_file = "nothing.txt"'),
    "password of a database in Latin-1": postgres(
        "postgresql://h/d", 'password_file = "latin1.txt"'
    ),
    # Databases
    "url with an unknown parameter": postgres("postgresql://u@h/d?bogus=1"),
    "url with a wrong sslmode": postgres("postgresql://u@h/d?sslmode=sometimes"),
    "url with a wrong port": postgres("postgresql://u@h:abc/d"),
    "url with a port too large": postgres("postgresql://u@h:70000/d"),
    "url with more ports than hosts": postgres("postgresql://h1,h2/d?port=1,2,3"),
    "url with a broken escape": postgres("postgresql://h/%zz"),
    "url with half an address": postgres("postgresql://[::1/d"),
    "url with a wrong timeout": postgres("postgresql://h/d?connect_timeout=soon"),
    "url of a service that is not defined": postgres("postgresql://h/d?service=nosuch"),
    "url with a password": postgres("postgresql://u:s3cret@h/d"),
    "url with a password with a slash": postgres("postgresql://u:s3/cret@h/d"),
    "url is keywords": postgres("host=h dbname=d"),
    "url with a line break": postgres("postgresql://h/d%0a"),
    "schema with a blank": postgres("postgresql://h/d", 'schema = "a b"'),
    # Folders and files
    "Kafka without topics": '[kafka]\nservers = "127.0.0.1:1"\n',
    "Kafka with an unknown option": kafka("options.no.such = 1"),
    "Kafka with fewer acknowledgements": kafka("options.acks = 1"),
    "Kafka with a CA file that is missing": kafka(
        'options.security.protocol = "ssl"\noptions.ssl.ca.location = "/nowhere"'
    ),
    "Kafka with a password in the file": kafka('username = "u"\npassword = "s3cret"'),
    "password of Kafka missing": kafka('username = "u"\npassword_file = "gone.txt"'),
    "a sink of Kafka with an unknown option": (
        '[[sinks]]\ntype = "kafka"\nservers = "k:1"\ntopic = "t"\noptions.no.such = 1\n'
    ),
    "spool is a file": '[spool]\npath = "file"\n',
    "spool inside a file": '[spool]\npath = "file/spool"\n',
    "spool is a link to nothing": '[spool]\npath = "nowhere"\n',
    "spool where no folder can be": '[spool]\npath = "/proc/pointgate/spool"\n',
    "spool with a name too long": f'[spool]\npath = "new/{"x" * 300}"\n',
    "spool whose lock is a folder": '[spool]\npath = "odd-lock"\n',
    "spool without a name": '[spool]\npath = ""\n',
    "spool with U+0000": '[spool]\npath = "a\\u0000b"\n',
    "dataset is a file": parquet("file"),
    "dataset whose own folder is a file": parquet("odd-dataset"),
    "dataset where no folder can be": parquet("/sys/pointgate"),
    "dataset is the spool": '[spool]\npath = "x"\n' + parquet("x"),
    "two sinks on one folder": parquet("x") + parquet("x/../x", "second"),
    "two sinks on one folder by a link": parquet("folder") + parquet("link", "second"),
    "one dataset inside another": parquet("x") + parquet("x/y", "second"),
    "two sinks on one file": ndjson("x.ndjson") + ndjson("x.ndjson", "second"),
    "two sinks on standard output": ndjson("-") + ndjson("-", "second"),
    "lines into a folder that is missing": ndjson("gone/x.ndjson"),
    "lines into a folder": ndjson("folder"),
    "lines into a pipe": ndjson("pipe"),
    "lines through a link to nothing": ndjson("nowhere"),
    "quarantine is a file": '[quarantine]\npath = "file"\n',
    "quarantine is the spool": '[spool]\npath = "x"\n[quarantine]\npath = "x"\n',
    "quarantine without a database": '[quarantine]\npath = "odd-quarantine"\n',
    "quarantine whose database is a folder": '[quarantine]\npath = "odd-quarantine-folder"\n',
    "admin socket with too long a path": f'[admin]\nsocket = "{"x" * 108}"\n',
    "admin socket is a file": '[admin]\nsocket = "file"\n',
    "admin socket is a pipe": '[admin]\nsocket = "pipe"\n',
    "admin socket inside a file": '[admin]\nsocket = "file/admin.sock"\n',
    "admin socket where no folder can be": '[admin]\nsocket = "/proc/pointgate/admin.sock"\n',
    # Addresses, values, catalog
    "metrics on an address of another machine": '[metrics]\nlisten = "192.0.2.1:9464"\n',
    "metrics on a name that is none": '[metrics]\nlisten = "a..b:9464"\n',
    "metrics on a name too long": f'[metrics]\nlisten = "{"x" * 64}.example:9464"\n',
    "metrics without a port": '[metrics]\nlisten = "127.0.0.1"\n',
    "client id with a line break": f'[mqtt]\nurl = "{DEAD}"\nclient_id = "a\\n"\n',
    "group with a tab": f'[mqtt]\nurl = "{DEAD}"\nshare_group = "a\\tb"\n',
    "user with blanks": f'[mqtt]\nurl = "{DEAD}"\nusername = " u"\n',
    "broker with a path": '[mqtt]\nurl = "mqtt://127.0.0.1:1/mqtt"\n',
    "WebSocket with a query": '[mqtt]\nurl = "ws://127.0.0.1:1/mqtt?token=x"\n',
    "Unix socket with a host": '[mqtt]\nurl = "unix://host/run/x"\n',
    "Unix socket with too long a path": f'[mqtt]\nurl = "unix:///{"x" * 108}"\n',
    "a canary that is no product key": f'[mqtt]\nurl = "{DEAD}"\ncanary = "a/b"\n',
    "ALPN without TLS": f'[mqtt]\nurl = "{DEAD}"\nalpn = "mqtt"\n',
    "ALPN beside a WebSocket without TLS": '[mqtt]\nurl = "ws://127.0.0.1:1"\nalpn = "mqtt"\n',
    "ALPN with two names": mqtts('alpn = "mqtt,http/1.1"'),
    "CA file beside a Unix socket": '[mqtt]\nurl = "unix:///x"\nca_file = "a.crt"\n',
    "key of another certificate over a WebSocket": '[mqtt]\nurl = "wss://127.0.0.1:1"\n'
    + OWN.format("a.crt", "b.key")
    + "\n",
    "broker with a line break": '[mqtt]\nurl = "mqtt://127.0.0.1\\n"\n',
    "catalog missing": '[catalog]\npath = "gone"\n',
    "catalog is a file": '[catalog]\npath = "file"\n',
    "a size in a unit of two meanings": '[spool]\nmax_bytes = "8MB"\n',
    "sinks beside verdict": '[store]\nack = "verdict"\n' + parquet("x"),
    "no required sink": '[store]\nack = "sink"\n' + parquet("x") + "required = false\n",
}

WORDS: Final[dict[str, str]] = {
    "Kafka with an unknown option": 'kafka.options: no such configuration property: "no.such"',
    "Kafka with fewer acknowledgements": "kafka.options: not allowed to set acks",
    "Kafka with a CA file that is missing": "kafka.options: failed to create consumer: ssl.ca",
    "a sink of Kafka with an unknown option": "sinks.kafka.options: no such configuration",
    "key of another certificate": "b.key: mqtt.key_file: expected the key of the certificate, "
    "got that of another one",
    "key of another kind": "got that of another one",
    "key with a passphrase": "expected a key without a passphrase",
    "key with a passphrase, older format": "expected a key without a passphrase",
    "key in DER": "expected a private key in PEM, got a private key in DER",
    "key is the certificate": "expected a private key in PEM, got a certificate",
    "key is a public one": "expected a private key in PEM, got a public key",
    "key in OpenSSH's format": "got a private key in OpenSSH's own format",
    "no key": "a.crt: mqtt.cert_file: expected the private key in this file or in mqtt.key_file",
    "certificate in DER": "expected a certificate in PEM, got a certificate in DER",
    "certificate is PKCS#12": "expected a certificate in PEM, got PKCS#12",
    "certificate is PKCS#7": "expected a certificate in PEM, got PKCS#7",
    "certificate is a request": "expected a certificate in PEM, got a certificate request",
    "certificate is the key": "expected a certificate in PEM, got a private key",
    "certificate in UTF-16": "expected a certificate in PEM, got UTF-16 text",
    "certificate is a pipe": "cannot read this file: it is no regular file",
    "CA file empty": "expected CA certificates in PEM, got an empty file",
    "CA file in DER": "expected CA certificates in PEM, got a certificate in DER",
    "CA file is a key": "expected CA certificates in PEM, got a private key",
    "CA file damaged": "expected CA certificates in PEM, got a damaged certificate",
    "password in Latin-1": "mqtt.password_file: expected a file of UTF-8 text, got other bytes",
    "password file empty": "mqtt.password_file: expected a password, got an empty one",
    "password with U+0000": "got one with U+0000",
    "url with an unknown parameter": 'invalid URI query parameter: "bogus"',
    "url with a wrong sslmode": 'invalid sslmode value: "sometimes"',
    "spool is a file": "expected a folder, got a file",
    "spool is a link to nothing": "no such file or directory",
    "spool with a name too long": "expected names of at most 255 bytes, got one of 300",
    "two sinks on one folder": "sinks.second.path: expected a place of its own",
    "one dataset inside another": "expected no folder inside or around that of sinks.parquet.path",
    "lines into a folder that is missing": "no such folder: ",
    "lines into a pipe": "expected a file, got a named pipe",
    "quarantine without a database": "expected a database of SQLite, got another file",
    "admin socket with too long a path": "expected a path of at most 107 bytes, got ",
    "admin socket is a file": "file: expected a socket, got another file",
    "admin socket inside a file": "expected a folder, got a file",
    "broker with a path": "mqtt.url: expected no path in an mqtt:// url",
    "Unix socket with a host": "mqtt.url: expected unix:///path/of/socket, with no host",
    "ALPN without TLS": "mqtt.alpn: only allowed with an mqtts:// or wss:// url",
    "CA file beside a Unix socket": "mqtt.ca_file: only allowed with an mqtts:// or wss:// url",
    "metrics without a port": "or :9464 for all addresses",
}

SOUND: Final[dict[str, str]] = {
    "a consumer group": kafka('replies = "iot.replies"'),
    "a sink of Kafka": '[[sinks]]\ntype = "kafka"\nservers = "127.0.0.1:1"\ntopic = "points"\n',
    "own certificate": mqtts(OWN.format("a.crt", "a.key")),
    "certificate and key in one file": mqtts('cert_file = "both.pem"\nca_file = "a.crt"'),
    "a canary": f'[mqtt]\nurl = "{DEAD}"\ncanary = "protocol"\n',
    "ALPN": mqtts('alpn = "x-amzn-mqtt-ca"'),
    "a WebSocket": '[mqtt]\nurl = "ws://127.0.0.1:1"\n',
    "a WebSocket over TLS": '[mqtt]\nurl = "wss://127.0.0.1:1/way"\nca_file = "a.crt"\n',
    "a Unix socket that is not there": '[mqtt]\nurl = "unix:///nowhere/mosquitto.sock"\n',
    "a certificate that ends soon": mqtts(OWN.format("soon.crt", "soon.key")),
    "password file": secret("good.txt"),
    "password file with a byte-order mark": secret("good-bom.txt"),
    "password file in UTF-16": secret("good-utf16.txt"),
    "several hosts": postgres(
        "postgresql://u@127.0.0.1:1,127.0.0.2:1/d?target_session_attrs=read-write"
    ),
    "a host in the parameters": postgres("postgresql:///d?host=/nowhere"),
    "an escaped socket folder": postgres("postgresql://%2Fnowhere/d"),
    "a database that is away": postgres("postgresql://127.0.0.1:1/d?connect_timeout=1"),
    "lines into a new file": ndjson("new.ndjson"),
    "an admin socket": '[admin]\nsocket = "run/admin.sock"\n',
    "no admin socket": '[admin]\nenabled = false\nsocket = "file"\n',
    "quarantine": '[quarantine]\npath = "rejected"\n',
    "verdicts, whatever the spool is": '[store]\nack = "verdict"\n[spool]\npath = "file"\n',
    "times and sizes with units": '[spool]\nmax_bytes = "8MiB"\n[quarantine]\nmax_age = "12h"\n',
}


def write(folder: Path, text: str) -> Path:
    """A configuration: the text, and what every one has."""
    sections = "".join(
        f"[{name}]\n{lines}\n" for name, lines in BASE.items() if f"[{name}]" not in text
    )
    config = folder / "pointgate.toml"
    config.write_text(sections + text)
    return config


def checked(config: Path, environ: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, ["check", "-c", str(config)], env=environ)


class _UntilFirstTry(logging.Handler):
    """Asks a service to stop when it has tried to connect."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        if "no connection to" in record.getMessage():
            self._loop.call_soon_threadsafe(self._stop.request)


async def _serve(config: Path, environ: Mapping[str, str]) -> int:
    settings = load_settings(config, environ)
    stop = Stop()
    handler = _UntilFirstTry(stop)
    log = logging.getLogger("pointgate.sources.mqtt.source")
    log.addHandler(handler)
    try:
        async with asyncio.timeout(PATIENCE):
            return await serve(settings, stop=stop)
    finally:
        log.removeHandler(handler)


def served(config: Path, environ: Mapping[str, str] | None = None) -> int:
    """The exit status of `serve`, with a broker that is away."""
    try:
        return asyncio.run(_serve(config, environ or {}))
    except (ConfigError, CatalogError):
        return CONFIGURATION
    except TemporaryFailure:
        return TEMPORARY


@pytest.fixture
def folder(tmp_path: Path, material: Path) -> Path:
    """A copy of the material: a case may leave something in it."""
    for one in material.iterdir():
        if one.is_symlink() or one.is_fifo():
            continue
        copy = shutil.copytree if one.is_dir() else shutil.copy
        copy(one, tmp_path / one.name)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone" / "x")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    return tmp_path


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and time of change."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")
    }


def test_there_are_enough_broken_configurations() -> None:
    assert len(BROKEN) >= 60
    assert set(WORDS) <= set(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_what_serve_refuses_check_finds(folder: Path, name: str) -> None:
    config = write(folder, BROKEN[name])
    before = everything(folder)
    done = checked(config)
    assert everything(folder) == before
    assert done.exit_code == FINDINGS, done.output
    assert WORDS.get(name, "") in done.stdout
    assert "s3cret" not in done.output
    assert "s3/cret" not in done.output
    assert served(config) == CONFIGURATION


@pytest.mark.parametrize("name", SOUND)
def test_what_check_passes_serve_takes(folder: Path, name: str) -> None:
    config = write(folder, SOUND[name])
    before = everything(folder)
    done = checked(config)
    assert everything(folder) == before
    assert (done.exit_code, "Traceback" in done.output) == (0, False), done.output
    assert served(config) == 0


WARNED: Final = {
    "nobody gets a reply": (
        {"kafka": 'servers = "127.0.0.1:1"\ntopics = ["iot"]'},
        "kafka.replies",
        "no sender gets a reply",
    ),
    "the placeholder": ({"mqtt": 'client_id = "pointgate-CHANGE-ME"'}, "mqtt.client_id", "is a"),
    "another one": ({"mqtt": 'client_id = "change_this"'}, "mqtt.client_id", "placeholder"),
    "no password": ({"mqtt": 'username = "u"'}, "mqtt.username", "without a password"),
    "no such product": ({"quarantine": 'products = ["nosuch"]'}, "quarantine.products", '"nosuch"'),
    "a near one": ({"quarantine": 'without = ["solarx"]'}, "quarantine.without", "mean solar"),
    "several": ({"quarantine": 'products = ["a", "solar"]'}, "quarantine.products", '"a"'),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_is_hardly_meant_is_a_warning_of_check_and_serve(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    changes, key, words = WARNED[name]
    (folder / "catalog").mkdir()
    model = json.dumps({"measurepoints": {"temp": {"dataType": "INT"}}})
    (folder / "catalog" / "model.json").write_text(model)
    (folder / "catalog" / "devices.txt").write_text("inv-1\n")
    (folder / "catalog" / "catalog.toml").write_text(
        "[products.solar]\nmodel = 'model.json'\ndevices = 'devices.txt'\n"
    )
    config = folder / "pointgate.toml"
    sections = BASE | {"catalog": 'path = "catalog"'}
    sections |= {one: f"{sections.get(one, '')}\n{text}" for one, text in changes.items()}
    config.write_text("".join(f"[{one}]\n{text}\n" for one, text in sections.items()))
    done = checked(config)
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert f"{key}: " in line
    assert words in line
    served(config)
    assert line.removeprefix("warning: ") in caplog.text


def test_a_default_quarantine_that_cannot_be_used_is_only_a_warning(folder: Path) -> None:
    (folder / "quarantine").write_text("a file")
    config = write(folder, "")
    done = checked(config)
    assert done.exit_code == 0
    assert "quarantine.path: rejected requests are not kept: cannot use" in done.stdout
    config = write(folder, '[quarantine]\npath = "quarantine"\n')
    assert checked(config).exit_code == 1
    config = write(folder, "[quarantine]\nenabled = false\n")
    assert "quarantine" not in checked(config).stdout


def test_a_user_name_with_a_password_or_a_certificate_gives_no_warning(folder: Path) -> None:
    for text in [secret("password"), mqtts(OWN.format("a.crt", "a.key") + '\nusername = "u"')]:
        (folder / "password").write_text("s3cret")
        done = checked(write(folder, text))
        assert "user name" not in done.stdout


def test_certificates_that_end_soon_are_warned_about(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = write(folder, mqtts(OWN.format("soon.crt", "soon.key") + '\nca_file = "a.crt"'))
    done = checked(config)
    (line,) = [line for line in done.stdout.splitlines() if "certificate" in line]
    assert line.startswith("warning: ")
    assert "soon.crt: mqtt.cert_file: the certificate ends on 20" in line
    assert ", in 11 days" in line
    served(config)
    assert "soon.crt: mqtt.cert_file: the certificate ends on 20" in caplog.text


def test_certificates_that_have_ended_or_do_not_hold_yet_are_warned_about(folder: Path) -> None:
    for name, span, words in [
        ("past", ("20200101000000Z", "20210101000000Z"), "the certificate ended on 2021-01-01"),
        ("future", ("20900101000000Z", "20910101000000Z"), "not valid before 2090-01-01 00:00 UTC"),
        ("long", ("19990101000000Z", "20990101000000Z"), ""),
    ]:
        openssl(folder, "req", "-new", "-key", "a.key", "-subj", "/CN=a", "-out", "r.csr")
        (folder / "index.txt").write_text("")
        (folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nnew_certs_dir = .\n"
            "rand_serial = yes\ndefault_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n"
        )
        ca = ["ca", "-batch", "-config", "ca.cnf", "-selfsign", "-keyfile", "a.key"]
        dates = ["-startdate", span[0], "-enddate", span[1]]
        openssl(folder, *ca, *dates, "-in", "r.csr", "-out", f"{name}.crt")
        done = checked(write(folder, mqtts(OWN.format(f"{name}.crt", "a.key"))))
        assert done.exit_code == 0, done.output
        assert words in done.stdout
        assert ("the certificate" in done.stdout) == bool(words)


def test_a_database_without_its_package_is_refused_by_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("pointgate.sinks.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    config = write(folder, postgres("postgresql://h/d"))
    done = checked(config)
    assert done.exit_code == FINDINGS
    assert "needs the package psycopg: pip install 'pointgate[postgres]'" in done.stdout
    assert served(config) == CONFIGURATION


def test_what_is_in_use_is_no_mistake(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = write(folder, f'[metrics]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n')
        done = checked(config)
        assert done.exit_code == 0
        assert "note: metrics.listen: cannot listen on 127.0.0.1:" in done.stdout
        assert served(config) == TEMPORARY
    (folder / "spool").mkdir()
    with (folder / "spool" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        config = write(folder, "")
        assert checked(config).exit_code == 0
        assert served(config) == TEMPORARY


def test_all_mistakes_are_reported_at_once(folder: Path) -> None:
    text = mqtts('ca_file = "empty.pem"') + '[catalog]\npath = "gone"\n[spool]\npath = "file"\n'
    done = checked(write(folder, text + parquet("file") + postgres("postgresql://h/d?x=1")))
    for key in ("mqtt.ca_file", "spool.path", "sinks.parquet", "sinks.postgres", "gone"):
        assert key in done.stdout
    assert done.stderr.endswith("problems found\n")


def test_a_missing_package_of_kafka_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pointgate.kafka.client", raising=False)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    config = write(folder, kafka('replies = "iot.replies"'))
    done = checked(config)
    assert done.exit_code == FINDINGS
    assert "kafka: needs the package confluent_kafka: pip install 'pointgate[kafka]'" in done.stdout
    assert served(config) == CONFIGURATION
