"""The admin socket: who may connect, what becomes of one that is there, what it answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pointgate.errors import ConfigError, TemporaryFailure
from pointgate.service.admin_socket import path_reason, serve_admin
from pointgate.service.metrics import Metrics
from pointgate.service.pages import Pages
from pointgate.service.taps import Taps
from tests.service.test_http import StubHealth
from tests.service.test_taps import MIXED, judged
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def served(
    path: Path, taps: Taps | None = None, *, required: bool = True
) -> AsyncIterator[None]:
    metrics = Metrics()
    pages = Pages(metrics, StubHealth(), taps or Taps())
    async with serve_admin(path, pages, metrics, required=required):
        yield


async def ask(path: Path, target: str, method: str = "GET") -> tuple[int, bytes]:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    return int(head.split()[1]), body


async def test_only_its_user_may_connect_and_it_is_deleted_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "made" / "admin.sock"
    before = os.umask(0)
    try:
        async with served(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert (await ask(path, "/livez")) == (200, b"live\n")
            assert (await ask(path, "/metrics"))[0] == 200
            status, body = await ask(path, "/")
            assert (status, b"/tap" in body) == (404, True)
    finally:
        os.umask(before)
    assert not path.exists()


async def test_a_tap_is_a_stream_until_the_client_leaves(tmp_path: Path) -> None:
    path, taps = tmp_path / "admin.sock", Taps()
    async with served(path, taps):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /tap?reason=range HTTP/1.1\r\nHost: x\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b"transfer-encoding: chunked" in head
        assert b"application/x-ndjson" in head
        await reader.readuntil(b"}}\n\r\n")
        taps.offer(judged(MIXED), len(MIXED))
        await reader.readline()  # the size of the chunk
        line = json.loads(await reader.readline())
        assert (line["reason"], line["got"]) == ("range", "101")
        writer.close()
        async with asyncio.timeout(PATIENCE):
            while taps.attached:  # noqa: ASYNC110 - when the server has noticed
                await asyncio.sleep(0)
        assert (await ask(path, "/tap", "HEAD")) == (200, b"")
        assert not taps.attached
        assert (await ask(path, "/tap?code=7"))[0] == 400
        for _ in range(4):
            taps.attach("")
        assert (await ask(path, "/tap"))[0] == 503


async def test_the_end_of_the_service_ends_a_tap(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    async with served(path):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /tap HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"}}\n\r\n")
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
    writer.close()


async def test_a_socket_of_a_process_that_has_ended_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert path.is_socket()
    assert not path_reason(path)
    async with served(path):
        assert (await ask(path, "/livez"))[0] == 200


async def test_one_of_a_process_that_lives_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "admin.sock"
    async with served(path):
        with pytest.raises(TemporaryFailure, match=r"admin\.socket: .*another process listens"):
            async with served(path):
                pass
        async with served(path, required=False):  # the default path: the service runs without it
            assert "another process listens on it; pointgate tap cannot be used" in caplog.text
        assert (await ask(path, "/livez"))[0] == 200


async def test_a_path_that_can_never_be_used_is_a_configuration_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    longest = tmp_path / ("x" * (107 - len(os.fsencode(tmp_path)) - 1))
    assert not path_reason(longest)
    async with served(longest):
        pass
    for path, words in (
        (tmp_path / ("x" * 107), "expected a path of at most 107 bytes, got "),
        (file, "expected a socket, got another file"),
        (file / "admin.sock", "expected a folder, got a file|not a directory"),
        (Path("/proc/x/admin.sock"), "no such file or directory|no folder can be created"),
    ):
        assert path_reason(path), path
        with pytest.raises(ConfigError, match=words):
            async with served(path):
                pass
        async with served(path, required=False):
            assert f"cannot listen on {path}" in caplog.text
    assert file.read_text() == ""
