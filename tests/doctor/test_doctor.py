"""`doctor` against real brokers and folders: it names each planted fault, and nothing else."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pointgate.doctor.machine import file_system, sync_seconds
from tests.support.paths import CATALOG
from tests.support.ports import unused_port
from tests.support.processes import Broker, Service
from tests.support.shipped_broker import PASSWORD, ShippedBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMEOUT = 120


def doctor(
    folder: Path, port: int, *lines: str, limit: Callable[[], None] | None = None, **environ: str
) -> tuple[int, dict[str, Any]]:
    """The exit status, and what was found."""
    (folder / "pointgate.toml").write_text(
        f'[catalog]\npath = "{CATALOG}"\n[metrics]\nlisten = "127.0.0.1:{unused_port()}"\n'
        f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\nclient_id = "unusual"\n' + "\n".join(lines)
    )
    done = subprocess.run(
        [sys.executable, "-m", "pointgate", "doctor", "--json"],
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
        preexec_fn=limit,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def texts(found: dict[str, Any], result: str, area: str = "broker") -> list[str]:
    return [
        one["text"] for one in found["findings"] if (one["result"], one["area"]) == (result, area)
    ]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedBroker]:
    with ShippedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def test_a_broker_without_accounts_works_and_is_warned_about(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        status, found = doctor(tmp_path, broker.port)
    assert (status, found["ok"], found["running"]) == (0, True, False)
    (warning,) = texts(found, "warning")
    assert "whoever reaches it may post" in warning
    right = " | ".join(texts(found, "ok"))
    for words in (
        "connected over MQTT 5",
        "mosquitto version",
        "subscriptions to requests at QoS 1",
    ):
        assert words in right
    for words in ("is delivered", "may write replies", "honours Receive Maximum"):
        assert words in right
    assert texts(found, "skipped")[0].startswith("no service has answered")
    assert texts(found, "ok", "sinks")[0].startswith("parquet: opened in")


def test_it_leaves_no_session_behind(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        doctor(tmp_path, broker.port, "session_expiry = 86400")
        # Mosquitto logs each expiry that a client asks for: (c0: no clean start, 1: clean start).
        broker.wait_for("Client unusual-doctor-.*-session disconnected")
        broker.wait_for("Client unusual-doctor-.*-session disconnected")
        assert broker._process
        log = "\n".join(broker._process.lines)
    assert "unusual (" not in log  # the service's own id is not used


def test_a_running_service_is_recognized_and_answers(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, Service(tmp_path, broker.port) as service:
        service.ready()
        _, found = doctor(tmp_path, broker.port)
    assert any(text.startswith("a service has answered, within") for text in texts(found, "ok"))


def test_mqtt_3_1_1_says_what_cannot_be_tested(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        status, found = doctor(tmp_path, broker.port, "protocol = 4")
    assert status == 0
    assert "connected over MQTT 3.1.1" in texts(found, "ok")[0]
    assert any("MQTT 3.1.1 does not say" in text for text in texts(found, "skipped"))


def test_the_shipped_broker_and_access_list_are_right(
    tmp_path: Path, shipped: ShippedBroker
) -> None:
    account = 'username = "pointgate"', "session_expiry = 604800"
    status, found = doctor(tmp_path, shipped.port, *account, POINTGATE_MQTT__PASSWORD=PASSWORD)
    assert (status, texts(found, "warning"), texts(found, "problem")) == (0, [], [])
    right = " | ".join(texts(found, "ok"))
    assert "may not post requests (Not authorized)" in right
    assert "the account may write replies" in right
    assert "it refuses clients without a user name" in right


@pytest.mark.parametrize(
    ("account", "password", "words"),
    [
        ("protocol", PASSWORD, "the account may not write replies: Not authorized"),
        ("pointgate", "wrong", "the broker refuses this client: Not authorized"),
    ],
)
def test_a_wrong_account_is_a_problem(
    tmp_path: Path, shipped: ShippedBroker, account: str, password: str, words: str
) -> None:
    line = f'username = "{account}"'
    status, found = doctor(tmp_path, shipped.port, line, POINTGATE_MQTT__PASSWORD=password)
    assert (status, found["ok"]) == (1, False)
    assert any(words in text for text in texts(found, "problem"))


def test_limits_and_open_doors_of_the_broker_are_warnings(tmp_path: Path) -> None:
    extra = "allow_anonymous true", "max_packet_size 100000", "retain_available false"
    account = 'username = "u"', "session_expiry = 86400"
    with Broker(tmp_path, *extra, bare=True) as broker:
        status, found = doctor(tmp_path, broker.port, *account, POINTGATE_MQTT__PASSWORD=PASSWORD)
    assert status == 0
    warnings = " | ".join(texts(found, "warning"))
    for words in ("packets of 100000 bytes", "mark a request as retained", "without a user name"):
        assert words in warnings


def test_a_broker_that_is_away_is_a_problem_and_the_rest_is_examined(tmp_path: Path) -> None:
    status, found = doctor(tmp_path, unused_port())
    assert status == 1
    assert "cannot connect: Connection refused" in texts(found, "problem")[0]
    assert texts(found, "ok", "disk")
    assert texts(found, "ok", "sinks")


def test_a_spool_in_memory_is_a_problem(tmp_path: Path) -> None:
    folder = f"/dev/shm/pointgate-doctor-{os.getpid()}"  # noqa: S108 - nothing is made there
    status, found = doctor(tmp_path, unused_port(), "[spool]", f'path = "{folder}"')
    assert status == 1
    assert "is on tmpfs" in texts(found, "problem", "disk")[0]
    assert not os.path.exists(folder)  # noqa: PTH110


def test_a_small_disk_and_few_files_are_warnings(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))

    lines = "[spool]", "max_bytes = 900000000000000"
    _, found = doctor(tmp_path, unused_port(), *lines, limit=limit)
    assert "free for the spool" in texts(found, "warning", "disk")[0]
    assert texts(found, "warning", "process") == ["the process may open 300 files"]


def test_a_database_that_is_away_is_a_problem(tmp_path: Path) -> None:
    url = f"postgresql://nobody@127.0.0.1:{unused_port()}/points"
    status, found = doctor(
        tmp_path, unused_port(), "[[sinks]]", 'type = "postgres"', f'url = "{url}"'
    )
    assert status == 1
    assert texts(found, "problem", "sinks")[0].startswith("postgres: ")


def test_what_check_refuses_is_refused(tmp_path: Path) -> None:
    for command in (["doctor"], ["check", "--connect"]):
        (tmp_path / "pointgate.toml").write_text("[mqtt]\nurll = 1\n")
        done = subprocess.run(
            [sys.executable, "-m", "pointgate", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        assert done.returncode == (78 if command == ["doctor"] else 1)
        assert "mqtt.urll: unknown key" in done.stdout + done.stderr


def test_check_connect_examines_too(tmp_path: Path) -> None:
    doctor(tmp_path, unused_port())  # writes the settings
    done = subprocess.run(
        [sys.executable, "-m", "pointgate", "check", "--connect"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert done.returncode == 1
    assert "\nproblem  broker   mqtt://127.0.0.1:" in done.stdout
    assert "protocol: " in done.stdout, "what check prints"
    assert "no problems found" in done.stderr


def test_check_connect_prints_what_check_prints_as_json(tmp_path: Path) -> None:
    doctor(tmp_path, unused_port())
    found = [
        json.loads(
            subprocess.run(
                [sys.executable, "-m", "pointgate", "check", "--json", *options],
                cwd=tmp_path,
                capture_output=True,
                check=False,
                timeout=TIMEOUT,
            ).stdout
        )
        for options in ([], ["--connect"])
    ]
    assert found[0].keys() | {"running", "findings"} == found[1].keys()
    assert found[0] | {"ok": False} == {name: found[1][name] for name in found[0]}


def test_the_file_system_of_a_folder_is_named(tmp_path: Path) -> None:
    assert file_system(tmp_path) not in {"", "tmpfs"} or str(tmp_path).startswith("/dev/shm")  # noqa: S108
    assert len(sync_seconds(tmp_path)) == 50
    assert list(tmp_path.iterdir()) == []
