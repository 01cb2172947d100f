"""The registry behind HTTP, against a real server: answers as they should be, and others."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from pointgate.registries.base import RegistryUnavailableError
from pointgate.registries.http.settings import HttpRegistrySettings
from pointgate.registries.http.source import HttpRegistry
from tests.support.following import following, until
from tests.support.patience import PATIENCE
from tests.support.registries import keys_of, write_catalog
from tests.support.registry_server import RegistryServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


def settings_of(server: RegistryServer, **changes: Any) -> HttpRegistrySettings:
    document = {
        "type": "http",
        "product": "pk",
        "url": server.url("/devices"),
        "changes_url": server.url("/changes"),
        "poll": 50,
        "timeout": 5,
    }
    return HttpRegistrySettings.model_validate(document | changes)


@pytest.fixture
def registry(server: RegistryServer) -> Iterator[HttpRegistry]:
    with closing(HttpRegistry(settings_of(server))) as made:
        yield made


def start(registry: HttpRegistry) -> tuple[bytes, str]:
    snapshot = registry.snapshot()
    return b"".join(snapshot.blocks), snapshot.position


def test_changes_follow_a_device_file(server: RegistryServer, registry: HttpRegistry) -> None:
    server.keys = ["a", "b"]
    body, position = start(registry)
    assert body == b"a\nb\n"
    server.change("+c", "-a")
    changes = registry.changes(position)
    assert changes is not None
    assert changes.lines == b"+c\n-a\n"
    changes = registry.changes(changes.position)
    assert changes is not None
    assert changes.lines == b""
    assert [path for path, _ in server.asked] == [
        "/devices",
        "/changes?since=0",
        "/changes?since=2",
    ]
    server.first = 1
    assert registry.changes(position) is None


def test_without_changes_the_etag_decides(server: RegistryServer) -> None:
    server.keys = ["a"]
    with closing(HttpRegistry(settings_of(server, changes_url=None))) as registry:
        _, position = start(registry)
        changes = registry.changes(position)
        assert changes is not None
        assert changes.lines == b""
        server.change("+b")
        assert registry.changes(position) is None
        body, newer = start(registry)  # of the answer that has told so
        assert body == b"a\nb\n"
        assert newer != position
        assert len(server.asked) == 3


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_copy_follows(server: RegistryServer, tmp_path: Path, *, compressed: bool) -> None:
    catalog = write_catalog(tmp_path / "catalog", tmp_path / "registry/http", "pk")
    server.compressed = compressed
    server.keys = [f"d{number}" for number in range(50_000)]
    settings = settings_of(server, path=tmp_path / "registry")
    async with following(settings, HttpRegistry(settings)) as (follower, statistics):
        await until(follower.matched.is_set)
        assert keys_of(catalog) == set(server.keys)
        server.change("+new", "-d7")
        await until(lambda: keys_of(catalog) == set(server.keys))
        server.change("+gone")
        server.first = 3
        server.keys.append("unnoticed")
        await until(lambda: keys_of(catalog) == set(server.keys))
        assert statistics.snapshots >= 1
        server.answers["/changes"] = (503, {}, b"")
        await until(lambda: "HTTP 503 from" in follower.trouble)
        assert keys_of(catalog) == set(server.keys)
        del server.answers["/changes"]
        await until(lambda: not follower.trouble)


def test_a_server_that_does_not_know_if_none_match(server: RegistryServer) -> None:
    answer = (200, {"ETag": '"1"', "Content-Type": "text/plain"}, b"a\n" * 100_000)
    server.answers["/devices"] = answer
    with closing(HttpRegistry(settings_of(server, changes_url=None))) as registry:
        _, position = start(registry)
        changes = registry.changes(position)
        assert changes is not None
        assert changes.lines == b""
        server.answers["/devices"] = (200, answer[1] | {"ETag": '"2"'}, b"b\n")
        assert registry.changes(position) is None
        assert registry.changes(position) is None  # the answer before was not read
        assert start(registry)[0] == b"b\n"


def test_a_server_is_asked_for_devices(server: RegistryServer) -> None:
    server.keys = ["a", "b&c", "ü"]
    settings = settings_of(server, key_url=server.url("/known"))
    assert settings.answers
    with closing(HttpRegistry(settings)) as registry:
        many = [f"x{number}" for number in range(120)]
        assert registry.present(["a", "b&c", "ü", *many]) == {"a", "b&c", "ü"}
        assert len(server.asked) == 3
        server.answers["/known"] = (500, {}, b"")
        with pytest.raises(RegistryUnavailableError, match="HTTP 500"):
            registry.present(["a"])


def test_answers_about_devices_are_divided_at_line_feeds_alone(server: RegistryServer) -> None:
    odd = ["a\u2028b", "c\u0085d", "e\x0bf"]
    server.answers["/known"] = (200, {}, "\r\n".join(["", *odd[:2], "x"]).encode())
    with closing(HttpRegistry(settings_of(server, key_url=server.url("/known")))) as registry:
        assert registry.present(["a", "b", "d", *odd]) == set(odd[:2])


def test_several_products(server: RegistryServer) -> None:
    server.keys = ["pk/a", "other/b"]
    settings = settings_of(server, product=None)
    with closing(HttpRegistry(settings)) as registry:
        snapshot = registry.snapshot()
        assert snapshot.form == "keys"
        assert b"".join(snapshot.blocks) == b"pk/a\nother/b\n"
    for type_, form in (("text/csv", "csv"), ("application/x-ndjson", "jsonl")):
        server.answers["/devices"] = (200, {"Content-Type": type_, "X-Position": "0"}, b"a\n")
        with (
            closing(HttpRegistry(settings)) as registry,
            pytest.raises(RegistryUnavailableError, match=f'without product, got form "{form}"'),
        ):
            registry.snapshot()
    with pytest.raises(ValueError, match='expected product with format = "csv"'):
        HttpRegistry(settings_of(server, product=None, format="csv"))


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        ({"Content-Type": "text/csv; charset=utf-8"}, "csv"),
        ({"Content-Type": "application/x-ndjson"}, "jsonl"),
        ({}, "txt"),
    ],
)
def test_the_content_type_names_the_form(
    server: RegistryServer, registry: HttpRegistry, headers: dict[str, str], form: str
) -> None:
    server.answers["/devices"] = (200, headers | {"X-Position": "0"}, b"a\n")
    snapshot = registry.snapshot()
    assert snapshot.form == form
    assert b"".join(snapshot.blocks) == b"a\n"


EMPTY_BLOCKS = gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 300_000
"""A gzip stream that goes on and on, and holds nothing."""

BOMB = gzip.compress(b"a\n" * 20_000_000)
WITH_POSITION = {"X-Position": "1", "Content-Type": "text/plain"}


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        ("/devices", (500, {}, b""), "HTTP 500 from http"),
        ("/devices", (200, {"ETag": '"x"'}, b"a\n"), "expected a header X-Position"),
        (
            "/devices",
            (200, {"Content-Type": "image/png", "X-Position": "1"}, b""),
            "expected a Content-Type such as",
        ),
        ("/devices", (200, WITH_POSITION, b"a" * 2_000_000), "expected at most 1048576 bytes"),
        (
            "/devices",
            (200, WITH_POSITION | {"Content-Encoding": "gzip"}, BOMB),
            "expected at most 1048576 bytes",
        ),
        (
            "/devices",
            (200, WITH_POSITION | {"Content-Encoding": "gzip"}, BOMB[:5000]),
            "ended early|at most 1048576",
        ),
        (
            "/devices",
            (200, WITH_POSITION | {"Content-Encoding": "gzip"}, b"no gzip"),
            "expected gzip data",
        ),
        (
            "/devices",
            (200, WITH_POSITION | {"Content-Encoding": "br"}, b""),
            "expected gzip or no encoding, got br",
        ),
        (
            "/devices",
            (200, WITH_POSITION | {"Content-Encoding": "gzip"}, EMPTY_BLOCKS),
            "expected at most 1048576 bytes",
        ),
        ("/devices", (302, {"Location": "file:///etc/passwd"}, b""), "from http to file"),
        *(
            ("/devices", (302, {"Location": place}, b""), "redirected to no url")
            for place in ("http://[bad/", "http://x:abc/", "/\xe4", "http://a..b/")
        ),
        ("/devices", (302, {"Location": "/devices"}, b""), "redirected more than 5 times"),
        ("/devices", (302, {}, b""), "HTTP 302 without a Location"),
        ("/changes", (200, {}, b"+a\n"), "expected a header X-Position with changes"),
        ("/changes", (200, WITH_POSITION, b"+a\nb\n"), "expected lines .KEY and -KEY, got 'b'"),
        ("/changes", (200, WITH_POSITION, b"+a\n\n+b\n"), "expected lines .KEY and -KEY, got ''"),
        ("/changes", (200, WITH_POSITION, b"\n"), "expected lines .KEY and -KEY, got ''"),
        ("/changes", (200, {"X-Position": "x" * 2000}, b""), "X-Position of at most 1024 bytes"),
    ],
)
def test_other_answers_are_errors(
    server: RegistryServer, path: str, answer: Any, reason: str
) -> None:
    server.keys = ["a"]
    with closing(HttpRegistry(settings_of(server, max_bytes=2**20))) as registry:
        position = start(registry)[1]
        own = server.answers[path] = answer
        ask = (
            partial(registry.changes, position) if path == "/changes" else partial(start, registry)
        )
        with pytest.raises(RegistryUnavailableError, match=reason):
            ask()
        assert own is answer
        del server.answers[path]
        assert start(registry)[0] == b"a\n"


def test_an_answer_that_ends_early_is_an_error(
    server: RegistryServer, registry: HttpRegistry
) -> None:
    def cut(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Position: 1\r\nContent-Length: 100\r\n\r\na\n")
        handler.close_connection = True

    server.answers["/devices"] = cut
    with pytest.raises(RegistryUnavailableError, match=r"IncompleteRead|ended early"):
        start(registry)


@pytest.mark.parametrize("path", ["/devices", "/changes", "/known"])
def test_an_answer_whose_end_is_not_known_is_an_error(server: RegistryServer, path: str) -> None:
    def endless(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Position: 1\r\n\r\n+a\n")
        handler.close_connection = True

    settings = settings_of(server, key_url=server.url("/known"))
    with closing(HttpRegistry(settings)) as registry:
        position = start(registry)[1]
        server.answers[path] = endless
        ask: Callable[[], object] = {
            "/devices": lambda: start(registry),
            "/changes": lambda: registry.changes(position),
            "/known": lambda: registry.present(["a"]),
        }[path]
        with pytest.raises(RegistryUnavailableError, match="expected Content-Length or chunks"):
            ask()


@pytest.mark.parametrize(
    "head", [b"Content-Length: 100\r\nConnection: close\r\n", b"Content-Length: 100\r\n"]
)
def test_a_body_that_hangs_can_be_severed(server: RegistryServer, head: bytes) -> None:
    began, done = threading.Event(), threading.Event()

    def hang(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Position: 1\r\n" + head + b"\r\na\n")
        began.set()
        done.wait(PATIENCE)
        handler.close_connection = True

    server.answers["/devices"] = hang
    with closing(HttpRegistry(settings_of(server, timeout=50))) as registry:
        blocks = registry.snapshot().blocks
        assert began.wait(PATIENCE)
        threading.Timer(0.2, registry.sever).start()
        with pytest.raises(RegistryUnavailableError, match=r"ended early|IncompleteRead"):
            list(blocks)
        done.set()


def test_a_server_that_hangs_is_left(server: RegistryServer) -> None:
    hanging = threading.Event()

    def hang(handler: Any) -> None:
        hanging.set()
        time.sleep(3)
        handler.close_connection = True

    server.answers["/devices"] = hang
    with (
        closing(HttpRegistry(settings_of(server, timeout=1))) as registry,
        pytest.raises(RegistryUnavailableError, match="timed out"),
    ):
        start(registry)
    with closing(HttpRegistry(settings_of(server, timeout=50))) as registry:
        hanging.clear()

        def sever() -> None:
            hanging.wait()
            registry.sever()

        severing = threading.Thread(target=sever)
        severing.start()
        with pytest.raises(RegistryUnavailableError):
            start(registry)
        severing.join()


def test_a_connection_is_used_again_and_made_anew(
    server: RegistryServer, registry: HttpRegistry
) -> None:
    _, position = start(registry)

    def last(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Position: 1\r\nContent-Length: 0\r\n\r\n")
        handler.close_connection = True

    server.answers["/changes"] = last
    for _ in range(3):  # the server closes it each time, without saying so
        assert registry.changes(position)


def test_a_token_is_sent_to_its_server_alone(server: RegistryServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    server.token = "first"  # noqa: S105 - of a server that only tests see
    with (
        RegistryServer() as other,
        closing(HttpRegistry(settings_of(server, token_file=file))) as registry,
    ):
        assert start(registry)[0] == b""
        file.write_text("second\n")  # read again
        server.token = "second"  # noqa: S105 - the same
        assert start(registry)[0] == b""
        other.keys = ["x"]
        server.answers["/devices"] = (307, {"Location": other.url("/devices")}, b"")
        assert start(registry)[0] == b"x\n"
        assert "authorization" not in other.asked[0][1]
        file.unlink()
        with pytest.raises(RegistryUnavailableError, match="token_file"):
            start(registry)
    assert settings_of(server, token_file=None).warnings() == []
    unsafe = settings_of(server, token="t")  # noqa: S106 - the same
    assert unsafe.warnings() == ["the token is sent unencrypted: use https://"]
    assert "t'" not in repr(unsafe.token)


def test_tls_with_a_ca_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with RegistryServer(context) as server:
        urls = {
            "url": server.url("/devices", "localhost"),
            "changes_url": server.url("/changes", "localhost"),
        }
        server.keys = ["a"]
        with closing(HttpRegistry(settings_of(server, **urls, ca_file=ca_file))) as registry:
            assert start(registry)[0] == b"a\n"
        with (
            closing(HttpRegistry(settings_of(server, **urls))) as registry,
            pytest.raises(RegistryUnavailableError, match="certificate not accepted"),
        ):
            start(registry)
        with RegistryServer() as plain:
            server.answers["/devices"] = (302, {"Location": plain.url("/devices")}, b"")
            with (
                closing(HttpRegistry(settings_of(server, **urls, ca_file=ca_file))) as registry,
                pytest.raises(RegistryUnavailableError, match="redirected from https"),
            ):
                start(registry)
            assert not plain.asked
    (tmp_path / "no.pem").write_text("no")
    with pytest.raises(ValueError, match="ca_file: expected PEM certificates"):
        HttpRegistry(settings_of(server, ca_file=tmp_path / "no.pem"))


@pytest.mark.parametrize(
    "url",
    ["ftp://h/x", "http:///x", "http://h:0/", "http://u:p@h/", "http://h/ä", "http://h/x y", "x"],
)
def test_a_url_that_is_none_is_refused(server: RegistryServer, url: str) -> None:
    with pytest.raises(ValueError, match="expected") as raised:
        settings_of(server, url=url)
    assert "u:p" not in str(raised.value)
