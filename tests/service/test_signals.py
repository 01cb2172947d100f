"""A signal is no traceback, in whatever phase it comes, and ends with 130 or 143.

Nothing is timed: the program under test sends itself the signal at a named place.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import pytest

from pointgate import Catalog, Validator
from pointgate.config.quarantine import QuarantineSettings
from pointgate.quarantine.writer import Quarantine
from tests.support.paths import CATALOG
from tests.support.patience import PATIENCE
from tests.support.processes import TOPIC, small
from tests.support.scripted_broker import ScriptedBroker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Sends itself a signal when a module is imported, or when a function is called.
PROGRAM: Final = """
import importlib, os, signal, sys
place, number = sys.argv[1], int(sys.argv[2])
sys.argv = ["pointgate", *sys.argv[3:]]
def fire():
    print("fired", file=sys.stderr, flush=True)
    os.kill(os.getpid(), number)
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == place:
            fire()
if ":" in place:
    from pointgate.cli import main
    module, name = place.split(":")
    owner = importlib.import_module(module)
    *outer, name = name.split(".")
    for one in outer:
        owner = getattr(owner, one)
    original = getattr(owner, name)
    def first(*arguments, **named):
        fire()
        return original(*arguments, **named)
    setattr(owner, name, first)
else:
    sys.meta_path.insert(0, Finder)
    from pointgate.cli import main
main()
"""

SIGNALS: Final = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Something for every command to work on."""
    (tmp_path / "pointgate.toml").write_text(
        f"[mqtt]\nurl = 'mqtt://127.0.0.1:1'\n[catalog]\npath = {json.dumps(str(CATALOG))}\n"
        "[metrics]\nlisten = '127.0.0.1:0'\n[quarantine]\npath = 'rejected'\n"
    )
    (tmp_path / "archive.jsonl").write_bytes(b"".join(small(n) + b"\n" for n in range(1000)))
    validator = Validator(Catalog.load(CATALOG))
    quarantine = Quarantine(QuarantineSettings(path=tmp_path / "rejected"), linger=0)
    payload = small(1).replace(b"1.5", b'"x"')
    now = time.time_ns() // 1000
    quarantine.add([TOPIC], [payload], validator.validate([TOPIC], [payload]), [now])
    quarantine.close()
    (tmp_path / "points" / ".pointgate").mkdir(parents=True)
    return tmp_path


CONFIG: Final = ("-c", "pointgate.toml")
VALIDATE: Final = ("validate", "archive.jsonl", "--product", "protocol", *CONFIG)

PLACES: Final[list[tuple[str, Sequence[str]]]] = [
    ("pydantic", ("check", *CONFIG)),
    ("typer", ("check", *CONFIG)),
    ("rich.progress", ("--help",)),
    ("pointgate.cli.commands", ("serve", *CONFIG)),
    ("pointgate.service.serve", ("serve", *CONFIG)),
    ("prometheus_client", ("serve", *CONFIG)),
    ("pyarrow", ("compact", "points")),
    ("pyarrow.parquet", ("compact", "points")),
    ("psycopg", ("check", *CONFIG)),
    ("pointgate.config.load:read_toml", ("serve", *CONFIG)),
    ("pointgate.service.serve:_Signals.__enter__", ("serve", *CONFIG)),
    ("pointgate.service.serve:prepare", ("serve", *CONFIG)),
    ("pointgate.service.serve:Catalog.load", ("serve", *CONFIG)),
    ("pointgate.service.serve:serve_http", ("serve", *CONFIG)),
    ("pointgate.service.pipeline:open_spool", ("serve", *CONFIG)),
    ("pointgate.service.preflight:prepare", ("check", *CONFIG)),
    ("pointgate.catalog:Catalog.load", ("check", *CONFIG)),
    ("pointgate.cli.check:_print", ("check", *CONFIG)),
    ("pointgate.bulk.pool:_Worker.send", VALIDATE),
    ("pointgate.bulk.pool:_Worker.receive", VALIDATE),
    ("pointgate.bulk.pool:Pool.__exit__", VALIDATE),
    ("pointgate.bulk.dataset_writer:PointsWriter.add", (*VALIDATE, "--out", "out")),
    ("pointgate.bulk.dataset_writer:PointsWriter.__exit__", (*VALIDATE, "--out", "out")),
    ("pointgate.sinks.parquet.compaction:compact_all", ("compact", "points")),
    ("pointgate.quarantine.database:QuarantineDatabase.numbers", ("rejects", *CONFIG)),
    ("pointgate.quarantine.database:QuarantineDatabase.get", ("rejects", *CONFIG)),
    ("pointgate.quarantine.database:QuarantineDatabase.get", ("replay", *CONFIG, "--dry-run")),
    ("pointgate.sources.mqtt.publisher:connect_publisher", ("replay", *CONFIG)),
    ("pointgate.cli.replay:_print", ("replay", *CONFIG, "--dry-run")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("index", "place", "command"), [(n, *one) for n, one in enumerate(PLACES)])
def test_a_signal_at_any_place(
    folder: Path, index: int, place: str, command: Sequence[str]
) -> None:
    number, status = SIGNALS[index % 2]
    if place == "psycopg":
        with (folder / "pointgate.toml").open("a") as file:
            file.write("[[sinks]]\ntype = 'postgres'\nurl = 'postgresql://h/d'\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, place, str(int(number)), *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert "fired" in done.stderr
    assert "Traceback" not in done.stderr
    assert "never retrieved" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == status, done.stderr


async def _ends(process: asyncio.subprocess.Process, number: signal.Signals, status: int) -> None:
    """Send a signal, and look at the end."""
    async with asyncio.timeout(PATIENCE):
        process.send_signal(number)
        _, errors = await process.communicate()
    text = errors.decode()
    for word in ("Traceback", "Exception", "never retrieved", "was destroyed"):
        assert word not in text, text
    assert process.returncode == status, text


@pytest.mark.parametrize(("number", "status"), SIGNALS)
@pytest.mark.parametrize(("command", "protocol"), [("serve", 4), ("serve", 5), ("replay", 5)])
async def test_a_signal_before_the_broker_has_answered(
    folder: Path, command: str, number: signal.Signals, status: int, protocol: int
) -> None:
    config = folder / "pointgate.toml"
    async with ScriptedBroker() as broker:
        text = config.read_text().replace("127.0.0.1:1'", f"127.0.0.1:{broker.port}'")
        config.write_text(text.replace("[catalog]", f"protocol = {protocol}\n[catalog]"))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pointgate", command, "-c", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                reader = await broker.take()
                assert await reader.readexactly(1)  # it waits for CONNACK now
            await _ends(process, number, status)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_to_all_processes_of_a_group(
    folder: Path, number: signal.Signals, status: int
) -> None:
    """As a terminal sends it: the judging processes leave it to the first one."""
    place = "pointgate.bulk.pool:_Worker.send"
    program = PROGRAM.replace("os.kill(os.getpid(), number)", "os.killpg(0, number)")
    done = subprocess.run(
        [sys.executable, "-c", program, place, str(int(number)), *VALIDATE],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        start_new_session=True,
    )
    assert (done.returncode, done.stderr) == (status, "fired\n")
