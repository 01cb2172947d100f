"""The canary finds what MQTT 3.1.1 cannot say, and says nothing where everything is delivered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support import processes
from tests.support.processes import TOPIC, Broker, Sender, Service, small

if TYPE_CHECKING:
    from pathlib import Path

FORMS = (TOPIC, f"/{TOPIC}")
CANARY = 'canary = "protocol"'
ANSWERED = 'pointgate_mqtt_canaries_total{result="answered"}'
UNANSWERED = 'pointgate_mqtt_canaries_total{result="unanswered"}'


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 40.0)


def guarded(folder: Path, *rights: str) -> Broker:
    """A broker with an access list for everybody."""
    file = folder / "rights"
    file.write_text("".join(f"topic {line}\n" for line in rights))
    return Broker(folder, "allow_anonymous true", f"acl_file {file}")


def missing(service: Service) -> list[str]:
    """The topics on which the canary got no reply, as /readyz says."""
    status, text = service.readiness()
    assert status == 200
    assert all(one.startswith("the canary got no reply on ") for one in text.splitlines())
    return [line.split()[6] for line in text.splitlines()]


@pytest.mark.parametrize("group", [(), ('share_group = "gate"',)])
@pytest.mark.parametrize("protocol", [5, 4])
def test_a_canary_that_is_answered_proves_the_way(
    tmp_path: Path, protocol: int, group: tuple[str, ...]
) -> None:
    broker = guarded(tmp_path, "readwrite sys/#", "readwrite /sys/#")
    with (
        broker,
        Service(tmp_path, broker.port, f"protocol = {protocol}", CANARY, *group) as service,
    ):
        service.ready()
        service.wait_for("canary answered: requests and replies are delivered on both topics")
        service.wait_for_metric(ANSWERED, 1)
        assert service.readiness() == (200, "ready\n")  # also in a share group, over 3.1.1
        assert service.metric("pointgate_mqtt_shortfalls") == 0
        assert service.metric('pointgate_requests_total{code="200"}') == 2
        assert service.metric("pointgate_points_accepted_total") == 0
        broker.end()
        service.wait_for("no connection")
        broker.start()
        service.ready()
        service.wait_for("canary answered")
        service.wait_for_metric(ANSWERED, 2)
        assert service.end() == 0


@pytest.mark.parametrize(
    ("rights", "topics"),
    [
        pytest.param(
            (f"read {FORMS[0]}", f"read {FORMS[1]}", "write sys/#", "write /sys/#"),
            [f"{form}_reply" for form in FORMS],
            id="replies are dropped",
        ),
        pytest.param(
            ("readwrite sys/#", f"read {FORMS[1]}", "write /sys/#"),
            [f"{FORMS[1]}_reply"],
            id="replies of one form are dropped",
        ),
        pytest.param(
            (f"read {FORMS[0]}_reply", f"read {FORMS[1]}_reply", "write sys/#", "write /sys/#"),
            [f"{form}_reply" for form in FORMS],
            id="requests are not delivered",
        ),
        pytest.param(
            ("readwrite sys/#", f"read {FORMS[1]}_reply", "write /sys/#"),
            [f"{FORMS[1]}_reply"],
            id="requests of one form are not delivered",
        ),
    ],
)
@pytest.mark.parametrize("group", [(), ('share_group = "gate"',)])
def test_what_a_broker_drops_without_a_word_is_told(
    tmp_path: Path, rights: tuple[str, ...], topics: list[str], group: tuple[str, ...]
) -> None:
    broker = guarded(tmp_path, *rights)
    with broker, Service(tmp_path, broker.port, "protocol = 4", CANARY, *group) as service:
        service.ready()
        for topic in topics:
            service.wait_for(f"WARNING .*canary failed: the canary got no reply on {topic} within")
        assert missing(service) == topics
        service.wait_for_metric("pointgate_mqtt_shortfalls", len(topics))
        service.wait_for_metric(UNANSWERED, 1)
        assert service.end() == 0


@pytest.mark.parametrize("reply_qos", [0, 1])
def test_a_broker_that_ends_connections_for_denied_replies_gets_no_more_canaries(
    tmp_path: Path, reply_qos: int
) -> None:
    broker = guarded(tmp_path, "read sys/#", "read /sys/#", f"write {TOPIC}", f"write /{TOPIC}")
    options = "protocol = 4", f"reply_qos = {reply_qos}", CANARY
    with broker, Service(tmp_path, broker.port, *options) as service:
        service.wait_for(
            "canary failed: the canary is disabled until restart: the connection was lost"
        )
        assert "the canary is disabled" in service.readiness()[1]


def test_a_product_that_is_not_in_the_catalog_is_told_by_its_code(
    tmp_path: Path, broker: Broker
) -> None:
    with Service(tmp_path, broker.port, 'canary = "nobody"') as service:
        service.wait_for("canary failed: the canary got the code [0-9]+ on sys/nobody/")
        assert service.readiness()[0] == 200


def test_a_canary_that_ends_the_services_connection_is_off(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("gate:word\n")
    processes.Process("mosquitto_passwd", "-U", str(passwords)).status()
    secret = tmp_path / "secret"
    secret.write_text("word\n")
    options = 'username = "gate"', f'password_file = "{secret}"', CANARY
    extra = f"password_file {passwords}", "use_username_as_clientid true", "protocol mqtt"
    with Broker(tmp_path, *extra) as broker, Service(tmp_path, broker.port, *options) as service:
        service.wait_for(
            "canary failed: the canary is disabled until restart: the connection was lost"
        )
        assert "the canary is disabled" in service.readiness()[1]


def test_without_the_setting_there_is_no_canary(tmp_path: Path, broker: Broker) -> None:
    with Service(tmp_path, broker.port) as service, Sender(broker.port) as sender:
        service.ready()
        assert json.loads(sender.ask(small(1)).payload)["code"] == 200
        assert service.metric("pointgate_requests_received_total") == 1
        assert service.metric(ANSWERED) == service.metric(UNANSWERED) == 0
        assert service.end() == 0
        assert not any("canary" in line for line in service.lines)
