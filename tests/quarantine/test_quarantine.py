"""The quarantine: what is kept, what has to go, and that it never stands in the way."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from pointgate import Catalog, Validator
from pointgate.cli.commands import app
from pointgate.config.quarantine import QuarantineSettings
from pointgate.quarantine.database import NAME, Filter, QuarantineDatabase
from pointgate.quarantine.writer import Quarantine
from pointgate.toml.document import check
from tests.support.paths import CATALOG as CASES
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TOPIC = "sys/protocol/integration/measurepoint/post"
NOW = time.time_ns() // 1_000_000
VALIDATOR = Validator(Catalog.load(CASES), payload_bytes=1_000_000)


def request(temp: object = 1.5, *, device: str = "device1", padding: int = 0) -> bytes:
    entry = {"deviceKey": device, "measurepoints": {"temp": temp}, "time": 1}
    document = {"id": "1", "version": "1.0", "params": [entry], "padding": "x" * padding}
    return json.dumps(document | {"method": "integration.measurepoint.post"}).encode()


GOOD, BAD, STRANGER = request(), request("x"), request(device="nobody")


def add(
    quarantine: Quarantine,
    payloads: Sequence[bytes],
    *,
    topic: str = TOPIC,
    received_us: int = NOW * 1000,
) -> None:
    topics = [topic] * len(payloads)
    instants = range(received_us, received_us + len(payloads))
    quarantine.add(topics, payloads, VALIDATOR.validate(topics, payloads), instants)


def keep(folder: Path, payloads: Sequence[bytes], **settings: Any) -> Quarantine:
    """Put requests into a quarantine, and close it."""
    quarantine = Quarantine(QuarantineSettings(path=folder, **settings), linger=0)
    add(quarantine, payloads)
    quarantine.close()
    return quarantine


def kept(folder: Path, wanted: Filter | None = None) -> list[bytes | None]:
    file = QuarantineDatabase(folder)
    found = [file.get(number) for number in file.numbers(wanted or Filter())]
    file.close()
    return [one.payload for one in found if one]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_was_rejected_is_kept_as_it_came(tmp_path: Path) -> None:
    broken = b'{"id":"\xff\x00'
    huge = b" " * 1_000_001
    quarantine = keep(tmp_path, [GOOD, BAD, broken, GOOD, huge, b""])
    assert (quarantine.kept, quarantine.not_kept["overflow"]) == (4, 0)
    assert quarantine.bytes > 0
    file = QuarantineDatabase(tmp_path)
    found = [file.get(number) for number in file.numbers(Filter())]
    assert [(one.code, one.payload) for one in found if one] == [
        (1204, BAD),
        (1220, broken),
        (1008, None),
        (1251, b""),
    ]
    first = found[0]
    assert first
    assert (first.product, first.device, first.identifier) == ("protocol", "device1", "temp")
    assert (first.reason, first.pointer) == ("type", "/params/0/measurepoints/temp")
    assert (first.received_us, first.topic, first.fault_offset) == (
        NOW * 1000 + 1,  # behind the one that was accepted
        TOPIC,
        BAD.index(b'"x"'),
    )
    file.close()


def test_topics_that_are_not_served_are_not_kept(tmp_path: Path) -> None:
    quarantine = Quarantine(QuarantineSettings(path=tmp_path), linger=0)
    add(quarantine, [BAD], topic="a/b")
    quarantine.close()
    assert quarantine.kept == 0


@pytest.mark.parametrize(
    ("settings", "products"),
    [
        ({}, ["p", "q", "r"]),
        ({"products": ["p", "q"]}, ["p", "q"]),
        ({"without": ["q"]}, ["p", "r"]),
        ({"products": ["p", "q"], "without": ["q"]}, ["p"]),
    ],
)
def test_it_is_on_or_off_by_product(
    tmp_path: Path, settings: dict[str, Any], products: list[str]
) -> None:
    quarantine = Quarantine(QuarantineSettings(path=tmp_path, **settings), linger=0)
    for product in "p", "q", "r":
        add(quarantine, [b"{"], topic=f"/sys/{product}/integration/measurepoint/post")
    quarantine.close()
    file = QuarantineDatabase(tmp_path)
    found = [file.get(number) for number in file.numbers(Filter())]
    file.close()
    assert [one.product for one in found if one] == products


def test_the_oldest_go_when_there_is_no_room(tmp_path: Path) -> None:
    requests = [request("x" + str(number), padding=9000) for number in range(300)]
    quarantine = keep(tmp_path, requests, max_bytes=1_048_576)
    assert quarantine.kept == 300
    left = kept(tmp_path)
    assert left == requests[-len(left) :]
    assert 60 < len(left) < 120
    assert quarantine.removed == {"bytes": 300 - len(left), "age": 0}
    assert quarantine.bytes <= 1_048_576
    assert keep(tmp_path, [request("y", padding=700_000)], max_bytes=1_048_576).not_kept == {
        "overflow": 0,
        "failed": 0,
        "too_large": 1,
    }
    assert len(kept(tmp_path)) == len(left)


def test_one_large_request_does_not_send_all_others_away(tmp_path: Path) -> None:
    requests = [request("x", padding=100_000) for _ in range(15)]
    keep(tmp_path, requests, max_bytes=1_048_576)
    assert len(kept(tmp_path)) >= 8


def test_those_that_are_too_old_go(tmp_path: Path) -> None:
    quarantine = Quarantine(QuarantineSettings(path=tmp_path, max_age=3600), linger=0)
    add(quarantine, [BAD] * 250, received_us=(NOW - 3_700_000) * 1000)
    add(quarantine, [STRANGER], received_us=NOW * 1000)
    quarantine.close()
    assert kept(tmp_path) == [STRANGER]
    assert quarantine.removed == {"bytes": 0, "age": 250}


def test_what_comes_too_fast_is_counted_and_not_kept(tmp_path: Path) -> None:
    quarantine = Quarantine(QuarantineSettings(path=tmp_path), linger=3600)
    requests = [request("x", padding=900_000)] * 30
    add(quarantine, requests)  # nobody writes meanwhile
    overflow = quarantine.not_kept["overflow"]
    assert 10 < overflow < 20
    quarantine.close()
    assert quarantine.kept == len(kept(tmp_path)) == 30 - overflow


def test_a_file_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    quarantine = Quarantine(QuarantineSettings(path=tmp_path), linger=3600)
    until(lambda: quarantine.bytes > 0)  # it is open
    other = sqlite3.connect(tmp_path / NAME)
    other.execute("DROP TABLE rejected")
    other.close()
    add(quarantine, [BAD, BAD])
    quarantine.close()
    assert quarantine.kept == 0
    assert quarantine.not_kept["failed"] == 2


def test_a_folder_that_cannot_be_used_now_costs_requests_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    quarantine = keep(tmp_path / "file", [BAD, BAD])
    assert (quarantine.kept, quarantine.not_kept["failed"]) == (0, 2)
    assert "quarantine writes failed: 1, last error: " in caplog.text


def test_a_file_that_could_not_be_opened_is_opened_later(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    quarantine = Quarantine(QuarantineSettings(path=tmp_path), linger=0)
    add(quarantine, [BAD])
    until(lambda: quarantine.not_kept["failed"] == 1)
    (tmp_path / NAME).rmdir()
    add(quarantine, [STRANGER])
    quarantine.close()
    assert kept(tmp_path) == [STRANGER]


def test_a_file_that_was_locked_for_long_is_written_soon_after(tmp_path: Path) -> None:
    quarantine = Quarantine(QuarantineSettings(path=tmp_path), linger=0)
    add(quarantine, [BAD])
    until(lambda: quarantine.kept == 1)
    other = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    add(quarantine, [BAD])
    until(lambda: not quarantine._waiting)
    time.sleep(2)  # as long as the writer waits, it would pause nine times
    other.execute("ROLLBACK")
    other.close()
    free = time.monotonic()
    until(lambda: quarantine.kept == 2)
    add(quarantine, [STRANGER])
    until(lambda: quarantine.kept == 3)
    assert time.monotonic() - free < 9 * 2
    quarantine.close()


def test_what_is_far_too_much_goes_over_several_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, [BAD] * 1000)
    monkeypatch.setattr("pointgate.quarantine.writer._REMOVALS", 1)
    monkeypatch.setattr("pointgate.quarantine.writer._CLEANUP_SECONDS", 0.01)
    monkeypatch.setattr("pointgate.quarantine.writer.time.time_ns", lambda: (NOW + 10_000) * 10**6)
    quarantine = Quarantine(QuarantineSettings(path=tmp_path, max_age=5), linger=0)
    until(lambda: quarantine.removed["age"] == 1000)
    quarantine.close()
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("wanted", "payloads"),
    [
        (Filter(), [BAD, STRANGER, b"{", STRANGER]),
        (Filter(device="nobody"), [STRANGER, STRANGER]),
        (Filter(reason="type"), [BAD]),
        (Filter(code=1220), [b"{"]),
        (Filter(product="other"), []),
        (Filter(since_ms=NOW + 1), []),
        (Filter(since_ms=NOW, limit=2), [b"{", STRANGER]),
        (Filter(device="nobody", limit=1, code=1257, product="protocol"), [STRANGER]),
    ],
)
def test_filters(tmp_path: Path, wanted: Filter, payloads: list[bytes]) -> None:
    keep(tmp_path, [BAD, STRANGER, b"{", STRANGER])
    assert kept(tmp_path, wanted) == payloads


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"max_bytes": 5}, "max_bytes: expected 1048576 to 1125899906842624 bytes or "),
        ({"max_age": "5x"}, 'max_age: expected 1 to 3153600000 seconds or "90s"'),
        ({"products": 7}, "products: expected a list of product keys, got 7"),
        ({"without": [1]}, "without: expected a list of product keys, got an array"),
        ({"pth": "x"}, "pth: unknown key, did you mean path"),
    ],
)
def test_settings_that_are_wrong(document: dict[str, Any], reason: str) -> None:
    problems = check(QuarantineSettings, document, file="f")
    assert isinstance(problems, list)
    assert reason in str(problems[0])


def test_settings_that_are_right() -> None:
    document = {"path": "q", "max_age": "12h", "products": "all", "without": ["a"]}
    settings = check(QuarantineSettings, document, file="f", base=Path("/base"))
    assert isinstance(settings, QuarantineSettings)
    assert (settings.path, settings.max_age) == (Path("/base/q"), 43_200)


# The commands.


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pointgate.toml"
    catalog = json.dumps(str(CASES))
    path.write_text(f"catalog.path = {catalog}\nquarantine.path = 'q'\nquarantine.max_age = '1d'\n")
    return path


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_rejects_lists_a_line_each(config: Path) -> None:
    nothing = command("rejects", "-c", config)
    assert (nothing.stdout, nothing.stderr) == ("", "no requests in the quarantine\n")
    keep(config.parent / "q", [BAD, STRANGER, b'{"\x1b\xff'])
    done = command("rejects", "-c", config)
    third, second, first = done.stdout.splitlines()  # the newest first
    assert done.exit_code == 0
    assert first.startswith("1  20")
    assert "Z  protocol  1204 type  Model validate failed: params[0]." in first
    assert "  1257 device  Device not found: " in second
    done = command("rejects", "-c", config, "--payload", "--code", "1220")
    assert done.stdout.splitlines() == [third, '  {"\\x1b\\xff']
    assert command("rejects", "-c", config, "--limit", "1", "--device", "nobody").stdout == (
        second + "\n"
    )
    assert command("rejects", "-c", config, "--since", "1h").stdout.count("\n") == 3
    nothing = command("rejects", "-c", config, "--since", "2999-01-01")
    said = "no request of the 3 in the quarantine is selected\n"
    assert (nothing.stdout, nothing.stderr) == ("", said)
    nothing = command("rejects", "-c", config, "--by", "device", "--since", "2999-01-01", "--json")
    assert (nothing.stdout, nothing.stderr) == ("", said)
    for name in ("rejects", "replay"):
        arguments = ["-c", str(config), "--product", "protocl", "--device", "device2", "--dry-run"]
        nothing = command(name, *arguments[: -1 if name == "rejects" else None])
        assert nothing.stderr == (
            "no request of the 3 in the quarantine is selected; none is of product protocl, "
            "did you mean protocol; none is of device device2, did you mean device1\n"
        )


@pytest.mark.parametrize("pages", [range(1), range(2, 400)], ids=["no database", "damaged pages"])
def test_a_damaged_file_is_renamed_and_a_new_one_begun(
    config: Path, caplog: pytest.LogCaptureFixture, pages: range
) -> None:
    """Contract 10.5."""
    folder = config.parent / "q"
    keep(folder, [BAD] * 300)
    with (folder / NAME).open("r+b") as file:
        size = (folder / NAME).stat().st_size
        for page in pages:
            if page * 4096 < size:
                file.seek(page * 4096)
                file.write(b"damage!!" * 12)
    quarantine = Quarantine(QuarantineSettings(path=folder), linger=0)
    begun = time.monotonic()
    while not quarantine.kept and time.monotonic() < begun + PATIENCE:
        add(quarantine, [BAD])
        time.sleep(0.05)
    trouble = quarantine.trouble
    quarantine.close()
    assert quarantine.kept
    assert not trouble
    assert f"the quarantine is damaged: {folder / NAME}: " in caplog.text
    assert (folder / f"{NAME}.damaged").stat().st_size == size
    assert command("rejects", "-c", config).stdout.count("1204 type") >= 1


def test_a_file_of_somebody_else_is_named_and_kept(config: Path) -> None:
    folder = config.parent / "q"
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(folder / NAME)) as other:
        other.execute("CREATE TABLE rejected (theirs)")
    quarantine = Quarantine(QuarantineSettings(path=folder), linger=0)
    assert quarantine.trouble.startswith(f"rejected requests are not kept: {folder / NAME}: ")
    quarantine.close()
    assert not (folder / f"{NAME}.damaged").exists()


def test_a_product_is_suggested_from_the_catalog(config: Path) -> None:
    quarantine = Quarantine(QuarantineSettings(path=config.parent / "q"), linger=0)
    add(quarantine, [BAD], topic=TOPIC.replace("protocol", "typos"))
    quarantine.close()
    said = command("rejects", "-c", config, "--product", "types").stderr
    assert said.endswith("; none is of product types\n")
    said = command("rejects", "-c", config, "--product", "typez").stderr
    assert said.endswith("; none is of product typez, did you mean types\n")


def test_rejects_of_an_identifier_and_of_codes_that_it_can_have(config: Path) -> None:
    keep(config.parent / "q", [BAD, STRANGER])
    for name in (["rejects", "--json"], ["replay", "--dry-run", "--json"]):
        for identifier, count in (("temp", 1), ("on", 0)):
            done = command(*name, "-c", config, "--identifier", identifier)
            found = json.loads(done.stdout or "{}")
            assert found.get("requests", int("number" in found)) == count
    done = command("rejects", "-c", config, "--code", "200")
    assert (done.exit_code, "expected one of 1008, 1204" in done.stderr) == (2, True)


def test_a_catalog_that_fails_a_test_is_not_replayed(config: Path, tmp_path: Path) -> None:
    keep(config.parent / "q", [BAD])
    catalog = tmp_path / "catalog"
    shutil.copytree(CASES, catalog)
    (catalog / "tests").mkdir(exist_ok=True)
    test = '{"product":"protocol","code":200,"points":1,"payload":{}}\n'
    (catalog / "tests/more.jsonl").write_text(test)
    config.write_text(f"catalog.path = '{catalog}'\n" + config.read_text().split("\n", 1)[1])
    done = command("replay", "-c", config, "--dry-run")
    assert (done.exit_code, done.stdout) == (78, "")
    assert "tests/more.jsonl: line 1: test failed: expected 200, 1 point" in done.stderr


def test_rejects_for_programs(config: Path) -> None:
    keep(config.parent / "q", [BAD, b'{"\xff'])
    second, first = command("rejects", "-c", config, "--json", "--payload").stdout.splitlines()
    document = json.loads(first)
    assert document["payload"] == BAD.decode()
    assert (document["number"], document["code"], document["deviceKey"]) == (1, 1204, "device1")
    assert document["product"] == "protocol"
    assert document["pointer"] == "/params/0/measurepoints/temp"
    assert "payload" not in json.loads(second)
    assert json.loads(second)["payloadBase64"] == "eyL/"
    assert "payload" not in json.loads(
        command("rejects", "-c", config, "--json").stdout[:-1].split("\n")[0]
    )


def test_rejects_has_a_limit_and_says_so(config: Path) -> None:
    keep(config.parent / "q", [BAD] * 60)
    done = command("rejects", "-c", config)
    numbers = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert numbers == [*range(60, 10, -1)]
    assert done.stderr == "note: only the first 50; --limit N for more, --limit 0 for all\n"
    done = command("rejects", "-c", config, "--limit", "0")
    assert (done.stdout.count("\n"), done.stderr) == (60, "")
    assert command("rejects", "-c", config, "--limit", "60").stderr == ""


def test_rejects_are_counted_by_what_they_have_in_common(config: Path) -> None:
    keep(config.parent / "q", [STRANGER, BAD, b"{", BAD, BAD])

    def groups(by: str, *options: str) -> list[tuple[str | None, int]]:
        done = command("rejects", "-c", config, "--by", by, "--json", *options)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        member = "deviceKey" if by == "device" else by
        return [(one[member], one["requests"]) for one in found]

    assert groups("product") == [("protocol", 5)]
    assert groups("reason") == [("type", 3), ("syntax", 1), ("device", 1)]
    assert groups("device") == [("device1", 3), (None, 1), ("nobody", 1)]
    assert groups("identifier", "--reason", "type") == [("temp", 3)]
    assert groups("reason", "--limit", "1") == [("type", 3)]
    done = command("rejects", "-c", config, "--by", "device")
    first, second, _ = done.stdout.splitlines()
    assert first.endswith("newest 5  protocol / device1")
    assert first.split()[0] == "3"
    assert second.endswith("newest 3  protocol / (none)")
    assert command("rejects", "-c", config, "--by", "nothing").exit_code == 2


def test_one_of_them_is_explained_with_what_the_catalog_says_now(config: Path) -> None:
    keep(config.parent / "q", [BAD, b'{"\xff'])
    done = command("rejects", "explain", "1", "-c", config)
    assert done.exit_code == 0
    assert "rejected: 1204 Model validate failed: params[0].measurepoints.temp" in done.stdout
    assert "^ expected" in done.stdout  # the place in the payload
    assert "pointer       /params/0/measurepoints/temp" in done.stdout
    assert "now: 1204 Model validate failed" in done.stdout
    assert "further faults" not in done.stdout
    done = command("rejects", "explain", "1", "-c", config, "--all")
    assert "further faults: " in done.stdout
    found = json.loads(command("rejects", "explain", "1", "-c", config, "--all", "--json").stdout)
    assert found["now"]["faults"][0] == found["now"]["fault"]
    assert found["now"]["more"] is False
    document = json.loads(command("rejects", "explain", "2", "-c", config, "--json").stdout)
    assert (document["reason"], document["now"]["code"]) == ("syntax", 1220)
    assert document["payloadBase64"]
    done = command("rejects", "explain", "3", "-c", config)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no request 3 in the quarantine" in done.stderr


def test_one_of_them_becomes_a_catalog_test(config: Path) -> None:
    keep(config.parent / "q", [BAD, b'{"\xff'])
    done = command("rejects", "explain", "1", "-c", config, "--as-test")
    test = json.loads(done.stdout)
    assert test.pop("payload") == json.loads(BAD)
    pointer = "/params/0/measurepoints/temp"
    assert test == {"product": "protocol", "code": 1204, "reason": "type", "pointer": pointer}
    done = command("rejects", "explain", "2", "-c", config, "--as-test")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "expected a payload in UTF-8" in done.stderr


def test_an_invalid_catalog_hides_nothing_of_what_is_kept(config: Path) -> None:
    keep(config.parent / "q", [BAD])
    (config.parent / "catalog.toml").write_text("[products")
    config.write_text(f"{config.read_text()}catalog.path = '.'\n".split("\n", 1)[1])
    done = command("rejects", "explain", "1", "-c", config)
    assert done.exit_code == 0
    assert "rejected: 1204 Model validate failed" in done.stdout
    assert "\nnow: the catalog is invalid: " in done.stdout
    found = json.loads(command("rejects", "explain", "1", "-c", config, "--json").stdout)
    assert (found["code"], found["now"]) == (1204, None)


@pytest.mark.parametrize("name", ["rejects", "replay"])
def test_wrong_options(config: Path, name: str) -> None:
    for arguments in (["--reason", "typ"], ["--code", "7"], ["--since", "yesterday"]):
        done = command(name, "-c", config, *arguments)
        assert (done.exit_code, done.stdout) == (2, "")
    catalog = f"catalog.path = {json.dumps(str(CASES))}\n"
    config.write_text(f"{catalog}quarantine.enabled = false\n")
    done = command(name, "-c", config)
    assert (done.exit_code, done.stdout) == (78, "")
    assert "quarantine.enabled: expected true, got false" in done.stderr


def test_a_file_that_is_no_quarantine(config: Path) -> None:
    (config.parent / "q").mkdir()
    (config.parent / "q" / NAME).write_bytes(b"nonsense" * 1000)
    done = command("rejects", "-c", config)
    assert (done.exit_code, done.stdout) == (74, "")
    assert "file is not a database" in done.stderr


def test_a_dry_run_changes_nothing(config: Path) -> None:
    keep(config.parent / "q", [BAD, STRANGER, STRANGER])
    for extra in [], ["--forget"]:
        done = command("replay", "-c", config, "--dry-run", *extra)
        assert done.exit_code == 1
        lines = [line.split() for line in done.stdout.splitlines()]
        assert lines == [
            ["requests", "3"],
            ["accepted", "now", "0"],
            ["still", "rejected", "3"],
            ["1257", "device", "2"],
            ["1204", "type", "1"],
        ]
    assert len(kept(config.parent / "q")) == 3


def test_a_broker_that_is_not_there(config: Path) -> None:
    keep(config.parent / "q", [BAD, STRANGER, STRANGER])
    with config.open("a") as file:
        file.write("mqtt.url = 'mqtt://127.0.0.1:1'\n")
    done = command("replay", "-c", config)
    assert done.exit_code == 74
    assert "mqtt://127.0.0.1:1: " in done.stderr
    assert ["not", "posted,", "kept", "3"] in [line.split() for line in done.stdout.splitlines()]
    assert len(kept(config.parent / "q")) == 3
    done = command("replay", "-c", config, "--json", "--limit", "2")
    assert json.loads(done.stdout)["kept"] == 2


def test_replies_of_mqtt_3_cannot_be_told_apart(config: Path) -> None:
    with config.open("a") as file:
        file.write("mqtt.protocol = 4\n")
    done = command("replay", "-c", config)
    assert done.exit_code == 78
    assert "mqtt.protocol: expected 5, got 4" in done.stderr
