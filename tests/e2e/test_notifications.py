"""Messages about alerts of a real daemon, to a real web server and a real mail server on loopback."""

import json
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from conftest import DaemonFactory
from fakes.receivers import MailReceiver, Received, WebReceiver
from harness import command
from harness.daemon import DaemonProcess, budget, config, poll
from harness.stub import Stub
from harness.talk import Document, ask
from palyra.webhooks import verify

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
FULL = budget("all", "0.00001")
RETRIED_S = 20.0
"""The first wait is 5 seconds, a quarter more at most."""


@pytest.fixture
def web() -> Iterator[WebReceiver]:
    with WebReceiver() as receiver:
        yield receiver


@pytest.fixture
def mail() -> Iterator[MailReceiver]:
    with MailReceiver() as receiver:
        yield receiver


def start(
    daemon_factory: DaemonFactory, stub: Stub, web: WebReceiver, mail: MailReceiver | None = None
) -> DaemonProcess:
    """A daemon that tells both; the mail only of what is severe."""
    url = f"mailto://127.0.0.1:{mail.port if mail else 9}?from=p@example.com&to=ops@example.com&mode=insecure"
    hook = {"id": "hook", "webhook": f"{web.url}/palyra", "secret": "env:HOOK", "allow_private": True}
    severe = {"id": "mail", "url": "env:MAIL", "allow_private": True, "min_severity": "critical"}
    settings = config(
        stub.url, alerts={"check_s": 0.2}, notify=[hook, severe] if mail is not None else [hook]
    )
    return daemon_factory(settings, HOOK=SECRET, MAIL=url)


def received(web: WebReceiver, count: int, deadline_s: float = 15.0) -> list[Received]:
    """What the web server got, once it is so much. AssertionError if it becomes more."""
    return poll(lambda: list(web.received), lambda got: len(got) >= count, deadline_s, f"{count} messages")


def body_of(request: Received) -> tuple[str, dict[str, Any]]:
    """What a webhook says, after its signature was checked: its type and the alert."""
    verify(SECRET, request.headers, request.body, time.time())
    document = json.loads(request.body)
    return document["type"], document["data"]


def notices(daemon: DaemonProcess, **wanted: str) -> list[Document]:
    return cast("list[Document]", daemon.api.get("/alerts/notices", **wanted)["items"])


def test_a_cause_is_one_message_to_each_target_and_one_when_it_is_over(
    daemon_factory: DaemonFactory, stub: Stub, web: WebReceiver, mail: MailReceiver
) -> None:
    daemon = start(daemon_factory, stub, web, mail)
    daemon.api.post("/budgets", FULL)
    key = daemon.create_key()
    for _ in range(20):
        assert ask(daemon, key).status == 402

    (raised,) = received(web, 1)
    kind, told = body_of(raised)
    assert (kind, told["kind"], told["state"]) == ("alert.raised", "budget_exhausted", "firing")
    daemon.api.request("PUT", "/budgets/all", budget("all", "5.00"))
    _, resolved = received(web, 2)
    kind, told = body_of(resolved)
    assert (kind, told["resolution"]) == ("alert.resolved", "The limit was raised.")
    assert told["count"] == 20

    mails = poll(lambda: list(mail.mails), lambda got: len(got) == 2, 15.0, "2 mails")
    assert [str(each["subject"]).partition(":")[0] for _, each in mails] == ["Critical", "Resolved"]
    sent = poll(
        lambda: notices(daemon, state="sent"), lambda seen: len(seen) == 4, 15.0, "4 notices that are sent"
    )
    assert {(each["target"], each["event"]) for each in sent} == {
        (target, event) for target in ("hook", "mail") for event in ("raised", "resolved")
    }
    assert len(web.received) == 2


def test_a_target_for_severe_alerts_does_not_hear_of_others(
    daemon_factory: DaemonFactory, stub: Stub, web: WebReceiver, mail: MailReceiver
) -> None:
    daemon = start(daemon_factory, stub, web, mail)
    daemon.api.post("/budgets", budget("all", "5.00", thresholds=[{"at": "0.00001", "then": "notify"}]))

    assert ask(daemon, daemon.create_key()).status == 200

    assert body_of(received(web, 1)[0])[1]["kind"] == "budget_threshold"
    assert {each["target"] for each in notices(daemon)} == {"hook"}
    assert mail.mails == []


def test_a_message_outlives_a_target_that_is_down_and_a_daemon_that_is_killed(
    daemon_factory: DaemonFactory, stub: Stub, web: WebReceiver
) -> None:
    web.status = 500
    daemon = start(daemon_factory, stub, web)
    daemon.api.post("/budgets", FULL)
    ask(daemon, daemon.create_key())
    (failed,) = received(web, 1)
    (waiting,) = poll(
        lambda: notices(daemon, state="waiting"),
        lambda seen: bool(seen and seen[0]["error"]),
        15.0,
        "the error",
    )
    assert "500" in str(waiting["error"])

    daemon.kill9()
    web.status = 204
    daemon.start()

    again = received(web, 2, RETRIED_S)[1]
    assert again.headers["webhook-id"] == failed.headers["webhook-id"]
    assert again.body == failed.body
    (sent,) = poll(
        lambda: notices(daemon, state="sent"), lambda seen: len(seen) == 1, 15.0, "the notice to be sent"
    )
    assert (sent["attempts"], sent["id"]) == (2, waiting["id"])


def test_a_restart_tells_nobody_again(daemon_factory: DaemonFactory, stub: Stub, web: WebReceiver) -> None:
    daemon = start(daemon_factory, stub, web)
    daemon.api.post("/budgets", FULL)
    key = daemon.create_key()
    ask(daemon, key)
    received(web, 1)

    daemon.restart()
    ask(daemon, key)
    daemon.api.post("/alerts/test", {})

    kinds = [body_of(each)[0] for each in received(web, 2)]
    assert kinds == ["alert.raised", "alert.test"]


def test_a_test_message_arrives_and_the_command_says_where_to_look(
    daemon_factory: DaemonFactory, stub: Stub, web: WebReceiver, mail: MailReceiver
) -> None:
    daemon = start(daemon_factory, stub, web, mail)
    key = daemon.create_key("olga", roles=["operator"])

    told = command.run(daemon, key, "alerts", "test")[0]

    assert told.startswith("On its way to hook, mail.")
    kind, alert = body_of(received(web, 1)[0])
    assert (kind, alert["title"]) == ("alert.test", "Test message of Palyra")
    ((_, sent),) = poll(lambda: list(mail.mails), lambda got: len(got) == 1, 15.0, "the mail")
    assert "Test message of Palyra" in str(sent["subject"])
    poll(
        lambda: command.run(daemon, key, "alerts", "notices", "--state", "sent")[0],
        lambda page: page.count("ntc_") == 2,
        15.0,
        "both notices to be sent",
    )
    assert daemon.api.get("/alerts")["items"] == []
    assert SECRET not in daemon.log
