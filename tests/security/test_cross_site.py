"""What a browser that is signed in can be made to do by pages of others: nothing. Against the real daemon."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from conftest import DaemonFactory
from harness.browser import Browser
from harness.daemon import DaemonProcess, budget, config, poll
from harness.fleet import Fleet
from harness.postgres import new_database
from harness.stub import Stub
from harness.talk import chat
from harness.tenant import SharedDaemons

PUBLIC = "https://palyra.example"
BUDGET = budget("planted", "1000000")
NEIGHBOURS = ("http://127.0.0.1:3000", "http://localhost:3000", "https://evil.example", "null")


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    """One that people open at https, through a proxy that is not there."""
    server = {"public_url": PUBLIC, "behind_proxy": True, "allowed_hosts": ["127.0.0.1"]}
    return module_daemons(config(module_stub.url, server=server))


@pytest.fixture
def browser(daemon: DaemonProcess) -> Browser:
    return Browser.signed_in(daemon.url, daemon.owner_key)


def code(answer: httpx2.Response) -> tuple[int, object]:
    return answer.status_code, answer.json()["code"]


def test_a_page_of_ours_reads_and_changes(browser: Browser, daemon: DaemonProcess) -> None:
    assert browser.attributes == {"HttpOnly", "SameSite=Strict", "Path=/api/v1", "Max-Age=43200", "Secure"}
    assert browser.ask("GET", "/session").json() == browser.shown
    assert browser.ask("POST", "/budgets", budget("ours", "1.00")).status_code == 201
    assert browser.ask("DELETE", "/budgets/ours", origin=PUBLIC).status_code == 204
    assert browser.ask("GET", "/keys", origin="", sec_fetch_site="").status_code == 200


@pytest.mark.parametrize("origin", NEIGHBOURS)
@pytest.mark.parametrize("fetched", ["", "same-origin"])
def test_a_page_of_others_changes_nothing_whatever_it_knows(
    browser: Browser, origin: str, fetched: str
) -> None:
    refused = browser.ask("POST", "/budgets", BUDGET, origin=origin, sec_fetch_site=fetched)
    assert code(refused) == (403, "cross_site")
    assert browser.ask("GET", "/budgets/planted").status_code == 404


@pytest.mark.parametrize("fetched", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["/keys", "/session", "/usage/export?dataset=agents&format=csv", "/events"])
def test_a_page_of_others_reads_nothing(browser: Browser, path: str, fetched: str) -> None:
    refused = browser.ask("GET", path, origin="", sec_fetch_site=fetched)
    assert code(refused) == (403, "cross_site")


def test_a_form_of_others_signs_nobody_in(daemon: DaemonProcess) -> None:
    """Whoever is signed in to an account of somebody else tells them what they look at."""
    victim = Browser(daemon.url)
    for headers in ({"origin": NEIGHBOURS[0]}, {"sec_fetch_site": "cross-site"}):
        refused = victim.sign_in(daemon.owner_key, content_type="text/plain", **headers)
        assert code(refused) == (403, "cross_site")
        assert "set-cookie" not in refused.headers


def test_a_change_without_the_token_or_with_that_of_another_sign_in_is_refused(
    browser: Browser, daemon: DaemonProcess
) -> None:
    other = Browser.signed_in(daemon.url, daemon.owner_key)
    for token in ("", "x", other.csrf_token, browser.cookie):
        for method, path in (("POST", "/budgets"), ("DELETE", "/session"), ("PUT", "/budgets/planted")):
            refused = browser.ask(method, path, BUDGET, x_palyra_csrf=token)
            assert code(refused) == (403, "csrf_token")
    assert browser.ask("GET", "/budgets/planted").status_code == 404
    assert browser.ask("GET", "/session").status_code == 200


def test_the_cookie_is_worth_nothing_on_the_data_plane(browser: Browser, shared_stub: Stub) -> None:
    for method, path, body in (
        ("POST", "/chat/completions", chat()),
        ("POST", "/messages", chat(model="stub-claude")),
        ("GET", "/models", None),
    ):
        refused = browser.ask(method, path, body, root="/v1")
        assert refused.status_code == 401
        assert "invalid_api_key" in refused.text
    assert not shared_stub.calls


def test_the_cookie_makes_no_call_by_a_connection_test(browser: Browser, shared_stub: Stub) -> None:
    refused = browser.ask("POST", "/models/test-connection", {"generate": True})
    assert (refused.status_code, refused.json()["field"]) == (422, "generate")
    assert not shared_stub.generations


def test_a_key_that_is_revoked_takes_its_sign_ins_along_at_once(daemon: DaemonProcess) -> None:
    made = daemon.api.post("/keys", {"principal": "eve", "roles": ["admin"]})
    browser = Browser.signed_in(daemon.url, str(made["key"]))
    assert browser.ask("GET", "/keys").status_code == 200
    assert daemon.api.request("DELETE", f"/keys/{made['id']}").status_code == 204
    assert code(browser.ask("GET", "/keys")) == (401, "invalid_api_key")
    assert code(Browser(daemon.url).sign_in(str(made["key"]))) == (401, "invalid_api_key")


def test_what_is_signed_out_stays_out(browser: Browser) -> None:
    assert browser.ask("DELETE", "/session").status_code == 204
    assert code(browser.ask("GET", "/session")) == (401, "invalid_api_key")
    assert browser.ask("DELETE", "/session").status_code == 204


def test_no_secret_of_a_sign_in_is_in_the_log(browser: Browser, daemon: DaemonProcess) -> None:
    browser.ask("POST", "/budgets", BUDGET, x_palyra_csrf="x")
    for secret in (browser.cookie, browser.csrf_token, daemon.owner_key):
        assert secret not in daemon.log


@pytest.mark.sqlite
def test_it_holds_over_a_crash_and_ends_with_its_time(daemon_factory: DaemonFactory, stub: Stub) -> None:
    daemon = daemon_factory(config(stub.url, console={"session_hours": 1}))
    browser = Browser.signed_in(daemon.url, daemon.owner_key)
    assert "Secure" not in browser.attributes
    daemon.kill9()
    daemon.start()
    assert browser.at(daemon.url).ask("GET", "/session").json() == browser.shown
    daemon.terminate()
    moved_back(daemon.database, 59 * 60)
    assert browser.at(daemon.restart().url).ask("GET", "/session").status_code == 200
    daemon.terminate()
    moved_back(daemon.database, 60)
    assert code(browser.at(daemon.restart().url).ask("GET", "/session")) == (401, "invalid_api_key")


def moved_back(database: Path, seconds: int) -> None:
    """The clock goes on by so many seconds, as a stopped daemon sees it: what is stored is older then."""
    connection = sqlite3.connect(database)
    with connection:
        connection.execute(
            "UPDATE sign_ins SET signed_in_at = signed_in_at - ?1, expires_at = expires_at - ?1",
            (seconds * 10**9,),
        )
    connection.close()


@pytest.fixture
def fleet(tmp_path: Path, stub: Stub) -> Iterator[Fleet]:
    made = Fleet(tmp_path, config(stub.url), new_database())
    yield made
    made.close()


def test_gateways_on_one_ledger_share_sign_ins_and_their_ends(fleet: Fleet) -> None:
    one, other = fleet.start(2).gateways
    first, second = (Browser.signed_in(one.url, fleet.owner_key) for _ in range(2))
    elsewhere = first.at(other.url)
    assert elsewhere.ask("GET", "/session").json() == first.shown
    assert elsewhere.ask("POST", "/budgets", budget("shared", "1.00")).status_code == 201
    assert elsewhere.ask("DELETE", "/session").status_code == 204
    assert first.ask("GET", "/session").status_code == 401
    assert second.at(other.url).ask("GET", "/session").status_code == 200
    made = fleet.api.post("/keys", {"principal": "eve", "roles": ["viewer"]})
    eve = Browser.signed_in(one.url, str(made["key"]))
    fleet.api_of(one).request("DELETE", f"/keys/{made['id']}")
    assert eve.ask("GET", "/session").status_code == 401
    poll(
        lambda: eve.at(other.url).ask("GET", "/session").status_code, lambda got: got == 401, 10.0, "the end"
    )
