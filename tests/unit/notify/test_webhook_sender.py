"""Webhooks reach a real receiver, which can verify them; what is not a 2xx is a failure that says why."""

import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from fakes.receivers import WebReceiver
from fakes.records import NOON
from fakes.stored import notice
from palyra.core.address import Reach
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.secret import Secret
from palyra.notify.sender import Undelivered
from palyra.notify.webhook import WebhookSender
from palyra.webhooks import ID, Flaw, WebhookRefused, verify

SECRET = "a secret of enough bytes"
NOON_S = NOON // NANOSECONDS


def sender(url: str, *secrets: str, timeout_s: float = 10.0, allow_private: bool = True) -> WebhookSender:
    keys = [Secret(each) for each in secrets or (SECRET,)]
    return WebhookSender(Secret(url), keys, allow_private=allow_private, timeout_s=timeout_s)


def reason(send: Callable[[], None]) -> str:
    with pytest.raises(Undelivered) as caught:
        send()
    return caught.value.reason


def wait_for(release: threading.Event) -> None:
    assert release.wait(10)


def test_a_receiver_can_verify_what_it_gets() -> None:
    with WebReceiver() as receiver:
        sender(f"{receiver.url}/hook?team=ops").send(notice(), NOON)
    (got,) = receiver.received
    assert verify(SECRET, got.headers, got.body, NOON_S) == "ntc_1"
    assert got.path == "/hook?team=ops"
    assert json.loads(got.body)["data"]["id"] == "alr_1"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("Palyra/")


def test_a_wrong_secret_and_an_old_request_are_refused_by_the_receiver() -> None:
    with WebReceiver() as receiver:
        sender(receiver.url).send(notice(), NOON)
    (got,) = receiver.received
    for secret, now, flaw in (
        ("another secret of enough bytes", NOON_S, Flaw.BAD_SIGNATURE),
        (SECRET, NOON_S + 301, Flaw.TOO_OLD),
        (SECRET, NOON_S - 301, Flaw.TOO_NEW),
    ):
        with pytest.raises(WebhookRefused) as caught:
            verify(secret, got.headers, got.body, now)
        assert caught.value.flaw is flaw


def test_each_attempt_has_its_own_time_and_the_same_id_and_body() -> None:
    with WebReceiver() as receiver:
        for seconds in (0, 7_200):
            sender(receiver.url).send(notice(), Instant(NOON + seconds * NANOSECONDS))
    first, second = receiver.received
    assert verify(SECRET, second.headers, second.body, NOON_S + 7_200) == first.headers[ID]
    assert first.body == second.body


def test_while_a_secret_is_replaced_either_verifies() -> None:
    with WebReceiver() as receiver:
        sender(receiver.url, "the new one, long enough", SECRET).send(notice(), NOON)
    (got,) = receiver.received
    for secret in ("the new one, long enough", SECRET):
        assert verify(secret, got.headers, got.body, NOON_S)


def test_a_redirect_is_not_followed() -> None:
    with WebReceiver() as elsewhere, WebReceiver(302, {"location": f"{elsewhere.url}/stolen"}) as receiver:
        told = reason(lambda: sender(receiver.url).send(notice(), NOON))
    assert "redirect (HTTP status 302)" in told
    assert elsewhere.received == []


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
def test_what_is_not_a_success_is_a_failure(status: int) -> None:
    with WebReceiver(status) as receiver:
        assert f"HTTP status {status}" in reason(lambda: sender(receiver.url).send(notice(), NOON))


def test_a_receiver_that_does_not_answer_is_not_waited_for() -> None:
    release = threading.Event()
    with WebReceiver(hold=lambda: wait_for(release)) as receiver:
        told = reason(lambda: sender(receiver.url, timeout_s=0.2).send(notice(), NOON))
        release.set()
    assert told == "no answer within 0.2 s"


def test_nobody_there_is_told_without_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told = reason(lambda: sender(f"http://127.0.0.1:{port}/token-in-path").send(notice(), NOON))
    assert told.startswith("no connection: ")
    assert "token-in-path" not in told


def test_an_answer_that_is_no_http_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        thread = threading.Thread(target=_talk_nonsense, args=(server,))
        thread.start()
        told = reason(lambda: sender(f"http://127.0.0.1:{port}/").send(notice(), NOON))
        thread.join()
    assert told == "the connection failed (RemoteProtocolError)"


def _talk_nonsense(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(b"220 mail.example ESMTP\r\n\r\n")


def test_the_body_of_an_answer_is_not_read() -> None:
    """It says that 1 TB follows, and sends none of it: nobody waits for that."""
    with WebReceiver(200, {"content-length": str(10**12)}) as receiver:
        sender(receiver.url, timeout_s=5).send(notice(), NOON)
    assert len(receiver.received) == 1


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with WebReceiver() as receiver:
        sender(receiver.url).send(notice(), NOON)
    assert len(receiver.received) == 1


def test_where_a_webhook_may_go() -> None:
    far, near = Reach.PUBLIC, {Reach.PRIVATE, Reach.LOOPBACK}
    assert sender("https://hooks.example.com", allow_private=False).reaches == {far}
    assert sender("https://hooks.example.com").reaches == {far, *near}
    assert sender("HTTP://hooks.example.com").reaches == near
    assert sender("https://hooks.example.com").proxies == frozenset()


def test_a_secret_that_is_too_short_makes_no_sender() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        sender("https://hooks.example.com", "")


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    told = _over_tls(sender)
    assert told is not None
    assert "certificate" in told.lower()


def test_a_certificate_of_the_system_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert _over_tls(sender, authority) is None


def _over_tls(make: Callable[[str], WebhookSender], authority: trustme.CA | None = None) -> str | None:
    """Send to a receiver with a certificate for localhost; what went wrong, if anything did."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (authority or trustme.CA()).issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    with WebReceiver(tls=context) as receiver:
        try:
            make(f"https://localhost:{receiver.port}/").send(notice(), NOON)
        except Undelivered as error:
            return error.reason
    return None


def test_nothing_of_a_message_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with WebReceiver() as receiver:
        sender(f"{receiver.url}/token-in-path").send(notice(), NOON)
    assert "token-in-path" not in caplog.text
