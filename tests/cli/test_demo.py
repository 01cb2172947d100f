"""The demo: its plants are right and wrong as they mean to be, and all of it runs and ends."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import duckdb
import orjson
import pytest
from rich.console import Console

import pointgate
from pointgate import Catalog, Validator, _core
from pointgate.demo import broker as broker_module
from pointgate.demo import chart, stored, view
from pointgate.demo import run as demo_run
from pointgate.demo.fleet import Tally
from pointgate.demo.plants import MISTAKES, PLANTS, body
from pointgate.service import catalog_watcher
from pointgate.service.metrics import Metrics
from tests.support.parquet_dataset import write
from tests.support.patience import PATIENCE
from tests.support.point_tables import Point, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from pointgate.demo.plants import Plant

FOLDER = Path(pointgate.__file__).parent / "demo"
NOW_MS = 1_700_000_000_000

needs_mosquitto = pytest.mark.skipif(
    not broker_module._mosquitto(), reason="Mosquitto is not installed"
)


@pytest.fixture(scope="module")
def validator() -> Validator:
    """A validator of the sample catalog."""
    return Validator(Catalog.load(FOLDER / "catalog"))


def test_the_sample_catalog_has_nothing_to_warn_of() -> None:
    assert Catalog.load(FOLDER / "catalog").warnings == ()


def test_the_protocol_pages_example_is_accepted(validator: Validator) -> None:
    payload = (FOLDER / "example.json").read_bytes()
    (report,) = validator.validate(["sys/example/integration/measurepoint/post"], [payload])
    assert (report.code, report.points) == (200, 9)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_plant_without_a_mistake_is_right(validator: Validator, plant: Plant) -> None:
    random = Random(0)  # noqa: S311 - repeatable
    bodies = [body(plant, random, number=number, now_ms=NOW_MS) for number in range(300)]
    payloads = [orjson.dumps(request) for request in bodies]
    reports = validator.validate([plant.topic] * 300, payloads, now_ms=NOW_MS)
    assert [report.reply for report in reports if report.code != 200] == []
    assert {report.points for report in reports} == {
        sum(len(entry["measurepoints"]) for entry in bodies[0]["params"])
    }


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_of_every_plant_is_found(
    validator: Validator, plant: Plant, mistake: str
) -> None:
    random = Random(1)  # noqa: S311 - repeatable
    for number in range(20):
        request = body(plant, random, number=number, now_ms=NOW_MS)
        payload = MISTAKES[mistake](request, random)
        (report,) = validator.validate([plant.topic], [payload], now_ms=NOW_MS)
        assert report.code not in {0, 200}


def test_the_mistakes_show_the_most_of_what_can_be_wrong(validator: Validator) -> None:
    random = Random(2)  # noqa: S311 - repeatable
    plant = PLANTS[0]
    payloads = [
        make(body(plant, random, number=1, now_ms=NOW_MS), random) for make in MISTAKES.values()
    ]
    reports = validator.validate([plant.topic] * len(payloads), payloads, now_ms=NOW_MS)
    assert {report.code for report in reports} == set(_core.codes) - {0, 200, 1008}
    reasons = {report.fault.reason for report in reports if report.fault}
    assert len(reasons) >= 12
    assert any(report.fault and report.fault.did_you_mean for report in reports)


def moment() -> view.Moment:
    page, _ = Metrics().render()
    figures = view.parse(page.decode())
    return view.Moment(2.0, figures, figures, 1.0)


def test_the_figures_are_read_from_the_metrics() -> None:
    metrics = Metrics()
    metrics.counters.receive(_core.Burst.of(["t"], [b"12345"]))
    metrics.products, metrics.reloads_failed = 3, 2
    figures = view.parse(metrics.render()[0].decode())
    shown = view.Moment(2.0, figures, {}, 0.5)
    assert shown.count("requests_received_total") == 1
    assert shown.rate("received_bytes_total") == 10.0
    assert shown.count("catalog_products") == 3
    assert not shown.rose("catalog_reloads_total", "success")
    assert shown.rose("catalog_reloads_total", "failure")
    assert shown.codes == []


def test_the_notice_is_what_the_catalog_watcher_logs() -> None:
    assert catalog_watcher._log.name == demo_run._WATCHER


def test_the_view_shows_text_that_came_from_a_payload_as_text() -> None:
    tally = Tally()
    reply = {"code": 1204, "message": "Model validate failed: [red]\x1b[31m\nx"}
    tally.note("you", "", reply)
    console = Console(width=100, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    console.print(view.table(moment(), tally, "a [notice]"))
    text = console.export_text()
    assert "[red]\\x1b[31m\\nx" in text
    assert "a [notice]" in text
    console.file.close()
    assert "\x1b" not in view.explanation(tally.notes[0])


def test_a_person_is_shown_and_plants_are_shown_seldom() -> None:
    tally = Tally()
    for _ in range(100):
        tally.note("plant", "a null", {"code": 1204})
    tally.note("you", "", {"code": 200}, always=True)
    assert [note.sender for note in tally.notes] == ["plant", "you"]


@pytest.mark.parametrize("called", ["bin/pointgate", "somewhere/pointgate/__main__.py"])
def test_the_command_it_tells_works_from_another_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, called: str
) -> None:
    monkeypatch.chdir(Path(sys.executable).parent.parent)
    monkeypatch.setattr(sys, "argv", [called])
    command = [*shlex.split(demo_run._command()), "--version"]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, check=True)
    assert done.stdout.startswith(b"pointgate ")


async def test_without_a_broker_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(broker_module, "_mosquitto", lambda: None)
    assert await demo_run.run(seconds=1, rate=10) == 1
    assert capsys.readouterr().err.startswith("the demo needs an MQTT broker: install Mosquitto")


async def test_a_broker_that_does_not_start_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(broker_module, "_mosquitto", lambda: shutil.which("false"))
    assert await demo_run.run(seconds=1, rate=10) == 1
    assert capsys.readouterr().err.startswith("mosquitto does not start; its log ends with")


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.parametrize(
    ("killed", "said"), [(0, "the broker is gone\n"), (1, "the service is gone")]
)
async def test_what_dies_meanwhile_is_named_and_the_rest_is_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], killed: int, said: str
) -> None:
    started: list[asyncio.subprocess.Process] = []
    start = broker_module.process

    @asynccontextmanager
    async def watch(
        command: Sequence[str], *, log: Path, environ: dict[str, str] | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        async with start(command, log=log, environ=environ) as running:
            started.append(running)
            yield running

    def kill(_moment: view.Moment, _tally: Tally) -> str:
        started[killed].kill()
        return ""

    monkeypatch.setattr(broker_module, "process", watch)
    monkeypatch.setattr(demo_run, "process", watch)
    monkeypatch.setattr(view, "line", kill)
    assert await demo_run.run(seconds=30, rate=200) == 1
    assert capsys.readouterr().err.startswith(said)
    assert all(running.returncode is not None for running in started)


async def lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    async for line in stream:
        yield line.decode()


async def play(tmp_path: Path, *options: str, interrupt: bool) -> tuple[int, list[str], str]:
    """Run the demo as a person would, in a folder for temporary files of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pointgate", "demo", *options),
        env=os.environ | {"TMPDIR": str(tmp_path), "POINTGATE_MQTT__URL": "mqtt://not.used:1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    shown: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE):
            async for line in lines(process.stdout):
                shown.append(line)
                if interrupt and "points/s" in line:
                    process.send_signal(signal.SIGINT)
                    interrupt = False
            errors = (await process.stderr.read()).decode()
            status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return status, shown, errors


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.parametrize("interrupt", [False, True], ids=["time is up", "Ctrl-C"])
async def test_the_whole_demo_runs_and_ends(tmp_path: Path, *, interrupt: bool) -> None:
    seconds = "60" if interrupt else "3"
    options = ("--seconds", seconds, "--rate", "60")
    status, shown, errors = await play(tmp_path, *options, interrupt=interrupt)
    assert (status, errors) == (0, "")
    text = "".join(shown)
    explain = f"{sys.executable} -m pointgate explain /"
    for promised in ("mosquitto_pub -h 127.0.0.1 -p ", explain, "/metrics", "points/s", "1204"):
        assert promised in text
    answered, sent = re.findall(r"replies to the plants: ([\d,]+) of ([\d,]+),", text)[0]
    assert answered == sent != "0"
    assert "not as the plants expected" not in text
    accepted = re.findall(r"requests with ([\d,]+) accepted points", text)
    assert re.findall(r"(?m)^stored: ([\d,]+) points in \d+ Parquet file", text) == accepted
    assert re.search(r"activePower +│ +\d+ │ 20\d\d-", text)
    assert re.search(r"^ *[\d,]+ ┤.*█", text, re.MULTILINE)
    assert shown[-1] == "the files are removed now; --keep FOLDER keeps them\n"
    assert os.listdir(tmp_path) == []  # noqa: PTH208


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.slow
async def test_kept_files_have_what_was_accepted_and_the_query_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    options = ("--seconds", "2", "--rate", "60", "--keep", str(folder))
    status, shown, errors = await play(tmp_path, *options, interrupt=False)
    assert (status, errors) == (0, "")
    (accepted,) = re.findall(r"requests with ([\d,]+) accepted points", "".join(shown))
    _, _, query = shlex.split(shown[-1])
    with duckdb.connect() as database:
        points = database.sql(query).to_arrow_table()["points"].to_pylist()
    assert sum(points) == int(accepted.replace(",", ""))
    with duckdb.connect() as database:
        measurepoints = database.read_parquet(str(folder / "dimensions/measurepoints.parquet"))
        assert ("solar", "activePower", "kW") in measurepoints.select(
            "product", "identifier", "unit"
        ).fetchall()
    status, _, errors = await play(tmp_path, *options, interrupt=False)
    assert (status, errors) == (1, f"--keep: expected a new or an empty folder, got {folder}\n")


def test_a_service_that_has_stored_nothing_is_shown(tmp_path: Path) -> None:
    found = stored.read(tmp_path / "points", "solar")
    (line,) = stored.report(found, identifier="temp")
    assert "stored: 0 points in 0 Parquet files" in str(line)


def test_what_is_stored_has_each_points_last_value(tmp_path: Path) -> None:
    times = [hour * 3_600_000 for hour in range(72)]
    first = [Point(device="d1", time=time, double=1.0, received=1) for time in times]
    again = [Point(device="d1", time=time, double=2.0, received=2) for time in times[:1]]
    texts = [Point(device="d1", identifier="text", text="\x1b" + 99 * "x", received=3)]
    write(tmp_path / "points", table(first), table([*again, *texts, Point(device="d2")]))
    found = stored.read(tmp_path / "points", "solar")
    assert (found.products, found.files) == ({"solar": (75, 2)}, 4)
    assert found.device["value"].to_pylist() == [2.0, *[1.0] * 71, None]
    console = Console(width=100, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    console.print(*stored.report(found, identifier="temp"))
    text = console.export_text()
    console.file.close()
    assert "│ temp       │     72 │ 1970-01-03 23:00:00 │ 1 " in text
    assert "│ \\x1bxxxxxxxxxxxxxxxxxx… │" in text
    assert "temp of d1, 1970-01-01 00:00 to 1970-01-03 23:00 UTC" in text


def test_a_chart_has_the_mean_of_each_column() -> None:
    points = [(0.0, 0.0), (1.0, 8.0), (2.0, 15.0), (2.1, 17.0), (5.0, 4.0)]
    assert chart.chart(points, width=6, height=2) == ["16 ┤  █", " 0 ┤▁██  ▄"]


@pytest.mark.parametrize(
    ("points", "lines"),
    [([(7.0, 0.0)], ["0 ┤", "0 ┤▁"]), ([(0.0, -8.0), (1.0, -4.0)], ["-4 ┤ █", "-8 ┤▁█"])],
    ids=["one point of nothing", "negative values"],
)
def test_a_chart_of_little_has_its_bars(
    points: list[tuple[float, float]], lines: list[str]
) -> None:
    assert chart.chart(points, width=2, height=len(lines)) == lines


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.slow
def test_when_nobody_reads_on_it_ends_and_stops_everything(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m pointgate demo --seconds 30 | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")
    assert os.listdir(tmp_path) == []  # noqa: PTH208
