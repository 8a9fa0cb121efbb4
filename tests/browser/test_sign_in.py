"""Signing in to the console and out of it, and what becomes of a page when a session ends."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Locator, expect

from harness.daemon import Api, DaemonProcess, config
from harness.people import asking, pending
from harness.stub import Stub
from harness.talk import ask, chat
from harness.tenant import SharedDaemons
from harness.window import NARROW, WIDE, Theme, Window, window

OF_CALLERS = ["Usage", "Insights", "Approvals", "Alerts", "Export"]
SINCE = "7d"


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> DaemonProcess:
    return module_daemons(config(module_stub.url, budgets=[asking("calls", 1)]))


@pytest.fixture
def outside(chromium: Browser, daemon: DaemonProcess) -> Iterator[Window]:
    """A window in which nobody is signed in, on a page of the console."""
    with window(chromium, daemon.url) as opened:
        opened.refused.add(401)
        opened.open(f"/usage?since={SINCE}")
        expect(field(opened)).to_be_focused()
        yield opened


def field(window: Window) -> Locator:
    """Where the key is written."""
    return window.page.get_by_placeholder("sk-palyra-…")


def try_key(window: Window, key: str) -> None:
    """Write a key, and press Enter."""
    field(window).fill(key)
    field(window).press("Enter")


def pages(window: Window) -> Locator:
    """The ways to the pages: there once somebody is signed in."""
    return window.page.get_by_role("navigation", name="Pages").get_by_role("link")


def test_a_wrong_key_is_told_and_can_be_mended(outside: Window, daemon: DaemonProcess) -> None:
    try_key(outside, "sk-palyra-wrong")
    told = outside.page.get_by_role("alert")
    expect(told).to_contain_text("no key that can sign in")
    expect(field(outside)).to_have_value("sk-palyra-wrong")
    outside.check_accessible()
    try_key(outside, daemon.owner_key)
    expect(outside.page.get_by_role("heading", name="Usage", level=1)).to_be_visible()
    # It comes to the page that was asked for.
    expect(outside.page).to_have_url(f"{daemon.url}/console/usage?since={SINCE}")


def test_who_guesses_is_told_to_wait(
    chromium: Browser, daemon_factory: Callable[..., DaemonProcess], stub: Stub
) -> None:
    daemon = daemon_factory(config(stub.url))
    for _ in range(10):
        guess = httpx2.post(f"{daemon.url}/api/v1/session", json={"key": "a guess"})
        assert guess.status_code == 401
    with window(chromium, daemon.url) as opened:
        opened.refused |= {401, 429}
        opened.open("/usage")
        try_key(opened, daemon.owner_key)
        expect(opened.page.get_by_role("alert")).to_contain_text("Too many sign-ins from this address failed")
        expect(pages(opened)).to_have_count(0)


def test_a_revoked_key_does_not_sign_in(outside: Window, daemon: DaemonProcess) -> None:
    clear = daemon.create_key("rita")
    (made,) = items(daemon.api.get("/keys", principal="rita"))
    assert daemon.api.request("DELETE", f"/keys/{made['id']}").status_code == 204
    try_key(outside, clear)
    expect(outside.page.get_by_role("alert")).to_contain_text("no key that can sign in")
    expect(pages(outside)).to_have_count(0)


def items(page: Any) -> list[dict[str, Any]]:
    """What a list has on a page."""
    return page["items"]


def test_the_key_stays_nowhere_in_the_browser_and_scripts_cannot_read_the_cookie(
    outside: Window, daemon: DaemonProcess
) -> None:
    page = outside.page
    try_key(outside, daemon.owner_key)
    expect(pages(outside).first).to_be_visible()
    assert daemon.owner_key not in page.content()
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "palyra_session" not in kept
    assert daemon.owner_key not in kept
    (cookie,) = page.context.cookies()
    assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Strict")
    assert cookie.get("value") not in kept


def test_a_daemon_that_does_not_answer_is_told(
    chromium: Browser, daemon_factory: Callable[..., DaemonProcess], stub: Stub
) -> None:
    daemon = daemon_factory(config(stub.url))
    daemon.port = int(daemon.url.rpartition(":")[2])
    with window(chromium, daemon.url) as opened:
        # A daemon that ends refuses who connects again meanwhile.
        opened.refused |= {401, 503}
        opened.open("/")
        expect(field(opened)).to_be_visible()
        daemon.terminate()
        try_key(opened, daemon.owner_key)
        expect(opened.page.get_by_role("alert")).to_contain_text("The daemon does not answer")
        daemon.start()
        field(opened).press("Enter")
        expect(pages(opened).first).to_be_visible()
        daemon.terminate()
        opened.page.get_by_role("button", name="Signed in as owner").click()
        opened.page.get_by_role("button", name="Sign out").click()
        expect(opened.page.get_by_text("You are still signed in")).to_be_visible()
        daemon.start()
        opened.open("/usage")
        expect(pages(opened).first).to_be_visible()


def test_who_signs_out_is_out_and_the_cookie_is_worth_nothing(
    chromium: Browser, daemon: DaemonProcess
) -> None:
    with window(chromium, daemon.url, daemon.owner_key) as opened:
        page = opened.page
        opened.open("/keys")
        expect(page.get_by_role("heading", name="Keys", level=1)).to_be_visible()
        before = page.context.cookies()
        opened.refused.add(401)
        page.get_by_role("button", name="Signed in as owner").click()
        expect(page.get_by_text("owner · owner")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(field(opened)).to_be_visible()
        page.context.add_cookies([{**each} for each in before])  # pyright: ignore[reportArgumentType]
        assert page.request.get(f"{daemon.url}/api/v1/keys").status == 401
        page.go_back()
        expect(field(opened)).to_be_visible()


def test_a_session_that_ends_leads_to_the_sign_in_and_back_to_the_same_page(
    chromium: Browser, daemon: DaemonProcess
) -> None:
    clear = daemon.create_key("sam", roles=["operator"])
    (made,) = items(daemon.api.get("/keys", principal="sam"))
    with window(chromium, daemon.url, clear) as opened:
        opened.open("/approvals?state=denied")
        expect(opened.page.locator("[data-live=live]")).to_be_visible()
        opened.refused.add(401)
        assert daemon.api.request("DELETE", f"/keys/{made['id']}").status_code == 204
        # Nobody touches the page: it is told.
        expect(field(opened)).to_be_visible()
        expect(opened.page.get_by_role("heading", name="Approvals")).to_have_count(0)
        try_key(opened, daemon.create_key("tess", roles=["viewer"]))
        expect(opened.page.get_by_role("heading", name="Approvals", level=1)).to_be_visible()
        expect(opened.page).to_have_url(f"{daemon.url}/console/approvals?state=denied")
        expect(opened.page.get_by_role("button", name="Signed in as tess")).to_be_visible()


def test_nothing_that_was_read_for_one_is_shown_to_the_next(chromium: Browser, daemon: DaemonProcess) -> None:
    first, second = daemon.create_key("uma"), daemon.create_key("vic")
    for key in (first, second):
        assert [ask(daemon, key, chat(size)).status for size in (64, 65)] == [200, 402]
    with window(chromium, daemon.url, first) as opened:
        page = opened.page
        opened.open("/approvals")
        expect(page.get_by_role("heading", name="uma asks for 1 call")).to_be_visible()
        # Somebody else signs in, in another window of this browser.
        answer = page.request.post(
            f"{daemon.url}/api/v1/session", data={"key": second}, headers={"origin": daemon.url}
        )
        assert answer.status == 201
        (own,) = pending(daemon.api, "uma")
        opened.refused |= {401, 403, 404}
        page.reload()
        expect(page.get_by_role("button", name="Signed in as vic")).to_be_visible()
        expect(page.get_by_role("heading", name="vic asks for 1 call")).to_be_visible()
        opened.open(f"/approvals?id={own}")
        expect(page.get_by_text("There is no approval")).to_be_visible()


def test_a_window_whose_session_became_another_ones_says_who_it_is_now(
    chromium: Browser, daemon: DaemonProcess
) -> None:
    """The token of the page is the old one: the change is refused, and the page starts anew."""
    caller = daemon.create_key("wim")
    assert [ask(daemon, caller, chat(size)).status for size in (64, 65)] == [200, 402]
    with window(chromium, daemon.url, daemon.create_key("xia", roles=["operator"])) as opened:
        page = opened.page
        page.route("**/api/v1/events", lambda route: route.abort())
        (wish,) = pending(daemon.api, "wim")
        opened.open(f"/approvals?id={wish}")
        expect(page.get_by_role("button", name="Approve")).to_be_visible()
        other = daemon.create_key("yan", roles=["viewer"])
        answer = page.request.post(
            f"{daemon.url}/api/v1/session", data={"key": other}, headers={"origin": daemon.url}
        )
        assert answer.status == 201
        opened.refused |= {401, 403}
        page.get_by_role("button", name="Deny").click()
        expect(page.get_by_role("button", name="Signed in as yan")).to_be_visible()
        expect(page.get_by_role("button", name="Deny")).to_have_count(0)
        assert list(pending(daemon.api, "wim")) == [wish]


def test_a_role_sees_the_pages_that_it_may_use(chromium: Browser, daemon: DaemonProcess) -> None:
    with window(chromium, daemon.url, daemon.create_key("zoe")) as caller:
        caller.open("/usage")
        expect(pages(caller)).to_have_count(len(OF_CALLERS))
        assert [each.split("\n")[0] for each in pages(caller).all_inner_texts()] == OF_CALLERS
        for path in ("usage", "insights", "approvals", "alerts", "export"):
            caller.open(f"/{path}")
            expect(caller.page.get_by_role("heading", level=1)).to_be_visible()
            caller.settle()
        caller.page.keyboard.press("Control+k")
        caller.page.get_by_role("textbox", name="Go to").fill("Keys")
        expect(caller.page.get_by_text("Nothing by that name")).to_be_visible()
    assert Api(daemon.url, daemon.create_key("zoe")).request("GET", "/keys").status_code == 403


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_sign_in_fits_and_can_be_used_by_all(
    chromium: Browser, daemon: DaemonProcess, width: int, theme: Theme
) -> None:
    with window(chromium, daemon.url, width=width, theme=theme) as opened:
        opened.refused.add(401)
        opened.open("/")
        expect(field(opened)).to_be_visible()
        opened.shoot(f"sign-in-{width}-{theme}")
        opened.check_fits()
        opened.check_accessible()
