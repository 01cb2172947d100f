"""Going live with a product: its mode changes by hot reload while a sender posts (contract 11)."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from pointgate.topics import request_topic
from tests.support.patience import PATIENCE
from tests.support.processes import Broker, Sender, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL: Final = (
    '{"measurepoints":{"n":{"dataType":"INT"},"temp":{"dataType":"DOUBLE","maximum":100}}}'
)
PRODUCT: Final = "plant"
TOPIC: Final = request_topic(PRODUCT)
MODES: Final = ("enforce", "shadow", "lenient", "enforce")
ACCEPTED: Final = '"code":200,"data":{}}'


def payload(number: int, device: str = "inverter1") -> bytes:
    """A request with one valid and one faulty point; each has a time of its own."""
    entry = {"deviceKey": device, "measurepoints": {"n": number, "temp": 250.5}, "time": number}
    method = "integration.measurepoint.post"
    document = {"id": str(number), "version": "1.0", "method": method, "params": [entry]}
    return json.dumps(document).encode()


class Catalog:
    """A catalog folder whose files are replaced at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "tests").mkdir()
        self.write("model.json", MODEL)
        self.write("devices.txt", "inverter1\n")
        self.expect(1204)
        self.set_mode(MODES[0])

    def write(self, name: str, text: str) -> None:
        new = self.folder / "new"
        new.write_text(text)
        new.replace(self.folder / name)

    def set_mode(self, mode: str) -> None:
        table = f'[products.{PRODUCT}]\nmodel = "model.json"\ndevices = "devices.txt"\n'
        self.write("catalog.toml", f'{table}mode = "{mode}"\n')

    def expect(self, code: int) -> None:
        line = f'{{"code":{code},"payload":{payload(1).decode()}}}\n'
        self.write(f"tests/{PRODUCT}.jsonl", line)


@contextmanager
def posting(port: int, sent: list[int]) -> Iterator[None]:
    """Post a request every few milliseconds, numbered from 1."""
    ending = threading.Event()

    def post() -> None:
        with Sender(port, name="plant") as sender:
            while not ending.wait(0.005):
                sent.append(len(sent) + 1)
                sender.send(payload(sent[-1]), TOPIC)
            time.sleep(0.5)  # the last ones are on their way

    thread = threading.Thread(target=post)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def codes(sender: Sender, count: int) -> dict[int, str]:
    """The replies by the number of their request; each exactly once."""
    replies = [reply.payload.decode() for reply in sender.take(count)]
    found = {int(json.loads(reply)["id"]): reply for reply in replies}
    assert len(found) == count
    return found


def pointgate(*arguments: str) -> str:
    command = [sys.executable, "-m", "pointgate", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def logged(service: Service, pattern: str) -> bool:
    return any(re.search(pattern, line) for line in service.lines)


def stored(path: Path) -> Counter[tuple[str, int]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return Counter((line["identifier"], line["time"]) for line in lines)


def test_a_mode_changes_by_hot_reload_while_requests_arrive(tmp_path: Path, broker: Broker) -> None:
    catalog = Catalog(tmp_path / "plants")
    points, spool = tmp_path / "points.ndjson", tmp_path / "spool"
    sections = (
        f'[spool]\npath = "{spool}"',
        f'[[sinks]]\ntype = "ndjson"\npath = "{points}"',
    )
    sent: list[int] = []
    with (
        Service(tmp_path, broker.port, *sections, catalog=catalog.folder, ack="spool") as service,
        Sender(broker.port, name="listener") as listener,
    ):
        service.ready()
        with posting(broker.port, sent):
            for mode in MODES[1:]:
                time.sleep(0.5)
                catalog.set_mode(mode)
                service.wait_for(f"product {PRODUCT}: mode {mode}, was ")
            time.sleep(0.5)
            # A test that fails keeps the last good catalog, which is enforced.
            catalog.expect(200)
            service.wait_for(r"line 1: test failed: expected 200, got 1204 range")
            catalog.set_mode("shadow")
            service.wait_for_metric('pointgate_catalog_reloads_total{result="failure"}', 2)
            time.sleep(0.5)
        replies = codes(listener, len(sent))
        by_code = Counter(json.loads(reply)["code"] for reply in replies.values())
        assert by_code.keys() == {200, 1204}
        for number, reply in replies.items():
            if '"code":200' in reply:
                assert reply == f'{{"id":"{number}",{ACCEPTED}'
        # One run of 200s, between two of 1204s: each request was answered by one snapshot.
        accepted = sorted(number for number, reply in replies.items() if ACCEPTED in reply)
        assert accepted == list(range(accepted[0], accepted[0] + len(accepted)))
        assert 1 < accepted[0] < accepted[-1] < len(sent)

        count = len(accepted)
        service.wait_for_metric('pointgate_requests_total{code="200"}', count)
        shadowed = f'{{product="{PRODUCT}",code="1204",reason="range"}}'
        assert service.metric(f"pointgate_requests_shadowed_total{shadowed}") == count
        assert service.metric("pointgate_points_skipped_total") == count
        assert service.metric("pointgate_points_accepted_total") == count
        assert service.metric('pointgate_requests_total{code="1204"}') == by_code[1204]
        assert service.metric('pointgate_faults_total{reason="range"}') == by_code[1204]
        assert service.metric('pointgate_catalog_products_in_mode{mode="enforce"}') == 1
        assert "pointgate_product_mode_info{" not in service.metrics()
        assert logged(service, rf"products not enforced: 1 of 1: {PRODUCT} \(shadow\)")
        shadowed = "requests not enforced .answered 200.: [0-9]+ of product"
        assert logged(service, f"{shadowed} {PRODUCT}")
        assert service.end(signal.SIGTERM) == 0
    assert stored(points) == {("n", number): 1 for number in accepted}

    settings = str(tmp_path / "service.toml")
    kept = [
        json.loads(line)
        for line in pointgate("rejects", "-c", settings, "--limit", "0", "--json").splitlines()
    ]
    assert Counter(one["answered"] for one in kept) == by_code
    assert {one["code"] for one in kept} == {1204}


def test_in_shadow_the_unknown_device_is_answered_200_and_said_to_be(
    tmp_path: Path, broker: Broker
) -> None:
    catalog = Catalog(tmp_path / "plants")
    catalog.set_mode("shadow")
    with (
        Service(tmp_path, broker.port, catalog=catalog.folder) as service,
        Sender(broker.port) as sender,
    ):
        service.ready()
        assert logged(service, rf"products not enforced: 1 of 1: {PRODUCT} \(shadow\)")
        mode = f'pointgate_product_mode_info{{product="{PRODUCT}",mode="shadow"}}'
        assert service.metric(mode) == 1
        assert sender.ask(payload(7, "nobody"), TOPIC).payload.decode() == f'{{"id":"7",{ACCEPTED}'
        assert b'"code":1257' in sender.ask(payload(8), request_topic("unknown")).payload
        assert b'"code":1220' in sender.ask(b"{", TOPIC).payload
        service.wait_for_metric("pointgate_requests_shadowed_total", 1)
        page = _top(service)
    (plant,) = [one for one in page["products"] if one["product"] == PRODUCT]
    assert plant["mode"] == "shadow"
    assert page["shadowed"] == [{"reason": "device", "rate": 0.0, "total": 1}]
    faults = {(one["reason"], one["shadowed"]) for one in page["offenders"]["faults"]}
    assert faults == {("device", True), ("device", False), ("syntax", False)}


def _top(service: Service) -> dict[str, Any]:
    line = next(line for line in service.lines if "metrics on http://" in line)
    url = "http://" + line.split("metrics on http://")[1].split("/")[0]
    document: dict[str, Any] = json.loads(pointgate("top", "--url", url, "--json"))
    return document
