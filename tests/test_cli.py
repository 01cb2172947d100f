"""The command line: exit statuses, what goes to stdout, and that nobody sees a traceback."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pointgate

CASES = Path(__file__).parent / "data" / "catalog"
EXAMPLE = Path(pointgate.__file__).parent / "demo" / "example.json"


def run(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("POINTGATE_")}
    done = subprocess.run(
        [sys.executable, "-m", "pointgate", *map(str, arguments)],
        env=clean | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose catalog is right."""
    path = tmp_path / "pointgate.toml"
    path.write_text(f"catalog.path = {json.dumps(str(CASES))}\nmetrics.listen = '127.0.0.1:0'\n")
    return path


def test_version_and_help_are_data() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"pointgate {pointgate.__version__}\n")
    done = run("--help")
    assert done.returncode == 0
    for command in ("serve", "check", "explain", "demo"):
        assert command in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["serve", "--nonsense"], ["explain"], ["explain", "-"], ["demo", "--rate", "x"]],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error" in done.stderr or "Usage" in done.stderr


def test_check_says_what_is_there(config: Path) -> None:
    done = run("check", "-c", config)
    assert done.returncode == 0
    assert "protocol: 3 points, 2 devices\n" in done.stdout
    assert done.stderr.endswith("no problems found\n")


def test_check_finds_every_mistake(tmp_path: Path) -> None:
    (tmp_path / "pointgate.toml").write_text("catalog.path = 'c'")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "catalog.toml").write_text(
        "[products.pk]\nmodel = 'm.json'\ndevices = 'd.jsonl'\nnope = 1\n"
        "[products.pk2]\nmodel = 'm.json'\ndevices = 'd.jsonl'\n"
    )
    (tmp_path / "c" / "m.json").write_text('{"measurepoints":{"a":{"dataType":"INTT"}}}')
    (tmp_path / "c" / "d.jsonl").write_text('{"deviceKey":"a"}\n{"deviceKey":2}\n')
    done = run("check", "-c", tmp_path / "pointgate.toml")
    assert done.returncode == 1
    assert re.search(r"catalog\.toml: products\.pk\.nope: unknown key", done.stdout)
    assert re.search(r"m\.json: /measurepoints/a/dataType: ", done.stdout)
    assert re.search(r"d\.jsonl: line 2: ", done.stdout)
    assert done.stderr == "3 problems found\n"
    document = json.loads(run("check", "--json", "-c", tmp_path / "pointgate.toml").stdout)
    assert document["ok"] is False
    assert [problem["location"] for problem in document["problems"]] == [
        "products.pk.nope",
        "/measurepoints/a/dataType",
        "line 2",
    ]


def test_check_warns_of_what_is_legal_and_hardly_meant(tmp_path: Path) -> None:
    (tmp_path / "pointgate.toml").touch()
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "catalog.toml").write_text(
        "[products.pk]\nmodel = 'm.json'\ndevices = 'd.txt'\ndefault_device = 'x'\n"
    )
    (tmp_path / "catalog" / "m.json").write_text('{"measurepoints":{}}')
    (tmp_path / "catalog" / "d.txt").write_text("d\n")
    done = run("check", "-c", tmp_path / "pointgate.toml")
    assert done.returncode == 0
    assert "warning: " in done.stdout
    assert "default_device" in done.stdout


def test_a_bad_configuration_is_a_finding_of_check(tmp_path: Path) -> None:
    done = run("check", "-c", tmp_path / "gone.toml", POINTGATE_MQTT__URLL="x")
    assert done.returncode == 1
    assert "gone.toml: no such file" in done.stdout
    assert "did you mean POINTGATE_MQTT__URL" in done.stdout


def test_a_bad_configuration_keeps_serve_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "pointgate.toml"
    path.write_text("mqtt.keepalive = 0\nmqtt.nope = 1\nstore.ack = 'spool'")
    done = run("serve", "-c", path)
    assert (done.returncode, done.stdout) == (78, "")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "mqtt.keepalive",
        "mqtt.nope",
        "store.ack",
    ]


def test_a_bad_catalog_keeps_serve_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "pointgate.toml"
    path.write_text("metrics.listen = '127.0.0.1:0'")
    done = run("serve", "-c", path)
    assert done.returncode == 78
    assert "no such folder" in done.stderr


def test_a_terminal_is_not_obeyed_by_a_file_name(tmp_path: Path) -> None:
    done = run("serve", "-c", tmp_path / "\x1b[31mred.toml")
    assert done.returncode == 78
    assert "\\x1b[31mred.toml" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_before_it_was_ready(
    config: Path, number: signal.Signals, status: int
) -> None:
    command = [sys.executable, "-m", "pointgate", "serve", "-c", str(config)]
    environ = os.environ | {"POINTGATE_MQTT__URL": "mqtt://127.0.0.1:1"}
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            async for line in process.stderr:
                if b"metrics on http://" in line:
                    break
            process.send_signal(number)
            rest = await process.stderr.read()
            assert await process.wait() == status
        assert b"Traceback" not in rest
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_explain_by_the_configuration(config: Path) -> None:
    done = run("explain", EXAMPLE, "--product", "protocol", "-c", config)
    assert done.returncode == 0
    assert done.stdout == (
        "accepted: 200, 9 points\n\n"
        "reply to sys/protocol/integration/measurepoint/post_reply\n"
        '  {"id":"123","code":200,"data":{}}\n'
    )


def test_a_pipe_that_is_closed_early_is_no_traceback(config: Path) -> None:
    command = f"'{sys.executable}' -m pointgate check -c '{config}' | head -c 1 >/dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=30)
    assert done.stderr.count(b"Traceback") == 0
