"""Mail and chat through Apprise, to real servers on loopback."""

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from email.header import decode_header, make_header

import pytest

from fakes.receivers import MailReceiver, WebReceiver
from fakes.records import NOON
from fakes.stored import alert, notice
from palyra.alerts.alert import Severity
from palyra.core.address import Reach
from palyra.core.secret import Secret
from palyra.notify.chat import AppriseSender
from palyra.notify.guard import Guard, proxy_hosts
from palyra.notify.sender import Undelivered

PASSWORD = "mail-password-0123456789"


def sender(url: str, *, timeout_s: float = 10.0, allow_private: bool = True) -> AppriseSender:
    return AppriseSender(
        Secret(url), allow_private=allow_private, timeout_s=timeout_s, proxies=proxy_hosts(os.environ)
    )


def mail_url(receiver: MailReceiver, more: str = "") -> str:
    return (
        f"mailto://127.0.0.1:{receiver.port}?from=palyra@example.com&to=ops@example.com&mode=insecure{more}"
    )


def reason(send: Callable[[], None]) -> str:
    with pytest.raises(Undelivered) as caught:
        send()
    return caught.value.reason


def test_a_mail_server_gets_the_mail() -> None:
    with MailReceiver() as receiver:
        sender(mail_url(receiver)).send(notice(about=alert(principal="alice")), NOON)
    ((recipients, mail),) = receiver.mails
    assert recipients == ["ops@example.com"]
    assert str(make_header(decode_header(str(mail["subject"])))) == "Warning: daily is at 80 %"
    body = mail.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert "größe ☃" in body.decode()
    assert "principal alice" in body.decode()


def test_the_end_of_an_alert_is_a_mail_of_its_own() -> None:
    with MailReceiver() as receiver:
        sender(mail_url(receiver)).send(notice(event="resolved"), NOON)
    ((_, mail),) = receiver.mails
    assert str(mail["subject"]).startswith("Resolved: ")


def test_one_sender_sends_several_at_once_and_waits_for_none() -> None:
    with MailReceiver() as receiver:
        one = sender(mail_url(receiver))
        threads = [threading.Thread(target=one.send, args=(notice(f"ntc_{i}"), NOON)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert len(receiver.mails) == 4


def test_a_recipient_that_is_refused_is_a_failure() -> None:
    with MailReceiver(refusal="550 no such mailbox") as receiver:
        told = reason(lambda: sender(mail_url(receiver)).send(notice(), NOON))
    assert told.startswith("the service did not take it")
    assert receiver.mails == []


def test_a_mail_server_within_the_network_needs_to_be_allowed() -> None:
    with MailReceiver() as receiver:
        guard = Guard(sender(mail_url(receiver), allow_private=False).reaches)
        with guard.active():
            reason(lambda: sender(mail_url(receiver), allow_private=False).send(notice(), NOON))
    assert guard.refused == ["it leads to 127.0.0.1, which is a loopback address"]
    assert receiver.mails == []


@pytest.mark.parametrize(
    ("severity", "event", "look"),
    [
        (Severity.INFO, "raised", "info"),
        (Severity.WARNING, "raised", "warning"),
        (Severity.CRITICAL, "raised", "failure"),
        (Severity.CRITICAL, "resolved", "success"),
    ],
)
def test_a_chat_sees_how_severe_it_is(severity: Severity, event: str, look: str) -> None:
    with WebReceiver(200) as receiver:
        sender(f"json://127.0.0.1:{receiver.port}/").send(
            notice(event=event, about=alert(severity=severity)), NOON
        )
    assert f'"type": "{look}"'.encode() in receiver.received[0].body


@pytest.mark.parametrize("status", [404, 500])
def test_a_status_is_told(status: int) -> None:
    with WebReceiver(status) as receiver:
        told = reason(lambda: sender(f"json://127.0.0.1:{receiver.port}/").send(notice(), NOON))
    assert told.endswith(f"(HTTP status {status})")


@pytest.mark.parametrize("more", ["", "?redirect=yes"])
def test_a_redirect_is_not_followed(more: str) -> None:
    with WebReceiver(200) as elsewhere, WebReceiver(307, {"location": f"{elsewhere.url}/"}) as receiver:
        reason(lambda: sender(f"json://127.0.0.1:{receiver.port}/{more}").send(notice(), NOON))
    assert elsewhere.received == []


def test_nobody_there_is_a_failure_without_the_url_in_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told = reason(lambda: sender(f"json://me:{PASSWORD}@127.0.0.1:{port}/").send(notice(), NOON))
    assert told == "the service did not take it, or cannot be reached"


def test_a_url_that_is_none_is_a_failure() -> None:
    assert reason(lambda: sender("nonsense").send(notice(), NOON)) == "Apprise does not understand the URL"


def test_nothing_of_it_is_logged(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(sys.stderr)])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    with WebReceiver(500) as receiver:
        reason(lambda: sender(f"json://me:{PASSWORD}@127.0.0.1:{receiver.port}/").send(notice(), NOON))
    reason(lambda: sender(f"nonsense-{PASSWORD}").send(notice(), NOON))
    assert capfd.readouterr() == ("", "")
    logging.getLogger("another").warning("heard")
    assert capfd.readouterr().err == "heard\n"


def test_the_log_of_another_thread_is_not_taken_for_its_own() -> None:
    """One attempt gets no answer; another gets its 503 meanwhile."""
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent, WebReceiver(503) as receiver:
        url = f"json://127.0.0.1:{silent.getsockname()[1]}/"
        thread = threading.Thread(
            target=lambda: told.append(reason(lambda: sender(url).send(notice(), NOON)))
        )
        thread.start()
        connection, _ = silent.accept()
        other = reason(lambda: sender(f"json://127.0.0.1:{receiver.port}/").send(notice(), NOON))
        connection.close()
        thread.join(10)
    assert "503" in other
    assert told == ["the service did not take it, or cannot be reached"]


def test_a_proxy_is_gone_through_only_where_private_addresses_are_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert sender("json://hooks.example.com", allow_private=False).proxies == {"proxy.example"}
    assert sender("json://hooks.example.com").proxies == frozenset()


def test_special_addresses_are_never_allowed() -> None:
    assert Reach.SPECIAL not in sender("json://hooks.example.com").reaches
    assert sender("json://hooks.example.com", allow_private=False).reaches == {Reach.PUBLIC}
