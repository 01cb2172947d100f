"""The HTTP port: what it answers, and that strangers cannot make it, or the loop, stand still."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from pointgate.errors import ConfigError, TemporaryFailure
from pointgate.service import http, listener, pages
from pointgate.service.http import serve_http
from pointgate.service.metrics import Metrics
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CLOSED = (ConnectionResetError, asyncio.IncompleteReadError)
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class StubHealth:
    """Says what a test wants to hear."""

    alive: bool = True
    reason: str = ""

    def live(self) -> bool:
        return self.alive

    def ready(self) -> tuple[bool, str]:
        return not self.reason, self.reason or "ready"


@asynccontextmanager
async def connection(
    port: int, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(
    port: int, request: bytes, host: str = "127.0.0.1"
) -> tuple[int, dict[str, str], bytes]:
    async with asyncio.timeout(PATIENCE), connection(port, host) as (reader, writer):
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), fields, body


async def test_metrics_and_health_are_served() -> None:
    health = StubHealth()
    async with serve_http("127.0.0.1", 0, metrics=Metrics(), health=health) as port:
        status, fields, body = await ask(port, GET % b"/metrics")
        assert (status, fields["connection"]) == (200, "close")
        assert fields["content-type"].startswith("text/plain; version=")
        assert int(fields["content-length"]) == len(body)
        assert b"\npointgate_requests_received_total 0.0\n" in body
        assert (await ask(port, GET % b"/livez"))[::2] == (200, b"live\n")
        assert (await ask(port, GET % b"/readyz?verbose"))[::2] == (200, b"ready\n")
        health.alive, health.reason = False, "not connected to the broker: \udcff"
        assert (await ask(port, GET % b"/livez"))[::2] == (503, b"not live\n")
        answer = (503, b"not connected to the broker: \\udcff\n")
        assert (await ask(port, GET % b"/readyz"))[::2] == answer


async def test_the_format_of_the_page_is_negotiated() -> None:
    async with serve_http("127.0.0.1", 0, metrics=Metrics(), health=StubHealth()) as port:
        request = (
            b"GET /metrics HTTP/1.1\r\nHost: x\r\nACCEPT: application/openmetrics-text\r\n\r\n"
        )
        _, fields, body = await ask(port, request)
        assert fields["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert body.endswith(b"# EOF\n")


async def test_offenders_are_text_or_json() -> None:
    async with serve_http("127.0.0.1", 0, metrics=Metrics(), health=StubHealth()) as port:
        status, fields, body = await ask(port, GET % b"/offenders")
        assert (status, fields["content-type"]) == (200, "text/plain; charset=utf-8")
        assert body == b"no request was rejected\n"
        request = b"GET /offenders?x HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n"
        status, fields, body = await ask(port, request)
        assert (status, fields["content-type"]) == (200, "application/json")
        assert json.loads(body) == {"faults": [], "devices": []}


async def test_head_has_no_body() -> None:
    async with serve_http("127.0.0.1", 0, metrics=Metrics(), health=StubHealth()) as port:
        status, fields, body = await ask(port, b"HEAD /metrics HTTP/1.0\r\n\r\n")
        assert (status, body) == (200, b"")
        assert int(fields["content-length"]) > 1000


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET % b"/", 404),
        (GET % b"/metrics/", 404),
        (GET % b"/%2e%2e/etc/passwd", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"BREW /livez HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.0\r\n\r\n", 200),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\xff\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
    ],
)
async def test_every_other_request_has_an_answer(request_: bytes, status: int) -> None:
    async with serve_http("127.0.0.1", 0, metrics=Metrics(), health=StubHealth()) as port:
        got, fields, body = await ask(port, request_)
        assert (got, bool(body)) == (status, True)
        assert fields.get("allow") == ("get, head" if status == 405 else None)


async def test_a_head_that_never_ends_is_answered_and_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "_HEAD_SECONDS", 0.05)
    async with serve_http("127.0.0.1", 0, metrics=Metrics(), health=StubHealth()) as port:
        status, _, _ = await ask(port, b"GET /metrics HTTP/1.1\r\n")
        assert status == 408


async def test_a_page_is_rendered_at_most_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    rendered: list[str] = []
    render = metrics.render

    def count(accept: str = "") -> tuple[bytes, str]:
        rendered.append(accept)
        return render(accept)

    monkeypatch.setattr(metrics, "render", count)
    monkeypatch.setattr(pages, "_PAGE_SECONDS", 60.0)
    accepts = [f"application/openmetrics-text;version=1.{n}.0" for n in range(20)]
    accepts += [f"text/plain;version=1.{n}.0;escaping=x{n}" for n in range(20)]
    async with serve_http("127.0.0.1", 0, metrics=metrics, health=StubHealth()) as port:
        for accept in accepts:
            request = f"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode()
            assert (await ask(port, request))[0] == 200
    assert len(rendered) == 2


async def test_a_bug_in_a_figure_does_not_end_the_service(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    monkeypatch.setattr(metrics, "render", lambda _accept: 1 / 0)
    async with serve_http("127.0.0.1", 0, metrics=metrics, health=StubHealth()) as port:
        assert (await ask(port, GET % b"/metrics"))[0] == 500
        assert (await ask(port, GET % b"/livez"))[0] == 200
    assert "cannot answer /metrics" in caplog.text


async def test_half_open_connections_lock_nobody_out_and_the_loop_turns() -> None:
    metrics = Metrics()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def scrape(port: int) -> None:
        for _ in range(50):
            assert (await ask(port, GET % b"/metrics"))[0] == 200

    async with (
        serve_http("127.0.0.1", 0, metrics=metrics, health=StubHealth()) as port,
        AsyncExitStack() as half_open,
    ):
        for _ in range(300):
            _, writer = await half_open.enter_async_context(connection(port))
            writer.write(b"GET /metrics HTTP/1.1\r\n")
        probe = asyncio.create_task(count())
        await asyncio.gather(*(scrape(port) for _ in range(4)))
        probe.cancel()
    # Turns, not seconds: how long one takes is the machine's load. Each answer takes several.
    assert turns > 200
    assert metrics.http_connections_refused >= 300 - 64


async def test_when_nobody_waits_for_a_head_the_new_connection_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "_CONNECTIONS", 0)
    metrics = Metrics()
    async with (
        serve_http("127.0.0.1", 0, metrics=metrics, health=StubHealth()) as port,
        connection(port) as (reader, _),
    ):
        with pytest.raises(CLOSED):
            await reader.readexactly(1)
    assert metrics.http_connections_refused == 1


async def test_leaving_closes_open_connections_and_frees_the_port() -> None:
    metrics = Metrics()
    async with serve_http("127.0.0.1", 0, metrics=metrics, health=StubHealth()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez HTTP/1.1\r\n")
        assert (await ask(port, GET % b"/livez"))[0] == 200
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(CLOSED):
            await reader.readexactly(1)
    writer.transport.abort()
    async with serve_http("127.0.0.1", port, metrics=metrics, health=StubHealth()) as again:
        assert again == port


async def test_an_exception_inside_the_context_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with serve_http("127.0.0.1", 0, metrics=Metrics(), health=StubHealth()):
            raise ZeroDivisionError


async def test_a_port_that_is_taken_may_be_free_later() -> None:
    metrics = Metrics()
    async with serve_http("127.0.0.1", 0, metrics=metrics, health=StubHealth()) as port:
        words = f"metrics.listen: cannot listen on 127.0.0.1 port {port}: "
        with pytest.raises(TemporaryFailure, match=words):
            async with serve_http("127.0.0.1", port, metrics=metrics, health=StubHealth()):
                pass


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "a..b", "x" * 64])
async def test_an_address_of_another_machine_is_a_configuration_error(host: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on {host} port 0: "):
        async with serve_http(host, 0, metrics=Metrics(), health=StubHealth()):
            pass


async def test_what_may_pass_is_no_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (
        OSError(errno.EMFILE, "too many open files"),
        socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution"),
    ):
        monkeypatch.setattr(listener, "_bind", Mock(side_effect=error))
        with pytest.raises(TemporaryFailure, match=rf"metrics\.listen: .*: {error.strerror}"):
            async with serve_http("127.0.0.1", 0, metrics=Metrics(), health=StubHealth()):
                pass


@pytest.mark.parametrize("host", ["", "::"])
async def test_all_addresses_are_those_of_ipv6_and_ipv4(host: str) -> None:
    async with serve_http(host, 0, metrics=Metrics(), health=StubHealth()) as port:
        assert (await ask(port, GET % b"/livez"))[0] == 200
        if socket.has_dualstack_ipv6():
            assert (await ask(port, GET % b"/livez", host="::1"))[0] == 200


async def test_ipv4_alone() -> None:
    async with serve_http("0.0.0.0", 0, metrics=Metrics(), health=StubHealth()) as port:  # noqa: S104
        assert (await ask(port, GET % b"/livez"))[0] == 200
        with pytest.raises(OSError, match="failed"):
            await ask(port, GET % b"/livez", host="::1")


async def test_a_name_has_all_its_addresses_on_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = (socket.SOCK_STREAM, 6, "")
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_, **__: [
            (socket.AF_INET, *stream, ("127.0.0.1", 0)),
            (socket.AF_INET, *stream, ("127.0.0.2", 0)),
            (socket.AF_INET, *stream, ("127.0.0.1", 0)),
        ],
    )
    listeners = listener.bound("name", 0)
    first, second = (one.getsockname() for one in listeners)
    assert (first[0], second[0]) == ("127.0.0.1", "127.0.0.2")
    assert first[1] == second[1] != 0
    for one in listeners:
        one.close()
