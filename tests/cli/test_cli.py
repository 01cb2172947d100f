"""The command line: exit statuses, what goes to stdout, and that nobody sees a traceback."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pointgate
from tests.support.paths import CATALOG as CASES
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

EXAMPLE = Path(pointgate.__file__).parent / "demo" / "example.json"


def run(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("POINTGATE_")}
    done = subprocess.run(
        [sys.executable, "-m", "pointgate", *map(str, arguments)],
        env=clean | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
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
    model = {"thingMeasurepointMap": {"p": {"$class": "TSLText", "hasQuality": True}}}
    (tmp_path / "catalog" / "m.json").write_text(json.dumps(model))
    (tmp_path / "catalog" / "d.txt").write_text("d\n")
    done = run("check", "-c", tmp_path / "pointgate.toml")
    assert done.returncode == 0
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert "m.json: /thingMeasurepointMap/p/hasQuality: hasQuality is ignored" in warnings[0]
    assert "default_device" in warnings[1]


def test_check_names_a_model_without_points(tmp_path: Path) -> None:
    (tmp_path / "pointgate.toml").touch()
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "catalog.toml").write_text(
        "[products.pk]\nmodel = 'm.json'\ndevices = 'd.txt'\n"
    )
    (tmp_path / "catalog" / "m.json").write_text('{"measurepoints":{}}')
    (tmp_path / "catalog" / "d.txt").write_text("d\n")
    done = run("check", "-c", tmp_path / "pointgate.toml")
    assert done.returncode == 1
    assert "m.json: /measurepoints: expected 1 to 5000 points, got 0" in done.stdout


def test_a_bad_configuration_is_a_finding_of_check(tmp_path: Path) -> None:
    done = run("check", "-c", tmp_path / "gone.toml", POINTGATE_MQTT__URLL="x")
    assert done.returncode == 1
    assert "gone.toml: no such file" in done.stdout
    assert "did you mean POINTGATE_MQTT__URL" in done.stdout


def test_a_bad_configuration_keeps_serve_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "pointgate.toml"
    path.write_text("mqtt.keepalive = 0\nmqtt.nope = 1\nstore.ack = 'disk'")
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
        async with asyncio.timeout(PATIENCE):
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


def shell(arguments: str, *, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `pointgate` as a shell does, with pipes and redirections, in a folder."""
    command = f"{shlex.quote(sys.executable)} -m pointgate {arguments}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    "command", ["check", "check --json", "--help", f"explain '{EXAMPLE}' --product protocol"]
)
def test_a_pipe_that_nobody_reads_is_silent(config: Path, command: str) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    done = subprocess.run(
        [sys.executable, "-m", "pointgate", *shlex.split(command)],
        cwd=config.parent,
        stdout=writable,
        stderr=subprocess.PIPE,
        check=False,
        timeout=PATIENCE,
    )
    os.close(writable)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "command", ["check", "check --json", "--help", f"explain '{EXAMPLE}' --product protocol"]
)
def test_a_full_disk_is_one_line(config: Path, command: str, unbuffered: str) -> None:
    done = shell(f"{command} >/dev/full", folder=config.parent, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (74, "cannot write: no space left on device\n")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("doctor -c pointgate.toml", 1),
        (f"explain '{EXAMPLE}' --product protocol", 0),
        (f"validate '{EXAMPLE}' --product protocol --one-per-file --rejects /dev/full", 0),
    ],
)
def test_a_closed_stdout_is_no_bug(config: Path, command: str, status: int) -> None:
    done = shell(f"{command} >&-", folder=config.parent)
    assert "Traceback" not in done.stderr
    assert done.returncode == status


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_talk_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    assert shell("serve -c gone.toml 2>/dev/full", folder=tmp_path).returncode == 78
    assert shell("serve -c gone.toml 2>&-", folder=tmp_path).returncode == 78
    assert shell("check -c gone.toml 2>/dev/full", folder=tmp_path).returncode == 1


def test_stdin_that_is_closed_is_wrong_usage(config: Path) -> None:
    done = shell("explain - --product protocol <&-", folder=config.parent)
    assert done.returncode == 2
    assert "-: stdin is closed" in done.stderr


def test_arguments_that_are_not_utf_8(config: Path) -> None:
    done = shell(f"explain '{EXAMPLE}' --topic $'a\\xff' --json", folder=config.parent)
    assert (done.returncode, json.loads(done.stdout)["topic"]) == (1, "a\\xff")
    done = shell("check -c $'\\xff.toml' --json", folder=config.parent)
    assert (done.returncode, json.loads(done.stdout)["problems"]) == (
        1,
        [{"file": "\\xff.toml", "location": "", "reason": "no such file"}],
    )
    for command in ("check -c $'\\xff'", "serve -c $'\\xff'", "explain $'\\xff' --topic x"):
        done = shell(command, folder=config.parent)
        assert "no such file" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "environ",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["latin-1", "POSIX"],
)
def test_text_that_the_terminal_cannot_show_is_escaped(
    config: Path, environ: dict[str, str]
) -> None:
    payload = config.with_name("payload.json")
    payload.write_text(EXAMPLE.read_text("utf-8").replace('"temp"', '"t界"'), "utf-8")
    done = run("explain", payload, "--product", "protocol", "-c", config, **environ)
    assert done.returncode == 1
    assert "\\u754c" in done.stdout
    done = run("check", "-c", "界.toml", **environ)
    assert (done.returncode, done.stdout[-20:]) == (1, ".toml: no such file\n")


_INTERRUPTED = """\
import os, signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == os.environ["AT"]:
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))

sys.meta_path.insert(0, Interrupt())
from pointgate.cli import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "rich.console", "pointgate.service.serve"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_it_is_imported(
    config: Path, module: str, number: signal.Signals, status: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, "serve", "-c", str(config)],
        env=os.environ | {"AT": module, "SIGNAL": str(int(number))},
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")


def test_what_the_readme_says_under_run_it_works_from_a_checkout(tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text("utf-8").partition("## Run it\n")[2]
    script = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)[0]
    install, rest = script.split("\n", 1)
    steps, serve, end = rest.partition("pointgate serve")
    assert install.startswith("pip install .")
    assert (serve, end.count("\n")) == ("pointgate serve", 1)
    (tmp_path / "python").symlink_to(ROOT / "python")
    done = subprocess.run(
        ["sh", "-e", "-c", f'pointgate() {{ "$PYTHON" -m pointgate "$@"; }}\n{steps}'],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.endswith("no problems found\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["compact", "s3://bucket/points"],
        ["check", "-c", "https://host/pointgate.toml"],
        ["explain", "-", "--product", "x", "--catalog", "s3://bucket/catalog"],
        ["validate", "-", "--product", "x", "--catalog", str(CASES), "--rejects", "s3://bucket/x"],
    ],
)
def test_a_url_never_becomes_a_folder(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pointgate", *arguments],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "urls and object stores are not supported" in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())


def test_no_command_needs_what_only_a_sink_needs() -> None:
    program = "import sys, pointgate.cli.commands; print({'psycopg', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"set()\n"
