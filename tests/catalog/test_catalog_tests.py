"""Catalog tests: requests and the verdicts that they must get (contract 12)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from pointgate import Catalog, catalog_tests
from pointgate.catalog import Loading
from pointgate.cli.commands import app
from pointgate.errors import CatalogError
from pointgate.file_states import signature
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

PRODUCT = '[products.pk]\nmodel = "model.json"\ndevices = "devices.txt"\n'
MODEL = '{"measurepoints":{"temp":{"dataType":"DOUBLE","maximum":%d}}}'


def payload(temp: str = "1.5", device: str = "device1") -> str:
    return (
        '{"id":"1","version":"1.0","method":"integration.measurepoint.post","params":'
        f'[{{"deviceKey":"{device}","measurepoints":{{"temp":{temp}}},"time":1700000000000}}]}}'
    )


def line(text: str, **members: Any) -> str:
    return f'{json.dumps(members)[:-1]}{", " if members else ""}"payload":{text}}}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "catalog.toml").write_text(PRODUCT)
    (tmp_path / "model.json").write_text(MODEL % 100)
    (tmp_path / "devices.txt").write_text("device1\ndevice2\n")
    (tmp_path / "tests").mkdir()
    return tmp_path


def write(folder: Path, *lines: str, name: str = "pk") -> Path:
    path = folder / f"tests/{name}.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def problems(folder: Path) -> list[str]:
    """What loading the catalog with its tests finds; without the folder."""
    try:
        Catalog.load(folder, tests=True)
    except CatalogError as error:
        return [str(problem).removeprefix(f"{folder}/tests/") for problem in error.problems]
    return []


def test_tests_that_pass_are_counted_and_blank_lines_and_comments_are_none(folder: Path) -> None:
    write(
        folder,
        "\ufeff# what the plant sends",
        line(payload(), code=200, points=1),
        "",
        "  \r",
        line(payload('"x"'), code=1204, reason="type", pointer="/params/0/measurepoints/temp"),
        line(payload(device="other"), code=1257, reason="device"),
        line(payload("101"), code=1204, name="too hot"),
        line('"{\\"id\\":1,}"', code=1220, reason="syntax"),
        line('""', code=1251),
        line(payload(), code=0, reason="bad_topic", topic="sys/pk/integration/event/post"),
        line(payload(), code=1257, topic="/sys/nobody/integration/measurepoint/post"),
        line(payload(), code=200, product="pk"),
    )
    write(folder, line(payload(), code=200, product="pk"), name="any name")
    (folder / "tests/README.md").write_text("not a test")
    (folder / "tests/.pk.jsonl").write_text("an editor's copy")
    catalog = Catalog.load(folder, tests=True)
    assert catalog.test_count == 10
    assert Catalog.load(folder).test_count == 0


def test_failures_and_malformed_lines_are_named_in_the_order_of_the_file(folder: Path) -> None:
    fails = line(payload(), code=1204)
    write(folder, fails, "[]", line(payload(), code=200), "{", fails, *["x"] * 60)
    places = [one.split(": ")[1] for one in problems(folder)]
    assert places[:-1] == [f"line {number}" for number in (1, 2, 4, *range(5, 22))]
    assert places[-1] == "and 44 more tests that fail"


def test_the_payload_is_the_text_of_the_member(folder: Path) -> None:
    write(
        folder,
        # A repeated name, the spelling of a number, and a lone surrogate are lost by a JSON reader.
        line(
            '{"id":1,"id":2,"version":"1","method":"integration.measurepoint.post","params":[]}',
            code=1220,
            reason="envelope",
            pointer="/id",
        ),
        line(payload("1" + "0" * 1100), code=1220, reason="syntax"),
        line(payload("1e2"), code=200),
        line(payload('"\\ud800"'), code=1220, reason="syntax"),
    )
    assert problems(folder) == []


def test_a_failure_names_file_line_expected_and_got(folder: Path) -> None:
    pointer = "/params/0/measurepoints/temp"
    write(
        folder,
        line(payload("99"), code=1204, reason="range", pointer=pointer, name="too hot"),
        line(payload("101"), code=200, points=1),
        line(payload("101"), code=1204, reason="type"),
        line(payload("99"), code=200, points=2),
    )
    assert problems(folder) == [
        (
            f"pk.jsonl: line 1 (too hot): test failed: expected 1204 range at {pointer}, "
            "got 200, 1 point"
        ),
        (
            f"pk.jsonl: line 2: test failed: expected 200, 1 point, got 1204 range at {pointer} "
            "(Model validate failed: params[0].measurepoints.temp: expected a finite DOUBLE, "
            "at most 100, got 101)"
        ),
        (
            f"pk.jsonl: line 3: test failed: expected 1204 type, got 1204 range at {pointer} "
            "(Model validate failed: params[0].measurepoints.temp: expected a finite DOUBLE, "
            "at most 100, got 101)"
        ),
        "pk.jsonl: line 4: test failed: expected 200, 2 points, got 200, 1 point",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nothing", "expected a JSON object, got"),
        ("[]", "expected a JSON object, got"),
        ("{", "not JSON: expected '\"' at column 2, got the end"),
        ("{}", "payload: expected a JSON value, got nothing"),
        ('{"payload":NaN,"code":1220}', "expected a JSON value, got NaN"),
        ('{"payload":[-Infinity],"code":1220}', "expected a JSON value, got -Infinity"),
        ('{"payload":{}}', "code: expected a code, a whole number, got nothing"),
        ('{"payload":{},"code":"200"}', "code: expected a code, a whole number, got "),
        ('{"payload":{},"code":1205}', "code: expected a code: 0, 200, 1008, 1204"),
        ('{"payload":{},"code":1204,"reason":"rang"}', "reason: expected a reason of the contract"),
        ('{"payload":{},"code":200,"reason":"type"}', "expected no reason and no pointer beside"),
        ('{"payload":{},"code":1204,"points":1}', "points: expected none beside code 1204, got 1"),
        ('{"payload":{},"code":200,"pionter":""}', "pionter: unknown key, did you mean pointer"),
        ('{"payload":{},"payload":{},"code":200}', 'expected "payload" once, got it again'),
        ('{"code":200,"code":200,"payload":{}}', 'expected "code" once, got it again'),
        ('{"payload":{},"code":200} x', "expected one JSON object, got more"),
        ('{"payload":{,"code":200}', "not JSON: "),
        ('{"payload":{} "code":200}', "not JSON: expected ',' at column 15"),
        ('{"payload":{},"code":200,"product":"other"}', "product: the catalog has no product"),
        ('{"payload":{},"code":200,"product":"a b"}', "product: expected a product key"),
        ('{"payload":{},"code":200,"product":"pk","topic":"x"}', "expected either product or"),
        ('{"payload":{},"code":200,"now":"soon"}', "now: expected UTC milliseconds or a date"),
        ('{"payload":' + "[" * 100_000 + ',"code":200}', "expected JSON, got arrays or objects"),
        ('{"payload":{},"code":' + "1" * 5000 + "}", "Exceeds the limit"),
    ],
)
def test_a_malformed_line_is_named_with_the_reason(folder: Path, text: str, reason: str) -> None:
    write(folder, "# one", text)
    (found,) = problems(folder)
    assert found.startswith(f"pk.jsonl: line 2: {reason}")
    assert len(found) < 300


def test_a_file_that_is_no_product_needs_products_or_topics(folder: Path) -> None:
    write(folder, line(payload(), code=200), name="plants")
    (found,) = problems(folder)
    assert found == (
        "plants.jsonl: line 1: expected product or topic, got neither, and the catalog has no "
        'product "plants": was it renamed? This file is named after it'
    )


def test_bytes_that_are_no_utf_8_are_named(folder: Path) -> None:
    write(folder).write_bytes(b"\xff\n" + line(payload(), code=200).encode())
    assert problems(folder) == ["pk.jsonl: line 1: expected UTF-8, got other bytes"]


def test_a_window_around_the_present_needs_the_present(folder: Path) -> None:
    (folder / "catalog.toml").write_text(PRODUCT + 'time.max_past = "1d"\n')
    write(folder, line(payload(), code=200))
    (found,) = problems(folder)
    assert found.startswith("pk.jsonl: line 1: now: expected UTC milliseconds or a date")
    write(
        folder,
        line(payload(), code=200, now=1700000000000),
        line(payload(), code=200, now="2023-11-15"),
        line(payload(), code=1204, reason="time", now="2023-12-15"),
    )
    assert problems(folder) == []


@pytest.mark.parametrize("mode", ["enforce", "lenient", "shadow"])
def test_a_mode_changes_no_test(folder: Path, mode: str) -> None:
    (folder / "catalog.toml").write_text(PRODUCT + f'mode = "{mode}"\n')
    write(folder, line(payload('"x"'), code=1204, reason="type"))
    assert problems(folder) == []


def test_failures_of_a_file_are_named_up_to_a_bound(folder: Path) -> None:
    write(folder, *[line(payload("101"), code=200)] * 30)
    write(folder, line(payload(), code=1204, product="pk"), name="z")
    found = problems(folder)
    assert len(found) == 22
    assert found[20] == "pk.jsonl: and 10 more tests that fail"
    assert found[21].startswith("z.jsonl: line 1: ")


@pytest.mark.parametrize(
    ("bound", "value", "reason"),
    [
        ("_MOST_FILES", 1, "expected at most 1 files of tests, got 2"),
        ("_MOST_LINES", 3, "expected at most 3 tests in all files, got more"),
        ("_MOST_BYTES", 500, "expected at most "),
        ("_MOST_SECONDS", 0.0, "expected tests that take at most 0 s, got more"),
    ],
)
def test_the_tests_of_a_catalog_are_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: float, reason: str
) -> None:
    for name in ("pk", "z"):
        write(folder, *[line(payload(), code=200, product="pk")] * 2, name=name)
    assert problems(folder) == []
    monkeypatch.setattr(catalog_tests, bound, value)
    assert reason in "\n".join(problems(folder))


def test_a_reload_runs_them_when_a_file_that_matters_has_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    run = catalog_tests.run_tests

    def counted(*arguments: Any) -> Any:
        runs.append(1)
        return run(*arguments)

    monkeypatch.setattr("pointgate.catalog_loading.run_tests", counted)
    (folder / "catalog.toml").write_text(PRODUCT + 'changes = "pk.changes"\n')
    (folder / "pk.changes").write_text("+device3\n")
    test = write(folder, line(payload(), code=200))

    def load(former: Catalog | None) -> tuple[Catalog, Loading]:
        runs.clear()
        seen = {path: signature(path) for path in former.files} if former else None
        loading = Loading(folder, former=former, seen=seen, tests=True)
        made = loading.run(Catalog)
        assert made is not None, loading.problems
        assert test in loading.files
        assert folder / "tests" in loading.files
        assert made.test_count == 1
        return made, loading

    catalog, _ = load(None)
    assert runs
    with (folder / "pk.changes").open("a") as file:
        file.write("+device4\n")
    catalog, loading = load(catalog)
    assert loading.changes == 1
    assert not runs  # devices alone
    catalog, loading = load(catalog)
    assert loading.unchanged
    assert not runs
    (folder / "model.json").write_text(MODEL % 50)
    catalog, _ = load(catalog)
    assert runs
    write(folder, line(payload("2"), code=200))
    catalog, loading = load(catalog)
    assert runs
    assert not loading.unchanged
    shutil.rmtree(folder / "tests")
    loading = Loading(folder, former=catalog, tests=True)
    made = loading.run(Catalog)
    assert made is not None
    assert made.test_count == 0
    assert test not in loading.files
    assert not loading.unchanged


def pointgate(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pointgate", *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        input=payload(),
    )


def test_check_runs_them_and_names_what_is_not_enforced(folder: Path) -> None:
    (folder / "pointgate.toml").write_text(
        '[catalog]\npath = "."\n[store]\nack = "verdict"\n[metrics]\nlisten = "127.0.0.1:0"\n'
    )
    (folder / "catalog.toml").write_text(PRODUCT + 'mode = "shadow"\n')
    write(folder, line(payload(), code=200))
    done = pointgate("check", cwd=folder)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith(
        "pk: 1 point, 2 devices, not enforced: shadow\n1 catalog test passed\n"
    )
    assert "1 product of 1 not enforced" in done.stderr
    document = json.loads(pointgate("check", "--json", cwd=folder).stdout)
    assert document["ok"]
    assert document["tests"] == 1
    assert document["products"]["pk"] == {"points": 1, "devices": 2, "mode": "shadow"}

    write(folder, line(payload(), code=1204, name="never"))
    done = pointgate("check", cwd=folder)
    assert done.returncode == 1
    assert "pk.jsonl: line 1 (never): test failed: expected 1204, got 200, 1 point" in done.stdout
    document = json.loads(pointgate("check", "--json", cwd=folder).stdout)
    assert not document["ok"]
    assert document["tests"] is None
    assert document["problems"][0]["location"] == "line 1 (never)"
    assert pointgate("serve", cwd=folder).returncode == 78


def test_explain_writes_a_line_that_passes(folder: Path) -> None:
    (folder / "tests/pk.jsonl").touch()
    given = {
        "good.json": payload(),
        "pretty.json": json.dumps(json.loads(payload("101")), indent=2),
        "broken.json": '{"id":\n1,}',
        "empty.json": "",
    }
    lines = []
    for name, text in given.items():
        (folder / name).write_text(text)
        done = pointgate(
            *("explain", name, "--product", "pk", "--catalog", ".", "--as-test"), cwd=folder
        )
        assert done.returncode == 0, done.stderr
        lines.append(done.stdout.rstrip("\n"))
    write(folder, *lines)
    assert Catalog.load(folder, tests=True).test_count == 4
    assert json.loads(lines[1])["pointer"] == "/params/0/measurepoints/temp"
    assert json.loads(lines[1])["code"] == 1204


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (json.dumps(payload()), ()),  # encoded twice
        ('"', ()),
        ('{"id":"1"}, "code": 200', ()),
        (f'{{"id":"{"x" * 3000}"}}', ("-c", "small.toml")),
        ("[" * 2000 + "]" * 2000, ()),
        ('{"id":"1","id":"1"}', ()),
        ("\ufeff{}", ()),
        ("\n\r\t {} \n", ()),
        ("{}", ("--now-ms", "17")),
    ],
)
@pytest.mark.parametrize("product", ["pk", "moving", "stranger", "/sys/moving"])
def test_explain_writes_only_lines_that_pass(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, options: tuple[str, ...], product: str
) -> None:
    monkeypatch.chdir(folder)
    document = (folder / "catalog.toml").read_text()
    table = document[document.index("[products.pk]") :].replace("products.pk", "products.moving")
    window = "[products.moving.time]\nmax_past = '1h'\n"
    (folder / "catalog.toml").write_text(f"{document}\n{table}\n{window}")
    (folder / "small.toml").write_text("limits.payload_bytes = 1024\n")
    (folder / "tests/pk.jsonl").touch()
    (folder / "given").write_text(text)
    whole = f"{product}/integration/measurepoint/post"
    to = ("--topic", whole) if product.startswith("/") else ("--product", product)
    arguments = ["explain", "given", *to, "--catalog", ".", "--as-test", *options]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    write(folder, done.stdout.rstrip("\n"))
    assert Catalog.load(folder, tests=True).test_count == 1


def test_explain_writes_no_line_for_a_time_that_a_test_cannot_have(folder: Path) -> None:
    (folder / "given").write_text("{}")
    for now in ("-5", "253402300800000"):
        arguments = ("explain", "given", "--product", "pk", "--catalog", ".", "--as-test")
        done = pointgate(*arguments, "--now-ms", now, cwd=folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--now-ms: expected 0 to 253402300799999" in " ".join(done.stderr.split())


def test_a_file_that_is_probably_meant_as_tests_is_a_warning(folder: Path) -> None:
    write(folder, line(payload(), code=200))
    for name in ("pk.json", "more.ndjson", "README.md"):
        (folder / "tests" / name).write_text("{}")
    catalog = Catalog.load(folder, tests=True)
    assert [str(one).removeprefix(f"{folder}/tests/") for one in catalog.warnings] == [
        "more.ndjson: ignored: tests end with .jsonl",
        "pk.json: ignored: tests end with .jsonl",
    ]
